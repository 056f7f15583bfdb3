"""StreamTask and EventTask: what they deploy, and what they refuse."""

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_notifications as notifications
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match, Template
from cfnlint.api import lint

from constructs_lib import EventTask, PayloadBucket, TaskStore
from tests.apps import (
    add_invoice,
    add_plain_function,
    allowed,
    back_office,
    environment,
    literal,
    new_stack,
    only,
    statements,
)
from tests.event_apps import add_changes, add_table, add_uploads

MAPPING = "AWS::Lambda::EventSourceMapping"


# --- StreamTask ------------------------------------------------------------------------------------------------------


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


def test_an_imported_table_with_its_stream_is_taken() -> None:
    stack = new_stack(env=cdk.Environment(account="123456789012", region="us-east-1"))
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/Orders"
    table = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=arn, table_stream_arn=f"{arn}/stream/2026-01-01T00:00:00.000"
    )
    add_changes(stack, table=table)
    assert allowed(stack, "dynamodb:GetRecords", under="Changes") == {f"{arn}/stream/2026-01-01T00:00:00.000"}


# --- EventTask -------------------------------------------------------------------------------------------------------


def test_uploads_to_a_bucket_of_the_app_run_the_task_without_a_function_that_sets_notifications() -> None:
    stack = new_stack()
    add_uploads(stack)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::Lambda::Function", 1)
    assert only(stack, "AWS::S3::Bucket")["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    rule = only(stack, "AWS::Events::Rule")
    assert rule["EventPattern"]["source"] == ["aws.s3"]
    assert rule["EventPattern"]["detail-type"] == ["Object Created"]
    assert literal(rule["EventPattern"]["detail"]["bucket"]["name"][0]).startswith("<UploadsBucket")
    assert "object" not in rule["EventPattern"]["detail"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"prefix": "in/"}, {"prefix": "in/"}),
        ({"suffix": ".csv"}, {"suffix": ".csv"}),
        ({"prefix": "in/", "suffix": ".csv"}, {"wildcard": "in/*.csv"}),
        ({"prefix": "a*b\\", "suffix": "*"}, {"wildcard": "a\\*b\\\\*\\*"}),
    ],
)
def test_keys_are_told_by_how_they_begin_and_end(arguments: dict[str, str], key: dict[str, str]) -> None:
    stack = new_stack()
    add_uploads(stack, kinds=["Object Created", "Object Deleted"], **arguments)
    pattern = only(stack, "AWS::Events::Rule")["EventPattern"]
    assert pattern["detail"]["object"] == {"key": [key]}
    assert pattern["detail-type"] == ["Object Created", "Object Deleted"]


def test_events_that_fail_are_retried_and_then_in_the_dead_letter_queue_whoever_gives_them_up() -> None:
    stack = new_stack()
    add_uploads(stack)
    [target] = only(stack, "AWS::Events::Rule")["Targets"]
    config = only(stack, "AWS::Lambda::EventInvokeConfig")
    dead_letters = config["DestinationConfig"]["OnFailure"]["Destination"]
    assert target["DeadLetterConfig"]["Arn"] == dead_letters
    assert "RetryPolicy" not in target, "EventBridge's own: a day"
    assert config["MaximumRetryAttempts"] == 2
    assert allowed(stack, "sqs:SendMessage", under="Uploads") == {literal(dead_letters)}
    Template.from_stack(stack).has_resource_properties(
        "AWS::SQS::QueuePolicy",
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [
                        Match.object_like({"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}),
                        Match.object_like(
                            {
                                "Action": "sqs:SendMessage",
                                "Principal": {"Service": "events.amazonaws.com"},
                                "Condition": {"ArnEquals": {"aws:SourceArn": Match.any_value()}},
                            }
                        ),
                    ]
                )
            }
        },
    )


def test_only_the_rule_may_invoke_the_function() -> None:
    stack = new_stack()
    add_uploads(stack)
    permission = only(stack, "AWS::Lambda::Permission")
    assert permission["Principal"] == "events.amazonaws.com"
    assert literal(permission["SourceArn"]).startswith("<UploadsRule")


def test_every_option_of_an_event_reaches_the_rule() -> None:
    stack = new_stack()
    bus = events.EventBus(stack, "Bus")
    add_uploads(
        stack,
        event_pattern=events.EventPattern(source=["shop"], detail={"order": [{"exists": True}]}),
        event_bus=bus,
        retry_attempts=1,
        max_event_age=cdk.Duration.hours(1),
        delivery_retry_attempts=5,
        max_delivery_age=cdk.Duration.minutes(10),
    )
    rule = only(stack, "AWS::Events::Rule")
    assert rule["EventPattern"] == {"source": ["shop"], "detail": {"order": [{"exists": True}]}}
    assert literal(rule["EventBusName"]).startswith("<Bus")
    assert rule["Targets"][0]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 600, "MaximumRetryAttempts": 5}
    config = only(stack, "AWS::Lambda::EventInvokeConfig")
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (1, 3600)


