"""StreamTask: what it deploys, and what it refuses."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Template

from tests.apps import allowed, environment, literal, new_stack, only, statements
from tests.event_apps import add_changes, add_table

MAPPING = "AWS::Lambda::EventSourceMapping"


def test_a_stream_is_read_by_batches_whose_failures_are_reported_and_which_nothing_loses() -> None:
    stack = new_stack()
    add_changes(stack)
    mapping = only(stack, MAPPING)
    assert {name: mapping[name] for name in mapping if not isinstance(mapping[name], dict)} == {
        "BatchSize": 10,
        "BisectBatchOnFunctionError": True,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "MaximumRecordAgeInSeconds": 86_400,
        "MaximumRetryAttempts": 100,
        "StartingPosition": "TRIM_HORIZON",
    }
    assert mapping["EventSourceArn"]["Fn::GetAtt"][1] == "StreamArn"
    queue = mapping["DestinationConfig"]["OnFailure"]["Destination"]
    assert literal(queue).startswith("<TaskDeadLetters")
    assert environment(stack, under="Changes")["TASK_NAME"] == "back_office.changes.on_change"
    assert environment(stack, under="Changes")["TASK_MODULES"] == "back_office.changes"


def test_a_stream_function_may_read_that_stream_and_write_dead_letters_only() -> None:
    stack = new_stack()
    add_changes(stack)
    actions = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}
    assert sorted(action for one in statements(stack, under="Changes") for action in _actions(one)) == sorted(
        ["logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", *(f"dynamodb:{action}" for action in actions)]
    )
    [stream] = allowed(stack, "dynamodb:ListStreams", under="Changes")
    assert stream == literal(only(stack, MAPPING)["EventSourceArn"])


def _plain_table(stack: cdk.Stack, **arguments: Any) -> dynamodb.Table:
    key = dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING)
    arguments = {"stream": dynamodb.StreamViewType.NEW_IMAGE, **arguments}
    return dynamodb.Table(stack, "Plain", partition_key=key, **arguments)


def _actions(statement: dict[str, Any]) -> list[str]:
    return statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]


def test_a_stream_function_may_decrypt_with_the_tables_key() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    add_changes(stack, table=_plain_table(stack, encryption_key=key))
    assert allowed(stack, "kms:Decrypt", under="Changes") == {f"<{stack.get_logical_id(key.node.default_child)}>"}


def test_every_option_of_a_stream_reaches_the_mapping() -> None:
    stack = new_stack()
    add_changes(
        stack,
        table=_plain_table(stack),
        starting_position=lambda_.StartingPosition.LATEST,
        batch_size=500,
        max_batching_window=cdk.Duration.seconds(5),
        parallelization_factor=4,
        bisect_batch_on_error=False,
        max_record_age=cdk.Duration.hours(1),
        retry_attempts=7,
        filters=[lambda_.FilterCriteria.filter({"eventName": lambda_.FilterRule.is_equal("INSERT")})],
        dead_letter_queue=sqs.Queue(stack, "Own"),
    )
    mapping = only(stack, MAPPING)
    assert (mapping["StartingPosition"], mapping["BatchSize"], mapping["ParallelizationFactor"]) == ("LATEST", 500, 4)
    assert (mapping["MaximumBatchingWindowInSeconds"], mapping["MaximumRecordAgeInSeconds"]) == (5, 3600)
    assert (mapping["BisectBatchOnFunctionError"], mapping["MaximumRetryAttempts"]) == (False, 7)
    assert mapping["FilterCriteria"] == {"Filters": [{"Pattern": '{"eventName":["INSERT"]}'}]}
    assert literal(mapping["DestinationConfig"]["OnFailure"]["Destination"]).startswith("<Own")


@pytest.mark.parametrize(("batch_size", "retries"), [(1, 10), (100, 1_000), (10_000, 10_000)])
def test_a_batch_may_be_retried_as_often_as_all_its_records_need(batch_size: int, retries: int) -> None:
    stack = new_stack()
    add_changes(stack, batch_size=batch_size)
    assert only(stack, MAPPING)["MaximumRetryAttempts"] == retries


def test_a_dead_letter_that_is_sent_again_and_fails_is_not_lost() -> None:
    stack = new_stack()
    add_changes(stack)
    config = only(stack, "AWS::Lambda::EventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert literal(config["DestinationConfig"]["OnFailure"]["Destination"]).startswith("<TaskDeadLetters")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "Shop/Changes: batch_size is 0, allowed is 1 to 10,000"),
        ({"max_batching_window": cdk.Duration.minutes(6)}, "max_batching_window is 360 seconds, allowed is 0 to 300"),
        ({"parallelization_factor": 11}, "parallelization_factor is 11, allowed is 1 to 10"),
        ({"max_record_age": cdk.Duration.seconds(30)}, "max_record_age is 30 seconds, allowed is 60 to 86,400 seconds"),
        ({"retry_attempts": 10_001}, "retry_attempts is 10001, allowed is 0 to 10,000"),
        (
            {"starting_position": lambda_.StartingPosition.AT_TIMESTAMP},
            "starting_position is AT_TIMESTAMP, allowed is TRIM_HORIZON or LATEST",
        ),
        (
            {"task": "back_office.changes:later"},
            r"task is 'back_office.changes.later' \(changes.py:\d+\), which uses RetryLater, allowed is a task that",
        ),
        ({"task": "back_office.changes:on_chang"}, "on_chang.*did you mean 'on_change'|Shop/Changes: "),
        ({"memory_size": 64}, "memory_size is 64 MiB"),
        (
            {"task": "back_office.changes:numbered"},
            r"which takes 'event', 'number', allowed is a task that takes a StreamRecord, .*: annotate the parameter with",
        ),
        ({"filters": [{"eventName": ["INSERT"]}]}, r"filters is \[{'eventName': \['INSERT'\]}\], allowed is up to 10"),
        ({"filters": {"pattern": "{}"}}, r"filters is {'pattern': '{}'}, .*: write filters=\[lambda_.FilterCriteria"),
        ({"filters": [{"pattern": "{}"}] * 11}, "filters is 11 filters, allowed is up to 10"),
    ],
)
def test_what_a_stream_does_not_take_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_changes(new_stack(), **arguments)


def test_a_table_without_a_stream_is_refused_with_what_to_set() -> None:
    stack = new_stack()
    table = _plain_table(stack, stream=None)
    with pytest.raises(ValueError, match=r"table is Shop/Plain, which has no stream, allowed .* dynamo_stream="):
        add_changes(stack, table=table)


def test_a_global_table_without_a_stream_is_refused_unless_a_replica_brings_one() -> None:
    stack = new_stack(env=cdk.Environment(account="123456789012", region="us-east-1"))
    table = add_table(stack, dynamo_stream=None)
    add_changes(stack, table=table)
    with pytest.raises(RuntimeError, match=r"table is Shop/Table, which has no stream, allowed .* dynamo_stream="):
        Template.from_stack(stack)
    table.add_replica(region="eu-west-1")
    Template.from_stack(stack)


def test_an_imported_table_with_its_stream_is_taken() -> None:
    stack = new_stack(env=cdk.Environment(account="123456789012", region="us-east-1"))
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/Orders"
    table = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=arn, table_stream_arn=f"{arn}/stream/2026-01-01T00:00:00.000"
    )
    add_changes(stack, table=table)
    assert allowed(stack, "dynamodb:GetRecords", under="Changes") == {f"{arn}/stream/2026-01-01T00:00:00.000"}
