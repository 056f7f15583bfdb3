"""PriorityTaskQueues: what only it promises of its template."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match

from constructs_lib import BackgroundTaskFunction, PriorityTaskQueues, QueueSettings
from runtime_lib.contract import Priority
from tests.apps import add_mail, allowed, back_office, environment, literal, new_stack, only, resources

MAPPING = "AWS::Lambda::EventSourceMapping"
HERE = cdk.Environment(account="111111111111", region="us-east-1")


def _from_queues(stack: cdk.Stack, **arguments: Any) -> PriorityTaskQueues:
    return PriorityTaskQueues.from_queues(
        stack,
        "Mail",
        **{
            "code": back_office(),
            "modules": ["back_office.mail"],
            "namespace": ["mail", "campaigns"],
            "max_receive_count": 4,
            **arguments,
        },
    )


# --- Queues ----------------------------------------------------------------------------------------------------------


def test_one_worker_has_a_queue_and_a_mapping_for_each_priority() -> None:
    stack = new_stack()
    mail = add_mail(stack)
    assert [*mail.queues] == [*mail.event_sources] == [*Priority]
    assert len(resources(stack, "AWS::Lambda::Function")) == 1
    mapped = [mapping["EventSourceArn"] for mapping in resources(stack, MAPPING)]
    assert mapped == [stack.resolve(queue.queue_arn) for queue in mail.queues.values()]


def test_each_priority_has_settings_of_its_own() -> None:
    stack = new_stack()
    add_mail(
        stack,
        priorities={
            Priority.DEFAULT: QueueSettings(),
            Priority.HIGH: QueueSettings(max_concurrency=50, batch_size=1),
            Priority.BULK: QueueSettings(
                max_concurrency=2, batch_size=100, max_batching_window=cdk.Duration.seconds(30)
            ),
        },
    )
    default, high, bulk = (
        only(stack, MAPPING, under=f"MailFunction{name}Mapping") for name in ("Default", "High", "Bulk")
    )
    assert default["BatchSize"] == 10
    assert "ScalingConfig" not in default
    assert (high["BatchSize"], high["ScalingConfig"]) == (1, {"MaximumConcurrency": 50})
    assert (bulk["BatchSize"], bulk["MaximumBatchingWindowInSeconds"]) == (100, 30)
    assert only(stack, "AWS::SQS::Queue", under="MailBulkQueue")["VisibilityTimeout"] == 390
    assert not resources(stack, "AWS::SQS::Queue", under="MailLowQueue")


def test_worker_may_receive_from_its_queues_alone() -> None:
    stack = new_stack()
    mail = add_mail(stack)
    assert allowed(stack, "sqs:ReceiveMessage") == {
        f"<{stack.get_logical_id(queue.node.default_child)}>" for queue in mail.queues.values()
    }


def test_all_queues_redrive_to_one_dead_letter_queue_of_their_own() -> None:
    stack = new_stack()
    mail = add_mail(stack, max_receive_count=20)
    for queue in resources(stack, "AWS::SQS::Queue"):
        if "DeadLetters" not in queue["QueueName"]:
            assert queue["RedrivePolicy"] == {
                "deadLetterTargetArn": stack.resolve(mail.dead_letter_queue.queue_arn),
                "maxReceiveCount": 20,
            }
    assert environment(stack)["TASK_MAX_RECEIVE_COUNT"] == "20"


def test_metrics_are_those_of_the_priority() -> None:
    stack = new_stack()
    mail = add_mail(stack)
    waiting, age = mail.metric_waiting(Priority.HIGH), mail.metric_oldest_age(Priority.HIGH)
    assert (waiting.metric_name, age.metric_name) == (
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
    )
    name = stack.resolve(mail.queues[Priority.HIGH].queue_name)
    assert stack.resolve(waiting.dimensions) == stack.resolve(age.dimensions) == {"QueueName": name}


# --- Topics ----------------------------------------------------------------------------------------------------------


def test_subscribed_topic_and_no_other_may_send_to_the_queue_of_its_priority() -> None:
    stack = new_stack()
    topic = sns.Topic(stack, "Orders")
    mail = add_mail(stack)
    mail.subscribe_topic(topic, priority=Priority.HIGH)
    high = mail.queues[Priority.HIGH]
    subscription = only(stack, "AWS::SNS::Subscription")
    assert subscription["Endpoint"] == stack.resolve(high.queue_arn)
    assert "RawMessageDelivery" not in subscription or subscription["RawMessageDelivery"] is False
    allows = [
        (policy["Queues"], statement)
        for policy in resources(stack, "AWS::SQS::QueuePolicy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    [(queues, statement)] = allows
    assert queues == [stack.resolve(high.queue_url)]
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": stack.resolve(topic.topic_arn)}}


def test_queue_keeps_its_policy_when_topics_come_and_go() -> None:
    def policies(*, subscribed: bool) -> set[str]:
        stack = new_stack()
        mail = add_mail(stack)
        if subscribed:
            mail.subscribe_topic(sns.Topic(stack, "Orders"))
        return set(cdk.assertions.Template.from_stack(stack).find_resources("AWS::SQS::QueuePolicy"))

    assert policies(subscribed=True) == policies(subscribed=False)


def test_subscription_takes_a_filter_and_raw_delivery() -> None:
    stack = new_stack()
    add_mail(stack).subscribe_topic(
        sns.Topic(stack, "Orders"),
        filter_policy={"shop": sns.SubscriptionFilter.string_filter(allowlist=["berlin"])},
        raw_message_delivery=True,
    )
    subscription = only(stack, "AWS::SNS::Subscription")
    assert subscription["FilterPolicy"] == {"shop": ["berlin"]}
    assert subscription["RawMessageDelivery"] is True


def test_topic_may_use_the_key_of_an_encrypted_queue() -> None:
    stack = new_stack()
    add_mail(stack, encryption_key=kms.Key(stack, "Key")).subscribe_topic(sns.Topic(stack, "Orders"))
    key = only(stack, "AWS::KMS::Key")
    assert any(
        statement["Principal"] == {"Service": "sns.amazonaws.com"} for statement in key["KeyPolicy"]["Statement"]
    )


def test_topic_at_a_priority_without_a_queue_is_refused() -> None:
    stack = new_stack()
    mail = add_mail(stack, priorities={Priority.DEFAULT: QueueSettings()})
    with pytest.raises(ValueError, match=r"^Shop/Mail: priority is BULK, allowed is DEFAULT: add it to priorities"):
        mail.subscribe_topic(sns.Topic(stack, "Orders"), priority=Priority.BULK)


def test_topic_to_an_imported_queue_is_a_warning_as_its_policy_cannot_be_changed() -> None:
    stack = new_stack()
    queue = sqs.Queue.from_queue_arn(stack, "Theirs", "arn:aws:sqs:us-east-1:111111111111:theirs")
    mail = _from_queues(stack, queues={Priority.DEFAULT: queue}, max_receive_count=50)
    mail.subscribe_topic(sns.Topic(stack, "Orders"))
    [warning] = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    assert "Shop/Theirs is imported" in str(warning.entry.data)
    assert str(warning.entry.data).endswith("[ack: lambda-task-constructs:queue-policy]")


# --- Existing queues -------------------------------------------------------------------------------------------------


def test_worker_works_on_queues_that_exist() -> None:
    stack = new_stack(env=HERE)
    theirs = sqs.Queue.from_queue_arn(stack, "Theirs", "arn:aws:sqs:us-east-1:111111111111:theirs")
    mine = sqs.Queue(stack, "Mine", visibility_timeout=cdk.Duration.minutes(6))
    mail = _from_queues(stack, queues={Priority.DEFAULT: theirs, Priority.HIGH: mine})
    assert mail.queues == {Priority.DEFAULT: theirs, Priority.HIGH: mine}
    assert [mapping["EventSourceArn"] for mapping in resources(stack, MAPPING)] == [
        "arn:aws:sqs:us-east-1:111111111111:theirs",
        stack.resolve(mine.queue_arn),
    ]
    assert "arn:aws:sqs:us-east-1:111111111111:theirs" in allowed(stack, "sqs:ReceiveMessage")
    assert environment(stack)["TASK_MAX_RECEIVE_COUNT"] == "4"
    # Theirs and mine stay as they are; what is made is the dead letter queue.
    assert len(resources(stack, "AWS::SQS::Queue")) == 2


def test_routes_to_existing_queues_are_their_names() -> None:
    stack = new_stack(env=HERE)
    theirs = sqs.Queue.from_queue_arn(stack, "Theirs", "arn:aws:sqs:us-east-1:111111111111:theirs")
    named = sqs.Queue(stack, "Named", queue_name="named", visibility_timeout=cdk.Duration.minutes(6))
    mail = _from_queues(stack, queues={Priority.DEFAULT: theirs, Priority.HIGH: named}, namespace="mail")
    mail.grant_dispatch(mail.function)
    assert (
        environment(stack).items() >= {"TASK_ROUTE__MAIL": "sqs:theirs", "TASK_ROUTE__MAIL__HIGH": "sqs:named"}.items()
    )
    assert {literal(arn).rsplit(":", 1)[-1] for arn in allowed(stack, "sqs:SendMessage")} >= {"theirs", "named"}


def test_dispatch_to_an_existing_queue_in_another_stack_ties_the_stacks_one_way() -> None:
    app = new_stack("Queues").node.root
    queues, workers = app.node.find_child("Queues"), cdk.Stack(app, "Workers")
    unnamed = sqs.Queue(queues, "Unnamed", visibility_timeout=cdk.Duration.minutes(6))
    mail = PriorityTaskQueues.from_queues(
        workers,
        "Mail",
        queues={Priority.DEFAULT: unnamed},
        code=back_office(),
        modules=["back_office.mail"],
        namespace=["mail", "campaigns"],
        max_receive_count=50,
    )
    mail.grant_dispatch(mail.function)
    assert literal(environment(workers)["TASK_ROUTE__MAIL"]).startswith("sqs:")
    assert workers.dependencies == [queues]


def test_sender_and_worker_may_use_the_keys_of_existing_queues() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    queue = sqs.Queue(
        stack,
        "Mine",
        visibility_timeout=cdk.Duration.minutes(6),
        encryption=sqs.QueueEncryption.KMS,
        encryption_master_key=key,
    )
    orders = BackgroundTaskFunction(
        stack, "Orders", code=back_office(), modules=["back_office.orders"], namespace="orders"
    )
    _from_queues(stack, queues={Priority.DEFAULT: queue}).grant_dispatch(orders.function)
    arn = {f"<{stack.get_logical_id(key.node.default_child)}>"}
    assert allowed(stack, "kms:Decrypt", under="Mail") == arn
    assert not allowed(stack, "kms:GenerateDataKey", under="Mail")
    assert allowed(stack, "kms:GenerateDataKey", under="Orders") == arn


def test_taskhawk_app_is_served_by_its_names() -> None:
    stack = new_stack(env=HERE)
    mail = PriorityTaskQueues.from_taskhawk_app(
        stack,
        "Mail",
        app="shop",
        code=back_office(),
        modules=["back_office.mail"],
        namespace="mail",
        max_receive_count=4,
    )
    assert mail.routes == {
        "TASK_ROUTE__MAIL": "sqs:TASKHAWK-SHOP",
        "TASK_ROUTE__MAIL__HIGH": "sqs:TASKHAWK-SHOP-HIGH-PRIORITY",
        "TASK_ROUTE__MAIL__LOW": "sqs:TASKHAWK-SHOP-LOW-PRIORITY",
        "TASK_ROUTE__MAIL__BULK": "sqs:TASKHAWK-SHOP-BULK",
    }
    assert literal(resources(stack, MAPPING)[1]["EventSourceArn"]) == (
        "arn:<AWS::Partition>:sqs:us-east-1:111111111111:TASKHAWK-SHOP-HIGH-PRIORITY"
    )


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        ("arn:aws:sqs:us-east-1:111111111111:mail.fifo", "is the FIFO queue Shop/Theirs, allowed is a standard queue"),
        ("arn:aws:sqs:eu-west-1:111111111111:mail", "is Shop/Theirs in region eu-west-1, allowed is region us-east-1"),
        ("arn:aws:sqs:us-east-1:222222222222:mail", "is Shop/Theirs in account 222222222222, allowed is account 111"),
    ],
)
def test_existing_queue_that_routes_cannot_reach_is_refused(arn: str, message: str) -> None:
    stack = new_stack(env=HERE)
    queue = sqs.Queue.from_queue_arn(stack, "Theirs", arn)
    with pytest.raises(ValueError, match=rf"^Shop/Mail: priorities\[DEFAULT\]\.queue {message}"):
        _from_queues(stack, queues={Priority.DEFAULT: queue})


@pytest.mark.parametrize("visibility", [None, cdk.Duration.seconds(59)])
def test_existing_queue_with_a_visibility_timeout_below_the_functions_is_refused(
    visibility: cdk.Duration | None,
) -> None:
    stack = new_stack()
    queue = sqs.Queue(stack, "Mine", visibility_timeout=visibility)
    with pytest.raises(
        ValueError, match=r"visibility timeout is (30|59) seconds, allowed is .* 60 seconds .* set it to 360"
    ):
        _from_queues(stack, queues={Priority.DEFAULT: queue})


def test_receive_count_that_contradicts_an_existing_queue_is_refused() -> None:
    stack = new_stack()
    queue = sqs.Queue(
        stack,
        "Mine",
        visibility_timeout=cdk.Duration.minutes(6),
        dead_letter_queue=sqs.DeadLetterQueue(queue=sqs.Queue(stack, "Dead"), max_receive_count=3),
    )
    with pytest.raises(
        ValueError, match="max_receive_count is 4, allowed is 3, as the redrive policy of Shop/Mine says"
    ):
        _from_queues(stack, queues={Priority.DEFAULT: queue})