PATTERN = events.EventPattern(source=["shop"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_pattern": None}, "event_pattern is left out, allowed is event_pattern with event_bus, or bucket with"),
        ({"event_pattern": PATTERN, "prefix": "in/"}, "event_pattern is given with prefix"),
        ({"event_pattern": PATTERN, "bucket": "uploads"}, "bucket is given with event_pattern"),
        ({"bucket": "uploads", "event_bus": "bus"}, "bucket is given with event_bus"),
        ({"kinds": ["Object Uploaded"]}, r"kinds is \['Object Uploaded'\], allowed is some of Object Created, "),
        ({"kinds": "Object Created"}, "kinds is 'Object Created'"),
        ({"kinds": []}, r"kinds is \[\]"),
        ({"retry_attempts": 3}, "retry_attempts is 3, allowed is 0 to 2: send the events to a queue"),
        ({"max_event_age": cdk.Duration.hours(7)}, "max_event_age is 25200 seconds"),
        ({"delivery_retry_attempts": 186}, "delivery_retry_attempts is 186, allowed is 0 to 185"),
        ({"max_delivery_age": cdk.Duration.hours(25)}, "max_delivery_age is 90000 seconds"),
        ({"task": "back_office.changes:later"}, "which uses RetryLater"),
    ],
)
def test_what_events_do_not_take_is_refused(arguments: dict[str, Any], message: str) -> None:
    stack = new_stack()
    made = {"uploads": lambda: s3.Bucket(stack, "Bucket"), "bus": lambda: events.EventBus(stack, "Bus")}
    arguments = {name: made.get(str(value), lambda value=value: value)() for name, value in arguments.items()}
    with pytest.raises(ValueError, match=f"Shop/Uploads: .*{message}|Shop/Uploads: {message}"):
        add_uploads(stack, **arguments)


def test_an_imported_bucket_has_to_send_its_events_by_itself() -> None:
    stack = new_stack()
    add_uploads(stack, bucket=s3.Bucket.from_bucket_name(stack, "Theirs", "their-uploads"))
    Annotations.from_stack(stack).has_warning("/Shop/Uploads", Match.string_like_regexp(".*turn on EventBridge where"))
    assert only(stack, "AWS::Events::Rule")["EventPattern"]["detail"]["bucket"]["name"] == ["their-uploads"]


def test_notifications_that_would_take_eventbridge_away_are_refused_at_synth() -> None:
    stack = new_stack()
    bucket = s3.Bucket(stack, "Bucket")
    add_uploads(stack, bucket=bucket)
    bucket.add_event_notification(
        s3.EventType.OBJECT_REMOVED, notifications.SqsDestination(sqs.Queue(stack, "Removed"))
    )
    with pytest.raises(RuntimeError, match="add event_bridge_enabled=True to the bucket, whose events Shop/Uploads"):
        Template.from_stack(stack)


def test_notifications_beside_eventbridge_are_fine() -> None:
    stack = new_stack()
    bucket = s3.Bucket(stack, "Bucket", event_bridge_enabled=True)
    add_uploads(stack, bucket=bucket)
    bucket.add_event_notification(
        s3.EventType.OBJECT_REMOVED, notifications.SqsDestination(sqs.Queue(stack, "Removed"))
    )
    Template.from_stack(stack)


def test_eventbridge_may_write_to_an_encrypted_queue_of_yours_and_an_imported_one_is_warned_of() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    add_uploads(stack, dead_letter_queue=sqs.Queue(stack, "Own", encryption_master_key=key))
    [*_, statement] = only(stack, "AWS::KMS::Key")["KeyPolicy"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    arn = f"arn:aws:sqs:{stack.region}:{stack.account}:theirs"
    add_uploads(stack, "Other", dead_letter_queue=sqs.Queue.from_queue_arn(stack, "Theirs", arn))
    Annotations.from_stack(stack).has_warning("/Shop/Other", Match.string_like_regexp(".*let the rule Shop/Other/Rule"))


# --- Both ------------------------------------------------------------------------------------------------------------


def test_metadata_tells_what_starts_the_function() -> None:
    stack = new_stack()
    add_changes(stack)
    add_uploads(stack)
    EventTask(
        stack, "Orders", code=back_office(), task="back_office.changes:on_upload", event_pattern=PATTERN, store=None
    )
    found = Template.from_stack(stack).find_resources("AWS::Lambda::Function")
    described = [function["Metadata"]["lambda-task-constructs"] for function in found.values()]
    assert {one["path"]: one["trigger"] for one in described} == {
        "Shop/Changes": "stream of Shop/ChangesTable",
        "Shop/Uploads": "events of Shop/UploadsBucket",
        "Shop/Orders": "events of the default bus",
    }
    assert {one["construct"] for one in described} == {"EventTask", "StreamTask"}
    assert all(one["routes"] == {} for one in described)


@pytest.mark.parametrize("add", [add_changes, add_uploads])
def test_nothing_is_dispatched_there(add: Any) -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match="is run by what happens, and nothing is dispatched here"):
        add(stack).grant_dispatch(add_plain_function(stack))


def test_tasks_of_a_stack_share_their_dead_letters() -> None:
    stack = new_stack()
    changes, uploads = add_changes(stack), add_uploads(stack)
    assert changes.dead_letter_queue is uploads.dead_letter_queue
    assert changes.alarms == uploads.alarms
    Template.from_stack(stack).resource_count_is("AWS::SQS::Queue", 1)


def test_tasks_may_write_to_what_they_run_for_and_dispatch_to_each_other() -> None:
    stack = new_stack()
    table, bucket = add_table(stack), s3.Bucket(stack, "Bucket", enforce_ssl=True)
    changes, uploads = add_changes(stack, table=table), add_uploads(stack, bucket=bucket)
    invoice = add_invoice(stack, payloads=PayloadBucket(stack, "Payloads"), store=TaskStore(stack, "Store"))
    for task in (changes, uploads, invoice):
        table.grant_read_write_data(task.function)
        bucket.grant_read_write(task.function)
        invoice.grant_dispatch(task.function)
    template = Template.from_stack(stack).to_json()
    assert [match for match in lint(json.dumps(template), regions=["us-east-1"]) if match.rule.id.startswith("E")] == []
