"""What becomes of the messages of an SQS event."""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runtime_lib import clients, contract
from runtime_lib.handlers import managed_async_task, priority_task_queues
from runtime_lib.handlers.managed_async_task import handler
from tests.deliveries import TaskQueue
from tests.sqs_tasks import changed, failed, message, outcome_of, ran

pytestmark = pytest.mark.usefixtures("journal")


@pytest.mark.parametrize("module", [managed_async_task, priority_task_queues])
def test_only_what_failed_is_reported(module: Any, queue: TaskQueue) -> None:
    queue.send(message("runs", "a"), message("fails", "b"), message("runs", "c"))
    assert queue.deliver(lambda event: module.handler(event, None)) == 3
    assert queue.left() == 1
    assert sorted(one for one in ran if len(one) == 1) == ["a", "b", "c"]


# --- What a task can do ----------------------------------------------------------------------------------------------


def test_a_failed_task_comes_back_after_its_policys_delay(queue: TaskQueue) -> None:
    assert outcome_of(queue, message("fails", "x"), ApproximateReceiveCount=2) == (True, None)
    assert "hide x for 60" in ran


def test_retry_later_comes_back_when_it_asked_to(queue: TaskQueue) -> None:
    assert outcome_of(queue, message("asks", "x")) == (True, None)
    assert "hide x for 120" in ran


def test_a_discarded_message_is_done(queue: TaskQueue) -> None:
    assert outcome_of(queue, message("discards", "x")) == (False, None)


@pytest.mark.parametrize(
    ("name", "reason", "error_type"),
    [
        ("rejects", "no such customer", "Reject"),
        ("given_up", "failed at attempt 1: KeyError: 'x'", "KeyError"),
        ("never", "failed at attempt 1: ValueError: never again", "ValueError"),
    ],
)
def test_a_message_that_is_not_retried_is_dead_lettered_with_the_reason(
    name: str, reason: str, error_type: str, queue: TaskQueue
) -> None:
    back, failure = outcome_of(queue, message(name, "x"))
    assert not back
    assert failure
    assert (failure["reason"], failure["error_type"]) == (reason, error_type)
    assert (failure["attempts"], failure["source"]) == (1, "sqs:mail")
    assert f"raise {error_type}" in failure["traceback"]


def test_the_last_attempt_is_dead_lettered(queue: TaskQueue) -> None:
    back, failure = outcome_of(queue, message("fails", "x"), ApproximateReceiveCount=3)
    assert not back
    assert failure
    assert (failure["reason"], failure["attempts"]) == ("failed at attempt 3: LookupError: no such order", 3)


def test_a_dead_letter_is_the_untouched_body_and_one_attribute(queue: TaskQueue) -> None:
    body = json.dumps(json.loads(message("rejects", "größer 🎉")), indent=2, ensure_ascii=False)
    queue.send(body)
    assert failed(queue.event()) == []
    [letter] = queue.dead_letters()
    assert letter["Body"] == body
    assert list(letter["MessageAttributes"]) == ["TaskFailure"]


def test_a_message_that_ended_every_delivery_is_dead_lettered_before_sqs_does_it(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "5")
    back, failure = outcome_of(queue, message("fails", "x"), ApproximateReceiveCount=5)
    assert not back
    assert failure
    assert failure["reason"] == "4 deliveries ended without a report: timeout, out of memory or killed"
    assert "x" not in ran


