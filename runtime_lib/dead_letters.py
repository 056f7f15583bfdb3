"""Dead letters: the one format that this library writes, and the six shapes in which failures lie in a queue."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.clients import client as shared_client
from runtime_lib.context import Injected
from runtime_lib.contract import (
    ENV_DEAD_LETTER_QUEUE,
    FAILURE_ATTRIBUTE,
    FAILURE_MAX_BYTES,
    LETTER_FAILURE_ATTRIBUTE,
    NODE_KEY,
    SCHEDULED_TIME,
    SQS_MAX_BATCH_ENTRIES,
    SQS_MAX_BYTES,
    is_fifo,
)
from runtime_lib.errors import ArgumentError, message_of
from runtime_lib.failure import Failure
from runtime_lib.log import logger
from runtime_lib.queues import Entry, attribute_size, queue_url, send_entries

if TYPE_CHECKING:
    from runtime_lib.context import Delivery, TaskContext

__all__ = [
    "DeadLetter",
    "Failure",
    "dead_letter_entry",
    "read_dead_letter",
    "receive_dead_letters",
    "write_dead_letter",
]

_MAX_EMPTY_RECEIVES = 2
_MAX_ATTRIBUTES = 10  # of a message
_SQS = "aws:sqs"
_NONE: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class _Letter(NamedTuple):
    id: str
    body: str
    failure: Failure
    receipt: str | None = None
    message_group: str | None = None
    attributes: Mapping[str, Mapping[str, Any]] = _NONE


class DeadLetter(_Letter, Injected):
    """A message in a dead letter queue: its body as it is to be sent again, and why it lies there.

    A task to which others leave their dead letters (``dead_letter_task=``) gets it for a parameter annotated
    ``DeadLetter``. ``message_group`` is its group in a FIFO queue, and ``attributes`` are the message attributes that
    it had besides.
    """

    __slots__ = ()

    @classmethod
    def of(cls, context: "TaskContext") -> "DeadLetter":
        """The letter that started the task.

        Raises:
            ArgumentError: it was dispatched, or another trigger started it.
        """
        event = context.event
        if _mapping(event).get("eventSource") == _SQS:
            letter = cls.in_record(event)
            if not letter.is_dispatch_of(context.task):
                return letter
        raise ArgumentError(
            f"{context.task} takes a DeadLetter, and what started it is none: serve it by a ManagedAsyncTask that "
            "others are given as dead_letter_task="
        )

    @classmethod
    def in_record(cls, record: Mapping[str, Any]) -> "DeadLetter":
        """Read the record of a Lambda function's event, as `read_dead_letter` does what SQS gives."""
        message = {"MessageId": record["messageId"], "Body": record["body"], "Attributes": record.get("attributes", {})}
        message |= {"MessageAttributes": _sqs_attributes(record), "ReceiptHandle": record["receiptHandle"]}
        return read_dead_letter(message)

    def is_dispatch_of(self, task: str) -> bool:
        """Whether it is no dead letter at all, but a message that was dispatched to ``task``."""
        return self.task == task and self.failure.shape == "redrive" and self.failure.source is None

    @property
    def task(self) -> str | None:
        """The task's name, if the body tells one."""
        return _text(_envelope(self.body).get("task"))

    @property
    def envelope_id(self) -> str | None:
        """The id that the task was dispatched with, if the body tells one."""
        return _text(_envelope(self.body).get("id"))

    @property
    def group(self) -> str | None:
        """The group that the task was dispatched with, if the body tells one."""
        return _text(_mapping(_envelope(self.body).get("metadata")).get("group"))


# --- Writing ---------------------------------------------------------------------------------------------------------


def dead_letter_entry(body: str, *, reason: str, error: BaseException | None, delivery: "Delivery") -> Entry:
    """The message for the dead letter queue: the untouched body, and the failure as one attribute.

    Attributes that the message came with are kept beside it, if there is room for them; so is the failure of a letter
    that a task was to take.
    """
    envelope = _envelope(body)
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
        chain=_chain(envelope),
    )
    kept = _sqs_attributes(delivery.event)
    if FAILURE_ATTRIBUTE in kept:
        kept[LETTER_FAILURE_ATTRIBUTE] = kept.pop(FAILURE_ATTRIBUTE)
    free = SQS_MAX_BYTES - len(body.encode()) - sum(attribute_size(*one) for one in kept.items())
    if len(kept) == _MAX_ATTRIBUTES or (kept and free < FAILURE_MAX_BYTES):
        kept, free = {}, SQS_MAX_BYTES - len(body.encode())
    envelope_id = _text(envelope.get("id")) or delivery.message_id or "?"
    return Entry(
        envelope_id,
        body,
        attributes={**kept, FAILURE_ATTRIBUTE: {"DataType": "String", "StringValue": failure.attribute(free)}},
    )


