"""What a schedule sends becomes a run of its task, the same one however often it is delivered."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from runtime_lib import (
    ArgumentError,
    EnvelopeError,
    MemoryStore,
    Priority,
    Retry,
    ScheduledEvent,
    Task,
    TaskContext,
    TaskDefinitionError,
    leases,
    occurrence,
    task,
)
from runtime_lib.context import Delivery
from runtime_lib.execution import (
    DeadLettered,
    Discarded,
    Message,
    Outcome,
    RetryAfter,
    Succeeded,
    admit,
    run,
    run_async,
)
from runtime_lib.handlers.managed_async_task import handler as queue_handler
from runtime_lib.handlers.scheduled_task import handler
from runtime_lib.store import using_store
from tests.deliveries import TaskQueue, body_of
from tests.stores import BrokenStore, SlowStore

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
        {"scheduled_time": "<aws.scheduler.scheduled-time>"},
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


def test_a_run_is_dated_as_it_was_scheduled_however_late_it_is_delivered() -> None:
    scheduled_time = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert occurrence.envelope_of(message()).metadata["timestamp"] == 1000 * scheduled_time.timestamp()
    without_zone = occurrence.envelope_of(message(scheduled_time="2026-03-29T01:00:00"))
    assert without_zone.metadata["timestamp"] == 1000 * scheduled_time.timestamp()


def test_a_time_that_is_none_is_refused() -> None:
    envelope = occurrence.envelope_of(message())
    envelope.metadata["scheduled_time"] = "soon"
    with pytest.raises(ArgumentError, match="is no time of ISO 8601"):
        ScheduledEvent.of(TaskContext(envelope, Delivery()))


# --- One run at a time -----------------------------------------------------------------------------------------------


@task
def slow(context: TaskContext) -> None:
    ran.append(context.id)
    if (during := events.pop("during", None)) is not None:
        during()


@task(retry=Retry(2, first_delay=60, jitter="none"))
def flaky(context: TaskContext) -> None:
    ran.append(context.id)
    if context.attempt == 1:
        raise LookupError


events: dict[str, Any] = {}


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with using_store(MemoryStore()) as store:
        yield store


def skipping(
    name: str,
    minute: int,
    *,
    schedule: str = "every-minute",
    attempt: int = 1,
    receipt: str = "",
    seconds_left: float = 60,
) -> Outcome:
    """Deliver the run of one minute of a schedule whose runs do not overlap."""
    scheduled_time = f"2026-03-29T01:{minute:02}:00Z"
    sent = message(name, args=[], kwargs={}, overlap="skip", schedule=schedule, scheduled_time=scheduled_time)
    delivery = Delivery(attempt=attempt, receipt=receipt or None, deadline=time.time() + seconds_left)
    admitted = admit(json.dumps(sent), delivery)
    assert isinstance(admitted, Message)
    return run(*admitted, delivery)


@pytest.mark.usefixtures("store")
def test_a_run_is_skipped_while_the_previous_one_is_going() -> None:
    outcomes: list[Outcome] = []
    events["during"] = lambda: outcomes.extend(
        [skipping("slow", 1), skipping("slow", 1, schedule="another"), skipping("slow", 2)]
    )
    assert skipping("slow", 0) == Succeeded()
    skipped, another, skipped_too = outcomes
    assert skipped == skipped_too == Discarded("skipped: the previous run of schedule 'every-minute' is still going")
    assert another == Succeeded()
    assert skipping("slow", 3) == Succeeded()
    assert len(ran) == 3


@pytest.mark.usefixtures("store")
def test_a_run_that_waits_for_its_retry_is_going() -> None:
    assert isinstance(skipping("flaky", 0, receipt="r"), RetryAfter)
    assert isinstance(skipping("slow", 1), Discarded)
    assert skipping("flaky", 0, attempt=2, receipt="r") == Succeeded()
    assert skipping("slow", 2) == Succeeded()


def test_a_retry_that_is_late_finds_its_run_still_going(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(skipping("flaky", 0, receipt="r", seconds_left=0.1), RetryAfter)
    late = time.time() + 60 + 30
    monkeypatch.setattr(time, "time", lambda: late)
    assert not store.acquire("schedule:every-minute", "the next run", 60)


def test_a_run_that_never_reports_keeps_the_next_away_until_its_deadline(store: MemoryStore) -> None:
    store.acquire("schedule:every-minute", "crashed", 0.2)
    assert isinstance(skipping("slow", 1), Discarded)
    time.sleep(0.25)
    assert skipping("slow", 2) == Succeeded()


@task
async def aslow(context: TaskContext) -> None:
    if (begun := events.pop("begun", None)) is not None:
        begun.set()
        await asyncio.sleep(60)
    ran.append(context.id)


def skipping_message(name: str) -> Message:
    admitted = admit(json.dumps(message(name, args=[], kwargs={}, overlap="skip")), Delivery())
    assert isinstance(admitted, Message)
    return admitted


@pytest.mark.parametrize("slow", ["acquire", "release"])
def test_async_runs_do_not_wait_for_their_lease_in_the_event_loop(slow: str) -> None:
    async def main() -> Outcome:
        asyncio.get_running_loop().call_later(0.02, store.free.set)
        return await run_async(*skipping_message("aslow"), Delivery(deadline=time.time() + 60))

    with using_store(SlowStore(slow)) as store:
        assert asyncio.run(main()) == Succeeded()
    assert not store.has_blocked
    assert store.acquire("schedule:Shop-Nightly-1A2B", "the next run", 60)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of 300 ms, renewed every 50."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(leases, "_RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "renewal", leases.Renewal())


@pytest.mark.usefixtures("quick")
def test_a_long_run_in_a_worker_keeps_the_next_away_until_it_ends(store: MemoryStore) -> None:
    taken: list[bool] = []

    def next_run() -> None:
        time.sleep(0.6)
        taken.append(store.acquire("schedule:Shop-Nightly-1A2B", "the next run", 60))

    events["during"] = next_run
    assert run(*skipping_message("slow"), Delivery()) == Succeeded()
    assert taken == [False]
    assert store.acquire("schedule:Shop-Nightly-1A2B", "the next run", 60)


@pytest.mark.usefixtures("quick", "store")
def test_a_run_in_a_worker_that_is_cancelled_keeps_the_next_away_no_longer_than_its_lease() -> None:
    async def cancelled() -> None:
        events["begun"] = begun = asyncio.Event()
        running = asyncio.create_task(run_async(*skipping_message("aslow"), Delivery()))
        await asyncio.wait_for(begun.wait(), 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())
    assert leases.renewal._held == {}


@task(retry=Retry.never())
def once(context: TaskContext) -> None:
    ran.append(context.id)


def test_a_run_whose_lease_cannot_be_asked_for_waits_whatever_its_retries_are() -> None:
    with using_store(BrokenStore("acquire")):
        outcome = skipping("once", 0, receipt="r")
    assert isinstance(outcome, RetryAfter)
    assert outcome.delay == 60
    assert ran == []


def test_without_a_store_a_run_that_must_not_overlap_fails() -> None:
    outcome = skipping("slow", 0)
    assert isinstance(outcome, RetryAfter)
    assert "no task store" in str(outcome.error)
    assert ran == []


# --- What a decorator says -------------------------------------------------------------------------------------------


def declare(**options: Any) -> None:
    def report(region: str, days: int = 1) -> None: ...

    report.__qualname__ = "report"
    Task(report, name="shop.report", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "* * * * *"},
        {"schedule": "rate(1 day)", "default_args": {"args": ["eu"]}},
        {"default_args": {"kwargs": {"region": "eu", "days": 2}}},
        {"default_args": {"args": ["eu"], "kwargs": {"days": 2}}},
    ],
)
def test_a_decorator_takes_a_schedule_and_its_arguments_as_easyjobs_does(options: dict[str, Any]) -> None:
    declare(**options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"schedule": 15}, "schedule is a str such as"),
        ({"schedule": ""}, "schedule is a str such as"),
        ({"default_args": ["eu"]}, "default_args is {'args'"),
        ({"default_args": {"region": "eu"}}, "default_args is {'args'"),
        ({"default_args": {"args": "eu"}}, "default_args is {'args'"),
        ({"default_args": {"kwargs": ["eu"]}}, "default_args is {'args'"),
        ({"default_args": {}}, "default_args: report"),
        ({"default_args": {"args": ["eu", "two"]}}, "default_args: "),
        ({"default_args": {"kwargs": {"regoin": "eu"}}}, "default_args: "),
    ],
)
def test_what_a_decorator_cannot_say_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(TaskDefinitionError) as refused:
        declare(**options)
    assert str(refused.value).startswith("shop.report: ")
    assert problem in str(refused.value)
