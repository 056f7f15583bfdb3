"""What a schedule sends becomes a run of its task, the same one however often it is delivered."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from runtime_lib import ArgumentError, EnvelopeError, Priority, ScheduledEvent, TaskContext, occurrence, task
from runtime_lib.context import Delivery
from runtime_lib.execution import DeadLettered, Message, admit, run
from runtime_lib.handlers.managed_async_task import handler as queue_handler
from runtime_lib.handlers.scheduled_task import handler
from tests.deliveries import TaskQueue, body_of

ran: list[Any] = []
CONTEXT = SimpleNamespace(function_name="nightly", aws_request_id="1", get_remaining_time_in_millis=lambda: 60_000)


@task
def nightly(region: str, context: TaskContext, event: ScheduledEvent, days: int = 1) -> None:
    ran.append((region, days, context.id, event.schedule, event.scheduled_time))


@task
def fails() -> None:
    raise LookupError("no report")


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()


def message(name: str = "nightly", **changed: Any) -> dict[str, Any]:
    return {
        "schedule": "Shop-Nightly-1A2B",
        "scheduled_time": "2026-03-29T01:00:00Z",
        "task": f"{__name__}.{name}",
        "args": ["eu"],
        "kwargs": {"days": 2},
        "priority": "low",
        **changed,
    }


def ids() -> list[str]:
    return [one[2] for one in ran]


def test_a_run_knows_its_schedule_and_the_time_it_was_scheduled_for() -> None:
    handler(message(), CONTEXT)
    [(region, days, run_id, schedule, scheduled_time)] = ran
    assert (region, days, schedule) == ("eu", 2, "Shop-Nightly-1A2B")
    assert scheduled_time == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert UUID(run_id).version == 5


def test_a_redelivered_run_keeps_its_id_and_another_run_has_another() -> None:
    handler(message(), CONTEXT)
    handler(message(), CONTEXT)
    handler(message(scheduled_time="2026-03-30T01:00:00Z"), CONTEXT)
    handler(message(schedule="Shop-Hourly-3C4D"), CONTEXT)
    first, again, next_day, other = ids()
    assert first == again
    assert len({first, next_day, other}) == 3


def test_a_run_in_a_queue_is_the_same_run(queue: TaskQueue) -> None:
    handler(message(), CONTEXT)
    queue.send(json.dumps(message()))
    assert queue.deliver(lambda event: queue_handler(event, CONTEXT)) == 1
    assert queue.left() == 0
    first, from_queue = ids()
    assert first == from_queue


def test_a_run_has_the_priority_of_its_schedule() -> None:
    admitted = admit(json.dumps(message()), Delivery())
    assert isinstance(admitted, Message)
    assert admitted.envelope.priority is Priority.LOW


def test_lambda_gets_a_failed_runs_error_to_retry() -> None:
    with pytest.raises(LookupError, match="no report"):
        handler(message("fails", args=[], kwargs={}), CONTEXT)


def test_a_run_that_is_given_up_is_dead_lettered_as_it_came(queue: TaskQueue) -> None:
    sent = message(kwargs={"day": 1})
    handler(sent, CONTEXT)
    [(body, failure)] = queue.failures().items()
    assert json.loads(body) == sent
    assert "unexpected keyword argument 'day'" in failure["reason"]


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule": 7},
        {"schedule": ""},
        {"scheduled_time": None},
        {"task": ""},
        {"args": {}},
        {"kwargs": []},
        {"priority": "urgent"},
        {"priority": []},
        {"overlap": "queue"},
        {"overlap": {}},
    ],
)
def test_a_malformed_run_is_given_up_with_what_is_wrong(changed: dict[str, Any]) -> None:
    [field] = changed
    outcome = admit(json.dumps(message(**changed)), Delivery())
    assert isinstance(outcome, DeadLettered)
    assert isinstance(outcome.error, EnvelopeError)
    assert field in outcome.reason


def test_a_task_for_runs_alone_refuses_a_dispatch() -> None:
    admitted = admit(body_of(f"{__name__}.nightly", "eu"), Delivery())
    assert isinstance(admitted, Message)
    outcome = run(*admitted, Delivery())
    assert isinstance(outcome, DeadLettered)
    assert "serve it by a ScheduledTask" in outcome.reason


def test_a_time_that_is_none_is_refused() -> None:
    envelope = occurrence.envelope_of(message(scheduled_time="<aws.scheduler.scheduled-time>"))
    with pytest.raises(ArgumentError, match="is no time of ISO 8601"):
        ScheduledEvent.of(TaskContext(envelope, Delivery()))
