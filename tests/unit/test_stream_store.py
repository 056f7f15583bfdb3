"""Records of a stream whose runs are recorded: what the store keeps from beginning waits in its invocation."""

from typing import Any

import pytest

from runtime_lib import MemoryStore, StreamRecord, TaskContext, TaskStatus, task, using_store
from runtime_lib.contract import ENV_TASK
from runtime_lib.handlers import stream_task
from tests.bus_events import stream_record
from tests.deliveries import TaskQueue
from tests.stores import BrokenStore

ran: list[int] = []


@task(name="stored.on_change")
def on_change(record: StreamRecord, context: TaskContext) -> None:
    ran.append(context.attempt)
    if context.attempt < 2:
        raise ValueError("not yet")


class Clock:
    function_name = "orders"

    @staticmethod
    def get_remaining_time_in_millis() -> float:
        return 30_000


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited."""
    ran.clear()
    stream_task._attempts.clear()
    monkeypatch.setenv(ENV_TASK, "stored.on_change")
    found: list[float] = []
    monkeypatch.setattr(stream_task.time, "sleep", found.append)
    return found


def deliver() -> list[dict[str, Any]]:
    record = stream_record("INSERT", {"id": {"S": "1"}}, number=1, new={"id": {"S": "1"}})
    answer = stream_task.handler({"Records": [record]}, Clock())
    assert answer is not None
    return answer["batchItemFailures"]


def test_attempts_are_counted_by_the_store_whatever_environment_runs_them(waited: list[float]) -> None:
    with using_store(MemoryStore()) as store:
        assert deliver() != []
        stream_task._attempts.clear()  # another environment
        assert deliver() == []
        assert deliver() == []
    assert ran == [1, 2]
    assert [record.status for record in store._records.values()] == [TaskStatus.SUCCEEDED]
    assert waited == []


@pytest.mark.parametrize(("lease", "seconds"), [(10, 12), (60, 29.5)])
def test_the_lease_of_a_run_that_was_killed_is_waited_for(waited: list[float], lease: float, seconds: float) -> None:
    with using_store(MemoryStore()) as store:
        deliver()
        [task_id] = store._records
        store.begin(task_id, "stored.on_change", owner="killed", seconds=lease)
        ran.clear()
        assert deliver() != []
    assert ran == []
    assert waited == [pytest.approx(seconds, abs=1)]


def test_a_store_that_fails_uses_up_few_of_the_mappings_retries(waited: list[float]) -> None:
    with using_store(BrokenStore("begin")):
        assert deliver() != []
        assert deliver() != []
    assert ran == []
    assert waited == [10, 10]


def test_a_record_whose_runs_are_killed_is_given_up_with_that_reason(queue: TaskQueue) -> None:
    with using_store(MemoryStore()) as store:
        assert deliver() != []
        [task_id] = store._records
        while store._records[task_id].attempts < 9:
            store.begin(task_id, "stored.on_change", owner="killed", seconds=0)
        ran.clear()
        assert deliver() == []
    assert ran == []
    [failure] = queue.failures().values()
    assert failure["reason"] == "9 deliveries ended without a report: timeout, out of memory or killed"
