"""Dispatches along a stored route: each task is recorded before its message is sent."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from runtime_lib import DispatchError, MemoryStore, TaskHandle, TaskStatus, dispatch_task, task, using_store
from runtime_lib.errors import FailedMessage
from runtime_lib.task import Call
from runtime_lib.transports import sqs as sqs_transport
from runtime_lib.transports.routes import RouteTransport
from tests.stores import BrokenStore

Send = Callable[[Sequence[Call]], None]


@task(name="stored.invoice")
def invoice(number: int) -> None: ...


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Callable[[Send], None]:
    """Routes the task to a queue whose recording server has a store, and sets what sending does."""
    monkeypatch.setenv("TASK_ROUTE__STORED_INVOICE", "sqs+store:invoices")

    def set_send(send: Send) -> None:
        monkeypatch.setattr(sqs_transport.SqsTransport, "send", lambda _, calls: send(calls))

    return set_send


def calls(count: int) -> list[Call]:
    return [invoice.call(number) for number in range(count)]


def statuses(store: MemoryStore, of: Sequence[Call]) -> list[TaskStatus | None]:
    return [record and record.status for record in (store.find(call.envelope.id) for call in of)]


@pytest.mark.parametrize("count", [1, 25])
def test_every_task_is_queued_before_its_message_is_sent(sends: Any, count: int) -> None:
    dispatched = calls(count)
    seen: list[TaskStatus | None] = []
    with using_store(MemoryStore()) as store:
        sends(lambda sent: seen.extend(statuses(store, sent)))
        RouteTransport().send(dispatched)
    assert seen == [TaskStatus.QUEUED] * count
    assert statuses(store, dispatched) == seen


def test_a_handle_tells_what_its_dispatch_recorded(sends: Any) -> None:
    sends(lambda _: None)
    with using_store(MemoryStore()):
        handle = invoice.dispatch(1)
        assert handle.status() is TaskStatus.QUEUED
        assert handle.cancel()
        assert dispatch_task("stored.invoice", 1).status() is TaskStatus.QUEUED


@pytest.mark.parametrize("error", [DispatchError("no such queue"), OSError("no network")])
def test_what_is_not_sent_has_no_record(sends: Any, error: Exception) -> None:
    def fail(_: Any) -> None:
        raise error

    sends(fail)
    dispatched = calls(3)
    with using_store(MemoryStore()) as store, pytest.raises(type(error)):
        RouteTransport().send(dispatched)
    assert statuses(store, dispatched) == [None] * 3


def test_of_a_batch_that_is_sent_in_part_the_rest_is_taken_back(sends: Any) -> None:
    def fail(sent: Sequence[Call]) -> None:
        raise DispatchError("1 of 3", failed=[FailedMessage(sent[1].envelope.id, "Throttled", "")])

    sends(fail)
    dispatched = calls(3)
    with using_store(MemoryStore()) as store, pytest.raises(DispatchError):
        RouteTransport().send(dispatched)
    assert statuses(store, dispatched) == [TaskStatus.QUEUED, None, TaskStatus.QUEUED]


def test_what_was_recorded_before_stays_when_sending_it_again_fails(sends: Any) -> None:
    def fail(_: Any) -> None:
        raise DispatchError("no such queue")

    sends(fail)
    [call] = calls(1)
    with using_store(MemoryStore()) as store:
        store.add(call.envelope.id, call.envelope.task)
        with pytest.raises(DispatchError):
            RouteTransport().send([call])
    assert statuses(store, [call]) == [TaskStatus.QUEUED]


@pytest.mark.parametrize("count", [1, 3])
def test_what_cannot_be_recorded_is_not_sent(sends: Any, count: int) -> None:
    sent: list[Call] = []
    sends(sent.extend)
    with using_store(BrokenStore("add")), pytest.raises(DispatchError) as caught:
        RouteTransport().send(calls(count))
    assert str(caught.value) == (
        "stored.invoice was not dispatched: the task store Records failed: ThrottlingException"
    )
    assert sent == []


def test_if_one_of_many_cannot_be_recorded_none_stays(sends: Any) -> None:
    class Full(MemoryStore):
        def add(self, task_id: str, task: str, *, delay: float = 0) -> bool:
            if len(self._records) == 2:
                BrokenStore()._fail()
            return super().add(task_id, task, delay=delay)

    sent: list[Call] = []
    sends(sent.extend)
    with using_store(Full()) as store, pytest.raises(DispatchError):
        RouteTransport().send(calls(3))
    assert (sent, store._records) == ([], {})


def test_a_record_that_cannot_be_taken_back_does_not_hide_why_nothing_was_sent(
    sends: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise DispatchError("no such queue")

    sends(fail)
    with using_store(BrokenStore("take_back")), pytest.raises(DispatchError, match="no such queue"):
        RouteTransport().send(calls(1))
    assert "stays queued until it expires" in caplog.text


def test_without_its_store_a_stored_route_sends_nothing(sends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASK_STORE", raising=False)
    sent: list[Call] = []
    sends(sent.extend)
    with pytest.raises(DispatchError, match=r"stored.invoice was not dispatched: no task store"):
        invoice.dispatch(1)
    assert sent == []


def test_a_route_that_is_not_stored_records_nothing(sends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_ROUTE__STORED_INVOICE", "sqs:invoices")
    sent: list[Call] = []
    sends(sent.extend)
    with using_store(BrokenStore("add")):
        handle = invoice.dispatch(1)
    assert [call.handle for call in sent] == [handle]
    assert isinstance(handle, TaskHandle)
