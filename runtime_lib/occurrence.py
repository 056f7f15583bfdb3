"""What a schedule sends for each of its runs, and the envelope that is made of it.

``{"schedule": name, "scheduled_time": "2026-03-29T00:00:00Z", "task", "args", "kwargs", "priority", "overlap"?}``
"""

from typing import TYPE_CHECKING, Any

from runtime_lib.contract import ENVELOPE_VERSION, Priority
from runtime_lib.envelope import Envelope, derived_id
from runtime_lib.errors import ArgumentError, Discard, EnvelopeError, NotBegunError, StoreError, TaskDefinitionError
from runtime_lib.log import logger

if TYPE_CHECKING:
    from datetime import datetime

    from runtime_lib.context import TaskContext
    from runtime_lib.execution import Outcome
    from runtime_lib.task import Task

__all__ = ["begin", "check_declared", "end", "envelope_of", "moment_of"]

_FIELDS: dict[str, type] = {"schedule": str, "scheduled_time": str, "task": str, "args": list, "kwargs": dict}
_SKIP = "skip"
_LAMBDA_RETRY_SECONDS = 180.0
"""Lambda runs a failed asynchronous invocation again one minute after the first run, and two after the second."""


def envelope_of(message: dict[str, Any]) -> Envelope:
    """The envelope of one run; however often the run is delivered, its id is the same.

    Raises:
        EnvelopeError: a field is missing or of another type.
    """
    for name, expected in _FIELDS.items():
        if type(message.get(name)) is not expected or message[name] == "":
            raise EnvelopeError(
                f"the scheduled message has {name} {message.get(name)!r:.100}: expected {expected.__name__}"
            )
    priority, overlap = message.get("priority", Priority.DEFAULT.value), message.get("overlap")
    if priority not in tuple(Priority) or overlap not in (None, _SKIP):
        raise EnvelopeError(
            f"the scheduled message has priority {priority!r:.100} and overlap {overlap!r:.100}: expected one of "
            f"{', '.join(Priority)}, and {_SKIP!r} or none"
        )
    schedule, scheduled_time = message["schedule"], message["scheduled_time"]
    try:
        moment = moment_of(scheduled_time)
    except ValueError:
        raise EnvelopeError(
            f"the scheduled message has scheduled_time {scheduled_time!r:.100}: expected a time of ISO 8601"
        ) from None
    return Envelope(
        derived_id("schedule", schedule, scheduled_time),
        message["task"],
        message["args"],
        message["kwargs"],
        {},
        {
            "priority": priority,
            "timestamp": int(1000 * moment.timestamp()),
            "version": ENVELOPE_VERSION,
            "schedule": schedule,
            "scheduled_time": scheduled_time,
            **({"overlap": overlap} if overlap else {}),
        },
    )


def moment_of(scheduled_time: str) -> "datetime":
    """The time of a run, in UTC if its text has no zone.

    Raises:
        ValueError: it is no time of ISO 8601.
    """
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(scheduled_time)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_declared(task: "Task[..., Any]", schedule: Any, default_args: Any) -> None:
    """Check what a decorator says of a task's schedule, as far as this side knows it.

    Raises:
        TaskDefinitionError: the schedule is no text, or the arguments are none of the task's.
    """
    if schedule is not None and not (isinstance(schedule, str) and schedule):
        raise TaskDefinitionError(
            f"{task.name}: schedule is a str such as 'rate(15 minutes)' or '0 2 * * *', given {schedule!r}"
        )
    if default_args is None:
        return
    given = default_args if isinstance(default_args, dict) else {"": default_args}
    args, kwargs = given.get("args", ()), given.get("kwargs", {})
    if not (given.keys() <= {"args", "kwargs"} and isinstance(args, list | tuple) and isinstance(kwargs, dict)):
        raise TaskDefinitionError(
            f"{task.name}: default_args is {{'args': […], 'kwargs': {{…}}}}, given {default_args!r}"
        )
    try:
        task.signature.to_wire(tuple(args), kwargs)
    except ArgumentError as error:
        raise TaskDefinitionError(f"{task.name}: default_args: {error}") from None


# --- Overlap: one run of a schedule at a time -------------------------------------------------------------------------


def begin(context: "TaskContext") -> None:
    """Keep other runs of the schedule away while this one is going, if the schedule says so.

    Raises:
        Discard: another run is going: this one is skipped.
        NotBegunError: this function has no store, or it fails.
    """
    if context.envelope.metadata.get("overlap") != _SKIP:
        return
    from runtime_lib.leases import renewal
    from runtime_lib.tracking import get_store

    try:
        store = get_store()
        is_ours = store.acquire(_lease(context), context.id, _seconds_left(context))
    except StoreError as error:
        raise NotBegunError(str(error)) from error
    if not is_ours:
        raise Discard(f"skipped: the previous run of schedule {context.envelope.metadata['schedule']!r} is still going")
    if context.delivery.deadline is None:
        renewal.hold(context.id, store, _lease(context))


def end(context: "TaskContext", outcome: "Outcome") -> None:
    """Let the next run begin, unless this one runs again: then it stays the one that is going."""
    if context.envelope.metadata.get("overlap") != _SKIP:
        return
    from runtime_lib.execution import RetryAfter
    from runtime_lib.leases import LEASE_SECONDS
    from runtime_lib.tracking import get_store

    drop(context)
    try:
        if isinstance(outcome, RetryAfter):
            # Without a receipt the message is in no queue, and Lambda decides when it runs again.
            delay = outcome.delay if context.receipt else _LAMBDA_RETRY_SECONDS
            # The delay begins when the rest of its batch is done, and after it the message has to be received.
            get_store().acquire(_lease(context), context.id, delay + _seconds_left(context) + LEASE_SECONDS)
        else:
            get_store().release(_lease(context), context.id)
    except Exception:  # noqa: BLE001  (the task has run: what happens after it changes nothing)
        logger.exception("the lease of %s is not settled, and ends by itself", _lease(context))


def drop(context: "TaskContext") -> None:
    """Hold the lease no longer than it lasts: the run is cancelled."""
    from runtime_lib.leases import renewal

    renewal.drop(context.id)


def _lease(context: "TaskContext") -> str:
    return f"schedule:{context.envelope.metadata['schedule']}"


def _seconds_left(context: "TaskContext") -> float:
    from runtime_lib.leases import LEASE_SECONDS

    remaining = context.remaining_seconds()
    return LEASE_SECONDS if remaining is None else max(1.0, remaining)
