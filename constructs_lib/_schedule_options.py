"""When a ScheduledTask runs, and within which bounds."""

from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._schedule import Schedule, cron_of, moment_of
from constructs_lib._scheduler import serves
from constructs_lib._source import SourceTree
from constructs_lib._task_definition import TaskDefinition
from constructs_lib._validation import refusal, require_duration, seconds, warn

if TYPE_CHECKING:
    from constructs_lib._address import DispatchTarget, Loaded

__all__ = ["check_period", "check_window", "schedule_of", "warn_of_doubts", "warn_of_unscheduled"]

_MAX_WINDOW_MINUTES: Final = 1_440


def schedule_of(
    scope: Construct,
    source: SourceTree | None,
    definition: TaskDefinition | None,
    schedule: Schedule | str | None,
    time_zone: str | None,
) -> Schedule:
    """When the task runs: what the construct is given, else what the decorator says.

    Raises:
        ValueError: neither says it, or says what AWS would refuse.
    """
    if schedule is None and source and definition:
        schedule = cast("str | None", source.option(definition, "schedule"))
    if isinstance(schedule, Schedule):
        if time_zone is not None:
            raise refusal(
                scope,
                "time_zone",
                given=f"{time_zone!r}, and schedule is a Schedule",
                allowed="a time zone for a schedule that is a string",
                remedy="give time_zone= to the Schedule",
            )
        return schedule
    if not isinstance(schedule, str):
        raise refusal(
            scope,
            "schedule",
            given="left out, and @task has none" if schedule is None else repr(schedule),
            allowed="a Schedule or a string such as 'rate(15 minutes)'",
            remedy="say when the task is to run",
        )
    try:
        return Schedule.parse(schedule, time_zone=time_zone)
    except ValueError as error:
        raise ValueError(f"{scope.node.path}: schedule: {error}") from None


def check_period(scope: Construct, when: Schedule, start: datetime | None, end: datetime | None) -> None:
    """Refuse times between which a schedule does not run.

    Raises:
        ValueError: a time is ambiguous or not heeded, or the end is before the start.
    """
    for argument, moment in (("start", start), ("end", end)):
        if moment is None:
            continue
        if moment.tzinfo is None:
            raise refusal(
                scope,
                argument,
                given=f"{moment}, which has no time zone",
                allowed="a datetime with one",
                remedy="give it tzinfo=UTC or tzinfo=ZoneInfo('Europe/Berlin')",
            )
        if moment_of(when):
            raise refusal(
                scope,
                argument,
                given=f"{moment} for {when}",
                allowed="the beginning or end of what runs again and again",
                remedy="leave it out: EventBridge Scheduler would not heed it",
            )
    if start and end and end <= start:
        raise refusal(
            scope,
            "end",
            given=f"{end}, and start is {start}",
            allowed="a time after start",
            remedy="correct one of them",
        )


def check_window(scope: Construct, flexible_window: cdk.Duration | None) -> None:
    """Refuse a window that Scheduler does not have.

    Raises:
        ValueError: it is outside what is allowed.
    """
    require_duration(
        scope,
        "flexible_window",
        flexible_window,
        60,
        60 * _MAX_WINDOW_MINUTES,
        remedy="leave it out to start on time",
    )
    window = seconds(flexible_window) if flexible_window else None
    if window is not None and window % 60:
        raise refusal(scope, "flexible_window", given=f"{window:g} seconds", allowed="whole minutes", remedy="round it")


def warn_of_doubts(
    scope: Construct, when: Schedule, *, start: datetime | None, end: datetime | None, now: datetime
) -> None:
    """Warn of what is probably not meant."""
    moment, cron = moment_of(when), cron_of(when)
    if moment and moment <= now:
        warn(scope, "schedule-in-the-past", f"{when} was {now - moment} ago, and does not run (again)")
    if start and start <= now:
        warn(scope, "schedule-in-the-past", f"start was {start}: it is left out, for AWS would refuse it")
    if end and end <= now:
        warn(scope, "schedule-in-the-past", f"end is {end}, and the task does not run any more")
    if cron is None:
        return
    if cron.last_year < now.year:
        warn(scope, "schedule-in-the-past", f"{when} ran for the last time in {cron.last_year}")
    if cron.runs_every_minute_of_some_hours:
        warn(
            scope,
            "schedule-every-minute",
            f"{when} runs in every minute of its hours, sixty times an hour: give it a minute, such as 0",
        )
    if cron.skips_months:
        warn(
            scope,
            "schedule-skips-months",
            f"{when} does not run in months that are shorter: the last day of every month is L",
        )


def warn_of_unscheduled(server: "DispatchTarget", loaded: "Loaded") -> list[str]:
    """Warn of tasks of ``server`` whose decorator has a schedule, for which the app has no ScheduledTask; no errors."""
    from constructs_lib.scheduled_task import ScheduledTask  # noqa: PLC0415  (it has a function, which this is about)

    known = loaded.known()
    declared = [task for task in loaded.source.tasks() if task.module in known and _has_schedule(task)]
    served = [task for task in declared if serves(server.address, task.name, task.namespaces)]
    tree = (cdk.Stage.of(server) or server.node.root).node.find_all() if served else ()
    scheduled = {one.task_name for one in tree if isinstance(one, ScheduledTask)}
    for task in served:
        if task.name not in scheduled:
            warn(
                server,
                "task-without-schedule",
                f"{task.name} has a schedule in its decorator ({task.path.name}:{task.line}), and nothing starts it: "
                "make a ScheduledTask of it",
            )
    return []


def _has_schedule(task: TaskDefinition) -> bool:
    return any(option.arg == "schedule" for option in task.options)
