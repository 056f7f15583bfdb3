"""Schedules: what AWS takes is made, what it refuses is refused, and what is probably not meant is told."""

from datetime import UTC, datetime, timedelta, timezone

import aws_cdk as cdk
import pytest
from constructs import Construct

from constructs_lib import Schedule
from constructs_lib._schedule_options import warn_of_doubts

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def doubts(schedule: Schedule) -> list[str]:
    """The ids of the warnings about it."""
    scope = Construct(cdk.App(), "Nightly")
    warn_of_doubts(scope, schedule, start=None, end=None, now=NOW)
    return [str(entry.data).rpartition(":")[2].removesuffix("]") for entry in scope.node.metadata]


@pytest.mark.parametrize(
    ("made", "expression"),
    [
        (Schedule.cron(minute="0", hour="2", time_zone="Europe/Berlin"), "cron(0 2 * * ? *)"),
        (Schedule.cron(minute=0, hour=2, week_day="mon-fri"), "cron(0 2 ? * MON-FRI *)"),
        (Schedule.cron(minute="0/15", day="L", month="jan,JUL", year=2030), "cron(0/15 * L JAN,JUL ? 2030)"),
        (Schedule.cron(minute=5, hour="8-18/2", week_day="FRIL"), "cron(5 8-18/2 ? * FRIL *)"),
        (Schedule.cron(minute=5, hour=1, week_day="2#1"), "cron(5 1 ? * 2#1 *)"),
        (Schedule.cron(minute=5, hour=1, day="15W"), "cron(5 1 15W * ? *)"),
        (Schedule.cron(minute=5, hour=1, day=28), "cron(5 1 28 * ? *)"),
        (Schedule.cron(minute=5, hour=1, day="1,30", month=2), "cron(5 1 1,30 2 ? *)"),
        (Schedule.cron(minute=5, hour=1, day="?", week_day="*"), "cron(5 1 ? * * *)"),
        (Schedule.rate(cdk.Duration.minutes(1)), "rate(1 minute)"),
        (Schedule.rate(cdk.Duration.minutes(15)), "rate(15 minutes)"),
        (Schedule.rate(cdk.Duration.minutes(90)), "rate(90 minutes)"),
        (Schedule.rate(cdk.Duration.hours(1)), "rate(1 hour)"),
        (Schedule.rate(cdk.Duration.hours(48)), "rate(2 days)"),
        (Schedule.at(datetime(2026, 12, 24, 18, tzinfo=UTC)), "at(2026-12-24T18:00:00)"),
        (Schedule.at(datetime(2026, 12, 24, 18, tzinfo=timezone(timedelta(hours=1)))), "at(2026-12-24T17:00:00)"),
        (Schedule.at(datetime(2026, 12, 24, 18, 0, 1, 5), time_zone="Europe/Berlin"), "at(2026-12-24T18:00:01)"),  # noqa: DTZ001
        (Schedule.at(datetime(2026, 7, 24, 16, tzinfo=UTC), time_zone="Europe/Berlin"), "at(2026-07-24T18:00:00)"),
        (Schedule.parse("rate(15 minutes)"), "rate(15 minutes)"),
        (Schedule.parse("at(2026-12-24T18:00:00)"), "at(2026-12-24T18:00:00)"),
        (Schedule.parse("cron(0 2 * * ? *)"), "cron(0 2 * * ? *)"),
        (Schedule.parse("0 2 ? * mon *"), "cron(0 2 ? * MON *)"),
        (Schedule.parse("cron( 0  2 ? jan mon-fri * )"), "cron(0 2 ? JAN MON-FRI *)"),
        (Schedule("rate(1 day)"), "rate(1 day)"),
        (Schedule("cron(0 2  LW * ? *)"), "cron(0 2 LW * ? *)"),
    ],
)
def test_what_is_meant_is_written_as_eventbridge_takes_it(made: Schedule, expression: str) -> None:
    assert made.expression == expression
    assert doubts(made) == []


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("* * * * *", "cron(* * * * ? *)"),
        ("*/15 * * * *", "cron(0/15 * * * ? *)"),
        ("0 */2 * * *", "cron(0 0/2 * * ? *)"),
        ("30 6 * * 1-5", "cron(30 6 ? * MON-FRI *)"),
        ("30 6 * * mon-fri", "cron(30 6 ? * MON-FRI *)"),
        ("0 0 * * 0", "cron(0 0 ? * SUN *)"),
        ("0 0 * * 7", "cron(0 0 ? * SUN *)"),
        ("0 0 * * 6,7", "cron(0 0 ? * SUN,SAT *)"),
        ("0 0 * * 5-7", "cron(0 0 ? * SUN,FRI,SAT *)"),
        ("0 0 * * fri-sun", "cron(0 0 ? * SUN,FRI,SAT *)"),
        ("0 0 * * sun-tue", "cron(0 0 ? * SUN-TUE *)"),
        ("0 0 * * */2", "cron(0 0 ? * SUN,TUE,THU,SAT *)"),
        ("0 0 * * 1-5/2", "cron(0 0 ? * MON,WED,FRI *)"),
        ("0 0 * * 0-6", "cron(0 0 * * ? *)"),
        ("0 0 * * 1-7", "cron(0 0 * * ? *)"),
        ("0 0 1,15 * *", "cron(0 0 1,15 * ? *)"),
        ("0 0 */10 1-6/2 *", "cron(0 0 1/10 1,3,5 ? *)"),
        ("5,10-20/5 1 * jan *", "cron(5,10,15,20 1 * JAN ? *)"),
    ],
)
def test_crontabs_five_fields_mean_the_same_in_six(five: str, six: str) -> None:
    assert Schedule.parse(five).expression == six


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate(1 minutes)", "AWS takes the singular for 1 and the plural else: rate(1 minute)"),
        ("rate(5 minute)", "rate(5 minutes)"),
        ("rate(0 minutes)", "a rate is a whole number from 1"),
        ("rate(1.5 hours)", "a rate is a whole number from 1"),
        ("rate(-1 hours)", "a rate is a whole number from 1"),
        ("rate(30 seconds)", "a rate is a whole number from 1"),
        ("rate(15minutes)", "a rate is a whole number from 1"),
        ("rate(15  minutes)", "a rate is a whole number from 1"),
        ("rate(\u0661 minutes)", "a rate is a whole number from 1"),
        ("at(202\u0666-12-24T18:00:00)", "a time is yyyy-mm-ddThh:mm:ss"),
        ("cron(0 2 ? * MON-FRI/2 *)", "day of week is 'MON-FRI/2': EventBridge has no steps there, list the values"),
        ("rate()", "a rate is a whole number from 1"),
        ("cron(60 2 * * ? *)", "minute is '60', allowed is 0 to 59"),
        ("cron(0 24 * * ? *)", "hour is '24', allowed is 0 to 23"),
        ("cron(0 2 32 * ? *)", "day of month is '32', allowed is 1 to 31"),
        ("cron(0 2 0 * ? *)", "day of month is '0', allowed is 1 to 31"),
        ("cron(0 2 * 13 ? *)", "month is '13', allowed is 1 to 12, or JAN to DEC"),
        ("cron(0 2 * JUNE ? *)", "month is 'JUNE', allowed is 1 to 12, or JAN to DEC"),
        ("cron(0 2 ? * 0 *)", "day of week is '0', allowed is 1 to 7, or SUN to SAT"),
        ("cron(0 2 ? * 8 *)", "day of week is '8', allowed is 1 to 7, or SUN to SAT"),
        ("cron(0 2 ? * MO *)", "day of week is 'MO'"),
        ("cron(0 2 ? * MON#6 *)", "day of week is 'MON#6'"),
        ("cron(0 2 ? * 8L *)", "day of week is '8'"),
        ("cron(0 2 32W * ? *)", "day of month is '32'"),
        ("cron(0 2 1,L * ? *)", "day of month is 'L'"),
        ("cron(0 2 * * ? 1969)", "year is '1969', allowed is 1970 to 2199"),
        ("cron(0 2 * * ? 2200)", "year is '2200', allowed is 1970 to 2199"),
        ("cron(0/0 2 * * ? *)", "minute has the step '0'"),
        ("cron(0/60 2 * * ? *)", "minute has the step '60'"),
        ("cron(0 22-2 * * ? *)", "hour has the range '22-2', which ends before it begins"),
        ("cron(? 2 * * ? *)", "minute is '?'"),
        ("cron(0 2 , * ? *)", "day of month is ''"),
        ("cron(0 2 1 * MON *)", "exactly one of day of month and day of week is '?', given are '1' and 'MON'"),
        ("cron(0 2 * * * *)", "exactly one of day of month and day of week is '?', given are '*' and '*'"),
        ("cron(0 2 ? * ? *)", "exactly one of day of month and day of week is '?', both are '?'"),
        ("cron(0 2 31 2 ? *)", "never runs: no such month has a day 31"),
        ("cron(0 2 30,31 FEB ? *)", "never runs: no such month has a day 30"),
        ("cron(0 2 31 4,6,9,11 ? *)", "never runs: no such month has a day 31"),
        ("cron(0 2 31W 2 ? *)", "never runs: no such month has a day 31"),
        ("cron(0 2 29 2 ? 2027)", "never runs: no such month has a day 29"),
        ("cron(0 2 29 2 ? 2029-2031)", "never runs: no such month has a day 29"),
        ("cron(0 2 * * ?)", "has 5 fields: EventBridge's cron has six"),
        ("cron()", "has 0 fields"),
        ("at(2026-12-24)", "a time is yyyy-mm-ddThh:mm:ss"),
        ("at(2026-12-24T18:00:00Z)", "a time is yyyy-mm-ddThh:mm:ss"),
        ("at(2026-02-30T18:00:00)", "a time is yyyy-mm-ddThh:mm:ss"),
        ("every day", "is no schedule"),
        ("@daily", "is no schedule"),
        ("", "is no schedule"),
        ("0 0 1 * 1", "runs on the days of the month and on the days of the week, and EventBridge on one of them"),
        ("0 0 ? * 1", "day of month is '?', allowed is 1 to 31"),
        ("0 0 32 * 1", "day of month is '32', allowed is 1 to 31"),
        ("0 0 31 2 *", "never runs"),
        ("61 * * * *", "minute is '61'"),
        ("5/10 * * * *", "cron has steps of ranges only, as in 5-59/10"),
        ("0 0 * * 1/2", "cron has steps of ranges only, as in 1-6/2"),
        ("0 0 * * 8", "day of week is '8', allowed is 0 to 7, or SUN to SAT"),
        ("0 0 * * ?", "day of week is '?'"),
    ],
)
def test_what_aws_would_refuse_or_never_run_is_refused_with_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refused:
        Schedule.parse(text)
    assert problem in str(refused.value)


