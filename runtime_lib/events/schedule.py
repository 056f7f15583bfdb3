"""What a ScheduledTask's schedule delivers: which of its runs this is."""

from typing import TYPE_CHECKING

from runtime_lib.context import Injected, TaskContext
from runtime_lib.errors import ArgumentError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ScheduledEvent"]


class ScheduledEvent(Injected):
    """One run of a schedule, as its task gets it for a parameter annotated ``ScheduledEvent``."""

    __slots__ = ("schedule", "scheduled_time")

    def __init__(self, schedule: str, scheduled_time: "datetime") -> None:
        self.schedule = schedule
        """The schedule's name."""
        self.scheduled_time = scheduled_time
        """When the run was to start, in UTC, however late or often it is delivered."""

    @classmethod
    def of(cls, context: TaskContext) -> "ScheduledEvent":
        """The run that the task is started for.

        Raises:
            ArgumentError: no schedule started it.
        """
        from runtime_lib.occurrence import moment_of

        metadata = context.envelope.metadata
        schedule, scheduled_time = metadata.get("schedule"), metadata.get("scheduled_time")
        if not isinstance(schedule, str) or not isinstance(scheduled_time, str):
            raise ArgumentError(
                f"{context.task} takes a ScheduledEvent, and no schedule started it: serve it by a ScheduledTask"
            )
        try:
            return cls(schedule, moment_of(scheduled_time))
        except ValueError:
            raise ArgumentError(
                f"{context.task} takes a ScheduledEvent, and its scheduled_time {scheduled_time!r:.100} is no time of "
                "ISO 8601"
            ) from None

    def __repr__(self) -> str:
        return f"ScheduledEvent(schedule={self.schedule!r}, scheduled_time={self.scheduled_time.isoformat()!r})"
