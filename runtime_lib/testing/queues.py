"""What queues deliver."""

import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import md5
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from runtime_lib.contract import FAILURE_ATTRIBUTE
from runtime_lib.testing._names import ACCOUNT, REGION

if TYPE_CHECKING:
    from runtime_lib.task import Call

__all__ = ["dead_letter_event", "sqs_event", "sqs_record"]

Event = dict[str, Any]


def sqs_event(*messages: "Call | str | Event", queue: str = "tasks", attempt: int = 1) -> Event:
    """The event of a queue: a batch of messages, each a call of a task, the text that others sent, or an `sqs_record`.

    (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html)
    """
    records = [
        message if isinstance(message, dict) else sqs_record(message, queue=queue, attempt=attempt)
        for message in messages
    ]
    return {"Records": records}


def sqs_record(
    message: "Call | str",
    *,
    queue: str = "tasks",
    attempt: int = 1,
    group: str | None = None,
    message_attributes: Mapping[str, str | float | bytes] | None = None,
) -> Event:
    """One message as a queue delivers it.

    Args:
        message: a call of a task, or the text that others sent.
        queue: the queue's name; one that ends in ``.fifo`` is a FIFO queue.
        attempt: how often it was received, this delivery included.
        group: its message group. Default: that of the call; in a FIFO queue, else ``group``.
        message_attributes: what else its sender told.
    """
    body = message if isinstance(message, str) else message.body
    if group is None and not isinstance(message, str):
        group = message.envelope.metadata.get("group")
    now, message_id = str(time.time_ns() // 1_000_000), str(uuid4())
    attributes = {
        "ApproximateReceiveCount": str(attempt),
        "SentTimestamp": now,
        "SenderId": "AROAEXAMPLE:function",
        "ApproximateFirstReceiveTimestamp": now,
    }
    if queue.endswith(".fifo"):
        attributes |= {"SequenceNumber": str(time.time_ns()), "MessageDeduplicationId": message_id}
        group = group or "group"
    if group:
        attributes["MessageGroupId"] = group
    return {
        "messageId": message_id,
        "receiptHandle": b64encode(message_id.encode()).decode(),
        "body": body,
        "attributes": attributes,
        "messageAttributes": {name: _message_attribute(value) for name, value in (message_attributes or {}).items()},
        "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "awsRegion": REGION,
    }


def dead_letter_event(
    *messages: "Call | str",
    reason: str = "failed at attempt 3: OSError: no connection",
    error_type: str = "OSError",
    error_message: str = "no connection",
    attempts: int = 3,
    queue: str = "dead-letters",
) -> Event:
    """The event of a dead letter queue: messages as the runtime gave them up, with its reason beside each."""
    from runtime_lib.failure import Failure

    now = time.time()
    failure = Failure(
        "task",
        reason,
        error_type=error_type,
        error_message=error_message,
        attempts=attempts,
        first_at=now - 60,
        last_at=now,
        source="sqs:tasks",
    )
    attributes = {FAILURE_ATTRIBUTE: failure.attribute()}
    return sqs_event(*(sqs_record(message, queue=queue, message_attributes=attributes) for message in messages))


def _message_attribute(value: str | float | bytes) -> Event:
    if isinstance(value, bytes):
        given = {"binaryValue": b64encode(value).decode(), "dataType": "Binary"}
    elif isinstance(value, str):
        given = {"stringValue": value, "dataType": "String"}
    else:
        given = {"stringValue": str(value), "dataType": "Number"}
    return {**given, "stringListValues": [], "binaryListValues": []}
