"""Handles of dispatched tasks: what they tell where the tasks are recorded."""

import asyncio
import time
from collections.abc import Callable, Iterator
from threading import Timer
from typing import Any

import pytest

from runtime_lib import (
    EagerTransport,
    MemoryStore,
    NotRecordedError,
    ResultUnavailableError,
    Retry,
    StoreError,
    TaskCancelledError,
    TaskFailedError,
    TaskHandle,
    TaskStatus,
    get_store,
    set_store,
    task,
    using_store,
    using_transport,
)
from runtime_lib.store import TaskStore
from runtime_lib.task_record import Ending, RecordedError
from runtime_lib.tracking import receiving_store
from tests.stores import SlowStore

SUCCEEDED = Ending(TaskStatus.SUCCEEDED, result="[1]")
FAILED = Ending(TaskStatus.FAILED, error=RecordedError("ValueError", "no such order", "Traceback …"))


@task(name="handle.add")
def add(a: int, b: int) -> int:
    return a + b


@task(name="handle.aadd")
async def aadd(a: int, b: int) -> int:
    return a + b


@task(name="handle.fails", retry=Retry.once())
def fails() -> None:
    raise ValueError("no such order")


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with using_store(MemoryStore()) as store:
        yield store


def ended(store: MemoryStore, ending: Ending) -> TaskHandle:
    store.begin("1", "shop.invoice", owner="a", seconds=60)
    store.end("1", ending, owner="a")
    return TaskHandle("1", "shop.invoice")


def waiting(handle: TaskHandle) -> Any:
    async def wait() -> Any:
        return await handle

    return asyncio.run(wait())


@pytest.fixture(params=[TaskHandle.result, waiting], ids=["result", "await"])
def result_of(request: pytest.FixtureRequest) -> Callable[[TaskHandle], Any]:
    return request.param


def test_a_handle_is_a_tuple_of_id_and_name() -> None:
    assert TaskHandle("1", "shop.invoice") == ("1", "shop.invoice")
    assert len({TaskHandle("1", "a"), TaskHandle("1", "a"), TaskHandle("2", "a")}) == 2


# --- Where tasks run when they are dispatched ------------------------------------------------------------------------


@pytest.mark.parametrize("of", [add, aadd])
def test_an_eager_task_has_a_record_with_its_result(store: MemoryStore, of: Any) -> None:
    with using_transport(EagerTransport()):
        handle = of.dispatch(1, 2)
    assert handle.result() == 3
    assert handle.status() is TaskStatus.SUCCEEDED
    record = handle.record()
    assert record.queued_at <= record.started_at <= record.finished_at


@pytest.mark.parametrize("of", [add, aadd])
def test_an_eager_task_is_awaited_in_an_event_loop(store: MemoryStore, of: Any) -> None:
    async def main() -> int:
        with using_transport(EagerTransport()):
            return await (await of.adispatch(1, 2))

    assert asyncio.run(main()) == 3


def test_an_eager_task_that_fails_raises_at_the_dispatch_and_is_recorded(store: MemoryStore) -> None:
    with using_transport(EagerTransport()), pytest.raises(ValueError, match="no such order"):
        fails.dispatch()
    [task_id] = store._records
    with pytest.raises(TaskFailedError) as caught:
        TaskHandle(task_id, "handle.fails").result()
    assert str(caught.value) == f"handle.fails {task_id} failed at attempt 2: ValueError: no such order"
    assert caught.value.failure is not None
    assert caught.value.failure.type == "ValueError"


# --- Results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["0", '""', "null", "[]", "false"])
def test_a_falsy_result_is_a_result(store: MemoryStore, result_of: Any, result: str) -> None:
    handle = ended(store, Ending(TaskStatus.SUCCEEDED, result=result))
    assert result_of(handle) == {"0": 0, '""': "", "null": None, "[]": [], "false": False}[result]


def test_a_failure_is_raised_with_what_is_known_of_it(store: MemoryStore, result_of: Any) -> None:
    with pytest.raises(
        TaskFailedError, match=r"^shop.invoice 1 failed at attempt 1: ValueError: no such order$"
    ) as error:
        result_of(ended(store, FAILED))
    assert error.value.failure == FAILED.error


def test_a_cancellation_is_raised(store: MemoryStore, result_of: Any) -> None:
    store.add("1", "shop.invoice")
    handle = TaskHandle("1", "shop.invoice")
    assert handle.cancel()
    with pytest.raises(TaskCancelledError, match=r"^shop.invoice 1 was cancelled$"):
        result_of(handle)
    assert not handle.cancel()


