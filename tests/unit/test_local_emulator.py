"""What the local cloud's process changes in MiniStack."""

import queue
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from ministack.core import iam_actions
from ministack.core.lambda_runtime import ProvidedWorker
from ministack.services import eventbridge, scheduler
from ministack.services.cloudformation import provisioners

from tasks_cli.local import emulator, emulator_schedules

ANNOUNCEMENT, END = "\x1eannouncement", "\x1eend"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function's environment whose output is written by the test."""
    for name in ("_drain_stderr", "_drain_stderr_bounded"):
        monkeypatch.setattr(ProvidedWorker, name, getattr(ProvidedWorker, name))
    emulator.keep_the_output_of_invocations_whole(ANNOUNCEMENT, END)
    worker: Any = object.__new__(ProvidedWorker)
    worker._stderr_queue = queue.Queue()
    return worker


def write(worker: Any, *lines: str) -> None:
    for line in lines:
        worker._stderr_queue.put(line)


def test_mail_is_permitted_by_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("extract_resource_arn", "request_tag_context"):
        monkeypatch.setattr(iam_actions, name, getattr(iam_actions, name))
    emulator.permit_mail_by_its_sender()

    def asked(service: str, action: str, **parameters: str) -> tuple[str, dict[str, Any]]:
        query = {"Action": [action], **{name: [value] for name, value in parameters.items()}}
        arn = iam_actions.extract_resource_arn(service, "POST", "/", {}, b"", query, "eu-west-1", "1" * 12)
        return arn, iam_actions.request_tag_context(service, f"{service}:{action}", b"", query)

    address = "shop@example.com"
    identity = f"arn:aws:ses:eu-west-1:{'1' * 12}:identity/{address}"
    for source in (address, f"The Shop <{address}>"):
        assert asked("ses", "SendEmail", Source=source) == (identity, {"ses:FromAddress": address})
    assert asked("ses", "GetSendQuota") == ("*", {})
    assert asked("sns", "ListTopics") == ("*", {})


def test_output_that_comes_late_is_still_of_its_invocation(worker: Any) -> None:
    write(worker, ANNOUNCEMENT, "at init", "first")
    late = threading.Timer(0.1, write, [worker, "last", END, "of the next"])
    late.start()
    assert worker._drain_stderr_bounded() == "at init\nfirst\nlast"
    late.join()
    write(worker, f"no line end{END}")
    assert worker._drain_stderr_bounded() == "of the next\nno line end"


def test_output_without_an_end_is_not_waited_for_long(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "OUTPUT_SECONDS", 0.05)
    write(worker, ANNOUNCEMENT, "killed")
    assert worker._drain_stderr_bounded() == "killed"


def test_functions_that_announce_no_end_are_read_as_before(worker: Any) -> None:
    write(worker, "first")
    started = time.monotonic()
    assert worker._drain_stderr_bounded() == "first"
    assert time.monotonic() - started < emulator.OUTPUT_SECONDS / 2


def test_output_of_a_crash_has_no_marks(worker: Any) -> None:
    write(worker, ANNOUNCEMENT, "first", END, "second")
    assert worker._drain_stderr() == "first\nsecond"


# --- Schedules -------------------------------------------------------------------------------------------------------


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# Expression, time zone, when it was made, when it ran last, now, and the time that is due by now.
DUE = [
    ("at(2026-07-01T12:00:00)", "Asia/Tokyo", "2026-06-01T00:00", None, "2026-07-01T03:00:01", "2026-07-01T03:00"),
    ("at(2026-07-01T12:00:00)", "Asia/Tokyo", "2026-06-01T00:00", None, "2026-07-01T02:59:59", None),
    ("at(2026-07-01T12:00:00)", "UTC", "2026-06-01T00:00", "2026-07-01T12:00", "2026-07-02T00:00", None),
    ("rate(5 minutes)", "UTC", "2026-06-01T00:00", None, "2026-06-01T00:00:01", "2026-06-01T00:00"),
    ("rate(5 minutes)", "UTC", "2026-06-01T00:00", "2026-06-01T00:00", "2026-06-01T00:04:59", None),
    ("rate(5 minutes)", "UTC", "2026-06-01T00:00", None, "2026-06-01T00:05:01", "2026-06-01T00:05"),
    ("rate(5 minutes)", "UTC", "2026-06-01T00:00", "2026-06-01T00:05", "2026-06-01T00:09", None),
    ("rate(5 minutes)", "UTC", "2026-06-01T00:00", "2026-06-01T00:05", "2026-06-01T00:10", "2026-06-01T00:10"),
    ("cron(0 2 * * ? *)", "Europe/Berlin", "2026-07-01T00:00", None, "2026-07-02T00:00:01", "2026-07-02T00:00"),
    ("cron(0 2 * * ? *)", "Europe/Berlin", "2026-07-01T00:00", None, "2026-07-01T23:59:59", None),
    # The clocks skip 02:30 on 29 March, and have it twice on 25 October.
    ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-28T12:00", None, "2026-03-29T12:00", None),
    ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-28T12:00", None, "2026-03-30T00:31", "2026-03-30T00:30"),
    ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30", "2026-10-25T12:00", None),
    ("cron(nonsense)", "UTC", "2026-07-01T00:00", None, "2026-07-02T00:00", None),
]


