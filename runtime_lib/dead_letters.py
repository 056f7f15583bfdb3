"""Dead letters: the one format that this library writes, and the five shapes in which failures lie in a queue."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.contract import (
    ENV_DEAD_LETTER_QUEUE,
    FAILURE_ATTRIBUTE,
    FAILURE_MAX_BYTES,
    SQS_MAX_BATCH_ENTRIES,
    Route,
)
from runtime_lib.errors import message_of
from runtime_lib.log import logger
from runtime_lib.queues import Entry, delete, queue_name, queue_url, send_entries

if TYPE_CHECKING:
    from runtime_lib.context import Delivery

__all__ = [
    "DeadLetter",
    "Failure",
    "dead_letter_entry",
    "read_dead_letter",
    "receive_dead_letters",
    "requeue_dead_letters",
    "write_dead_letter",
]

_TRACEBACK_CHARACTERS = 2_000
_REASON_CHARACTERS = 500
_SHORT_CHARACTERS = 200
_MAX_EMPTY_RECEIVES = 2


class Failure(NamedTuple):
    """Why a message was given up. Times are epoch seconds; what its shape does not tell is None or empty.

    ``source`` is where it was given up, as a route: ``sqs:<queue>`` or ``lambda:<function>``.
    ``shape`` is how it came to the dead letter queue: "task" (this library), "redrive" (SQS, after
    deliveries without a report), "destination" (Lambda, after an asynchronous invocation), "schedule" (EventBridge Scheduler) or "stream" (a stream's
    event source mapping).
    """

    shape: str
    reason: str
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    attempts: int = 0
    first_at: float | None = None
    last_at: float | None = None
    source: str | None = None
    chain: str | None = None

    def attribute(self) -> str:
        """The failure as the JSON of a message attribute, cut to what a message keeps free for it."""
        fields = {
            "reason": self.reason[:_REASON_CHARACTERS],
            "error_type": self.error_type[:_SHORT_CHARACTERS],
            "error_message": self.error_message[:_REASON_CHARACTERS],
            "traceback": self.traceback[-_TRACEBACK_CHARACTERS:],
            "attempts": self.attempts,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "source": self.source,
            "chain": self.chain and self.chain[:_SHORT_CHARACTERS],
        }
        text = json.dumps(fields, separators=(",", ":"))
        room = FAILURE_MAX_BYTES - len(FAILURE_ATTRIBUTE) - len("String")
        for name in ("traceback", "error_message", "reason"):
            if len(text) > room:
                # ASCII escapes take up to six bytes a character: cut so that it fits even then.
                keep = max(0, (len(json.dumps(fields[name])) - (len(text) - room)) // 6)
                fields[name] = str(fields[name])[-keep:] if keep else ""
                text = json.dumps(fields, separators=(",", ":"))
        return text


class DeadLetter(NamedTuple):
    """A message in a dead letter queue: its body as it is to be sent again, and why it lies there."""

    id: str
    body: str
    failure: Failure
    receipt: str | None = None

    @property
    def task(self) -> str | None:
        """The task's name, if the body tells one."""
        name = self._envelope().get("task")
        return name if isinstance(name, str) else None

    @property
    def envelope_id(self) -> str | None:
        """The id that the task was dispatched with, if the body tells one."""
        envelope_id = self._envelope().get("id")
        return envelope_id if isinstance(envelope_id, str) else None

    def _envelope(self) -> dict[str, Any]:
        return _object(self.body)


# --- Writing ---------------------------------------------------------------------------------------------------------


def dead_letter_entry(body: str, *, reason: str, error: BaseException | None, delivery: "Delivery") -> Entry:
    """The message for the dead letter queue: the untouched body, and the failure as one attribute."""
    envelope = _object(body)
    metadata = envelope.get("metadata")
    failure = Failure(
        shape="task",
        reason=reason,
        error_type=type(error).__name__ if error else "",
        error_message=message_of(error) if error else "",
        traceback=_traceback(error),
        attempts=delivery.attempt,
        first_at=delivery.first_received_at or delivery.sent_at,
        last_at=round(time.time(), 3),
        source=delivery.source,
        chain=(metadata.get("chain") if isinstance(metadata, dict) else None) or _text(envelope.get("id")),
    )
    return Entry(_text(envelope.get("id")) or "?", body, attributes=((FAILURE_ATTRIBUTE, failure.attribute()),))