def test_a_task_that_discarded_itself_says_so(store: MemoryStore, result_of: Any) -> None:
    discarded = Ending(TaskStatus.CANCELLED, error=RecordedError("Discard", "paid already"))
    with pytest.raises(TaskCancelledError, match=r"^shop.invoice 1 was cancelled: paid already$"):
        result_of(ended(store, discarded))


def test_a_result_that_was_not_recorded_says_why(store: MemoryStore, result_of: Any) -> None:
    handle = ended(store, Ending(TaskStatus.SUCCEEDED, result_missing="it is 500,000 bytes"))
    with pytest.raises(ResultUnavailableError, match="its result is not here: it is 500,000 bytes"):
        result_of(handle)
    assert handle.status() is TaskStatus.SUCCEEDED


def test_a_result_is_waited_for(store: MemoryStore, result_of: Any) -> None:
    store.begin("1", "shop.invoice", owner="a", seconds=60)
    timer = Timer(0.2, store.end, ["1", SUCCEEDED], {"owner": "a"})
    timer.start()
    try:
        assert result_of(TaskHandle("1", "shop.invoice")) == [1]
    finally:
        timer.join()


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_who_does_not_wait_long_enough_is_told_the_status(store: MemoryStore, timeout: float) -> None:
    store.add("1", "shop.invoice")
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=f"^shop.invoice 1 is queued after {timeout:g} s$"):
        TaskHandle("1", "shop.invoice").result(timeout)
    assert time.monotonic() - started < timeout + 1


def test_who_waits_for_a_task_that_was_killed_is_told_so(store: MemoryStore) -> None:
    store.begin("1", "shop.invoice", owner="a", seconds=0)
    time.sleep(0.01)
    handle = TaskHandle("1", "shop.invoice")
    expected = "^shop.invoice 1 is running after 0 s: its latest attempt ended without a report$"
    with pytest.raises(TimeoutError, match=expected):
        handle.result(timeout=0)
    assert handle.record().is_overdue
    assert handle.cancel()
    with pytest.raises(TaskCancelledError):
        handle.result()


def test_what_has_finished_needs_no_time(store: MemoryStore) -> None:
    assert ended(store, SUCCEEDED).result(timeout=0) == [1]


def test_awaiting_does_not_block_the_event_loop(store: MemoryStore) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(0.02, slow.free.set)
        assert await ended(slow, SUCCEEDED) == [1]

    with using_store(SlowStore("find")) as slow:
        asyncio.run(main())
    assert not slow.has_blocked


def test_a_wait_can_be_limited_as_any_other(store: MemoryStore) -> None:
    store.add("1", "shop.invoice")

    async def main() -> None:
        await asyncio.wait_for(TaskHandle("1", "shop.invoice"), 0.1)  # type: ignore[arg-type]

    with pytest.raises(TimeoutError):
        asyncio.run(main())


# --- Which store -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [TaskHandle.status, TaskHandle.record, TaskHandle.result, TaskHandle.cancel, waiting])
def test_without_a_store_a_handle_says_what_to_do(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASK_STORE", raising=False)
    with pytest.raises(StoreError, match=r"no task store: .*store=TaskStore\(…\).*set_store\(MemoryStore\(\)\)"):
        ask(TaskHandle("1", "shop.invoice"))


@pytest.mark.parametrize("ask", [TaskHandle.status, TaskHandle.record, TaskHandle.result, TaskHandle.cancel, waiting])
def test_a_task_without_a_record_says_so(store: MemoryStore, ask: Any) -> None:
    with pytest.raises(NotRecordedError, match="1"):
        ask(TaskHandle("1", "shop.invoice"))


def test_the_innermost_store_is_in_force_then_the_processes_then_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASK_STORE", "Records")
    monkeypatch.setenv("TASK_STORE_TTL", "3600")
    of_environment = get_store()
    assert isinstance(of_environment, TaskStore)
    assert (of_environment.table_name, of_environment._time_to_live) == ("Records", 3600)
    assert get_store() is of_environment
    of_process, innermost = MemoryStore(), MemoryStore()
    set_store(of_process)
    try:
        assert get_store() is of_process
        with using_store(innermost):
            assert get_store() is innermost
        assert get_store() is of_process
    finally:
        set_store(None)
    assert get_store() is of_environment


def test_a_store_of_the_environment_is_for_what_is_dispatched_unless_what_arrives_is_tracked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASK_STORE", "Records")
    assert receiving_store() is None
    monkeypatch.setenv("TASK_TRACKED", "1")
    assert receiving_store() is get_store()
