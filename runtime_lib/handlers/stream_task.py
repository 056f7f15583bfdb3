"""The handler of a StreamTask's function: records of a DynamoDB stream, one after the other.

The order of a shard is kept: the batch stops at the first record that is to run again and reports it, so that Lambda
delivers from there on. Those before it are done, those behind it have not run.
"""

import json
import time
from typing import Any

from runtime_lib.context import Delivery
from runtime_lib.contract import DEFAULT_MAX_RECEIVE_COUNT, FAILURE_MAX_BYTES, SQS_MAX_BYTES
from runtime_lib.envelope import derived_id
from runtime_lib.errors import NotBegunError, TaskError
from runtime_lib.execution import DeadLettered, Message, Outcome, RetryAfter
from runtime_lib.handlers._async_invocation import delivery_of, settle
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._one_task import envelope_of, the_task
from runtime_lib.handlers._running import run_message
from runtime_lib.log import logger

__all__ = ["handler"]

start()

_SECONDS_TO_REPORT = 0.5
"""What is left when the last record ends, to write its dead letter and answer."""
_MOST_REMEMBERED = 100
_attempts: dict[str, int] = {}
"""How often records failed in this environment, by their message's id: a stream does not count deliveries."""


def handler(event: Any, context: Any) -> dict[str, Any] | None:
    """Run the records of an event until one is to run again, which is reported.

    A record by itself is one that was dead-lettered and is sent again: its invocation is an asynchronous one.

    Raises:
        TaskError: the event is neither.
        Exception: of a record that is sent again, what the task raised.
    """
    match event:
        case {"Records": [*records]}:
            return _run_batch(records, context)
        case {"eventSource": "aws:dynamodb"}:
            delivery = delivery_of(event, context)
            settle(_run(event, delivery), json.dumps(event), delivery)
            return None
    found = sorted(event) if isinstance(event, dict) else type(event).__name__
    raise TaskError(f"this function works on a table's stream, and its events have Records, given {found!r:.200}")


def _run_batch(records: list[dict[str, Any]], context: Any) -> dict[str, Any]:
    invocation = delivery_of(None, context)
    longest = 0.0
    for number, record in enumerate(records):
        if number and invocation.deadline and invocation.deadline - time.time() < longest + _SECONDS_TO_REPORT:
            logger.warning("%d records are not started: the function is about to time out", len(records) - number)
            return _report(record)
        started = time.monotonic()
        if not _is_done(record, invocation):
            return _report(record)
        longest = max(longest, time.monotonic() - started)
    return {"batchItemFailures": []}


def _is_done(record: dict[str, Any], invocation: Delivery) -> bool:
    """Run a record; whether it is settled, be it by a dead letter."""
    message_id = _id(record)
    failed = _attempts.pop(message_id, 0)
    delivery = invocation._replace(
        attempt=failed + 1,
        max_receive_count=DEFAULT_MAX_RECEIVE_COUNT,
        sent_at=record["dynamodb"].get("ApproximateCreationDateTime"),
        event=record,
        message_id=record["eventID"],
        is_invocation=False,
    )
    outcome = _run(record, delivery)
    if isinstance(outcome, RetryAfter) and isinstance(outcome.error, NotBegunError):
        _wait(outcome.delay, invocation.deadline)
    elif isinstance(outcome, RetryAfter):
        failed += 1
    elif not isinstance(outcome, DeadLettered) or _dead_letter(record, outcome, delivery):
        return True
    _attempts[message_id] = failed
    if len(_attempts) > _MOST_REMEMBERED:
        del _attempts[next(iter(_attempts))]
    return False


def _wait(seconds: float, deadline: float | None) -> None:
    """Wait for a store that failed, or for the lease of a killed run to lapse: the mapping would retry at once.

    Each delivery counts against its retries, after which it gives the records up.
    """
    left = float("inf") if deadline is None else deadline - time.time() - _SECONDS_TO_REPORT
    time.sleep(max(0.0, min(seconds, left)))


def _run(record: dict[str, Any], delivery: Delivery) -> Outcome:
    task = the_task()
    return run_message(Message(task, envelope_of(_id(record), task)), delivery)


def _id(record: dict[str, Any]) -> str:
    return derived_id(the_task().name, record["eventSourceARN"], record["eventID"])


def _report(record: dict[str, Any]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}


def _dead_letter(record: dict[str, Any], outcome: DeadLettered, delivery: Delivery) -> bool:
    """Write a record's dead letter; one that is larger than a message lies there by its keys, not to be sent again."""
    from runtime_lib.dead_letters import write_dead_letter

    body, reason = json.dumps(record), outcome.reason
    if len(body) > SQS_MAX_BYTES - FAILURE_MAX_BYTES:
        kept = {name: value for name, value in record["dynamodb"].items() if name not in {"NewImage", "OldImage"}}
        body = json.dumps({**record, "dynamodb": kept})
        reason = f"{reason} (the item is too large for a message: only its keys are here)"
        delivery = delivery._replace(source=None)
    return write_dead_letter(body, reason=reason, error=outcome.error, delivery=delivery)