def _sqs_attributes(record: Any) -> dict[str, Mapping[str, Any]]:
    """The message attributes of a record of SQS, as SQS itself spells them; of what is none, none."""
    found: dict[str, Mapping[str, Any]] = {}
    if _mapping(record).get("eventSource") != _SQS:
        return found
    for name, attribute in record.get("messageAttributes", {}).items():
        if attribute["dataType"].startswith("Binary"):
            from base64 import b64decode

            found[name] = {"DataType": attribute["dataType"], "BinaryValue": b64decode(attribute["binaryValue"])}
        else:
            found[name] = {"DataType": attribute["dataType"], "StringValue": attribute["stringValue"]}
    return found


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
    if is_fifo(queue):
        # Another delivery of the message that is given up must not write a second letter, its next redrive must.
        entry = entry.ordered(group=delivery.group or entry.id, deduplication_id=f"{entry.id}:{delivery.message_id}")
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
    """Read a message as SQS's ReceiveMessage gives it (with all attributes), whichever of the six shapes it has."""
    body: str = message["Body"]
    all_attributes: Mapping[str, Mapping[str, Any]] = message.get("MessageAttributes", {})
    attributes = {name: value.get("StringValue", "") for name, value in all_attributes.items()}
    system = message.get("Attributes", {})
    kept = _NONE
    record = _object(body)
    if "DeadLetterQueueSourceArn" in system:  # SQS moved it, and be it a letter that a task was to take
        failure = _redrive(system)
        kept = all_attributes
    elif FAILURE_ATTRIBUTE in attributes:
        failure = _ours(_object(attributes[FAILURE_ATTRIBUTE]))
        kept = {name: value for name, value in all_attributes.items() if name != FAILURE_ATTRIBUTE}
    elif "ERROR_CODE" in attributes:
        failure = _undelivered(attributes)
        # As it would have been delivered, should Scheduler leave it as it was configured.
        body = body.replace(SCHEDULED_TIME, attributes.get("SCHEDULED_TIME", SCHEDULED_TIME))
    elif "condition" not in _mapping(record.get("requestContext")):
        failure = _redrive(system)
        kept = all_attributes
    elif "requestPayload" in record:
        failure = _destination(record)
        body = json.dumps(record["requestPayload"], separators=(",", ":"))
    else:
        failure = _stream(record)
    return DeadLetter(
        message.get("MessageId", ""), body, failure, message.get("ReceiptHandle"), system.get("MessageGroupId"), kept
    )


def _ours(found: dict[str, Any]) -> Failure:
    return Failure(
        shape="task",
        reason=_text(found.get("reason")) or "unknown",
        error_type=_text(found.get("error_type")) or "",
        error_message=_text(found.get("error_message")) or "",
        traceback=_text(found.get("traceback")) or "",
        attempts=_count(found.get("attempts")),
        first_at=_number(found.get("first_at")),
        last_at=_number(found.get("last_at")),
        source=_text(found.get("source")),
        chain=_text(found.get("chain")),
    )


def _redrive(system: Mapping[str, str]) -> Failure:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    source = system.get("DeadLetterQueueSourceArn", "")
    # The count goes on in the dead letter queue: receiving the letter has added one.
    attempts = max(0, _count(system.get("ApproximateReceiveCount")) - 1)
    first_at = _count(system.get("ApproximateFirstReceiveTimestamp"))
    return Failure(
        shape="redrive",
        reason=f"{attempts or 'all'} deliveries ended without a report: timeout, out of memory or killed",
        attempts=attempts,
        first_at=first_at / 1000 if first_at else None,
        source=f"sqs:{source.rpartition(':')[2]}" if source else None,
    )


