"""When a ScheduledTask runs: the expressions of EventBridge Scheduler, checked as they are made."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import aws_cdk as cdk

from constructs_lib._cron import Cron, from_five_fields

__all__ = ["Schedule", "cron_of", "moment_of"]

_FORM: Final = re.compile(r"(cron|rate|at)\((.*)\)", re.DOTALL)
_RATE: Final = re.compile(r"([1-9][0-9]*) (minute|hour|day)(s?)")
_AT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_MINUTES: Final = {"day": 1_440, "hour": 60, "minute": 1}
_TIME_ZONE_MAX_LENGTH: Final = 50
_FIVE_FIELDS: Final = 5
_SIX_FIELDS: Final = 6


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something runs, as EventBridge Scheduler takes it.

    A run starts within the minute that it is scheduled for. Where the clocks change, a time that a day has not is
    skipped, and one that it has twice runs once. (https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html)

    Attributes:
        expression: ``cron(…)``, ``rate(…)`` or ``at(…)``.
        time_zone: the IANA name of the time zone in which a cron or a time is meant. Default: UTC.

    Raises:
        ValueError: AWS would refuse the expression or the time zone, or it would never run.
    """

    expression: str
    time_zone: str | None = None

    def __post_init__(self) -> None:
        if self.time_zone is not None:
            _check_time_zone(self.time_zone)
        if cdk.Token.is_unresolved(self.expression):
            return
        form = _FORM.fullmatch(self.expression)
        if form is None:
            raise ValueError(
                f"{self.expression!r} is no schedule: write cron(…) with six fields, rate(…) or at(…), or give cron's "
                "five fields to Schedule.parse"
            )
        kind, content = form.groups()
        if kind == "cron":
            object.__setattr__(self, "expression", str(Cron.parse(content)))  # (in one form: single spaces, capitals)
        elif kind == "rate":
            _check_rate(content)
        else:
            _check_at(content, self.time_zone)

    def __str__(self) -> str:
        return f"{self.expression} {self.time_zone}" if self.time_zone else self.expression

    @classmethod
    def cron(
        cls,
        *,
        minute: str | int = "*",
        hour: str | int = "*",
        day: str | int | None = None,
        month: str | int = "*",
        week_day: str | int | None = None,
        year: str | int = "*",
        time_zone: str | None = None,
    ) -> "Schedule":
        """At the times that the six fields of EventBridge's cron match.

        Args:
            minute: 0 to 59. Default: every minute.
            hour: 0 to 23. Default: every hour.
            day: day of the month, 1 to 31, ``L`` (the last), ``LW`` (the last weekday), ``15W`` (the weekday nearest
                to the 15th). Default: every day, or those of ``week_day``.
            month: 1 to 12 or JAN to DEC. Default: every month.
            week_day: day of the week, 1 (Sunday) to 7 or SUN to SAT, ``FRIL`` (the last Friday), ``MON#2`` (the second
                Monday); not with ``day``. Default: those of ``day``.
            year: 1970 to 2199. Default: every year.
            time_zone: the IANA name of the time zone. Default: UTC.

        Each also takes lists (``1,15``), ranges (``MON-FRI``) and, but for the day of the week, steps (``0/15``).
        """
        days = "?" if week_day is not None and day is None else "*" if day is None else day
        week_days = "?" if week_day is None else week_day
        return cls(str(Cron.parse(f"{minute} {hour} {days} {month} {week_days} {year}")), time_zone)

    @classmethod
    def rate(cls, every: cdk.Duration) -> "Schedule":
        """Every so often, at once when it is deployed or from its start on: whole minutes, at least one."""
        if not isinstance(every, cdk.Duration):
            raise TypeError(f"a rate is a Duration, as in Duration.minutes(15), given {every!r}")
        seconds = every.to_seconds(integral=False)
        if seconds <= 0 or seconds % 60:
            raise ValueError(f"a rate is whole minutes, at least one, given {seconds:g} seconds")
        unit, length = next(one for one in _MINUTES.items() if seconds % (60 * one[1]) == 0)
        value = int(seconds) // (60 * length)
        return cls(f"rate({value} {unit}{'' if value == 1 else 's'})")

    @classmethod
    def at(cls, moment: datetime, *, time_zone: str | None = None) -> "Schedule":
        """Once, to the second.

        Args:
            moment: with a time zone, or a local time of ``time_zone``.
            time_zone: the IANA name of the time zone. Default: UTC.
        """
        if moment.tzinfo is not None:
            if time_zone is not None:
                _check_time_zone(time_zone)
            moment = moment.astimezone(_zone(time_zone))
        elif time_zone is None:
            raise ValueError(f"{moment} has no time zone: give the datetime a tzinfo, or time_zone='Europe/Berlin'")
        return cls(f"at({moment.replace(tzinfo=None).isoformat(timespec='seconds')})", time_zone)

    @classmethod
    def parse(cls, text: str, *, time_zone: str | None = None) -> "Schedule":
        """``rate(15 minutes)``, ``cron(0 2 * * ? *)``, ``at(2026-12-24T18:00:00)``, or cron's fields alone.

        Six fields are EventBridge's. Five are crontab's, and translated: ``30 6 * * 1-5`` is
        ``cron(30 6 ? * MON-FRI *)``.
        """
        fields = text.split()
        if not text.lower().startswith(("cron(", "rate(", "at(")):
            if len(fields) == _FIVE_FIELDS:
                return cls(str(from_five_fields(text)), time_zone)
            if len(fields) == _SIX_FIELDS:
                return cls(str(Cron.parse(text)), time_zone)
        return cls(text, time_zone)


