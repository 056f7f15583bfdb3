"""The errors that users meet, and the exceptions by which a task tells what shall become of it.

A class's docstring is its default message.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.contract import FAILURE_MAX_BYTES, MESSAGE_MAX_BYTES, SQS_MAX_BYTES

if TYPE_CHECKING:
    from datetime import timedelta

    from runtime_lib.task_record import RecordedError

__all__ = [
    "AlreadyFailedError",
    "ArgumentError",
    "Discard",
    "DispatchError",
    "EnvelopeError",
    "FailedMessage",
    "HttpError",
    "NewerMessageError",
    "NoRouteError",
    "NotBegunError",
    "NotRecordedError",
    "PayloadLostError",
    "PayloadTooLargeError",
    "PayloadUnavailableError",
    "Reject",
    "ResponseRefusedError",
    "ResponseStateError",
    "ResultUnavailableError",
    "RetryLater",
    "StoreError",
    "SubprocessError",
    "TaskCancelledError",
    "TaskDefinitionError",
    "TaskError",
    "TaskFailedError",
    "TaskTimeoutError",
    "UnknownTaskError",
]


class TaskError(Exception):
    """Something about a task went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class TaskDefinitionError(TaskError, TypeError):
    """This function cannot be a task."""


class ArgumentError(TaskError, TypeError):
    """The arguments do not fit the task's signature."""


class EnvelopeError(TaskError, ValueError):
    """The message is not a task's envelope."""


class UnknownTaskError(TaskError, LookupError):
    """No task of this name is registered here."""


class NewerMessageError(TaskError):
    """The message was written by a newer version than this one."""


class FailedMessage(NamedTuple):
    """One message that could not be sent: the envelope's id, AWS's error code and its message."""

    id: str
    code: str
    message: str


class DispatchError(TaskError):
    """The task was not dispatched.

    ``failed`` lists the messages that were not sent, where some were: the others of the same call are with AWS. If it
    is empty, none was sent.
    """

    def __init__(self, message: str | None = None, *, failed: Sequence[FailedMessage] = ()) -> None:
        super().__init__(message)
        self.failed = tuple(failed)


class NoRouteError(DispatchError):
    """This function has no route to the task."""


class PayloadTooLargeError(DispatchError, ValueError):
    """The message is larger than AWS takes."""

    @classmethod
    def of(cls, task: str, size: int, limit: int = MESSAGE_MAX_BYTES) -> "PayloadTooLargeError":
        """For a message of ``size`` bytes to a server without a payload bucket."""
        kept = f" ({FAILURE_MAX_BYTES:,} of its {SQS_MAX_BYTES:,} are kept for the dead letter's reason)"
        return cls(
            f"{task}() with these arguments makes a message of {size:,} bytes, and AWS takes {limit:,}"
            f"{kept if limit == MESSAGE_MAX_BYTES else ' to start a workflow'}: give the construct that serves the "
            "task payloads=PayloadBucket(…), through which larger ones go, or store the data in S3 and send its key"
        )


class PayloadLostError(TaskError):
    """The arguments of the message are not in the payload bucket any more."""


class PayloadUnavailableError(TaskError):
    """The arguments of the message cannot be read from the payload bucket now."""


class StoreError(TaskError):
    """The task store cannot be used."""


class NotBegunError(TaskError):
    """The task was not begun: its store failed, or another delivery of the same message is being run."""


class NotRecordedError(StoreError, LookupError):
    """The task store has no record of this task."""


class TaskFailedError(TaskError):
    """The task failed.

    ``failure`` is what its last attempt raised: ``type``, ``message`` and ``traceback``, as strings.
    """

    def __init__(self, message: str | None = None, failure: "RecordedError | None" = None) -> None:
        super().__init__(message)
        self.failure = failure


class TaskTimeoutError(TaskError, TimeoutError):
    """The attempt did not end within the task's timeout."""


class SubprocessError(TaskError):
    """The process that the task ran in ended without a result, or with an exception that this process does not know.

    ``exit_code`` is its exit code, negative for the signal that ended it; None if it raised.
    """

    def __init__(self, message: str | None = None, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class AlreadyFailedError(TaskFailedError):
    """The task has failed already, and its message is here once more."""


class TaskCancelledError(TaskError):
    """The task was cancelled before it began, or discarded itself."""


class ResultUnavailableError(TaskError):
    """The task succeeded, and its result was not recorded."""


class ResponseStateError(TaskError):
    """The response is not in a state that allows this."""


class ResponseRefusedError(TaskError):
    """Nobody takes the response any more: the invocation has timed out, or the client has gone."""


class RetryLater(Exception):  # noqa: N818  (an instruction, not an error)
    """Raised by a task to run again after ``delay`` (seconds or a timedelta; 0: at once), with no error logged.

    Not limited by the retry policy's ``max_attempts``, only by its queue's ``max_receive_count``.
    """

    def __init__(self, delay: "float | timedelta" = 0, message: str = "the task asked to run again later") -> None:
        super().__init__(delay, message)  # as given, so that it can be pickled
        self.delay = seconds(delay)

    def __str__(self) -> str:
        return str(self.args[1])


class Discard(Exception):  # noqa: N818
    """Raised by a task to be done with the message: neither retried nor dead-lettered."""


class Reject(Exception):  # noqa: N818
    """Raised by a task to go to the dead letter queue now, with the reason given, whatever its retry policy says."""


class HttpError(TaskError):
    """Raised by the task of an ApiTask to answer with an error: ``raise HttpError(404, "there is no such order")``.

    The answer's body is ``{"message": …}`` as API Gateway's own errors have it, with ``details`` beside it.

    Raises:
        ValueError: the status is not 400 to 599.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.args = (status, message, headers, details)  # as given, so that it can be pickled
        if not 400 <= status <= 599:  # noqa: PLR2004  (the client's and the server's errors)
            raise ValueError(f"an HttpError has a status from 400 to 599, given {status!r}")
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.status} {self.message}".rstrip()


def message_of(error: BaseException) -> str:
    """What an exception says; nothing if it fails to say it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (what happened has happened all the same)
        return ""


def seconds(duration: "float | timedelta") -> float:
    """A duration as seconds; numbers are seconds already.

    Raises:
        TypeError: it is neither a number nor a timedelta.
        ValueError: it is negative or not finite.
    """
    if isinstance(duration, int | float):
        value = float(duration)
    elif hasattr(duration, "total_seconds"):
        value = duration.total_seconds()
    else:
        raise TypeError(f"a duration is a number of seconds or a timedelta, given {duration!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"a duration is 0 seconds or more, given {duration!r}")
    return value
