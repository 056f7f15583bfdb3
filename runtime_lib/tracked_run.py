"""Running tasks that are recorded: an attempt begins under a lease, and how it ends is recorded.

A lease lasts a minute and is renewed while the attempt runs, or to the function's deadline if that is nearer. So a
duplicate never runs beside it, and after a crash the next delivery is kept waiting for about a minute.
"""

import os
import time
from typing import TYPE_CHECKING

from runtime_lib import leases
from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_PAYLOADS, NODE_KEY, PAYLOAD_PREFIX
from runtime_lib.errors import (
    AlreadyFailedError,
    Discard,
    EnvelopeError,
    NotBegunError,
    PayloadLostError,
    PayloadUnavailableError,
    StoreError,
    message_of,
)
from runtime_lib.log import logger
from runtime_lib.outcomes import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded
from runtime_lib.results import encode_result
from runtime_lib.task_record import FINISHED, Ending, RecordedError, TaskStatus

if TYPE_CHECKING:
    from runtime_lib.envelope import Envelope
    from runtime_lib.store import Store

__all__ = ["TrackedRun", "begin", "refuse"]

_CLOCK_SECONDS = 2.0
"""How far the clocks of two environments are apart at most, with the time it takes to end one."""
_STORE_PAUSE_SECONDS = 10
_MAX_STORE_PAUSE_SECONDS = 300
_MESSAGE_CHARACTERS = 2_000
_TRACEBACK_CHARACTERS = 8_000


class TrackedRun:
    """One attempt that has begun; inside a ``with`` block its lease is renewed.

    ``delivery`` is the delivery with the exact attempt in it.
    """

    __slots__ = ("_is_short", "_owner", "_store", "_task_id", "delivery")

    def __init__(self, store: "Store", task_id: str, owner: str, delivery: Delivery, *, is_short: bool) -> None:
        self.delivery = delivery
        self._store, self._task_id, self._owner, self._is_short = store, task_id, owner, is_short

    def __enter__(self) -> None:
        if not self._is_short:
            leases.renewal.hold(self._owner, self._store, self._task_id)

    def __exit__(self, *raised: object) -> None:
        leases.renewal.drop(self._owner)

    def end(self, outcome: Outcome) -> None:
        """Record how it ended; if that fails, the log says so, and what has happened has happened all the same."""
        try:
            if not self._store.end(self._task_id, _ending(outcome), owner=self._owner):
                logger.warning(
                    "task %s was not recorded as %s: its lease had lapsed", self._task_id, _ending(outcome).status
                )
        except StoreError:
            logger.exception("task %s has ended, which could not be recorded", self._task_id)


def begin(store: "Store", envelope: "Envelope", delivery: Delivery) -> TrackedRun | Outcome:
    """Begin an attempt, or say what becomes of the message: another attempt may be running, or have finished it."""
    owner = os.urandom(16).hex()
    left = float("inf") if delivery.deadline is None else delivery.deadline - time.time()
    is_short = left <= leases.LEASE_SECONDS
    seconds = left + _CLOCK_SECONDS if is_short else leases.LEASE_SECONDS
    extra = {"task": envelope.task, "id": envelope.id}
    try:
        begun = store.begin(envelope.id, envelope.task, owner=owner, seconds=seconds, message_id=_message_id(delivery))
    except StoreError as error:
        # Running it all the same might run it twice, which is what a store is there to prevent.
        logger.error("%s is not begun: %s", envelope.task, error, extra=extra)
        return _later(delivery, _pause(delivery), str(error))
    if isinstance(begun, int):
        return TrackedRun(store, envelope.id, owner, _exact(delivery, begun), is_short=is_short)
    if begun.status is TaskStatus.FAILED and NODE_KEY in envelope.metadata:
        return DeadLettered(f"it has failed already: {begun.error}", AlreadyFailedError(str(begun.error), begun.error))
    if begun.status is TaskStatus.FAILED:
        logger.warning("%s is not run again: it has failed, but its message is still here", envelope.task, extra=extra)
        return DeadLettered(f"it has failed already: {begun.error}")
    if begun.status is TaskStatus.SUCCEEDED and NODE_KEY in envelope.metadata:
        return _again(store, envelope, delivery)
    if begun.status in FINISHED:
        logger.info("%s is skipped: it has %s already", envelope.task, begun.status, extra=extra)
        return Discarded(f"it has {begun.status} already")
    held = f"another delivery of {envelope.task} {envelope.id} is being run"
    logger.info("%s is not begun: %s for up to %.0f s", envelope.task, held, begun.seconds, extra=extra)
    # The lease is renewed while that one runs: a duplicate must not use up its deliveries in the meantime.
    pause = _pause(delivery) if delivery.receipt else 0
    return _later(delivery, max(begun.seconds + _CLOCK_SECONDS, pause), held)


