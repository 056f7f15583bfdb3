"""What is recorded of messages that triggers deliver, also of those that do not run or cannot be settled."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from runtime_lib import (
    Discard,
    MemoryStore,
    Reject,
    RetryLater,
    StreamRecord,
    TaskContext,
    TaskStatus,
    UnknownTaskError,
    contract,
    task,
    using_store,
)
from runtime_lib.envelope import Envelope
from runtime_lib.handlers import background_task_function, managed_async_task, pure_task, stream_task
from tests.bus_events import stream_record
from tests.deliveries import TaskQueue, body_of
from tests.task_modules import run_program

ran: list[int] = []


@task(name="triggered.rejects")
def rejects(context: TaskContext) -> None:
    ran.append(context.attempt)
    raise Reject("no such customer")


@task(name="triggered.later")
def later() -> None:
    raise RetryLater(5)


@task(name="triggered.discards")
def discards() -> None:
    raise Discard("paid already")


@task(name="triggered.on_change")
def on_change(record: StreamRecord, context: TaskContext) -> None:
    ran.append(context.attempt)
    raise Reject("no such customer")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    ran.clear()
    stream_task._attempts.clear()
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "3")
    with using_store(MemoryStore()) as store:
        yield store


def only(store: MemoryStore) -> Any:
    [task_id] = store._records
    return store.find(task_id)


def invocation(request: str = "request-1") -> Any:
    return SimpleNamespace(
        function_name="receipts", aws_request_id=request, get_remaining_time_in_millis=lambda: 30_000
    )


def from_queue(queue: TaskQueue, body: str, *, receives: int = 1, message_id: str = "message-1") -> list[str]:
    """Deliver a message; the ids of those that come again."""
    record = {
        "messageId": message_id,
        "receiptHandle": "of a test",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
    }
    answer = managed_async_task.handler({"Records": [record]}, invocation())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


# --- What does not run -----------------------------------------------------------------------------------------------


def test_a_task_that_asks_for_a_delay_that_lambda_has_not_has_failed(queue: TaskQueue, store: MemoryStore) -> None:
    background_task_function.handler(json.loads(body_of("triggered.later")), invocation())
    assert len(queue.dead_letters()) == 1
    assert only(store).status is TaskStatus.FAILED


def test_a_message_that_waits_for_its_task_uses_up_no_attempt(queue: TaskQueue, store: MemoryStore) -> None:
    body = body_of("triggered.unknown")
    store.add(Envelope.decode(body).id, "triggered.unknown")
    assert from_queue(queue, body, receives=2) == ["message-1"]
    assert (only(store).status, only(store).attempts) == (TaskStatus.QUEUED, 0)


def test_a_message_whose_task_nobody_knows_has_failed_when_it_is_given_up(queue: TaskQueue, store: MemoryStore) -> None:
    body = body_of("triggered.unknown")
    store.add(Envelope.decode(body).id, "triggered.unknown")
    assert from_queue(queue, body, receives=3) == []
    assert len(queue.dead_letters()) == 1
    assert only(store).status is TaskStatus.FAILED
    assert "triggered.unknown" in only(store).error.message


def test_an_invocation_whose_task_nobody_knows_has_failed_at_its_last_retry(
    queue: TaskQueue, store: MemoryStore
) -> None:
    event = json.loads(body_of("triggered.unknown"))
    for _ in range(2):
        with pytest.raises(UnknownTaskError):
            background_task_function.handler(event, invocation())
        assert only(store).status is TaskStatus.RETRYING
    background_task_function.handler(event, invocation())
    assert only(store).status is TaskStatus.FAILED
    assert len(queue.dead_letters()) == 1


def test_a_cancelled_message_is_skipped_by_who_does_not_know_its_task(queue: TaskQueue, store: MemoryStore) -> None:
    body = body_of("triggered.unknown")
    task_id = Envelope.decode(body).id
    store.add(task_id, "triggered.unknown")
    store.cancel(task_id)
    assert from_queue(queue, body, receives=3) == []
    assert queue.dead_letters() == []


def test_a_pure_task_that_discards_itself_is_cancelled(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_TASK, "triggered.discards")
    assert pure_task.handler(None, invocation()) is None
    assert only(store).status is TaskStatus.CANCELLED


# --- A dead letter that cannot be written ----------------------------------------------------------------------------


def test_what_failed_does_not_run_again_until_its_dead_letter_is_sent_back(
    queue: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = body_of("triggered.rejects")
    with monkeypatch.context() as patched:
        patched.setenv(contract.ENV_DEAD_LETTER_QUEUE, "no-such-queue")
        assert from_queue(queue, body) == ["message-1"]
        assert from_queue(queue, body, receives=2) == ["message-1"]
    assert from_queue(queue, body, receives=3) == []
    assert ran == [1]
    [failure] = queue.failures().values()
    assert failure["reason"] == "it has failed already: Reject: no such customer"
    assert only(store).status is TaskStatus.FAILED
    assert from_queue(queue, body, message_id="sent back") == []
    assert ran == [1, 1]


def test_an_invocation_that_failed_does_not_run_again_until_its_dead_letter_is_sent_back(
    queue: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = json.loads(body_of("triggered.rejects"))
    with monkeypatch.context() as patched:
        patched.setenv(contract.ENV_DEAD_LETTER_QUEUE, "no-such-queue")
        with pytest.raises(Reject):
            background_task_function.handler(event, invocation())
    background_task_function.handler(event, invocation())
    assert ran == [1]
    assert len(queue.dead_letters()) == 1
    background_task_function.handler(event, invocation("sent back"))
    assert ran == [1, 1]


def test_a_record_of_a_stream_that_failed_does_not_run_again_until_its_dead_letter_is_sent_back(
    queue: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_TASK, "triggered.on_change")
    record = stream_record("INSERT", {"id": {"S": "1"}}, number=1, new={"id": {"S": "1"}})
    event = {"Records": [record]}
    with monkeypatch.context() as patched:
        patched.setenv(contract.ENV_DEAD_LETTER_QUEUE, "no-such-queue")
        assert stream_task.handler(event, invocation()) != {"batchItemFailures": []}
    assert stream_task.handler(event, invocation("request-2")) == {"batchItemFailures": []}
    assert ran == [1]
    assert len(queue.dead_letters()) == 1
    stream_task.handler(record, invocation("sent back"))
    assert ran == [1, 1]


def test_an_invocation_that_was_killed_at_its_last_retry_runs_when_its_dead_letter_is_sent_back(
    queue: TaskQueue, store: MemoryStore
) -> None:
    event = json.loads(body_of("triggered.rejects"))
    for owner in "abc":
        store.begin(event["id"], "triggered.rejects", owner=owner, seconds=0, message_id="request-1")
    background_task_function.handler(event, invocation("sent back"))
    assert ran == [1]


def test_a_pure_task_that_lambda_invokes_again_runs_again(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_TASK, "triggered.rejects")
    for _ in range(2):
        with pytest.raises(Reject):
            pure_task.handler(None, invocation())
    assert ran == [1, 1]


# --- Order -----------------------------------------------------------------------------------------------------------


def test_what_waited_in_its_group_for_too_long_has_failed(
    queue: TaskQueue, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [body_of("triggered.unknown"), body_of("triggered.rejects")]
    records = [
        {
            "messageId": f"message-{number}",
            "receiptHandle": "of a test",
            "body": body,
            "attributes": {"ApproximateReceiveCount": str(receives), "MessageGroupId": "one"},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"{queue.arn}.fifo",
        }
        for number, (body, receives) in enumerate(zip(bodies, (1, 3), strict=True))
    ]
    second = Envelope.decode(bodies[1])
    store.add(second.id, second.task)
    managed_async_task.handler({"Records": records}, invocation())
    record = store.find(second.id)
    assert record is not None
    assert record.status is TaskStatus.FAILED
    assert record.error is not None
    assert "it has not run" in record.error.message
    assert ran == []


# --- Without a store --------------------------------------------------------------------------------------------------


def test_a_task_without_a_store_loads_none_and_reaches_no_dynamodb() -> None:
    program = """
        import sys, asyncio
        from runtime_lib import EagerTransport, task, using_transport
        from runtime_lib.handlers import background_task_function, managed_async_task

        @task
        def send(to): return to
        @task
        async def asend(to): return to

        with using_transport(EagerTransport()):
            for one in (send, asend):
                one.dispatch("a")
        from runtime_lib.envelope import Envelope
        from runtime_lib.contract import Priority
        import json
        envelope = Envelope.new(send.name, ["a"], {}, priority=Priority.DEFAULT)
        background_task_function.handler(json.loads(envelope.encode()), None)
        ours = ("runtime_lib.store", "runtime_lib.memory_store", "runtime_lib.task_record", "runtime_lib.tracked_run",
                "runtime_lib.tracked_send", "runtime_lib.results", "boto3")
        print([name for name in ours if name in sys.modules])
    """
    assert run_program(program) == "[]\n"
