"""EventTask: what it deploys and what it refuses, and what it has in common with StreamTask."""

import json
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_notifications as notifications
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match, Template
from cfnlint.api import lint

from constructs_lib import EventTask, PayloadBucket, TaskStore
from constructs_lib._rule_dead_letters import RuleDeadLetters
from tests.apps import (
    add_invoice,
    add_plain_function,
    allowed,
    back_office,
    literal,
    new_app,
    new_stack,
    only,
)
from tests.event_apps import add_changes, add_table, add_uploads
from tests.queue_apps import add_clean_up


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
                                "Condition": {"ArnLike": {"aws:SourceArn": [Match.any_value()]}},
                            }
                        ),
                    ]
                )
            }
        },
    )


def _rules_that_may_write(stack: cdk.Stack) -> list[str]:
    policies = Template.from_stack(stack).find_resources("AWS::SQS::QueuePolicy").values()
    written = [one for policy in policies for one in policy["Properties"]["PolicyDocument"]["Statement"]]
    [statement] = [one for one in written if one["Effect"] == "Allow"]
    arns = statement["Condition"]["ArnLike"]["aws:SourceArn"]
    return [literal(arn).removeprefix("arn:<AWS::Partition>:events:<AWS::Region>:<AWS::AccountId>:") for arn in arns]


def test_the_rules_of_a_stack_share_one_statement_because_sqs_takes_twenty() -> None:
    stack = new_stack()
    bus = events.EventBus(stack, "Bus")
    for number in range(3):
        add_uploads(stack, f"On{number}", event_pattern=PATTERN, event_bus=bus if number == 2 else None)
    found = Template.from_stack(stack).find_resources("AWS::Events::Rule").values()
    names = sorted(rule["Properties"]["Name"] for rule in found)
    assert sorted(_rules_that_may_write(stack)) == sorted(
        [f"rule/{names[0]}", f"rule/{names[1]}", f"rule/*{names[2]}"]
    ), "behind the name of its bus, unless that is the default one"


def test_a_dead_letter_queue_of_another_stack_does_not_tie_the_stacks_together() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    uploads = add_uploads(here, event_pattern=PATTERN, dead_letter_queue=sqs.Queue(there, "Own"))
    add_uploads(here, "Others", event_pattern=PATTERN, dead_letter_task=add_clean_up(there))
    [rule, _] = Template.from_stack(here).find_resources("AWS::Events::Rule").values()
    assert rule["Properties"]["Targets"][0]["DeadLetterConfig"]["Arn"] == here.resolve(
        uploads.dead_letter_queue.queue_arn
    )
    assert [one.node.id for one in there.dependencies] == []


def test_more_rules_than_a_queues_policy_holds_are_refused() -> None:
    def with_rules(count: int) -> cdk.Stack:
        stack = new_stack()
        rules = RuleDeadLetters.of(sqs.Queue(stack, "Own"))
        for number in range(count):
            rules.add(f"arn:aws-us-gov:events:us-gov-west-1:123456789012:rule/*{number:064}")
        return stack

    document = only(with_rules(60), "AWS::SQS::QueuePolicy")["PolicyDocument"]
    assert len(json.dumps(document, separators=(",", ":"))) < 8_192 - 200, "there is room for TLS alone"
    stack = with_rules(61)
    with pytest.raises(
        RuntimeError, match="Shop/Own is the dead letter queue of 61 EventTasks, and its policy has room"
    ):
        Template.from_stack(stack)


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
        (
            {"task": "back_office.changes:numbered"},
            "which takes 'event', 'number', allowed is a task that takes a BusE",
        ),
        ({"event_pattern": PATTERN, "kinds": ["Object Deleted"]}, "event_pattern is given with kinds"),
        ({"dead_letter_queue": "sqs-key"}, "dead_letter_queue is Shop/Own, which is encrypted with alias/aws/sqs"),
    ],
)
def test_what_events_do_not_take_is_refused(arguments: dict[str, Any], message: str) -> None:
    stack = new_stack()
    made: dict[str, Callable[[], Any]] = {
        "uploads": lambda: s3.Bucket(stack, "Bucket"),
        "bus": lambda: events.EventBus(stack, "Bus"),
        "sqs-key": lambda: sqs.Queue(stack, "Own", encryption=sqs.QueueEncryption.KMS_MANAGED),
    }
    arguments = {name: made.get(str(value), lambda value=value: value)() for name, value in arguments.items()}
    with pytest.raises(ValueError, match=f"Shop/Uploads: .*{message}|Shop/Uploads: {message}"):
        add_uploads(stack, **arguments)


def test_what_happens_in_another_region_is_refused() -> None:
    app = new_app()
    here, there = (
        cdk.Stack(app, name, env=cdk.Environment(account="123456789012", region=region))
        for name, region in (("Here", "us-east-1"), ("There", "eu-west-1"))
    )
    with pytest.raises(ValueError, match="bucket is There/Bucket in region eu-west-1, allowed is region us-east-1"):
        add_uploads(here, bucket=s3.Bucket(there, "Bucket", bucket_name="uploads"))
    bus = events.EventBus(there, "Bus", event_bus_name="orders")
    with pytest.raises(ValueError, match="event_bus is There/Bus in region eu-west-1, allowed is region us-east-1"):
        add_uploads(here, "Orders", event_pattern=PATTERN, event_bus=bus)


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


def test_notifications_beside_eventbridge_stay_what_the_cdks_function_makes_them() -> None:
    stack = new_stack()
    bucket = s3.Bucket(stack, "Bucket", event_bridge_enabled=True)
    add_uploads(stack, bucket=bucket)
    bucket.add_event_notification(
        s3.EventType.OBJECT_REMOVED, notifications.SqsDestination(sqs.Queue(stack, "Removed"))
    )
    [made] = Template.from_stack(stack).find_resources("AWS::S3::Bucket").values()
    assert "Properties" not in made, "a property of the bucket would take away what the function has set"
    assert only(stack, "Custom::S3BucketNotifications")["NotificationConfiguration"].keys() == {
        "EventBridgeConfiguration",
        "QueueConfigurations",
    }


def test_eventbridge_may_write_to_an_encrypted_queue_of_yours_and_an_imported_one_is_warned_of() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    own = sqs.Queue(stack, "Own", encryption_master_key=key)
    add_uploads(stack, dead_letter_queue=own)
    add_uploads(stack, "Second", dead_letter_queue=own)
    [_, statement] = only(stack, "AWS::KMS::Key")["KeyPolicy"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    arn = f"arn:aws:sqs:{stack.region}:{stack.account}:theirs"
    add_uploads(stack, "Other", dead_letter_queue=sqs.Queue.from_queue_arn(stack, "Theirs", arn))
    Annotations.from_stack(stack).has_warning("/Shop/Other", Match.string_like_regexp(".*let the rule Shop/Other/Rule"))
    theirs = kms.Key.from_key_arn(stack, "TheirKey", f"arn:aws:kms:{stack.region}:{stack.account}:key/theirs")
    add_uploads(stack, "Last", dead_letter_queue=sqs.Queue(stack, "WithTheirs", encryption_master_key=theirs))
    warning = Match.string_like_regexp(".*let events.amazonaws.com use the key there")
    Annotations.from_stack(stack).has_warning("/Shop/WithTheirs/TaskRules", warning)


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