def cron_of(schedule: Schedule) -> Cron | None:
    """The fields of a cron; None for anything else."""
    form = _FORM.fullmatch(schedule.expression)
    return Cron.parse(form[2]) if form and form[1] == "cron" else None


def moment_of(schedule: Schedule) -> datetime | None:
    """When it runs once; None for what runs again and again."""
    form = _FORM.fullmatch(schedule.expression)
    if form is None or form[1] != "at":
        return None
    return datetime.fromisoformat(form[2]).replace(tzinfo=_zone(schedule.time_zone))


def _zone(name: str | None) -> tzinfo:
    try:
        return UTC if name is None else ZoneInfo(name)
    except ZoneInfoNotFoundError:  # it was checked: this machine has no time zone data, and cannot tell
        return UTC


def _check_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
        if not known:
            return
        near = get_close_matches(name, known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ", such as 'Europe/Berlin'"
        raise ValueError(f"time_zone is {name!r}, allowed is the IANA name of a time zone{hint}") from None
    if len(name) > _TIME_ZONE_MAX_LENGTH:
        raise ValueError(f"time_zone is {name!r}, allowed are {_TIME_ZONE_MAX_LENGTH} characters")


def _check_rate(content: str) -> None:
    rate = _RATE.fullmatch(content)
    if rate is None:
        raise ValueError(
            f"rate({content}): a rate is a whole number from 1 and its unit, as in rate(15 minutes), rate(1 hour)"
        )
    if (int(rate[1]) == 1) == bool(rate[3]):
        right = rate[2] if int(rate[1]) == 1 else f"{rate[2]}s"
        raise ValueError(f"rate({content}): AWS takes the singular for 1 and the plural else: rate({rate[1]} {right})")


def _check_at(content: str, time_zone: str | None) -> None:
    try:
        moment = datetime.fromisoformat(content) if _AT.fullmatch(content) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(f"at({content}): a time is yyyy-mm-ddThh:mm:ss, as in at(2026-12-24T18:00:00)")
    zone = _zone(time_zone)
    if moment.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment:
        raise ValueError(f"at({content}) never runs: the clocks of {time_zone} skip that time")
