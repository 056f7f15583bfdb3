"""Keeping the messages that are being run invisible to other receivers."""

from collections.abc import Iterable
from threading import Event, Lock, Thread
from typing import Any

from runtime_lib.contract import SQS_MAX_BATCH_ENTRIES
from runtime_lib.log import logger
from runtime_lib.queues import queue_name
from runtime_lib.record import Record

__all__ = ["Heartbeat"]

_BEATS_PER_TIMEOUT = 3
"""A message survives one beat that fails, and the time it takes to fail."""


class Heartbeat:
    """Extends the visibility timeout (seconds) of the messages it holds, long before it ends.

    It beats in a thread of its own, so that a task that blocks the event loop does not stop it.
    """

    def __init__(self, url: str, visibility_timeout: int, sqs: Any) -> None:
        self._url = url
        self._visibility_timeout = visibility_timeout
        self._sqs = sqs
        self._held: dict[str, str] = {}  # message ids by receipt
        self._lock = Lock()  # held while a request is under way
        self._ended = Event()
        self._thread = Thread(target=self._beat, name="task-worker-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def end(self) -> None:
        """Beat no more: what is still held comes back when its visibility timeout ends."""
        self._ended.set()

    def hold(self, records: Iterable[Record]) -> None:
        """Extend these from now on."""
        with self._lock:
            self._held.update((str(record.delivery.receipt), record.id) for record in records)

    def release(self, record: Record) -> None:
        """Extend it no more; on return no request is under way that would undo what is done to it next."""
        with self._lock:
            self.forget(record)

    def forget(self, record: Record) -> None:
        """Extend it no more, without waiting for a request that is under way."""
        self._held.pop(str(record.delivery.receipt), None)

    def _beat(self) -> None:
        while not self._ended.wait(self._visibility_timeout / _BEATS_PER_TIMEOUT):
            with self._lock:
                receipts = list(self._held)
            for start in range(0, len(receipts), SQS_MAX_BATCH_ENTRIES):
                with self._lock:
                    held = [one for one in receipts[start : start + SQS_MAX_BATCH_ENTRIES] if one in self._held]
                    if held:
                        self._extend(held)

    def _extend(self, receipts: list[str]) -> None:
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": self._visibility_timeout}
            for number, receipt in enumerate(receipts)
        ]
        try:
            response = self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
        except Exception as error:  # noqa: BLE001  (botocore's errors share no base class; the next beat tries again)
            logger.warning("%d messages of %s were not extended: %s", len(entries), queue_name(self._url), error)
            return
        for refused in response.get("Failed", []):
            receipt = receipts[int(refused["Id"])]
            message_id = self._held.get(receipt)
            if message_id and refused.get("SenderFault"):
                # Deleted by the task, received by another one, or twelve hours old, which is as long as SQS keeps it.
                logger.warning("message %s is not extended any more: %s", message_id, refused.get("Code"))
                self._held.pop(receipt, None)
