"""What is known of one dispatched task."""

from enum import StrEnum
from typing import Any, NamedTuple

__all__ = ["FINISHED", "Ending", "RecordedError", "Refused", "TaskRecord", "TaskStatus"]


class TaskStatus(StrEnum):
    """Where a task is between its dispatch and its end."""

    QUEUED = "queued"
    """Dispatched, and not begun."""
    RUNNING = "running"
    """An attempt is under way, or was when its process crashed: then it runs again when its message is redelivered."""
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


class TaskRecord(NamedTuple):
    """What a store knows of a task. Times are epoch seconds.

    ``attempts``: how many have begun; after a redrive it counts from 1 again. ``queued_at``: None if its sender does
    not record. ``started_at``: when the latest attempt began. ``result``: what it returned, as JSON values, once it has
    succeeded; ``result_missing`` says why it is not there although it has. ``error``: of the latest attempt that
    failed.
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

    @property
    def has_finished(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.status in FINISHED


class Refused(NamedTuple):
    """Why an attempt may not begin: the status it has, and if another attempt runs, for how many seconds at least."""

    status: TaskStatus
    seconds: float = 0.0


class Ending(NamedTuple):
    """How an attempt ended; ``result`` is JSON text."""

    status: TaskStatus
    result: str | None = None
    result_missing: str | None = None
    error: RecordedError | None = None