# --- The dead letter queue cannot be written -------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["order 7", message("rejects", "x"), changed(args=[7.5])])
def test_a_message_stays_in_its_queue_when_its_dead_letter_cannot_be_written(
    body: str, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(contract.ENV_DEAD_LETTER_QUEUE, "absent")
    assert outcome_of(queue, body) == (True, None)
    assert "cannot be written to absent" in caplog.text


def test_a_message_stays_in_its_queue_when_there_is_no_dead_letter_queue(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(contract.ENV_DEAD_LETTER_QUEUE)
    assert outcome_of(queue, message("rejects", "x")) == (True, None)
    assert "TASK_DEAD_LETTER_QUEUE names no queue for it: no such customer" in caplog.text


def test_a_message_is_reported_also_if_its_delay_cannot_be_set(
    queue: TaskQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.send(message("fails", "x"), message("runs", "y"))
    event = queue.event()
    event["Records"][0]["receiptHandle"] = "expired"
    queue.bodies["expired"] = event["Records"][0]["body"]
    assert failed(event) == [event["Records"][0]["body"]]
    assert "comes back when its visibility timeout ends, not in 30.0 s" in caplog.text


# --- Order -----------------------------------------------------------------------------------------------------------


def test_what_has_finished_is_deleted_before_anything_else_starts(queue: TaskQueue) -> None:
    queue.send(*(message("runs", name) for name in "abc"), *(message("aruns", name) for name in "de"), "order 7")
    assert failed(queue.event()) == []
    first = ran.index("a")
    assert ran[:first] == ["dead-letter", "delete order 7"]
    assert ran[first:] == ["a", "delete a", "b", "delete b", "c", "delete c", "d", "e"]


def test_records_received_before_run_last_and_alone(queue: TaskQueue) -> None:
    queue.send(*(message("aruns", name) for name in "abcd"), message("runs", "e"))
    event = queue.event()
    for record in event["Records"][:3]:
        record["attributes"]["ApproximateReceiveCount"] = "3"
    assert failed(event) == []
    assert ran == ["e", "delete e", "d", "delete d", "a", "delete a", "b", "delete b", "c"]


@pytest.mark.parametrize(("receive_count", "order"), [(2, "dcba"), (3, "abcd"), (4, "dcba")])
def test_the_order_of_records_received_before_alternates(receive_count: int, order: str, queue: TaskQueue) -> None:
    queue.send(*(message("runs", name) for name in "abcd"))
    event = queue.event(ApproximateReceiveCount=receive_count)
    for seconds, record in enumerate(event["Records"]):
        record["attributes"]["SentTimestamp"] = str(1000 * seconds)
    assert failed(event) == []
    assert [name for name in ran if len(name) == 1] == list(order)


def test_a_record_that_was_received_more_often_runs_after_those_that_were_less(queue: TaskQueue) -> None:
    queue.send(*(message("runs", name) for name in "abc"))
    event = queue.event()
    for record, count in zip(event["Records"], (4, 2, 3), strict=True):
        record["attributes"]["ApproximateReceiveCount"] = str(count)
    assert failed(event) == []
    assert [name for name in ran if len(name) == 1] == ["b", "c", "a"]


def test_a_record_whose_last_run_this_is_runs_first(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "10")
    queue.send(*(message("runs", name) for name in "abc"))
    event = queue.event()
    for record, count in zip(event["Records"], (1, 8, 9), strict=True):
        record["attributes"]["ApproximateReceiveCount"] = str(count)
    assert failed(event) == []
    assert [name for name in ran if len(name) == 1] == ["c", "a", "b"]


def test_records_are_not_started_when_the_function_is_about_to_time_out(queue: TaskQueue) -> None:
    queue.send(*(message("runs", name) for name in "ab"), message("aruns", "c"))
    event = queue.event()
    response = handler(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 400))
    assert len(response["batchItemFailures"]) == 3
    assert ran == ["show a b c"]
    assert len(queue.event()["Records"]) == 3


def test_there_is_time_for_one_as_long_as_the_longest_and_for_the_report(queue: TaskQueue) -> None:
    queue.send(*(message("takes_a_while", name) for name in "abc"))
    response = handler(queue.event(), SimpleNamespace(get_remaining_time_in_millis=lambda: 1_000))
    assert ran == ["a", "show b c"]  # 700 ms were left, and 800 are needed
    assert len(response["batchItemFailures"]) == 2


@pytest.mark.parametrize(("seconds", "name"), [(1, "afails"), (0.45, "runs")], ids=["settled", "given back"])
def test_a_large_batch_is_answered_before_the_function_times_out(
    seconds: float, name: str, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = time.time() + seconds
    asked: list[dict[str, Any]] = []

    class Slow:
        def __getattr__(self, _: str) -> Callable[..., dict[str, Any]]:
            return self.answer

        def answer(self, **request: Any) -> dict[str, Any]:
            asked.append(request)
            time.sleep(0.05)
            return {}

    monkeypatch.setattr(clients, "_clients", {"sqs": Slow()})
    queue.send(message(name, "x"))
    [record] = queue.event()["Records"]
    records = [{**record, "messageId": str(number)} for number in range(200)]
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000 * (deadline - time.time()))
    response = handler({"Records": records}, context)
    assert time.time() < deadline
    assert asked
    assert len(response["batchItemFailures"]) == 200


def test_messages_that_cannot_be_given_back_come_back_later(queue: TaskQueue, caplog: pytest.LogCaptureFixture) -> None:
    queue.send(message("runs", "a"))
    event = queue.event()
    event["Records"][0]["receiptHandle"] = "expired"
    queue.bodies["expired"] = event["Records"][0]["body"]
    response = handler(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 400))
    assert len(response["batchItemFailures"]) == 1
    assert "a message of mail comes back later, not at once" in caplog.text
