"""Tasks as messages in SQS queues."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime_lib.contract import SQS_MAX_DELAY_SECONDS, Priority, is_fifo
from runtime_lib.errors import DispatchError
from runtime_lib.queues import Entry, queue_name, queue_url, send_entries
from runtime_lib.transports import send_all, sendable

if TYPE_CHECKING:
    from runtime_lib.task import Call

__all__ = ["SqsTransport"]

_PRIORITIES = tuple(Priority)


class SqsTransport:
    """Sends tasks to a queue, or to one queue per priority.

    Args:
        queue_urls: a URL or name, or one for each priority: ``{"default": …, "high": …}``. A priority that has none
            goes to the default's.
        client: a boto3 SQS client; by default one made from the environment when first needed.
    """

    def __init__(self, queue_urls: str | Mapping[Priority | str, str], client: Any | None = None) -> None:
        named = {Priority.DEFAULT: queue_urls} if isinstance(queue_urls, str) else queue_urls
        if not (named and all(named.values()) and all(priority in _PRIORITIES for priority in named)):
            allowed = ", ".join(_PRIORITIES)
            raise ValueError(f"queue_urls is a queue's URL or name, or one for each of {allowed}, given {queue_urls!r}")
        self._queues = {Priority(priority): queue for priority, queue in named.items()}
        self._client = client

    def send(self, calls: "Sequence[Call]") -> None:
        """Send all of them, ten messages and 1 MiB a request.

        Raises:
            PayloadTooLargeError: one is too large for a message, and there is no payload bucket; nothing is sent.
            DispatchError: some are not in their queue; ``failed`` says which and why.
        """
        by_queue: dict[str, list[Call]] = {}
        for call in sendable(calls):
            by_queue.setdefault(self._queue(call.envelope.priority), []).append(call)
        send_all([(partial(self._send, queue), group) for queue, group in by_queue.items()])

    def _send(self, queue: str, calls: "Sequence[Call]") -> None:
        entry = _ordered if is_fifo(queue) else _unordered
        entries = [entry(queue, call) for call in calls]
        send_entries(queue_url(queue, self._client), entries, self._client)

    def _queue(self, priority: Priority) -> str:
        queue = self._queues.get(priority) or self._queues.get(Priority.DEFAULT)
        if not queue:
            raise DispatchError(
                f"this SqsTransport has queues for {', '.join(self._queues)}, and none for {priority}: "
                "give it one, or one for 'default'"
            )
        return queue


def _unordered(_: str, call: "Call") -> Entry:
    if call.delay > SQS_MAX_DELAY_SECONDS:
        raise DispatchError(
            f"{call.envelope.task} cannot be delayed by {call.delay:,} s: SQS delays a message by "
            f"{SQS_MAX_DELAY_SECONDS} s at most; dispatch it along its route (without an SqsTransport of your own), "
            "granted by grant_dispatch(function, delayed=True)"
        )
    return Entry(call.envelope.id, call.body, call.delay, call.envelope.metadata.get("group"))


def _ordered(queue: str, call: "Call") -> Entry:
    """The message for a FIFO queue, in its task's order unless `with_group` says otherwise."""
    envelope = call.envelope
    if call.delay:
        raise DispatchError(
            f"{envelope.task} cannot be delayed by {call.delay} s: {queue_name(queue)} is a FIFO queue, which delays "
            "no single message; serve the task by a standard queue, or raise RetryLater in it"
        )
    entry = Entry(envelope.id, call.body)
    return entry.ordered(group=envelope.metadata.get("group") or envelope.task, deduplication_id=envelope.id)