@pytest.mark.parametrize("case", DUE, ids=lambda case: f"{case[0]} by {case[4]}")
def test_a_schedule_is_due_when_it_would_be_on_aws(case: tuple[str, ...]) -> None:
    expression, zone, begun, after, now, due = case
    schedule = {"ScheduleExpression": expression, "ScheduleExpressionTimezone": zone}
    found = emulator_schedules.due_time(schedule, epoch(begun), epoch(after) if after else None, epoch(now))
    assert found == (epoch(due) if due else None)


def test_a_schedules_input_has_what_it_asks_for() -> None:
    schedule = {
        "Arn": "arn:schedule",
        "Target": {"Input": '"<aws.scheduler.scheduled-time> <aws.scheduler.schedule-arn> <aws.other>"'},
    }
    target = emulator_schedules.with_attributes(schedule, epoch("2026-07-01T03:00:00") + 0.4)
    assert target["Input"] == '"2026-07-01T03:00:00Z arn:schedule <aws.other>"'


@pytest.fixture
def schedules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """MiniStack's schedules, as the local cloud runs them."""
    changed = {
        iam_actions: ["extract_resource_arn"],
        eventbridge: ["_dispatch_to_lambda", "_invoke_target"],
        scheduler: ["_tick_schedules", "_SCHEDULE_TICK_INTERVAL"],
    }
    for module, names in changed.items():
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"]
    monkeypatch.setitem(provisioners._RESOURCE_HANDLERS, "AWS::Scheduler::Schedule", dict(handlers))
    emulator_schedules.run_schedules_as_aws_does()
    yield provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"]
    scheduler.reset()


def test_a_schedule_of_a_template_keeps_its_time_zone_and_its_bounds(schedules: Any) -> None:
    target = {"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": "arn:aws:iam::000000000000:role/r"}
    properties = {
        "Name": "nightly",
        "ScheduleExpression": "cron(0 2 * * ? *)",
        "ScheduleExpressionTimezone": "Europe/Berlin",
        "StartDate": "2040-01-01T00:00:00.000Z",
        "EndDate": "2041-01-01T00:00:00.000Z",
        "Target": target,
    }
    schedules["create"]("Nightly", properties, "Shop")
    assert {name: scheduler._schedules["default/nightly"][name] for name in properties} == properties
    changed = {**properties, "ScheduleExpressionTimezone": "UTC"}
    schedules["update"]("nightly", properties, changed, "Shop")
    assert scheduler._schedules["default/nightly"]["ScheduleExpressionTimezone"] == "UTC"


@pytest.mark.usefixtures("schedules")
def test_a_schedule_runs_once_for_each_time_and_one_that_runs_once_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(eventbridge, "_invoke_target", lambda target, *_: sent.append(target["Input"]))
    body = {
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:queue", "RoleArn": "arn:role", "Input": "once"},
        "ActionAfterCompletion": "DELETE",
    }
    scheduler._create_schedule("once", {**body, "ScheduleExpression": "at(2026-01-01T00:00:00)"})
    scheduler._create_schedule("later", {**body, "ScheduleExpression": "at(2126-01-01T00:00:00)"})
    paused = {"ScheduleExpression": "at(2026-01-01T00:00:00)", "State": "DISABLED"}
    scheduler._create_schedule("paused", {**body, **paused})
    scheduler._create_schedule("ended", {**body, "ScheduleExpression": "rate(1 minute)", "EndDate": 1})
    scheduler._tick_schedules()
    scheduler._tick_schedules()
    assert sent == ["once"]
    assert sorted(scheduler._schedules) == ["default/ended", "default/later", "default/paused"]


@pytest.mark.usefixtures("schedules")
def test_a_permission_on_a_schedule_names_its_group() -> None:
    def asked(method: str, body: bytes, **parameters: list[str]) -> str:
        arguments = ("scheduler", method, "/schedules/one", {}, body, parameters, "eu-west-1", "1" * 12)
        arn: str = iam_actions.extract_resource_arn(*arguments)
        return arn.rpartition(":")[2]

    assert asked("POST", b'{"GroupName": "shop"}') == "schedule/shop/one"
    assert asked("POST", b"{}") == "schedule/default/one"
    assert asked("DELETE", b"", groupName=["shop"]) == "schedule/shop/one"
