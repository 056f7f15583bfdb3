"""FIFO queues: what is sent to them, and how often they take it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_lib import (
    DispatchError,
    Reject,
    RetryLater,
    SqsTransport,
    clients,
    contract,
    queues,
    task,
    using_transport,
)
from runtime_lib import requeue_dead_letters as requeue
from runtime_lib.handlers.managed_async_task import handler
from runtime_lib.worker import TaskWorker
from tests.deliveries import TaskQueue


@task
def step(name: str) -> None:
    raise Reject("no")


@task(name="a name with spaces, and ö")
def oddly_named() -> None:
    raise RetryLater(0)


@pytest.fixture
def orders(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQueue]:
    """A FIFO queue that tasks are dispatched to, and whose dead letter queue the environment names."""
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs})
    monkeypatch.setattr(queues, "_urls", {})
    queue = TaskQueue(sqs, "orders.fifo")
    monkeypatch.setenv(contract.ENV_DEAD_LETTER_QUEUE, queue.dead_letter_queue)
    with using_transport(SqsTransport(queue.url)):
        yield queue
    queue.delete()


def records(queue: TaskQueue) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = queue.event()["Records"]
    return found


def test_a_task_is_in_the_order_of_its_own_tasks(orders: TaskQueue) -> None:
    handle = step.dispatch("x")
    [record] = records(orders)
    assert record["attributes"]["MessageGroupId"] == step.name
    assert record["attributes"]["MessageDeduplicationId"] == handle.id


def test_a_group_has_an_order_of_its_own(orders: TaskQueue) -> None:
    step.with_group("tenant-7").dispatch("x")
    assert records(orders)[0]["attributes"]["MessageGroupId"] == "tenant-7"


def test_a_name_that_is_no_group_is_hashed(orders: TaskQueue) -> None:
    oddly_named.dispatch()
    assert contract.SQS_GROUP.fullmatch(records(orders)[0]["attributes"]["MessageGroupId"])


def test_two_dispatches_of_the_same_are_two_messages(orders: TaskQueue) -> None:
    for _ in range(2):
        step.dispatch("x")
    assert orders.left() == 2


def test_a_delay_is_refused_before_anything_is_sent(orders: TaskQueue) -> None:
    with pytest.raises(DispatchError, match=r"cannot be delayed by 5 s: orders\.fifo is a FIFO queue, which delays no"):
        step.with_delay(5).dispatch("x")
    assert orders.left() == 0


def test_a_redrive_within_five_minutes_arrives(orders: TaskQueue, sqs: Any) -> None:
    """Its first deduplication id, with which it was dispatched, is still remembered: SQS would drop it silently."""
    handle = step.with_group("tenant-7").dispatch("x")
    ids = {handle.id}
    for _ in range(3):
        assert orders.deliver(lambda event: handler(event, None)) == 1
        assert orders.left() == 0
        assert requeue(orders.dead_letter_queue, limit=1, client=sqs) == 1
        [record] = records(orders)
        assert json.loads(record["body"])["id"] == handle.id
        assert record["attributes"]["MessageGroupId"] == "tenant-7"
        ids.add(record["attributes"]["MessageDeduplicationId"])
        sqs.change_message_visibility(QueueUrl=orders.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0)
    assert len(ids) == 4


def test_a_redrive_that_is_interrupted_and_repeated_arrives_once(
    orders: TaskQueue, sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.dispatch("x")
    orders.deliver(lambda event: handler(event, None))

    def leave(url: str, receipts: list[str], _: Any) -> None:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipts[0], VisibilityTimeout=0)

    with monkeypatch.context() as patch:
        patch.setattr("runtime_lib.redrive.delete", leave)
        requeue(orders.dead_letter_queue, limit=1, client=sqs)
    requeue(orders.dead_letter_queue, limit=1, client=sqs)
    assert orders.left() == 1


def test_a_delivery_whose_dead_letter_was_written_already_writes_no_second_one(orders: TaskQueue) -> None:
    step.dispatch("x")
    event = orders.event()
    for _ in range(2):
        handler(event, None)
    assert len(orders.dead_letters()) == 1


def test_a_worker_refuses_a_fifo_queue(orders: TaskQueue) -> None:
    from asyncio import run  # noqa: PLC0415

    with pytest.raises(Exception, match=r"a worker cannot poll .*orders\.fifo: it runs messages side by side"):
        run(TaskWorker(queue=orders.url, loop_count=1).run())