def write_dead_letter(
    body: str,
    *,
    reason: str,
    error: BaseException | None,
    delivery: "Delivery",
    queue: str | None = None,
    client: Any | None = None,
) -> bool:
    """Send a dead letter to ``queue``, by default the one ``TASK_DEAD_LETTER_QUEUE`` names; whether it is there now.

    If not, the log says why, and the message is safest where it is.
    """
    queue = queue or os.environ.get(ENV_DEAD_LETTER_QUEUE)
    if not queue:
        logger.error("a message is given up, and %s names no queue for it: %s", ENV_DEAD_LETTER_QUEUE, reason)
        return False
    entry = dead_letter_entry(body, reason=reason, error=error, delivery=delivery)
    try:
        send_entries(queue_url(queue, client), [entry], client)
    except Exception:  # noqa: BLE001  (whatever keeps it from being written)
        logger.exception("a message is given up, but its dead letter cannot be written to %s: %s", queue, reason)
        return False
    return True


def _traceback(error: BaseException | None) -> str:
    if error is None:
        return ""
    from traceback import format_exception

    return "".join(format_exception(error))


# --- Reading ---------------------------------------------------------------------------------------------------------


def read_dead_letter(message: Mapping[str, Any]) -> DeadLetter:
    """Read a message as SQS's ReceiveMessage gives it (with all attributes), whichever of the five shapes it has."""
    body: str = message["Body"]
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    found = _object(body)
    if FAILURE_ATTRIBUTE in attributes:
        failure = _ours(_object(attributes[FAILURE_ATTRIBUTE]))
    elif "ERROR_CODE" in attributes:
        failure = _schedule(attributes)
    elif "requestContext" in found and "requestPayload" in found:
        failure = _destination(found)
        body = json.dumps(found["requestPayload"], separators=(",", ":"))
    elif "requestContext" in found:
        failure = _stream(found)
    else:
        failure = _redrive(message.get("Attributes", {}))
    return DeadLetter(message.get("MessageId", ""), body, failure, message.get("ReceiptHandle"))


def _ours(found: dict[str, Any]) -> Failure:
    known = {name: found[name] for name in Failure._fields if found.get(name) is not None}
    return Failure(**{**known, "shape": "task", "reason": str(known.get("reason", "unknown"))})


def _redrive(system: Mapping[str, str]) -> Failure:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    source = system.get("DeadLetterQueueSourceArn", "")
    # The count goes on in the dead letter queue: receiving the letter has added one.
    attempts = max(0, int(system.get("ApproximateReceiveCount", "0")) - 1)
    return Failure(
        shape="redrive",
        reason=f"{attempts or 'all'} deliveries ended without a report: timeout, out of memory or killed",
        attempts=attempts,
        first_at=_epoch_seconds(system.get("ApproximateFirstReceiveTimestamp")),
        source=f"sqs:{source.rpartition(':')[2]}" if source else None,
    )


def _destination(record: dict[str, Any]) -> Failure:
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    context, response = record["requestContext"], record.get("responsePayload") or {}
    response = response if isinstance(response, dict) else {"errorMessage": str(response)}
    error_type = str(response.get("errorType", ""))
    message = str(response.get("errorMessage", ""))
    condition = str(context.get("condition", "failed"))
    invokes = int(context.get("approximateInvokeCount", 0))
    return Failure(
        shape="destination",
        reason=f"{condition} after {invokes} invocations: {': '.join(filter(None, (error_type, message)))}".rstrip(
            ": "
        ),
        error_type=error_type,
        error_message=message,
        traceback="".join(map(str, response.get("stackTrace", ()))),
        attempts=invokes,
        last_at=_iso_seconds(record.get("timestamp")),
        source=_function_route(str(context.get("functionArn", ""))),
        chain=_chain(record["requestPayload"]),
    )


def _stream(record: dict[str, Any]) -> Failure:
    # https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    context = record["requestContext"]
    batch: dict[str, Any] = next((value for name, value in record.items() if name.endswith("BatchInfo")), {})
    return Failure(
        shape="stream",
        reason=f"{context.get('condition', 'failed')}: {batch.get('batchSize', '?')} records of "
        f"{batch.get('shardId', 'a shard')} were not processed",
        attempts=int(context.get("approximateInvokeCount", 0)),
        last_at=_iso_seconds(record.get("timestamp")),
        source=_function_route(str(context.get("functionArn", ""))),
    )


