"""The handler of a BackgroundTaskFunction: one task per asynchronous invocation, which Lambda itself retries."""

import json
import time
from typing import Any

from runtime_lib.context import Delivery
from runtime_lib.errors import EnvelopeError, RetryLater
from runtime_lib.execution import (
    DeadLettered,
    Message,
    Outcome,
    RetryAfter,
    TaskRejectedError,
    admit,
    describe,
)
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._running import run_message
from runtime_lib.log import logger

__all__ = ["handler"]

start()


def handler(event: Any, context: Any) -> None:
    """Run the task in ``event``: an envelope, or an event of fops.background.

    Raises:
        Exception: what the task raised, or that it is not known here, so that Lambda retries and then writes the
            dead letter; also if the message is given up and its dead letter cannot be written here.
    """
    delivery = Delivery(
        source=f"lambda:{context.function_name}" if context else None,
        deadline=time.time() + context.get_remaining_time_in_millis() / 1000 if context else None,
        event=event,
        lambda_context=context,
    )
    body = json.dumps(event, separators=(",", ":"))
    outcome = _outcome(event, body, delivery, context)
    if isinstance(outcome, RetryAfter) and isinstance(outcome.error, RetryLater):
        outcome = DeadLettered(
            "RetryLater cannot be raised on an asynchronous invocation, which has no delays: serve the task by a "
            "ManagedAsyncTask or PriorityTaskQueues",
            outcome.error,
        )
        logger.error("a message is dead-lettered: %s", outcome.reason)
    if isinstance(outcome, RetryAfter):
        raise _for_lambda(outcome.error)
    if isinstance(outcome, DeadLettered):
        from runtime_lib.dead_letters import write_dead_letter

        if not write_dead_letter(body, reason=outcome.reason, error=outcome.error, delivery=delivery):
            raise _for_lambda(outcome.error or TaskRejectedError(outcome.reason))


def _for_lambda(error: BaseException) -> Exception:
    """The error, unless it is one that would end the process (sys.exit() in a task) instead of being reported."""
    return error if isinstance(error, Exception) else TaskRejectedError(describe(error))


def _outcome(event: Any, body: str, delivery: Delivery, context: Any) -> Outcome:
    if isinstance(event, dict) and "target" in event:
        from runtime_lib.handlers._fops import envelope_of

        # The invocation's id stays the same when Lambda retries it.
        envelope_id = context.aws_request_id if context else "fops"
        try:
            body = json.dumps(envelope_of(event, envelope_id=envelope_id))
        except EnvelopeError as error:
            logger.error("a message is dead-lettered unread: %s", error)
            return DeadLettered(str(error), error)
    admitted = admit(body, delivery)
    return run_message(admitted, delivery) if isinstance(admitted, Message) else admitted
