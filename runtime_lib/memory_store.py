"""A task store in this process's memory."""

import json
import time
from threading import Lock
from typing import NamedTuple

from runtime_lib.errors import NotRecordedError
from runtime_lib.task_record import FINISHED, Ending, Progress, Refused, TaskRecord, TaskStatus

__all__ = ["MemoryStore"]


class _Held(NamedTuple):
    owner: str
    until: float


class MemoryStore:
    """Records in this process's memory, for tests and for tasks that run where they are dispatched."""

    def __init__(self) -> None:
        self._records: dict[str, TaskRecord] = {}
        self._leases: dict[str, _Held] = {}
        self._messages: dict[str, str | None] = {}
        self._lock = Lock()

    def add(self, task_id: str, task: str, *, delay: float = 0) -> bool:  # noqa: ARG002  (nothing expires here)
        """See `Store.add`."""
        with self._lock:
            if task_id in self._records:
                return False
            self._records[task_id] = TaskRecord(task_id, task, TaskStatus.QUEUED, queued_at=time.time())
            return True

    def take_back(self, task_id: str) -> None:
        """See `Store.take_back`."""
        with self._lock:
            if task_id in self._records and self._records[task_id].status is TaskStatus.QUEUED:
                del self._records[task_id]

    def begin(
        self, task_id: str, task: str, *, owner: str, seconds: float, message_id: str | None = None
    ) -> int | Refused:
        """See `Store.begin`."""
        with self._lock:
            record = self._records.get(task_id) or TaskRecord(task_id, task, TaskStatus.QUEUED)
            if record.status in {TaskStatus.SUCCEEDED, TaskStatus.CANCELLED}:
                return Refused(record.status)
            held = self._leases.get(task_id)
            now = time.time()
            if record.status is TaskStatus.RUNNING and held and held.until > now:
                return Refused(record.status, held.until - now)
            before = self._messages.get(task_id)
            if record.status is TaskStatus.FAILED and message_id and message_id == before:
                return Refused(record.status, error=record.error)
            is_another = message_id and before and message_id != before
            if record.status is TaskStatus.FAILED or (record.status is TaskStatus.RUNNING and is_another):
                record = TaskRecord(task_id, task, record.status, queued_at=record.queued_at)
            attempt = record.attempts + 1
            self._records[task_id] = record._replace(status=TaskStatus.RUNNING, attempts=attempt, started_at=now)
            self._leases[task_id] = _Held(owner, now + seconds)
            self._messages[task_id] = message_id
            return attempt

    def end(self, task_id: str, ending: Ending, *, owner: str) -> bool:
        """See `Store.end`."""
        with self._lock:
            if self._leases.get(task_id, _Held("", 0)).owner != owner:
                return False
            del self._leases[task_id]
            self._records[task_id] = self._records[task_id]._replace(
                status=ending.status,
                finished_at=time.time() if ending.status in FINISHED else None,
                result=None if ending.result is None else json.loads(ending.result),
                result_missing=ending.result_missing,
                error=ending.error,
            )
            return True

    def note_progress(self, task_id: str, progress: Progress) -> None:
        """See `Store.note_progress`."""
        with self._lock:
            record = self._records.get(task_id)
            if record and record.status is TaskStatus.RUNNING:
                self._records[task_id] = record._replace(progress=progress)

    def cancel(self, task_id: str) -> bool:
        """See `Store.cancel`."""
        with self._lock:
            record = self._records.get(task_id)
            if record is None:
                raise NotRecordedError(f"there is no record of task {task_id}")
            crashed = record.status is TaskStatus.RUNNING and self._leases[task_id].until <= time.time()
            if record.status not in {TaskStatus.QUEUED, TaskStatus.RETRYING} and not crashed:
                return False
            self._leases.pop(task_id, None)
            self._records[task_id] = record._replace(status=TaskStatus.CANCELLED, finished_at=time.time())
            return True

    def find(self, task_id: str) -> TaskRecord | None:
        """See `Store.find`."""
        with self._lock:
            record, held = self._records.get(task_id), self._leases.get(task_id)
            return record._replace(lease_until=held.until) if record and held else record

    def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """See `Store.acquire`."""
        with self._lock:
            held, now = self._leases.get(key), time.time()
            if held and held.owner != owner and held.until > now:
                return False
            self._leases[key] = _Held(owner, now + seconds)
            return True

    def renew(self, key: str, owner: str, seconds: float) -> bool:
        """See `Store.renew`."""
        with self._lock:
            if self._leases.get(key, _Held("", 0)).owner != owner:
                return False
            self._leases[key] = _Held(owner, time.time() + seconds)
            return True

    def release(self, key: str, owner: str) -> None:
        """See `Store.release`."""
        with self._lock:
            if self._leases.get(key, _Held("", 0)).owner == owner:
                del self._leases[key]