def _schedule(attributes: Mapping[str, str]) -> Failure:
    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    return Failure(
        shape="schedule",
        reason=f"{attributes['ERROR_CODE']}: {attributes.get('ERROR_MESSAGE', '')}".rstrip(": "),
        error_type=attributes["ERROR_CODE"],
        error_message=attributes.get("ERROR_MESSAGE", ""),
        attempts=int(attributes.get("RETRY_ATTEMPTS") or 0),
    )


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _chain(envelope: Any) -> str | None:
    if not isinstance(envelope, dict):
        return None
    metadata = envelope.get("metadata")
    return _text(metadata.get("chain") if isinstance(metadata, dict) else None) or _text(envelope.get("id"))


def _function_route(arn: str) -> str | None:
    parts = arn.split(":")
    return f"lambda:{parts[6]}" if len(parts) > 6 else None  # noqa: PLR2004  (arn:aws:lambda:region:account:function:name)


def _epoch_seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None


def _iso_seconds(timestamp: Any) -> float | None:
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return None


# --- Sending again ---------------------------------------------------------------------------------------------------


def receive_dead_letters(
    dead_letter_queue: str, *, client: Any | None = None, visibility_timeout: int = 30
) -> Iterator[DeadLetter]:
    """Read what lies in a dead letter queue (name or URL), hiding each letter for ``visibility_timeout`` seconds."""
    from runtime_lib.clients import client as shared_client

    sqs = client or shared_client("sqs")
    url = queue_url(dead_letter_queue, sqs)
    seen: set[str] = set()
    empty = 0
    while empty < _MAX_EMPTY_RECEIVES:
        response = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=SQS_MAX_BATCH_ENTRIES,
            WaitTimeSeconds=1,
            VisibilityTimeout=visibility_timeout,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = [message for message in response.get("Messages", ()) if message["MessageId"] not in seen]
        empty = 0 if messages else empty + 1
        for message in messages:
            seen.add(message["MessageId"])
            yield read_dead_letter(message)


def requeue_dead_letters(
    dead_letter_queue: str,
    *,
    to: str | None = None,
    select: Callable[[DeadLetter], bool] | None = None,
    limit: int | None = None,
    client: Any | None = None,
) -> int:
    """Send dead letters to be run again, each to the queue or function it came from, and say how many were.

    A letter is deleted once it has been sent; if sending fails it stays where it is. Those not selected stay too.

    Args:
        dead_letter_queue: its name or URL.
        to: a queue (name or URL) to send all of them to; needed for letters that do not tell where they came from.
        select: which letters; all by default.
        limit: how many at most; all by default.
        client: a boto3 SQS client; by default one made from the environment.

    Raises:
        DispatchError: a letter could not be sent, or does not tell where it came from; earlier ones have been.
    """
    from runtime_lib.clients import client as shared_client

    sqs = client or shared_client("sqs")
    dead_letter_url = queue_url(dead_letter_queue, sqs)
    sent = 0
    for letter in receive_dead_letters(dead_letter_queue, client=sqs):
        if limit is not None and sent >= limit:
            break
        if select and not select(letter):
            continue
        _send_again(letter, f"sqs:{to}" if to else letter.failure.source, dead_letter_url, sqs)
        delete(dead_letter_url, [str(letter.receipt)], sqs)
        sent += 1
    return sent


def _send_again(letter: DeadLetter, source: str | None, dead_letter_url: str, sqs: Any) -> None:
    from runtime_lib.clients import client as shared_client
    from runtime_lib.errors import DispatchError

    if source is None:
        raise DispatchError(f"dead letter {letter.id} does not tell where it came from: pass to='<queue>'")
    route = Route.parse(source, variable=f"the source of dead letter {letter.id}")
    if route.kind == "lambda":
        shared_client("lambda").invoke(FunctionName=route.target, InvocationType="Event", Payload=letter.body.encode())
        return
    url = queue_url(route.target, sqs)
    if url == dead_letter_url:
        raise DispatchError(f"{queue_name(url)} is the dead letter queue itself: requeue to another queue")
    send_entries(url, [Entry(letter.envelope_id or letter.id, letter.body)], sqs)
