"""What becomes of a message that was run, or that could not be."""

from typing import Any, NamedTuple

from runtime_lib.errors import TaskError

__all__ = ["DeadLettered", "Discarded", "Outcome", "RetryAfter", "Succeeded", "TaskRejectedError"]


class Succeeded(NamedTuple):
    """The task returned ``result``."""

    result: Any = None


class RetryAfter(NamedTuple):
    """The message is to be delivered again after ``delay`` seconds."""

    delay: float
    error: BaseException


class DeadLettered(NamedTuple):
    """The message is given up, and goes where a person can see why: to who awaits the answer, if somebody does."""

    reason: str
    error: BaseException | None = None


class Discarded(NamedTuple):
    """The message is done with: the task raised `Discard`, or its record says that it has finished or is cancelled."""

    reason: str


Outcome = Succeeded | RetryAfter | DeadLettered | Discarded


class TaskRejectedError(TaskError):
    """The message was given up without an exception of the task's own."""
