"""Queues, their dead letters and how functions work on them."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match

from constructs_lib import QueueSettings
from runtime_lib.contract import Priority
from tests.apps import (
    add_invoice,
    add_mail,
    add_receipts,
    allowed,
    environment,
    new_stack,
    only,
    resources,
)

QUEUE = "AWS::SQS::Queue"
POLICY = "AWS::SQS::QueuePolicy"
MAPPING = "AWS::Lambda::EventSourceMapping"


def _warnings(stack: cdk.Stack) -> list[str]:
    found = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    return [str(message.entry.data) for message in found]


def _denies_plain_http(policy: dict[str, Any]) -> bool:
    return any(
        statement["Effect"] == "Deny"
        and statement["Action"] == "sqs:*"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in policy["PolicyDocument"]["Statement"]
    )


def _policies(stack: cdk.Stack, queue: sqs.IQueue) -> list[dict[str, Any]]:
    url = stack.resolve(queue.queue_url)
    return [policy for policy in resources(stack, POLICY) if url in policy["Queues"]]


# --- The queue of a task ---------------------------------------------------------------------------------------------


def test_visibility_timeout_is_six_timeouts_and_the_window() -> None:
    stack = new_stack()
    add_invoice(stack, timeout=cdk.Duration.seconds(100), max_batching_window=cdk.Duration.seconds(20))
    assert only(stack, QUEUE, under="Invoice")["VisibilityTimeout"] == 620


def test_visibility_timeout_of_yours_is_taken() -> None:
    stack = new_stack()
    add_invoice(stack, visibility_timeout=cdk.Duration.hours(12))
    assert only(stack, QUEUE, under="Invoice")["VisibilityTimeout"] == 43_200


def test_receive_count_is_generous_and_known_to_the_function() -> None:
    stack = new_stack()
    add_invoice(stack)
    assert only(stack, QUEUE, under="Invoice")["RedrivePolicy"]["maxReceiveCount"] == 10
    assert environment(stack)["TASK_MAX_RECEIVE_COUNT"] == "10"


def test_mapping_reports_which_messages_of_a_batch_failed() -> None:
    stack = new_stack()
    add_invoice(stack, max_concurrency=5, batch_size=20, max_batching_window=cdk.Duration.seconds(1))
    mapping = only(stack, MAPPING)
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert mapping["BatchSize"] == 20
    assert mapping["MaximumBatchingWindowInSeconds"] == 1


def test_function_may_do_with_its_queue_what_retries_need_and_no_more() -> None:
    stack = new_stack()
    task = add_invoice(stack)
    queue = {f"<{stack.get_logical_id(task.queue.node.default_child)}>"}
    dead_letters = {f"<{stack.get_logical_id(task.dead_letter_queue.node.default_child)}>"}
    for action in ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"):
        assert allowed(stack, f"sqs:{action}") == queue
    assert allowed(stack, "sqs:SendMessage") == dead_letters
    assert not allowed(stack, "sqs:PurgeQueue")


# --- Encryption and transport ----------------------------------------------------------------------------------------


def test_every_queue_is_encrypted_and_takes_messages_over_tls_only() -> None:
    stack = new_stack()
    task, mail, receipts = add_invoice(stack), add_mail(stack), add_receipts(stack)
    queues = [
        task.queue,
        *mail.queues.values(),
        *(construct.dead_letter_queue for construct in (task, mail, receipts)),
    ]
    assert len(queues) == len(resources(stack, QUEUE)) == 8
    assert all(queue["SqsManagedSseEnabled"] for queue in resources(stack, QUEUE))
    for queue in queues:
        [policy] = _policies(stack, queue)
        assert _denies_plain_http(policy)


def test_tasks_of_a_stack_share_dead_letters_alarm_and_queue_policy() -> None:
    stack = new_stack()
    tasks = [add_invoice(stack, name) for name in ("One", "Two", "Three")]
    assert len({task.dead_letter_queue.node.path for task in tasks}) == 1
    assert len(resources(stack, "AWS::CloudWatch::Alarm")) == 1
    policy = only(stack, POLICY)
    assert [statement["Resource"] for statement in policy["PolicyDocument"]["Statement"]] == ["*"]
    assert len(policy["Queues"]) == 4


def test_second_task_adds_at_most_six_resources() -> None:
    def count(*names: str) -> int:
        stack = new_stack()
        for name in names:
            add_invoice(stack, name)
        return len(cdk.assertions.Template.from_stack(stack).to_json()["Resources"])

    assert count("One", "Two") - count("One") == 5


def test_queue_that_gets_statements_of_its_own_keeps_one_policy_which_is_tls_only() -> None:
    stack = new_stack()
    task, other = add_invoice(stack), add_invoice(stack, "Other")
    sns.Topic(stack, "Orders").add_subscription(subscriptions.SqsSubscription(task.queue))
    task.queue.grant_send_messages(iam.ServicePrincipal("events.amazonaws.com"))
    [own] = _policies(stack, task.queue)
    assert own["Queues"] == [stack.resolve(task.queue.queue_url)]
    assert _denies_plain_http(own)
    assert len(own["PolicyDocument"]["Statement"]) == 3
    [shared] = _policies(stack, other.queue)
    assert _denies_plain_http(shared)


def test_own_policy_is_set_after_the_shared_one_has_let_the_queue_go() -> None:
    stack = new_stack()
    sns.Topic(stack, "Orders").add_subscription(subscriptions.SqsSubscription(add_invoice(stack).queue))
    template = cdk.assertions.Template.from_stack(stack)
    [shared] = [name for name in template.find_resources(POLICY) if name.startswith("TaskQueuePolicy")]
    [own] = [policy for name, policy in template.find_resources(POLICY).items() if name != shared]
    assert own["DependsOn"] == [shared]


def test_shared_policy_without_queues_is_left_out() -> None:
    stack = new_stack()
    dead_letters = sqs.Queue(stack, "DeadLetters")
    task = add_invoice(stack, dead_letter_queue=dead_letters)
    task.queue.grant_send_messages(iam.ServicePrincipal("events.amazonaws.com"))
    [policy] = resources(stack, POLICY)
    assert policy["Queues"] == [stack.resolve(task.queue.queue_url)]


def test_key_of_yours_encrypts_the_queues_and_the_function_may_use_it() -> None:
    for make, queues in ((add_invoice, 1), (add_mail, 5), (add_receipts, 1)):
        stack = new_stack()
        key = kms.Key(stack, "Key")
        make(stack, encryption_key=key)
        arn = stack.resolve(key.key_arn)
        encrypted = [queue for queue in resources(stack, QUEUE) if queue.get("KmsMasterKeyId") == arn]
        assert len(encrypted) == queues
        assert allowed(stack, "kms:Decrypt") == {f"<{stack.get_logical_id(key.node.default_child)}>"}


# --- Dead letters ----------------------------------------------------------------------------------------------------


def test_dead_letters_are_kept_14_days_and_raise_an_alarm() -> None:
    for make, under in (
        (add_invoice, "TaskDeadLetters"),
        (add_mail, "MailDeadLetters"),
        (add_receipts, "ReceiptsDeadLetters"),
    ):
        stack = new_stack()
        construct = make(stack)
        queue = only(stack, QUEUE, under=under)
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
        assert environment(stack)["TASK_DEAD_LETTER_QUEUE"] == queue["QueueName"]
        alarm = only(stack, "AWS::CloudWatch::Alarm")
        assert (alarm["MetricName"], alarm["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 1)
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        [own] = construct.alarms
        assert stack.resolve(own.alarm_name) == {"Ref": stack.get_logical_id(own.node.default_child)}


def test_dead_letter_queue_of_yours_is_used_without_making_another() -> None:
    for make, queues in ((add_invoice, 2), (add_mail, 5), (add_receipts, 1)):
        stack = new_stack()
        mine = sqs.Queue(stack, "Mine", queue_name="mine")
        construct = make(stack, dead_letter_queue=mine)
        assert construct.dead_letter_queue is mine
        assert construct.alarms == ()
        assert len(resources(stack, QUEUE)) == queues
        assert not resources(stack, "AWS::CloudWatch::Alarm")
        assert environment(stack)["TASK_DEAD_LETTER_QUEUE"] == "mine"
        assert allowed(stack, "sqs:SendMessage") == {f"<{stack.get_logical_id(mine.node.default_child)}>"}


def test_imported_dead_letter_queue_is_known_by_its_name() -> None:
    stack = new_stack()
    mine = sqs.Queue.from_queue_arn(stack, "Mine", "arn:aws:sqs:us-east-1:123456789012:mine")
    add_invoice(stack, dead_letter_queue=mine)
    assert environment(stack)["TASK_DEAD_LETTER_QUEUE"] == "mine"


def test_function_may_use_the_key_of_your_dead_letter_queue() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    mine = sqs.Queue(stack, "Mine", encryption=sqs.QueueEncryption.KMS, encryption_master_key=key)
    add_receipts(stack, dead_letter_queue=mine)
    assert allowed(stack, "kms:GenerateDataKey") == {f"<{stack.get_logical_id(key.node.default_child)}>"}


@pytest.mark.parametrize("make", [add_invoice, add_mail, add_receipts])
def test_fifo_dead_letter_queue_is_refused(make: Any) -> None:
    stack = new_stack()
    mine = sqs.Queue(stack, "Mine", fifo=True)
    with pytest.raises(ValueError, match="dead_letter_queue is the FIFO queue Shop/Mine, allowed is a standard queue"):
        make(stack, dead_letter_queue=mine)


@pytest.mark.parametrize("make", [add_invoice, add_mail, add_receipts])
@pytest.mark.parametrize(
    ("arn", "message"),
    [
        ("arn:aws:sqs:eu-west-1:111111111111:mine", "Shop/Mine in region eu-west-1, allowed is region us-east-1"),
        ("arn:aws:sqs:us-east-1:222222222222:mine", "Shop/Mine in account 222222222222, allowed is account 11111"),
    ],
)
def test_dead_letter_queue_elsewhere_is_refused(make: Any, arn: str, message: str) -> None:
    stack = new_stack(env=cdk.Environment(account="111111111111", region="us-east-1"))
    mine = sqs.Queue.from_queue_arn(stack, "Mine", arn)
    with pytest.raises(ValueError, match=f"dead_letter_queue is {message}"):
        make(stack, dead_letter_queue=mine)


# --- What AWS would refuse or mistreat -------------------------------------------------------------------------------

_SECONDS = cdk.Duration.seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_concurrency": 1}, "max_concurrency is 1, allowed is 2 to 1,000: leave it out for no limit"),
        ({"max_concurrency": 1_001}, "max_concurrency is 1001, allowed is 2 to 1,000"),
        ({"batch_size": 0}, "batch_size is 0, allowed is 1 to 10,000"),
        ({"batch_size": 11}, "batch_size is 11 without a batching window, allowed is 1 to 10: set max_batching_window"),
        ({"batch_size": 11, "max_batching_window": _SECONDS(0)}, "batch_size is 11 without a batching window"),
        ({"batch_size": 10_001, "max_batching_window": _SECONDS(1)}, "batch_size is 10001, allowed is 1 to 10,000"),
        ({"max_batching_window": _SECONDS(301)}, "max_batching_window is 301 seconds, allowed is 0 to 300 seconds"),
        ({"max_receive_count": 0}, "max_receive_count is 0, allowed is 1 to 1,000"),
        ({"max_receive_count": 1_001}, "max_receive_count is 1001, allowed is 1 to 1,000"),
        (
            {"visibility_timeout": _SECONDS(59)},
            "visibility_timeout is 59 seconds, allowed is 60 seconds (the function's timeout) and more",
        ),
        ({"visibility_timeout": _SECONDS(43_201)}, "visibility_timeout is 43201 seconds, allowed is 0 to 43,200"),
        (
            {"max_concurrency": 10, "reserved_concurrent_executions": 9},
            "reserved_concurrent_executions is 9, allowed is 10 (max_concurrency in all) and more",
        ),
    ],
)
def test_queue_settings_outside_their_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        add_invoice(new_stack(), **arguments)
    assert str(error.value).startswith(f"Shop/Invoice: {message}")


def test_refusal_in_a_priority_names_it() -> None:
    with pytest.raises(ValueError, match=r"^Shop/Mail: priorities\[HIGH\]\.max_concurrency is 1, allowed is 2 to"):
        add_mail(
            new_stack(),
            priorities={Priority.DEFAULT: QueueSettings(), Priority.HIGH: QueueSettings(max_concurrency=1)},
        )


def test_reserved_concurrency_below_the_sum_of_the_priorities_is_refused() -> None:
    settings = {Priority.DEFAULT: QueueSettings(max_concurrency=6), Priority.HIGH: QueueSettings(max_concurrency=5)}
    with pytest.raises(ValueError, match="reserved_concurrent_executions is 10, allowed is 11"):
        add_mail(new_stack(), priorities=settings, reserved_concurrent_executions=10)


def test_timeout_known_at_deployment_only_needs_a_visibility_timeout() -> None:
    stack = new_stack()
    timeout = _SECONDS(cdk.CfnParameter(stack, "Timeout", type="Number").value_as_number)
    with pytest.raises(ValueError, match=r"visibility_timeout is left out, and timeout .* set visibility_timeout"):
        add_invoice(stack, timeout=timeout)


def test_queue_values_known_at_deployment_only_pass() -> None:
    stack = new_stack()
    number = cdk.CfnParameter(stack, "Number", type="Number").value_as_number
    add_invoice(
        stack,
        max_concurrency=number,
        batch_size=number,
        max_receive_count=number,
        max_batching_window=_SECONDS(number),
        visibility_timeout=_SECONDS(number),
        reserved_concurrent_executions=number,
    )
    assert environment(stack)["TASK_MAX_RECEIVE_COUNT"] == {"Ref": "Number"}
    assert only(stack, MAPPING)["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "Number"}}


# --- What is only risky ----------------------------------------------------------------------------------------------


def test_defaults_give_no_warning() -> None:
    stack = new_stack()
    add_invoice(stack)
    add_mail(stack)
    add_receipts(stack)
    assert _warnings(stack) == []


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        ({"max_receive_count": 4}, "max-receive-count"),
        ({"visibility_timeout": _SECONDS(359)}, "visibility-timeout"),
        ({"reserved_concurrent_executions": 5}, "reserved-concurrency"),
    ],
)
def test_risky_settings_are_warnings(arguments: dict[str, Any], slug: str) -> None:
    stack = new_stack()
    add_invoice(stack, **arguments)
    [warning] = _warnings(stack)
    assert warning.endswith(f"[ack: lambda-task-constructs:{slug}]")


def test_stack_near_its_limit_is_a_warning() -> None:
    stack = new_stack()
    add_invoice(stack)
    for number in range(443):
        cdk.CfnWaitConditionHandle(stack, f"Handle{number}")
    [warning] = _warnings(stack)
    assert "Shop has 451 resources" in warning
    assert warning.endswith("[ack: lambda-task-constructs:stack-resources]")
