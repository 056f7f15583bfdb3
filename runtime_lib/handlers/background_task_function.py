"""The handler of a BackgroundTaskFunction: one task per asynchronous invocation, which Lambda itself retries."""

import json
import os
import time
from typing import Any

from runtime_lib import registry
from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_DEAD_LETTER_QUEUE, ENVELOPE_VERSION, Priority
from runtime_lib.errors import EnvelopeError, RetryLater, TaskError
from runtime_lib.execution import DeadLettered, Message, Outcome, RetryAfter, admit, run, run_async
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._sqs_batch import run_in_loop

__all__ = ["handle", "handler"]

start()


def handler(event: Any, context: Any) -> None:
    """Run the task of an asynchronous invocation; raise what it raised when Lambda is to retry it."""
    handle(event, context)


def handle(event: Any, context: Any) -> None:
    """Run the task in ``event``: an envelope, or an event of fops.background.

    Raises:
        Exception: what the task raised, or that it is not known here, so that Lambda retries and then writes the
            dead letter.
        TaskError: the message is given up, but there is no queue for its dead letter.
    """
    delivery = Delivery(
        source=f"lambda:{context.function_name}" if context else None,
        deadline=time.time() + context.get_remaining_time_in_millis() / 1000 if context else None,
    )
    outcome = _outcome(event, delivery, context)
    if isinstance(outcome, RetryAfter) and isinstance(outcome.error, RetryLater):
        outcome = DeadLettered(
            "RetryLater cannot be raised on an asynchronous invocation, which has no delays: serve the task by a "
            "ManagedAsyncTask or PriorityTaskQueues",
            outcome.error,
        )
    if isinstance(outcome, RetryAfter):
        raise outcome.error
    if isinstance(outcome, DeadLettered):
        _dead_letter(event, outcome, delivery)


def _outcome(event: Any, delivery: Delivery, context: Any) -> Outcome:
    try:
        body = json.dumps(_from_fops(event, context) if isinstance(event, dict) and "target" in event else event)
    except EnvelopeError as error:
        return DeadLettered(str(error), error)
    admitted = admit(body, delivery)
    if not isinstance(admitted, Message):
        return admitted
    task, envelope = admitted
    if task.is_async:
        outcome: Outcome = run_in_loop(run_async(task, envelope, delivery))
        return outcome
    return run(task, envelope, delivery)


def _from_fops(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The envelope of ``{"target": "module:name", "payload": {"body": "<arguments by name, JSON>"}, "meta": {…}}``.

    Its id is the invocation's, which stays the same when Lambda retries it.

    Raises:
        EnvelopeError: a field is missing or of another type.
    """
    target, payload = event["target"], event.get("payload")
    if not isinstance(target, str) or target.count(":") != 1:
        raise EnvelopeError(f"target is {target!r:.100}: expected 'module:name'")
    if not isinstance(payload, dict) or not isinstance(payload.get("body"), str):
        raise EnvelopeError("payload.body is missing: expected a string with the arguments as JSON")
    try:
        arguments = json.loads(payload["body"])
    except ValueError as error:
        raise EnvelopeError(f"payload.body is not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise EnvelopeError("payload.body is no object: expected the arguments by name")
    name = target.replace(":", ".")
    known = registry.find(name)
    return {
        "id": getattr(context, "aws_request_id", None) or "fops",
        "task": name,
        "args": [],
        "kwargs": arguments,
        "headers": {},
        "metadata": {
            "priority": (known.priority if known else Priority.DEFAULT).value,
            "timestamp": time.time_ns() // 1_000_000,
            "version": ENVELOPE_VERSION,
        },
    }


def _dead_letter(event: Any, outcome: DeadLettered, delivery: Delivery) -> None:
    from runtime_lib.dead_letters import dead_letter_entry
    from runtime_lib.queues import queue_url, send_entries

    queue = os.environ.get(ENV_DEAD_LETTER_QUEUE)
    if not queue:  # Lambda's own retries and on-failure destination are all there is
        raise outcome.error or TaskError(outcome.reason)
    entry = dead_letter_entry(json.dumps(event), reason=outcome.reason, error=outcome.error, delivery=delivery)
    send_entries(queue_url(queue), [entry])
