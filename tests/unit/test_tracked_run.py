"""Runs that are recorded: attempts, leases, duplicates, results, and a store that fails."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from runtime_lib import Discard, Reject, Retry, RetryLater, TaskContext, leases, task, tracked_run
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.errors import NotBegunError, StoreError
from runtime_lib.execution import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, run, run_async
from runtime_lib.memory_store import MemoryStore
from runtime_lib.task_record import TaskRecord, TaskStatus
from runtime_lib.tracking import using_store
from tests.stores import BrokenStore, SlowStore

THIRTY = Retry(3, first_delay=30, multiplier=1, jitter="none")
act: Callable[[], Any] = lambda: None  # noqa: E731  (what the tasks do; each test sets its own)
attempts: list[int] = []


@task(name="tracked.runs", retry=THIRTY)
def runs(context: TaskContext) -> Any:
    attempts.append(context.attempt)
    return act()


@task(name="tracked.aruns", retry=THIRTY)
async def aruns(context: TaskContext) -> Any:
    await asyncio.sleep(0)
    attempts.append(context.attempt)
    return act()


@pytest.fixture(params=[runs, aruns], ids=["def", "async def"])
def of(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Lets the tasks return this, or raise it."""

    def do(what: Any) -> None:
        def action() -> Any:
            if isinstance(what, BaseException):
                raise what
            return what() if callable(what) else what

        monkeypatch.setitem(globals(), "act", action)

    return do


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    attempts.clear()
    monkeypatch.setattr(leases, "renewal", leases.Renewal())
    with using_store(MemoryStore()) as store:
        yield store


def message(of: Any) -> Envelope:
    return Envelope.new(of.name, [], {}, priority=Priority.DEFAULT)


def received(attempt: int = 1, *, limit: int = 10, **more: Any) -> Delivery:
    return Delivery(attempt=attempt, max_receive_count=limit, receipt="receipt", **more)


def execute(of: Any, envelope: Envelope, delivery: Delivery | None = None) -> Outcome:
    delivery = delivery or received()
    return asyncio.run(run_async(of, envelope, delivery)) if of.is_async else run(of, envelope, delivery)


def record_of(store: MemoryStore, envelope: Envelope) -> TaskRecord:
    record = store.find(envelope.id)
    assert record is not None
    return record


# --- What is recorded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [{"rows": 5}, 0, "", None, [], False])
def test_a_task_that_returns_has_succeeded_with_its_result(
    of: Any, does: Any, store: MemoryStore, result: object
) -> None:
    does(result)
    envelope = message(of)
    assert execute(of, envelope) == Succeeded(result)
    record = record_of(store, envelope)
    assert (record.status, record.result, record.attempts) == (TaskStatus.SUCCEEDED, result, 1)


def test_a_failure_that_runs_again_is_recorded_with_its_error(of: Any, does: Any, store: MemoryStore) -> None:
    does(ValueError("no such order"))
    envelope = message(of)
    assert isinstance(execute(of, envelope), RetryAfter)
    record = record_of(store, envelope)
    assert record.status is TaskStatus.RETRYING
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("ValueError", "no such order")
    assert record.error.traceback.rstrip().endswith("ValueError: no such order")


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (Reject("bad data"), TaskStatus.FAILED, "Reject: bad data"),
        (Discard("not needed"), TaskStatus.CANCELLED, "Discard: not needed"),
        (RetryLater(5), TaskStatus.RETRYING, "RetryLater: the task asked to run again later"),
        (SystemExit(3), TaskStatus.RETRYING, "SystemExit: 3"),
    ],
)
def test_what_a_task_raises_says_what_is_recorded(
    of: Any, does: Any, store: MemoryStore, *, raised: BaseException, status: TaskStatus, said: str
) -> None:
    does(raised)
    envelope = message(of)
    execute(of, envelope)
    record = record_of(store, envelope)
    assert (record.status, str(record.error)) == (status, said)


def test_what_is_given_up_without_an_exception_is_recorded_with_its_reason(of: Any, store: MemoryStore) -> None:
    envelope = message(of)
    envelope.metadata["hops"] = 17
    assert isinstance(execute(of, envelope), DeadLettered)
    record = record_of(store, envelope)
    assert record.status is TaskStatus.FAILED
    assert "max_hops is 16" in str(record.error)


def test_the_reason_of_a_discard_is_cut(of: Any, does: Any, store: MemoryStore) -> None:
    does(Discard("x" * 500_000))
    envelope = message(of)
    execute(of, envelope)
    error = record_of(store, envelope).error
    assert error is not None
    assert len(error.message) == 2_000


def test_a_long_error_is_cut(of: Any, does: Any, store: MemoryStore) -> None:
    does(ValueError("x" * 100_000))
    envelope = message(of)
    execute(of, envelope)
    error = record_of(store, envelope).error
    assert error is not None
    assert (len(error.message), len(error.traceback)) == (2_000, 8_000)