def _destination(record: dict[str, Any]) -> Failure:
    # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    context, response = record["requestContext"], record.get("responsePayload")
    # A function that is not Python's may answer anything.
    error = response if isinstance(response, dict) else {"errorMessage": response}
    error_type, message = (str(error.get(name) or "") for name in ("errorType", "errorMessage"))
    invokes = _count(context.get("approximateInvokeCount"))
    said = ": ".join(filter(None, (error_type, message)))
    stack = error.get("stackTrace")
    return Failure(
        shape="destination",
        reason=f"{context['condition']} after {invokes} invocations" + (f": {said}" if said else ""),
        error_type=error_type,
        error_message=message,
        traceback="".join(map(str, stack)) if isinstance(stack, list) else "",
        attempts=invokes,
        last_at=_iso_seconds(record.get("timestamp")),
        source=_function_route(context),
        chain=_chain(_mapping(record["requestPayload"])),
    )


def _stream(record: dict[str, Any]) -> Failure:
    # https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    context = record["requestContext"]
    batch = _mapping(next((value for name, value in record.items() if name.endswith("BatchInfo")), None))
    return Failure(
        shape="stream",
        reason=f"{context['condition']}: {batch.get('batchSize', '?')} records of {batch.get('shardId', 'a shard')} "
        "were not processed",
        attempts=_count(context.get("approximateInvokeCount")),
        last_at=_iso_seconds(record.get("timestamp")),
        source=_function_route(context),
    )


def _undelivered(attributes: Mapping[str, str]) -> Failure:
    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    code, message = attributes["ERROR_CODE"], attributes.get("ERROR_MESSAGE", "")
    return Failure(
        shape="event" if "RULE_ARN" in attributes else "schedule",
        reason=f"{code}: {message}" if message else code,
        error_type=code,
        error_message=message,
        attempts=_count(attributes.get("RETRY_ATTEMPTS")),
        source=_route(attributes.get("TARGET_ARN", "")),
    )


def _object(text: str) -> dict[str, Any]:
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _envelope(body: str) -> dict[str, Any]:
    """The envelope in a body, also in that of an SNS notification, or of what began a workflow's run; or nothing."""
    found = _object(body)
    if node := _mapping(found.get(NODE_KEY)):
        return {**_mapping(node.get("run")), "task": node.get("task")}
    return _object(str(found.get("Message"))) if found.get("Type") == "Notification" else found


def _chain(envelope: dict[str, Any]) -> str | None:
    return _text(_mapping(envelope.get("metadata")).get("chain")) or _text(envelope.get("id"))


def _route(arn: str) -> str | None:
    """The route to a function, a queue or a workflow; None for any other target."""
    service, _, target = arn.partition(":")[2].partition(":")[2].partition(":")
    if service == "states" and ":stateMachine:" in target:
        return f"states:{target.rpartition(':')[2]}"
    return f"sqs:{target.rpartition(':')[2]}" if service == "sqs" else _function_route({"functionArn": arn})


def _function_route(context: dict[str, Any]) -> str | None:
    # arn:aws:lambda:<region>:<account>:function:<name>:<version or alias>
    _, _, name = str(context.get("functionArn")).partition(":function:")
    return f"lambda:{name.removesuffix(':$LATEST')}" if name else None


# What lies in a queue was written by others: a value of another kind is taken for one that is not there.


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _count(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _iso_seconds(timestamp: Any) -> float | None:
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return None


def receive_dead_letters(
    dead_letter_queue: str, *, client: Any | None = None, visibility_timeout: int = 30
) -> Iterator[DeadLetter]:
    """Read what lies in a dead letter queue (name or URL), hiding each letter for ``visibility_timeout`` seconds."""
    sqs = client or shared_client("sqs")
    url = queue_url(dead_letter_queue, sqs)
    seen: set[str] = set()
    empty = known = 0
    # Of many letters, the first are visible again before the last were received: seeing some again is no end.
    while empty < _MAX_EMPTY_RECEIVES and known < _MAX_EMPTY_RECEIVES + len(seen) / SQS_MAX_BATCH_ENTRIES:
        response = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=SQS_MAX_BATCH_ENTRIES,
            WaitTimeSeconds=1,
            VisibilityTimeout=visibility_timeout,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        received = response.get("Messages", ())
        messages = [message for message in received if message["MessageId"] not in seen]
        empty = 0 if received else empty + 1
        known = 0 if messages else known + 1
        for message in messages:
            seen.add(message["MessageId"])
            yield read_dead_letter(message)
