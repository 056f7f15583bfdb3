"""SQS queues as this library uses them: send in batches, delay, delete, and find a queue by its name."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from runtime_lib.clients import client
from runtime_lib.contract import (
    ENV_QUEUE_URL_PREFIX,
    LAMBDA_MAX_TIMEOUT_SECONDS,
    SQS_GROUP,
    SQS_MAX_BATCH_ENTRIES,
    SQS_MAX_BYTES,
    SQS_MAX_VISIBILITY_SECONDS,
    is_fifo,
)
from runtime_lib.errors import DispatchError, FailedMessage
from runtime_lib.log import logger

__all__ = [
    "Entry",
    "attribute_size",
    "change_visibility",
    "delete",
    "queue_name",
    "queue_url",
    "send_entries",
    "show",
    "url_of_arn",
]

_SEND_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.1
_urls: dict[tuple[Any, str], str] = {}
"""By client, each of which has its own account and region."""


class Entry(NamedTuple):
    """One message to send; ``id`` tells it apart in errors. ``attributes`` are message attributes as SQS takes them."""

    id: str
    body: str
    delay: int = 0
    group: str | None = None
    attributes: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    deduplication_id: str | None = None

    def ordered(self, *, group: str, deduplication_id: str) -> "Entry":
        """The entry as a FIFO queue takes it: in ``group``, and only once within five minutes.

        (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html)
        """
        return self._replace(group=group, deduplication_id=deduplication_id)

    def size(self) -> int:
        """Bytes that count against SQS's limit: the body, and each attribute's name, type and value."""
        return len(self.body.encode()) + sum(attribute_size(*one) for one in self.attributes.items())

    def request(self, number: int) -> dict[str, Any]:
        """The entry of a SendMessageBatch request."""
        request: dict[str, Any] = {"Id": str(number), "MessageBody": self.body}
        if self.delay:
            request["DelaySeconds"] = self.delay
        if self.group is not None:
            request["MessageGroupId"] = _token(self.group)
        if self.deduplication_id is not None:
            request["MessageDeduplicationId"] = _token(self.deduplication_id)
        if self.attributes:
            request["MessageAttributes"] = self.attributes
        return request


def attribute_size(name: str, attribute: Mapping[str, Any]) -> int:
    """Bytes of a message attribute that count against SQS's limit."""
    value = attribute.get("BinaryValue", b"") or attribute.get("StringValue", "").encode()
    return len(name.encode()) + len(attribute["DataType"]) + len(value)


def _token(text: str) -> str:
    """A text as SQS takes it for a group or deduplication id: itself, else a hash of it.

    The group that a task hands on is what its message says, which others may have written.
    """
    if SQS_GROUP.fullmatch(text):
        return text
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


def queue_url(queue: str, sqs: Any = None) -> str:
    """The URL of a queue given by URL or by name: a name is of this account and region.

    Raises:
        DispatchError: the queue does not exist or may not be looked up.
    """
    if "://" in queue:
        return queue
    prefix = os.environ.get(ENV_QUEUE_URL_PREFIX)
    if prefix:
        return prefix + queue
    sqs = sqs or client("sqs")
    if (sqs, queue) not in _urls:
        try:
            _urls[sqs, queue] = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        except Exception as error:
            raise DispatchError(f"the queue {queue!r} cannot be found: {error}") from error
    return _urls[sqs, queue]


def queue_name(url: str) -> str:
    """The name at the end of a queue's URL."""
    return url.rpartition("/")[2]


def url_of_arn(arn: str) -> str:
    """The URL of the queue with this ARN, as an event source mapping names it."""
    _, partition, _, region, account, name = arn.split(":", 5)
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://sqs.{region}.{suffix}/{account}/{name}"


