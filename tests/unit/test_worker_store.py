"""The polling worker, and which of the tasks that it runs are recorded."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_lib import MemoryStore, Retry, StoreError, TaskContext, TaskStatus, listen_for_messages, task, tracking
from runtime_lib.envelope import Envelope
from tests.deliveries import TaskQueue, body_of
from tests.polled import listen

ran: list[int] = []


@task(name="recorded.counts", namespace="recorded", retry=Retry(2, first_delay=0))
def counts(until: int, context: TaskContext) -> int:
    ran.append(context.attempt)
    if context.attempt < until:
        raise ValueError(until)
    return context.attempt


@task(name="recorded.acounts", namespace="recorded")
async def acounts(until: int, context: TaskContext) -> int:
    ran.append(context.attempt)
    return context.attempt


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    """The store that the environment names."""
    ran.clear()
    store = MemoryStore()
    monkeypatch.setenv("TASK_STORE", "Records")
    monkeypatch.setattr(tracking, "_by_environment", {("Records", "1209600"): store})
    yield store
    tracking.set_store(None)


def send(mail: TaskQueue, *args: Any, of: str = "counts") -> str:
    body = body_of(f"recorded.{of}", *args)
    mail.send(body)
    return Envelope.decode(body).id


def status(store: MemoryStore, task_id: str) -> TaskStatus | None:
    record = store.find(task_id)
    return record and record.status


def work(*, requests: int = 1, **options: Any) -> None:
    listen_for_messages(namespace="recorded", loop_count=requests, wait_time_s=0, **options)


@pytest.mark.parametrize("of", ["counts", "acounts"])
def test_a_stored_route_says_that_its_tasks_are_recorded(
    mail: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setenv("TASK_ROUTE__RECORDED", "sqs+store:mail")
    task_id = send(mail, 1, of=of)
    work()
    assert status(store, task_id) is TaskStatus.SUCCEEDED
    assert mail.left() == 0


def test_a_route_that_is_not_stored_records_nothing(
    mail: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_ROUTE__RECORDED", "sqs:mail")
    task_id = send(mail, 1)
    work()
    assert ran == [1]
    assert status(store, task_id) is None


@pytest.mark.parametrize("by", ["environment", "process"])
def test_a_queue_that_is_named_is_recorded_if_that_is_said(
    mail: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "environment":
        monkeypatch.setenv("TASK_TRACKED", "1")
    else:
        store = MemoryStore()
        tracking.set_store(store)
    task_id = send(mail, 2)
    listen(requests=2)
    assert ran == [1, 2]
    assert status(store, task_id) is TaskStatus.SUCCEEDED


def test_without_its_store_a_worker_of_a_stored_route_does_not_begin(
    mail: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_ROUTE__RECORDED", "sqs+store:mail")
    monkeypatch.delenv("TASK_STORE")
    send(mail, 1)
    with pytest.raises(StoreError, match="no task store"):
        work()
    assert mail.left() == 1


def test_of_duplicates_side_by_side_one_runs(
    mail: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_ROUTE__RECORDED", "sqs+store:mail")
    barrier = threading.Barrier(2)
    begin = store.begin

    def begin_together(*args: Any, **kwargs: Any) -> Any:
        barrier.wait(5)
        return begin(*args, **kwargs)

    monkeypatch.setattr(store, "begin", begin_together)
    body = body_of("recorded.counts", 1)
    mail.send(body, body)
    work(concurrency=2)
    assert ran == [1]
    assert status(store, Envelope.decode(body).id) is TaskStatus.SUCCEEDED
    assert mail.left() in {0, 1}  # the other one comes again if it was refused while the first one ran
