"""Cron expressions: EventBridge's six fields checked, and the five fields of cron translated into them.

(https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html)
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["Cron", "from_five_fields"]

_ANY: Final = "?"
_EVERY: Final = "*"
_FIVE: Final = 5
_SIX: Final = 6
_LAST_OF_EVERY_MONTH: Final = 28
_A_LEAP_YEAR, _A_COMMON_YEAR = 2028, 2027


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: the values it may have, and names for them, the first for ``low``."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str | None = None
    has_steps: bool = True

    def number(self, text: str) -> int:
        """A value, given as a number or by its name."""
        if text in self.names:
            return self.low + self.names.index(text)
        if not text.isascii() or not text.isdigit() or not self.low <= int(text) <= self.high:
            raise self.refusal(text)
        return int(text)

    def step(self, text: str) -> int:
        """What follows a slash."""
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= self.high:
            raise ValueError(f"{self.name} has the step {text!r}: a step is a whole number from 1 to {self.high}")
        return int(text)

    def values(self, text: str) -> frozenset[int]:
        """Every value that a field matches, of ``*``, numbers, names, ranges, steps, and lists of them."""
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, part: str) -> range:
        base, slash, step = part.partition("/")
        if slash and not self.has_steps:
            raise ValueError(f"{self.name} is {part!r}: EventBridge has no steps there, list the values")
        low, dash, high = base.partition("-")
        if base == _EVERY:
            first, last = self.low, self.high
        else:
            first = self.number(low)
            last = self.number(high) if dash else self.high if slash else first
        if last < first:
            raise ValueError(
                f"{self.name} has the range {base!r}, which ends before it begins: write the two ranges that it means"
            )
        return range(first, last + 1, self.step(step) if slash else 1)

    def refusal(self, text: str) -> ValueError:
        """The error about a value."""
        named = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return ValueError(f"{self.name} is {text!r}, allowed is {self.low} to {self.high}{named}")


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEK_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31, special=r"L|LW|(?P<day>\d{1,2})W")
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEK_DAY = _Field("day of week", 1, 7, _WEEK_DAYS, special=r"L|(?P<day>\w+)(?:L|#[1-5])", has_steps=False)
_YEAR = _Field("year", 1970, 2199)


class Cron(NamedTuple):
    """The six fields of a cron expression."""

    minute: str
    hour: str
    day: str
    month: str
    week_day: str
    year: str

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """The fields of ``text``, checked.

        Raises:
            ValueError: EventBridge would refuse them, or they match no date.
        """
        fields = text.upper().split()
        if len(fields) != _SIX:
            raise ValueError(
                f"cron({text}) has {len(fields)} fields: EventBridge's cron has six, minute, hour, day of month, "
                "month, day of week and year, as in cron(0 2 * * ? *)"
            )
        cron = cls(*fields)
        cron.check()
        return cron

    def __str__(self) -> str:
        return f"cron({' '.join(self)})"

    def check(self) -> None:
        """Refuse what EventBridge would refuse, and what it would never run.

        Raises:
            ValueError: says which field, and what is allowed.
        """
        if (self.day == _ANY) == (self.week_day == _ANY):
            both = "both are '?'" if self.day == _ANY else f"given are {self.day!r} and {self.week_day!r}"
            raise ValueError(
                f"{self}: exactly one of day of month and day of week is '?', {both}: EventBridge runs by one of them"
            )
        try:
            for field, text in ((_MINUTE, self.minute), (_HOUR, self.hour), (_MONTH, self.month), (_YEAR, self.year)):
                field.values(text)
            days = _days(_DAY, self.day)
            _days(_WEEK_DAY, self.week_day)
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from None
        if not any(min(days) <= length for length in self._month_lengths()):
            raise ValueError(f"{self} never runs: no such month has a day {min(days)}: correct the day or the month")

    def _month_lengths(self) -> Iterator[int]:
        years = _YEAR.values(self.year)
        for month in _MONTH.values(self.month):
            yield monthrange(_A_COMMON_YEAR, month)[1]
            if any(monthrange(year, 2)[1] > _LAST_OF_EVERY_MONTH for year in years):
                yield monthrange(_A_LEAP_YEAR, month)[1]

    @property
    def last_year(self) -> int:
        """The last year in which it runs."""
        return max(_YEAR.values(self.year))

    @property
    def runs_every_minute_of_some_hours(self) -> bool:
        """Whether the minute was probably forgotten."""
        return len(_MINUTE.values(self.minute)) == _MINUTE.high + 1 and len(_HOUR.values(self.hour)) <= _HOUR.high

    @property
    def skips_months(self) -> bool:
        """Whether it runs on days only that some of its months have not; a single month was meant so."""
        return len(_MONTH.values(self.month)) > 1 and min(_days(_DAY, self.day)) > min(self._month_lengths())


def _days(field: _Field, text: str) -> frozenset[int]:
    """The days that a day field may match; those of ``?``, ``L`` and the like are in every month."""
    assert field.special is not None
    special = re.fullmatch(field.special, text)
    if special is None:
        return frozenset({field.low}) if text == _ANY else field.values(text)
    day = special["day"]
    return frozenset({field.low if day is None else field.number(day)})


# --- Five fields -----------------------------------------------------------------------------------------------------

_CRON_WEEK_DAY = _Field("day of week", 0, 7, _WEEK_DAYS)
_SUNDAY_AT_THE_END: Final = 7


def from_five_fields(text: str) -> Cron:
    """What crontab(5) writes ``minute hour day-of-month month day-of-week``, as EventBridge's six fields.

    Raises:
        ValueError: it is none, or EventBridge cannot do what it means.
    """
    fields = text.upper().split()
    assert len(fields) == _FIVE
    minute, hour, day, month, week_day = fields
    try:
        days, week_days = _translated(_DAY, day), _week_days(week_day)
        cron = Cron(
            _translated(_MINUTE, minute),
            _translated(_HOUR, hour),
            days if week_days == _EVERY else _ANY,
            _translated(_MONTH, month),
            _ANY if week_days == _EVERY else week_days,
            _EVERY,
        )
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if _EVERY not in {day, week_days}:
        raise ValueError(
            f"{text!r} runs on the days of the month and on the days of the week, and EventBridge on one of them: "
            "make two ScheduledTasks"
        )
    cron.check()
    return cron


def _translated(field: _Field, text: str) -> str:
    return ",".join(_translated_part(field, part) for part in text.split(","))


def _translated_part(field: _Field, part: str) -> str:
    values = sorted(field.values(part))
    base, slash, step = part.partition("/")
    if not slash:
        return part
    if base == _EVERY:
        return f"{field.low}/{step}"
    if "-" not in base:
        raise ValueError(f"{field.name} is {part!r}: cron has steps of ranges only, as in {base}-{field.high}/{step}")
    return ",".join(map(str, values))


def _week_days(text: str) -> str:
    """Names, because cron counts from Sunday as 0 or 7, and EventBridge from Sunday as 1."""
    days: set[int] = set()
    for part in text.split(","):
        base, slash, step = part.partition("/")
        # A range may end with Sunday.
        low, dash, high = base.partition("-")
        ended = f"{low}-{_SUNDAY_AT_THE_END}" if dash and high in {"0", "SUN"} and low not in {"0", "SUN"} else base
        if base == _EVERY:
            ended = "0-6"
        elif slash and not dash:
            raise ValueError(f"day of week is {part!r}: cron has steps of ranges only, as in {base}-6/{step}")
        days |= {value % _SUNDAY_AT_THE_END for value in _CRON_WEEK_DAY.values(f"{ended}{slash}{step}")}
    found = sorted(days)
    if len(found) == len(_WEEK_DAYS):
        return _EVERY
    names = [_WEEK_DAYS[day] for day in found]
    is_range = len(found) > 2 and found[-1] - found[0] == len(found) - 1  # noqa: PLR2004  (two are a list)
    return f"{names[0]}-{names[-1]}" if is_range else ",".join(names)
