"""BackgroundTaskFunction: what only it promises of its template."""

from typing import Any

import aws_cdk as cdk
import pytest

from tests.apps import add_receipts, allowed, environment, new_stack, only, resources


def test_failed_tasks_are_run_twice_more_and_then_sent_to_the_dead_letter_queue() -> None:
    stack = new_stack()
    receipts = add_receipts(stack)
    config = only(stack, "AWS::Lambda::EventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert "MaximumEventAgeInSeconds" not in config
    assert config["DestinationConfig"] == {
        "OnFailure": {"Destination": stack.resolve(receipts.dead_letter_queue.queue_arn)}
    }


def test_function_may_write_to_its_dead_letter_queue_itself() -> None:
    stack = new_stack()
    receipts = add_receipts(stack)
    dead_letters = stack.get_logical_id(receipts.dead_letter_queue.node.default_child)
    assert allowed(stack, "sqs:SendMessage") == {f"<{dead_letters}>"}
    assert environment(stack)["TASK_DEAD_LETTER_QUEUE"] == "Shop-Receipts-DeadLetters-2BFB0C44"


def test_role_stays_one_resource() -> None:
    stack = new_stack()
    add_receipts(stack)
    assert not resources(stack, "AWS::IAM::Policy")


def test_attempts_and_age_of_yours_are_taken() -> None:
    stack = new_stack()
    add_receipts(stack, retry_attempts=0, max_event_age=cdk.Duration.minutes(1))
    config = only(stack, "AWS::Lambda::EventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 0
    assert config["MaximumEventAgeInSeconds"] == 60


def test_one_function_serves_several_namespaces() -> None:
    stack = new_stack()
    receipts = add_receipts(stack, namespace=["receipts", "letters"])
    assert set(receipts.dispatch_environment) == {"TASK_ROUTE__RECEIPTS", "TASK_ROUTE__LETTERS"}
    assert set(receipts.dispatch_environment.values()) == {"lambda:Shop-Receipts-BB6F3F12"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"retry_attempts": 3}, "retry_attempts is 3, allowed is 0 to 2: serve the namespace by PriorityTaskQueues"),
        ({"retry_attempts": -1}, "retry_attempts is -1, allowed is 0 to 2"),
        ({"max_event_age": cdk.Duration.seconds(59)}, "max_event_age is 59 seconds, allowed is 60 to 21,600 seconds"),
        ({"max_event_age": cdk.Duration.hours(7)}, "max_event_age is 25200 seconds, allowed is 60 to 21,600 seconds"),
    ],
)
def test_what_lambda_would_refuse_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        add_receipts(new_stack(), **arguments)
    assert str(error.value).startswith(f"Shop/Receipts: {message}")


def test_metrics_are_those_of_its_resources() -> None:
    stack = new_stack()
    receipts = add_receipts(stack)
    errors, dead = receipts.metric_errors(), receipts.metric_dead_letters()
    assert (errors.namespace, errors.metric_name, errors.statistic) == ("AWS/Lambda", "Errors", "Sum")
    assert (dead.namespace, dead.metric_name) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert stack.resolve(dead.dimensions) == {"QueueName": stack.resolve(receipts.dead_letter_queue.queue_name)}
