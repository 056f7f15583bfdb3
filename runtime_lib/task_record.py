"""What is known of one dispatched task."""

from enum import StrEnum
from time import time
from typing import Any, NamedTuple

__all__ = ["FINISHED", "Ending", "Progress", "RecordedError", "Refused", "TaskRecord", "TaskStatus"]


class TaskStatus(StrEnum):
    """Where a task is between its dispatch and its end."""

    QUEUED = "queued"
    """Dispatched, and not begun."""
    RUNNING = "running"
    """An attempt is under way, or its process was killed: see `TaskRecord.is_overdue`."""
    RETRYING = "retrying"
    """An attempt failed, and another one comes."""
    SUCCEEDED = "succeeded"
    """It returned."""
    FAILED = "failed"
    """It was given up, and lies in the dead letter queue."""
    CANCELLED = "cancelled"
    """It was cancelled before it began, or discarded itself."""


FINISHED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class RecordedError(NamedTuple):
    """What an attempt raised, or why the message was given up; ``traceback`` is empty if nothing was raised."""

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Progress(NamedTuple):
    """How far a task says it is: ``done`` of ``total``, if it knows that, and a few words."""

    done: float
    total: float | None = None
    note: str = ""

    def __str__(self) -> str:
        return f"{self.done:g}{'' if self.total is None else f'/{self.total:g}'} {self.note}".rstrip()


class TaskRecord(NamedTuple):
    """What a store knows of a task. Times are epoch seconds.

    ``attempts``: how many have begun; after a redrive it counts from 1 again. ``queued_at``: None if its sender does
    not record. ``started_at``: when the latest attempt began. ``result``: what it returned, as JSON values, once it has
    succeeded; ``result_missing`` says why it is not there although it has. ``error``: of the latest attempt that
    failed. ``lease_until``: while an attempt runs, until when no other one begins. ``progress``: what the task said
    last, in whichever attempt.
    """

    id: str
    task: str
    status: TaskStatus
    attempts: int = 0
    queued_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    result: Any = None
    result_missing: str | None = None
    error: RecordedError | None = None
    lease_until: float | None = None
    progress: Progress | None = None

    @property
    def has_finished(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.status in FINISHED

    @property
    def is_overdue(self) -> bool:
        """Whether its latest attempt ended without a report: timeout, out of memory or killed.

        Another one begins if its message is delivered again. After its last delivery, it stays like this.
        """
        return self.status is TaskStatus.RUNNING and self.lease_until is not None and self.lease_until < time()


class Refused(NamedTuple):
    """Why an attempt may not begin: its status; the rest of the lease, if another one runs; its error, if it failed."""

    status: TaskStatus
    seconds: float = 0.0
    error: RecordedError | None = None


class Ending(NamedTuple):
    """How an attempt ended; ``result`` is JSON text."""

    status: TaskStatus
    result: str | None = None
    result_missing: str | None = None
    error: RecordedError | None = None