def _again(store: "Store", envelope: "Envelope", delivery: Delivery) -> Outcome:
    """How a run of a workflow has ended that comes once more: what follows it needs its result."""
    extra = {"task": envelope.task, "id": envelope.id}
    logger.info("%s is not run again: it has succeeded already", envelope.task, extra=extra)
    if envelope.metadata[NODE_KEY].get("claim") is None:
        return Succeeded()
    try:
        record = store.find(envelope.id)
    except StoreError as error:
        return _later(delivery, _pause(delivery), str(error))
    if record and not record.result_missing:
        return Succeeded(record.result)
    from runtime_lib.payloads import read_value

    try:
        return Succeeded(read_value(PAYLOAD_PREFIX + envelope.id))  # too large for a record
    except (EnvelopeError, PayloadLostError, PayloadUnavailableError) as error:
        if isinstance(error, PayloadUnavailableError) and os.environ.get(ENV_PAYLOADS):
            return _later(delivery, _pause(delivery), str(error))
        missing = record.result_missing if record else "its record has expired"
        return DeadLettered(f"it has succeeded already, and its result is not on record: {missing}; {error}")


def refuse(store: "Store", envelope: "Envelope", delivery: Delivery, outcome: RetryAfter | DeadLettered) -> Outcome:
    """Record what becomes of a message that cannot run; while it, or its workflow, waits, that uses up no attempt."""
    if isinstance(outcome, RetryAfter) and (delivery.receipt or NODE_KEY in envelope.metadata):
        return outcome
    begun = begin(store, envelope, delivery)
    if not isinstance(begun, TrackedRun):
        return outcome if isinstance(begun, DeadLettered) else begun
    limit = begun.delivery.max_receive_count
    if isinstance(outcome, RetryAfter) and limit and begun.delivery.attempt >= limit:
        outcome = DeadLettered(message_of(outcome.error), outcome.error)
    begun.end(outcome)
    return outcome


def _message_id(delivery: Delivery) -> str | None:
    """What is the same when a message is delivered again, and another when its dead letter is sent back."""
    if delivery.awaited or delivery.eager:
        return None
    return delivery.message_id or getattr(delivery.lambda_context, "aws_request_id", None)


def _pause(delivery: Delivery) -> float:
    pause: float = min(_STORE_PAUSE_SECONDS * 2 ** (delivery.attempt - 1), _MAX_STORE_PAUSE_SECONDS)
    return pause


def _exact(delivery: Delivery, attempt: int) -> Delivery:
    """The delivery as the retry policy counts: deliveries that began no attempt are left out of it."""
    limit = delivery.max_receive_count
    if delivery.receipt and limit:
        limit += attempt - delivery.attempt
    return delivery._replace(attempt=attempt, max_receive_count=limit)


def _later(delivery: Delivery, seconds: float, reason: str) -> Outcome:
    """Have the message delivered again, unless it will not be."""
    error = NotBegunError(reason)
    is_last = delivery.receipt and delivery.max_receive_count and delivery.attempt >= delivery.max_receive_count
    if is_last or delivery.eager or delivery.awaited:
        return DeadLettered(reason, error)
    return RetryAfter(seconds, error)


def _ending(outcome: Outcome) -> Ending:
    match outcome:
        case Succeeded(result):
            text, missing = encode_result(result)
            return Ending(TaskStatus.SUCCEEDED, text, missing)
        case RetryAfter(_, error):
            return Ending(TaskStatus.RETRYING, error=_failure(error))
        case Discarded(reason) | DeadLettered(reason, Discard()):  # the latter if somebody awaits the answer
            return Ending(TaskStatus.CANCELLED, error=RecordedError("Discard", reason[:_MESSAGE_CHARACTERS]))
        case DeadLettered(reason, error):
            given = _failure(error) if error else RecordedError("TaskError", reason[:_MESSAGE_CHARACTERS])
            return Ending(TaskStatus.FAILED, error=given)


def _failure(error: BaseException) -> RecordedError:
    from traceback import format_exception

    traceback = "".join(format_exception(error))
    # The end of a traceback tells where it happened.
    return RecordedError(
        type(error).__name__, message_of(error)[:_MESSAGE_CHARACTERS], traceback[-_TRACEBACK_CHARACTERS:]
    )
