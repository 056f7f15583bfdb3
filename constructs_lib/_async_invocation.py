"""How Lambda invokes a function asynchronously: how often, for how long, and where what failed goes."""

from typing import TYPE_CHECKING

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._task_definition import TaskDefinition
from constructs_lib._validation import refusal, require_duration, require_number
from runtime_lib import contract

if TYPE_CHECKING:
    from constructs_lib._function import TaskFunction

__all__ = ["check_async_invocation", "configure_async_invocation", "refuse_delays"]


def check_async_invocation(
    scope: Construct, *, retry_attempts: int, max_event_age: cdk.Duration | None, instead: str
) -> None:
    """Refuse what Lambda does not do; ``instead`` is the construct that does.

    Raises:
        ValueError: a number is outside what is allowed.
    """
    require_number(
        scope,
        "retry_attempts",
        retry_attempts,
        0,
        contract.LAMBDA_MAX_ASYNC_RETRIES,
        remedy=f"{instead} for more",
    )
    require_duration(
        scope,
        "max_event_age",
        max_event_age,
        contract.LAMBDA_MIN_EVENT_AGE_SECONDS,
        contract.LAMBDA_MAX_EVENT_AGE_SECONDS,
        remedy=f"{instead} to wait longer",
    )


def refuse_delays(scope: Construct, definition: TaskDefinition, retried: str) -> None:
    """Refuse a task that asks for delays of its own; ``retried`` says how it would be retried instead.

    Raises:
        ValueError: it does.
    """
    if definition.delays:
        raise refusal(
            scope,
            "task",
            given=f"{definition.name!r} ({definition.path.name}:{definition.line}), which uses {definition.delays}",
            allowed=f"a task that leaves its delays to Lambda, {retried}",
            remedy="remove that, or have the task dispatch another one that a ManagedAsyncTask serves",
        )


def configure_async_invocation(
    function: "TaskFunction",
    dead_letter_queue: sqs.IQueue | sqs.Queue,
    *,
    retry_attempts: int,
    max_event_age: cdk.Duration | None,
) -> None:
    """Set the retries of ``function``, and the queue for what fails at the last one."""
    function.configure_async_invoke(
        retry_attempts=retry_attempts, max_event_age=max_event_age, on_failure=_Destination(dead_letter_queue)
    )
    # Lambda does not tell which attempt it is; where a store counts them, the last one is known, and its reason kept.
    if function.is_tracked and not cdk.Token.is_unresolved(retry_attempts):
        function.add_environment(contract.ENV_MAX_RECEIVE_COUNT, str(retry_attempts + 1))


@jsii.implements(lambda_.IDestination)
class _Destination:
    """The dead letter queue as Lambda's destination; the function's own policy already lets it write there."""

    def __init__(self, queue: sqs.IQueue | sqs.Queue) -> None:
        self._queue = queue

    def bind(
        self,
        scope: Construct,  # noqa: ARG002  (names and parameters are those of the interface)
        fn: lambda_.IFunction,  # noqa: ARG002
        *,
        type: lambda_.DestinationType,  # noqa: A002, ARG002
    ) -> lambda_.DestinationConfig:
        return lambda_.DestinationConfig(destination=self._queue.queue_arn)
