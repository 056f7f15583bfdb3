"""Asynchronous invocations, which Lambda itself retries: how one was delivered, and how its outcome is told."""

import os
import time
from typing import Any

from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_MAX_RECEIVE_COUNT
from runtime_lib.execution import DeadLettered, Outcome, RetryAfter, TaskRejectedError, describe

__all__ = ["delivery_of", "settle"]


def delivery_of(event: Any, context: Any) -> Delivery:
    """What Lambda tells of an invocation; not which attempt it is."""
    limit = os.environ.get(ENV_MAX_RECEIVE_COUNT)
    return Delivery(
        max_receive_count=int(limit) if limit else None,
        source=f"lambda:{context.function_name}" if context else None,
        deadline=time.time() + context.get_remaining_time_in_millis() / 1000 if context else None,
        event=event,
        lambda_context=context,
        is_invocation=True,
    )


def settle(outcome: Outcome, body: str, delivery: Delivery) -> None:
    """Have Lambda retry what is to run again, and write the dead letter of what is given up.

    Raises:
        Exception: what the task raised, so that Lambda retries and then writes the dead letter; also if the message is
            given up and its dead letter cannot be written here.
    """
    if isinstance(outcome, RetryAfter):
        raise _for_lambda(outcome.error)
    if isinstance(outcome, DeadLettered):
        from runtime_lib.dead_letters import write_dead_letter

        if not write_dead_letter(body, reason=outcome.reason, error=outcome.error, delivery=delivery):
            raise _for_lambda(outcome.error or TaskRejectedError(outcome.reason))


def _for_lambda(error: BaseException) -> Exception:
    """The error, unless it is one that would end the process (sys.exit() in a task) instead of being reported."""
    return error if isinstance(error, Exception) else TaskRejectedError(describe(error))