def send_entries(url: str, entries: Sequence[Entry], sqs: Any = None) -> None:
    """Send entries, at most 10 and 1 MiB a request; what fails on AWS's side is sent again, up to three times.

    To a FIFO queue nothing is sent any more once a request has failed: it would come before what was dispatched first.

    Raises:
        DispatchError: some were not sent; ``failed`` says which and why, and the others are in the queue.
    """
    sqs = sqs or client("sqs")
    failed: list[FailedMessage] = []
    for batch in _batches(entries):
        if failed and is_fifo(url):
            failed += [FailedMessage(entry.id, "NotSent", "one before it in its order was not sent") for entry in batch]
        else:
            failed += _send_batch(sqs, url, batch)
    if failed:
        raise DispatchError(
            f"{len(failed)} of {len(entries)} messages were not sent to {queue_name(url)}: "
            f"{failed[0].code}: {failed[0].message}",
            failed=failed,
        )


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    total = 0
    for entry in entries:
        size = entry.size()
        if batch and (len(batch) == SQS_MAX_BATCH_ENTRIES or total + size > SQS_MAX_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(entry)
        total += size
    if batch:
        yield batch


def _send_batch(sqs: Any, url: str, batch: list[Entry]) -> list[FailedMessage]:
    waiting = dict(enumerate(batch))
    failed: list[FailedMessage] = []
    for attempt in range(_SEND_ATTEMPTS):
        if attempt:
            time.sleep(_pause(attempt))
        try:
            response = sqs.send_message_batch(
                QueueUrl=url, Entries=[entry.request(number) for number, entry in waiting.items()]
            )
        except Exception as error:  # noqa: BLE001  (botocore has retried what can be; its errors share no base class)
            return failed + [FailedMessage(entry.id, type(error).__name__, str(error)) for entry in waiting.values()]
        again = {}
        for one in response.get("Failed", []):
            number = int(one["Id"])
            if one.get("SenderFault") or attempt == _SEND_ATTEMPTS - 1:
                failed.append(FailedMessage(waiting[number].id, one.get("Code", "?"), one.get("Message", "")))
            else:
                again[number] = waiting[number]
        waiting = again
        if not waiting:
            break
    return failed


def _pause(attempt: int) -> float:
    from random import SystemRandom

    return SystemRandom().uniform(0, _FIRST_PAUSE_SECONDS * 2**attempt)


def delete(url: str, receipts: Sequence[str], sqs: Any = None) -> None:
    """Delete messages; one that cannot be deleted is logged, and SQS will deliver it again."""
    ask = (sqs or client("sqs")).delete_message_batch
    _settle(ask, url, receipts, {}, "a finished message of %s could not be deleted and will run again: %s %s")


def show(url: str, receipts: Sequence[str], sqs: Any = None) -> None:
    """Have received messages delivered again at once; one for which that fails is logged."""
    ask = (sqs or client("sqs")).change_message_visibility_batch
    _settle(ask, url, receipts, {"VisibilityTimeout": 0}, "a message of %s comes back later, not at once: %s %s")


def _settle(ask: Any, url: str, receipts: Sequence[str], options: dict[str, Any], failure: str) -> None:
    for start in range(0, len(receipts), SQS_MAX_BATCH_ENTRIES):
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt, **options}
            for number, receipt in enumerate(receipts[start : start + SQS_MAX_BATCH_ENTRIES])
        ]
        try:
            refused = ask(QueueUrl=url, Entries=entries).get("Failed", [])
        except Exception as error:  # noqa: BLE001
            refused = [{"Code": type(error).__name__, "Message": str(error)}]
        for one in refused:
            logger.error(failure, queue_name(url), one.get("Code"), one.get("Message"))


def change_visibility(url: str, receipt: str, seconds: float, sqs: Any = None) -> None:
    """Let a received message stay invisible for ``seconds`` from now; 0: deliver it again at once.

    At most 11¾ hours: SQS counts its 12 from the receive and refuses more, and a function may have run for 15 minutes.
    """
    (sqs or client("sqs")).change_message_visibility(
        QueueUrl=url,
        ReceiptHandle=receipt,
        VisibilityTimeout=min(SQS_MAX_VISIBILITY_SECONDS - LAMBDA_MAX_TIMEOUT_SECONDS, round(seconds)),
    )