# --- Attempts --------------------------------------------------------------------------------------------------------


def test_deliveries_that_began_nothing_are_no_attempts(of: Any, does: Any) -> None:
    does(ValueError())
    envelope = message(of)
    outcomes = [execute(of, envelope, received(attempt)) for attempt in (4, 6, 8)]
    assert attempts == [1, 2, 3]
    assert [type(outcome) for outcome in outcomes] == [RetryAfter, RetryAfter, DeadLettered]
    assert "failed at attempt 3: ValueError" in str(outcomes[-1])


def test_attempts_that_crashed_are_counted_and_end_in_the_reason(of: Any, does: Any, store: MemoryStore) -> None:
    envelope = message(of)
    for crashed in range(3):
        store.begin(envelope.id, of.name, owner=f"crashed {crashed}", seconds=0)
    outcome = execute(of, envelope, received(10))
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason == "3 deliveries ended without a report: timeout, out of memory or killed"
    assert attempts == []
    assert record_of(store, envelope).status is TaskStatus.FAILED


def test_the_queues_last_delivery_is_the_last_attempt(of: Any, does: Any, store: MemoryStore) -> None:
    does(ValueError())
    envelope = message(of)
    outcome = execute(of, envelope, received(10))
    assert attempts == [1]
    assert isinstance(outcome, DeadLettered)
    assert "the last that the queue's max_receive_count allows" in outcome.reason
    assert record_of(store, envelope).status is TaskStatus.FAILED


def test_invocations_are_attempts_though_lambda_does_not_number_them(of: Any, does: Any, store: MemoryStore) -> None:
    does(ValueError())
    envelope = message(of)
    delivery = Delivery(max_receive_count=2, source="lambda:background")
    assert isinstance(execute(of, envelope, delivery), RetryAfter)
    outcome = execute(of, envelope, delivery)
    assert attempts == [1, 2]
    assert isinstance(outcome, DeadLettered)
    assert "the last that retry_attempts allows" in outcome.reason


def test_what_failed_runs_anew_when_its_dead_letter_is_sent_back(of: Any, does: Any, store: MemoryStore) -> None:
    does(Reject("not yet"))
    envelope = message(of)
    execute(of, envelope)
    does(7)
    assert execute(of, envelope) == Succeeded(7)
    assert attempts == [1, 1]


# --- Duplicates ------------------------------------------------------------------------------------------------------


def test_a_message_that_comes_again_after_success_does_nothing(of: Any, does: Any, store: MemoryStore) -> None:
    does(7)
    envelope = message(of)
    execute(of, envelope)
    assert execute(of, envelope, received(2)) == Discarded("it has succeeded already")
    assert attempts == [1]
    assert record_of(store, envelope).result == 7


def test_a_cancelled_task_is_skipped(of: Any, store: MemoryStore) -> None:
    envelope = message(of)
    store.add(envelope.id, of.name)
    store.cancel(envelope.id)
    assert execute(of, envelope) == Discarded("it has cancelled already")
    assert attempts == []


def test_a_duplicate_waits_for_the_rest_of_the_lease(of: Any, store: MemoryStore) -> None:
    envelope = message(of)
    store.begin(envelope.id, of.name, owner="another", seconds=40)
    outcome = execute(of, envelope)
    assert isinstance(outcome, RetryAfter)
    assert outcome.delay == pytest.approx(42, abs=2)
    assert isinstance(outcome.error, NotBegunError)
    assert attempts == []


def test_a_duplicate_of_a_long_run_does_not_use_up_its_deliveries(of: Any, store: MemoryStore) -> None:
    envelope = message(of)
    store.begin(envelope.id, of.name, owner="another", seconds=60)
    waited = [execute(of, envelope, received(attempt)) for attempt in range(1, 10)]
    assert sum(outcome.delay for outcome in waited if isinstance(outcome, RetryAfter)) > 15 * 60


@pytest.mark.parametrize("delivery", [received(10), Delivery(eager=True), Delivery(awaited=True)])
def test_a_duplicate_that_is_not_delivered_again_is_given_up_with_the_reason(
    of: Any, store: MemoryStore, delivery: Delivery
) -> None:
    envelope = message(of)
    store.begin(envelope.id, of.name, owner="another", seconds=40)
    outcome = execute(of, envelope, delivery)
    assert isinstance(outcome, DeadLettered)
    assert "another delivery" in outcome.reason


def test_of_duplicates_that_race_one_has_an_effect(of: Any, does: Any, store: MemoryStore) -> None:
    does(lambda: time.sleep(0.05))
    envelope = message(of)
    barrier = threading.Barrier(6)

    def deliver(_: int) -> Outcome:
        barrier.wait()
        return execute(of, envelope)

    with ThreadPoolExecutor(6) as threads:
        outcomes = [one.result() for one in [threads.submit(copy_context().run, deliver, n) for n in range(6)]]
    assert attempts == [1]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RetryAfter"] * 5 + ["Succeeded"]