def test_a_leap_day_runs_in_years_that_may_be_leap_years() -> None:
    assert doubts(Schedule.parse("cron(0 2 29 2 ? 2027-2029)")) == []
    assert Schedule.parse("0 2 29 2 *").expression == "cron(0 2 29 2 ? *)"


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berlim", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean"),
        ("CEST", "allowed is the IANA name of a time zone"),
        ("Europe", "allowed is the IANA name of a time zone"),
        ("../etc/passwd", "allowed is the IANA name of a time zone"),
        ("+01:00", "allowed is the IANA name of a time zone"),
        ("", "allowed is the IANA name of a time zone"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_the_nearest_name(zone: str, hint: str) -> None:
    with pytest.raises(ValueError) as refused:
        Schedule.cron(minute=0, hour=2, time_zone=zone)
    assert hint in str(refused.value)


@pytest.mark.parametrize("every", [cdk.Duration.seconds(90), cdk.Duration.seconds(0)])
def test_a_rate_is_whole_minutes(every: cdk.Duration) -> None:
    with pytest.raises(ValueError, match="a rate is whole minutes, at least one"):
        Schedule.rate(every)


def test_a_rate_is_a_duration() -> None:
    with pytest.raises(TypeError, match="a rate is a Duration"):
        Schedule.rate(15)  # type: ignore[arg-type]


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        Schedule.at(datetime(2026, 12, 24, 18))  # noqa: DTZ001


def test_a_time_that_the_clocks_skip_is_refused_and_one_that_they_repeat_is_not() -> None:
    with pytest.raises(ValueError, match="the clocks of Europe/Berlin skip that time"):
        Schedule.parse("at(2027-03-28T02:30:00)", time_zone="Europe/Berlin")
    assert doubts(Schedule.parse("at(2027-10-31T02:30:00)", time_zone="Europe/Berlin")) == []


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("cron(* 2 * * ? *)", "schedule-every-minute"),
        ("cron(*/1 2-4 * * ? *)", "schedule-every-minute"),
        ("* 2 * * *", "schedule-every-minute"),
        ("at(2026-05-31T23:59:00)", "schedule-in-the-past"),
        ("cron(0 2 * * ? 2020-2025)", "schedule-in-the-past"),
        ("cron(0 2 31 * ? *)", "schedule-skips-months"),
        ("cron(0 2 29,30 * ? 2027)", "schedule-skips-months"),
    ],
)
def test_what_is_probably_not_meant_is_told(text: str, slug: str) -> None:
    assert doubts(Schedule.parse(text)) == [slug]


def test_the_time_zone_decides_what_is_past() -> None:
    in_berlin = Schedule.parse("at(2026-06-01T01:00:00)", time_zone="Europe/Berlin")  # 23:00 in UTC
    assert doubts(in_berlin) == ["schedule-in-the-past"]
    assert doubts(Schedule.parse("at(2026-06-01T01:00:00)")) == []


def test_a_schedule_reads_as_people_read_it() -> None:
    assert str(Schedule.parse("0 2 * * *", time_zone="Europe/Berlin")) == "cron(0 2 * * ? *) Europe/Berlin"
    assert str(Schedule.parse("rate(1 day)")) == "rate(1 day)"
