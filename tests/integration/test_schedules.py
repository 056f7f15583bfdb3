"""Schedules on the local cloud, with IAM enforced: what they start, and what they never start."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aws_cdk as cdk
import pytest

from constructs_lib import BackgroundTaskFunction, PriorityTaskQueues, Schedule, ScheduledTask, TaskStore
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

# Beside the other local clouds, because a schedule takes minutes.
pytestmark = pytest.mark.xdist_group("schedules")
TICK = "field.later:tick"
ONCE = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=15)


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack = cdk.Stack(app, "Later")
    code, modules = field(), ["field.later"]
    queues = PriorityTaskQueues(
        stack,
        "Queues",
        code=code,
        modules=modules,
        namespace="later",
        environment=environment,
        store=TaskStore(stack, "Store"),
    )
    ordering = BackgroundTaskFunction(
        stack, "Ordering", code=code, modules=modules, namespace="ordering", environment=environment
    )
    queues.grant_dispatch(ordering.function, delayed=True)
    every_minute = Schedule.cron()
    ScheduledTask(stack, "Own", code=code, task=TICK, schedule=every_minute, args=["own"], environment=environment)
    ScheduledTask(stack, "Queued", target=queues, task=TICK, schedule=every_minute, args=["queued"], overlap="skip")
    ScheduledTask(stack, "Paused", target=queues, task=TICK, schedule=every_minute, args=["paused"], enabled=False)
    for zone in ("Asia/Tokyo", "America/New_York"):
        when = Schedule.at(ONCE, time_zone=zone)
        ScheduledTask(stack, f"Once{zone[:4]}", target=queues, task=TICK, schedule=when, args=[zone])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("schedules"), _build)


def _ticks(app: Field, name: str) -> list[dict[str, Any]]:
    return [mark for mark in app.marks("tick") if mark["name"] == name]


def _order(app: Field, hours: int) -> str:
    app.dispatch("field.later.order", hours)
    found: dict[str, Any] = wait_for(
        lambda: next((mark for mark in app.marks("ordered") if mark["hours"] == hours), None)
    )
    return found["id"]


def _schedules(app: Field) -> dict[str, dict[str, Any]]:
    scheduler = app.cloud.client("scheduler")
    [group] = [one["Name"] for one in scheduler.list_schedule_groups()["ScheduleGroups"] if one["Name"] != "default"]
    listed = scheduler.list_schedules(GroupName=group)["Schedules"]
    return {one["Name"]: one for one in listed if one["GroupName"] == group}


def _bring_forward(app: Field, name: str) -> None:
    """Let what was to start in hours start now."""
    scheduler, group = app.cloud.client("scheduler"), _schedules(app)[name]["GroupName"]
    schedule = scheduler.get_schedule(Name=name, GroupName=group)
    kept = ("ActionAfterCompletion", "FlexibleTimeWindow", "GroupName", "Name", "ScheduleExpressionTimezone", "Target")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    scheduler.update_schedule(**{key: schedule[key] for key in kept}, ScheduleExpression=f"at({now})")


def test_a_task_for_later_waits_in_a_schedule_arrives_once_and_its_schedule_is_gone(app: Field) -> None:
    task_id = _order(app, 3)
    assert task_id in _schedules(app)
    assert [mark for mark in app.marks("reminded") if mark["id"] == task_id] == []
    _bring_forward(app, task_id)
    wait_for(lambda: [mark for mark in app.marks("reminded") if mark["id"] == task_id])
    assert task_id not in _schedules(app)
    assert [mark["text"] for mark in app.marks("reminded") if mark["id"] == task_id] == ["in 3 h"]


def test_a_task_for_later_is_cancelled_with_its_schedule(app: Field) -> None:
    task_id = _order(app, 5)
    app.dispatch("field.later.change_of_mind", task_id)
    wait_for(lambda: app.marks("cancelled"))
    assert task_id not in _schedules(app)
    assert [mark["answer"] for mark in app.marks("cancelled") if mark["id"] == task_id] == [True]


def test_a_time_is_that_of_its_time_zone(app: Field) -> None:
    for zone in ("Asia/Tokyo", "America/New_York"):
        [run] = wait_for(lambda zone=zone: _ticks(app, zone))
        assert run["scheduled_time"] == ONCE.isoformat()


def test_a_task_scheduled_every_minute_runs_once_per_minute_with_distinct_ids(app: Field) -> None:
    for name in ("own", "queued"):
        first, second = wait_for(lambda name=name: _ticks(app, name)[1:] and _ticks(app, name)[:2], seconds=150)
        times = [datetime.fromisoformat(run["scheduled_time"]) for run in (first, second)]
        assert times[1] - times[0] == timedelta(minutes=1)
        assert first["id"] != second["id"]
        runs = _ticks(app, name)
        assert len({run["id"] for run in runs}) == len({run["scheduled_time"] for run in runs}) == len(runs)
    assert _ticks(app, "paused") == []


def test_without_the_grant_no_schedule_is_made(app: Field) -> None:
    iam = app.cloud.client("iam")
    [role] = [one["RoleName"] for one in iam.list_roles()["Roles"] if "OrderingRole" in one["RoleName"]]
    policy: dict[str, Any] = iam.get_role_policy(RoleName=role, PolicyName="task")["PolicyDocument"]
    kept = [one for one in policy["Statement"] if "scheduler" not in str(one["Action"])]
    assert len(kept) < len(policy["Statement"])
    iam.put_role_policy(RoleName=role, PolicyName="task", PolicyDocument=json.dumps({**policy, "Statement": kept}))
    app.dispatch("field.later.order", 7)
    [refused] = wait_for(lambda: app.marks("refused"))
    assert "AccessDenied" in refused["why"]