# --- Leases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of 300 ms, renewed every 50."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(leases, "_RENEWAL_SECONDS", 0.05)


def renewing() -> threading.Thread | None:
    return leases.renewal._thread


@pytest.mark.usefixtures("quick")
def test_a_lease_does_not_lapse_while_the_task_runs(of: Any, does: Any, store: MemoryStore) -> None:
    envelope = message(of)
    answers: list[object] = []

    def work() -> None:
        for _ in range(4):
            time.sleep(0.2)
            answers.append(store.begin(envelope.id, of.name, owner="duplicate", seconds=1))

    does(work)
    assert execute(of, envelope) == Succeeded(None)
    assert not [answer for answer in answers if isinstance(answer, int)]
    assert leases.renewal._held == {}


@pytest.mark.usefixtures("quick")
def test_after_a_crash_the_next_delivery_waits_no_longer_than_a_lease(of: Any, store: MemoryStore) -> None:
    envelope = message(of)
    begun = tracked_run.begin(store, envelope, received())
    assert isinstance(begun, tracked_run.TrackedRun)  # and its process is killed here
    refused = execute(of, envelope, received(2))
    assert isinstance(refused, RetryAfter)
    time.sleep(0.3)
    assert execute(of, envelope, received(3)) == Succeeded(None)
    assert attempts == [2]


def test_in_lambda_a_lease_ends_with_the_deadline_and_needs_no_thread(of: Any, does: Any, store: MemoryStore) -> None:
    envelope = message(of)
    does(lambda: [store.begin(envelope.id, of.name, owner="duplicate", seconds=1), renewing()])
    outcome = execute(of, envelope, received(deadline=time.time() + 20))
    assert isinstance(outcome, Succeeded)
    [refused, thread] = outcome.result
    assert refused.seconds == pytest.approx(22, abs=2)
    assert thread is None


def test_who_lost_the_lease_does_not_record_its_end(
    of: Any, does: Any, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    envelope = message(of)

    def lapse() -> None:
        store._leases[envelope.id] = store._leases[envelope.id]._replace(until=0)
        store.begin(envelope.id, of.name, owner="another", seconds=40)

    does(lapse)
    assert execute(of, envelope) == Succeeded(None)
    assert record_of(store, envelope).status is TaskStatus.RUNNING
    assert "its lease had lapsed" in caplog.text


# --- A store that fails ----------------------------------------------------------------------------------------------


def test_a_task_that_cannot_be_recorded_is_not_begun_and_comes_again(of: Any, caplog: pytest.LogCaptureFixture) -> None:
    with using_store(BrokenStore("begin")):
        outcomes = [execute(of, message(of), received(attempt)) for attempt in (1, 2, 9)]
        last = execute(of, message(of), received(10))
    assert [outcome.delay for outcome in outcomes if isinstance(outcome, RetryAfter)] == [10, 20, 300]
    assert last == DeadLettered("the task store Records failed: ThrottlingException", last.error)  # type: ignore[union-attr]
    assert attempts == []
    assert "is not begun: the task store Records failed" in caplog.text


def test_a_task_whose_end_cannot_be_recorded_has_ended_all_the_same(
    of: Any, does: Any, caplog: pytest.LogCaptureFixture
) -> None:
    does(7)
    with using_store(BrokenStore("end")):
        assert execute(of, message(of)) == Succeeded(7)
    assert "could not be recorded" in caplog.text


# --- The event loop --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["begin", "end"])
def test_async_tasks_do_not_wait_for_the_store_in_the_event_loop(slow: str) -> None:
    async def main() -> Outcome:
        asyncio.get_running_loop().call_later(0.02, store.free.set)
        return await run_async(aruns, message(aruns), received())

    with using_store(SlowStore(slow)) as store:
        assert asyncio.run(main()) == Succeeded(None)
    assert not store.has_blocked


def test_a_run_that_is_cancelled_holds_no_lease_for_longer_than_it_lasts(store: MemoryStore) -> None:
    envelope = message(aruns)

    async def cancelled() -> None:
        running = asyncio.create_task(run_async(aruns, envelope, received()))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        slow.free.set()

    with using_store(SlowStore("begin")) as slow:
        asyncio.run(cancelled())
    assert leases.renewal._held == {}


def test_a_store_error_of_the_tasks_own_is_an_error_as_any_other(of: Any, does: Any, store: MemoryStore) -> None:
    does(StoreError("mine"))
    envelope = message(of)
    assert isinstance(execute(of, envelope), RetryAfter)
    assert str(record_of(store, envelope).error) == "StoreError: mine"
