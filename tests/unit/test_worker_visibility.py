"""Visibility timeouts: the worker's heartbeat, and `extend_visibility_timeout`."""

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from runtime_lib import clients, contract, current_context, extend_visibility_timeout, listen_for_messages, task
from runtime_lib.context import Delivery
from runtime_lib.errors import TaskError
from runtime_lib.heartbeat import Heartbeat
from runtime_lib.record import Record
from tests.deliveries import TaskQueue, body_of
from tests.polled import Requests, asked, listen, until

received_meanwhile: list[Any] = []
attempts: list[int] = []


@task
def runs(name: str) -> None:
    pass


@task
def outlasts(name: str) -> None:
    time.sleep(2.6)
    receive(current_context().delivery.queue_url)


@task
async def blocks(name: str) -> None:
    time.sleep(2.6)  # noqa: ASYNC251  (as tasks should not, but do)
    receive(current_context().delivery.queue_url)


@task
def extends(seconds: float, metadata: dict[str, Any]) -> None:
    extend_visibility_timeout(metadata["receipt"], seconds)


@task
async def abandons(name: str) -> None:
    attempts.append(current_context().attempt)
    if len(attempts) == 1:
        raise GeneratorExit


def receive(url: str | None) -> None:
    """What another worker would be given now."""
    messages = clients.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=0).get("Messages", [])
    received_meanwhile.extend(messages)


def body(name: str, *args: Any) -> str:
    return body_of(f"{__name__}.{name}", *args)


# --- The heartbeat ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["outlasts", "blocks"])
def test_a_message_is_not_delivered_again_while_its_task_runs(mail: TaskQueue, name: str) -> None:
    """Even if the task blocks the event loop."""
    received_meanwhile.clear()
    mail.send(body(name, "Ada"))
    listen(visibility_timeout_s=2)
    assert received_meanwhile == []
    assert mail.left() == 0


def test_a_message_whose_task_ends_without_an_outcome_is_delivered_again(mail: TaskQueue) -> None:
    attempts.clear()
    mail.send(body("abandons", "Ada"))
    listen_for_messages(queue="mail", loop_count=3, wait_time_s=1, visibility_timeout_s=1)
    assert attempts == [1, 2]
    assert mail.left() == 0


class SlowSqs:
    """An SQS whose requests take until the test says so."""

    def __init__(self, *failed: dict[str, Any]) -> None:
        self.failed = failed
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.extended: list[str] = []

    def change_message_visibility_batch(self, *, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        self.begun.set()
        self.may_end.wait(5)
        self.extended += [entry["ReceiptHandle"] for entry in Entries]
        return {"Failed": list(self.failed)}


def record(number: int = 1) -> Record:
    return Record(f"message-{number}", "", Delivery(receipt=f"receipt-{number}"))


def test_a_heartbeat_under_way_ends_before_the_message_is_settled() -> None:
    sqs = SlowSqs()
    heartbeat = Heartbeat("https://sqs/1/mail", 1, sqs)
    heartbeat.hold([record()])
    heartbeat.start()
    try:
        assert sqs.begun.wait(5)
        released = threading.Thread(target=heartbeat.release, args=[record()])
        released.start()
        released.join(0.1)
        assert released.is_alive()
        sqs.may_end.set()
        released.join(5)
        extended = len(sqs.extended)
        time.sleep(0.5)
        assert len(sqs.extended) == extended == 1
    finally:
        sqs.may_end.set()
        heartbeat.end()


def test_a_heartbeat_extends_all_it_holds_and_leaves_what_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    sqs = SlowSqs({"Id": "3", "SenderFault": True, "Code": "MessageNotInflight"})
    sqs.may_end.set()
    heartbeat = Heartbeat("https://sqs/1/mail", 1, sqs)
    heartbeat.hold(map(record, range(10)))
    heartbeat.start()
    try:
        until(lambda: len(sqs.extended) >= 19)
    finally:
        heartbeat.end()
    assert sqs.extended[:10] == [f"receipt-{number}" for number in range(10)]
    assert sqs.extended[10:19] == [f"receipt-{number}" for number in range(10) if number != 3]
    assert "message message-3 is not extended any more: MessageNotInflight" in caplog.text


# --- extend_visibility_timeout ---------------------------------------------------------------------------------------


def test_a_task_extends_its_own_message(mail: TaskQueue, requests: Requests) -> None:
    mail.send(body("extends", 600))
    listen()
    [changed] = asked(requests, "ChangeMessageVisibility")
    assert (changed["QueueUrl"], changed["VisibilityTimeout"]) == (mail.url, 600)
    assert mail.left() == 0


@pytest.mark.parametrize("queue", ["mail", "url"])
def test_outside_a_task_the_queue_is_given(mail: TaskQueue, queue: str) -> None:
    mail.send(body("runs", "Ada"))
    [delivered] = mail.event()["Records"]
    extend_visibility_timeout(delivered["receiptHandle"], 0, queue_url=mail.url if queue == "url" else queue)
    assert len(mail.event()["Records"]) == 1


def test_outside_a_task_no_queue_is_an_error() -> None:
    with pytest.raises(TaskError, match="pass queue_url="):
        extend_visibility_timeout("receipt", 60)


def test_a_message_that_is_in_no_queue_cannot_be_extended() -> None:
    with pytest.raises(TaskError, match="there is no receipt"):
        extend_visibility_timeout(None, 60)


def test_part_of_a_second_does_not_show_the_message_at_once(mail: TaskQueue, requests: Requests) -> None:
    mail.send(body("extends", 0.4))
    listen()
    assert [changed["VisibilityTimeout"] for changed in asked(requests, "ChangeMessageVisibility")] == [1]


@pytest.mark.parametrize("seconds", [-1, 43_201, float("nan")])
def test_a_visibility_timeout_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"seconds is 0 to {contract.SQS_MAX_VISIBILITY_SECONDS}, given {seconds}"):
        extend_visibility_timeout("receipt", seconds, queue_url="mail")


# --- Imports ---------------------------------------------------------------------------------------------------------


def test_a_task_in_lambda_extends_its_visibility_without_loading_a_worker() -> None:
    code = "import sys; from runtime_lib import extend_visibility_timeout; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    for module in ("asyncio", "boto3", "runtime_lib.polling"):
        assert f"'{module}'" not in loaded
