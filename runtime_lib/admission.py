"""Before a message runs: it is decoded and its task found, or it waits, or is given up."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib import registry
from runtime_lib.context import Delivery
from runtime_lib.contract import NODE_KEY
from runtime_lib.envelope import Envelope
from runtime_lib.errors import EnvelopeError, NewerMessageError, UnknownTaskError
from runtime_lib.log import logger
from runtime_lib.outcomes import DeadLettered, Outcome, RetryAfter
from runtime_lib.tracking import receiving_store

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = ["Message", "admit", "received", "refused", "wait"]


class Message(NamedTuple):
    """A message that can be run: its task is registered and no newer than this code."""

    task: "Task[..., Any]"
    envelope: Envelope


_PATIENCE_SECONDS = 3_600
"""How long a message waits for a worker that knows its task: a deploy may be rolling."""
_WAITS = (60, 540, 900, 900, 1_200)
"""Seconds between the deliveries of a message that cannot run yet: soon at first, and few, for each one counts."""


def admit(body: str | bytes, delivery: Delivery) -> Message | Outcome:
    """Decode a message and find its task, or say what becomes of it: malformed ones are given up at once."""
    envelope = None
    try:
        envelope = _decode(body)
        task = registry.resolve(envelope.task)
        schema = envelope.metadata.get("schema")
        if schema is not None and schema > (task.schema_version or 0):
            raise NewerMessageError(
                f"the message has version {schema} of {task.name}'s arguments, this code has {task.schema_version}"
            )
    except EnvelopeError as error:
        logger.error("a message is dead-lettered unread: %s", error, extra={"attempt": delivery.attempt})
        return DeadLettered(str(error), error)
    except (UnknownTaskError, NewerMessageError) as error:
        age = time.time() - delivery.sent_at if delivery.sent_at else 0.0
        last = delivery.max_receive_count is not None and delivery.attempt >= delivery.max_receive_count
        reason = f"{error} (waited {age:.0f} s for a worker that can run it)"
        logger.warning("a message cannot run here: %s", reason, extra={"attempt": delivery.attempt})
        if last or age >= _PATIENCE_SECONDS:
            return refused(envelope, delivery, DeadLettered(reason, error))
        return refused(envelope, delivery, RetryAfter(wait(delivery), error))
    return Message(task, envelope)


def refused(envelope: Envelope | None, delivery: Delivery, outcome: RetryAfter | DeadLettered) -> Outcome:
    """The outcome of a message that does not run, which is recorded where its task would be."""
    store = receiving_store()
    if store is None or envelope is None:
        return outcome
    from runtime_lib import tracked_run

    return tracked_run.refuse(store, envelope, delivery, outcome)


def wait(delivery: Delivery) -> float:
    """Seconds until a message is delivered again that could not run yet."""
    return _WAITS[min(delivery.attempt, len(_WAITS)) - 1]


def received(body: str | bytes) -> Envelope:
    """The envelope that a message is, without what only the message of a run in a workflow says (`contract.NODE_KEY`).

    Raises:
        EnvelopeError: it is none.
    """
    envelope = Envelope.decode(body)
    if NODE_KEY not in envelope.metadata:
        return envelope
    return envelope._replace(metadata={name: value for name, value in envelope.metadata.items() if name != NODE_KEY})


def _decode(body: str | bytes) -> Envelope:
    """An envelope, that which an SNS notification carries (without raw delivery), or that of a run's own message."""
    try:
        return received(body)
    except EnvelopeError:
        import json

        try:
            notification = json.loads(body)
        except (ValueError, RecursionError):
            notification = None
        if isinstance(notification, dict) and notification.get("Type") == "Notification":
            return received(str(notification.get("Message")))
        if isinstance(notification, dict) and "scheduled_time" in notification:
            from runtime_lib import occurrence

            return occurrence.envelope_of(notification)
        if isinstance(notification, dict) and NODE_KEY in notification:
            from runtime_lib.workflow import node

            return node.envelope_of(notification)
        raise
