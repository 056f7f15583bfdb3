"""Messages that others sent to a queue of theirs, and dead letters that others left."""

import base64
import json
from typing import Any

import pytest

from runtime_lib import (
    DeadLetter,
    ManagedSqsEvent,
    Priority,
    Reject,
    Retry,
    TaskContext,
    UnmanagedSqsEvent,
    contract,
    requeue_dead_letters,
    task,
)
from runtime_lib.context import Delivery
from runtime_lib.dead_letters import read_dead_letter, receive_dead_letters
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, run
from runtime_lib.handlers import managed_async_task, queue_task
from tests.deliveries import TaskQueue, body_of, failure_of

seen: list[Any] = []


@task(retry=Retry(3, first_delay=30, jitter="none"))
def on_order(event: UnmanagedSqsEvent, context: TaskContext) -> None:
    seen.append((event, context))
    if event.body.startswith("bad"):
        raise LookupError(event.body)


@task
def reads_json(event: UnmanagedSqsEvent) -> None:
    seen.append(event.json())


@task
def clean_up(letter: DeadLetter, reason: str = "") -> None:
    seen.append(letter)
    if letter.body == "refused":
        raise Reject("not mine")


@task
def innocent(name: str) -> None:
    seen.append(name)


@task
def managed(*args: Any, event: ManagedSqsEvent, **kwargs: Any) -> None:
    seen.append((event.payload, event.source_task_id, event.chain_id))


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


# --- Queues of others ------------------------------------------------------------------------------------------------


@pytest.fixture
def serving(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> TaskQueue:
    """A queue of others, whose messages `on_order` runs for."""
    monkeypatch.setenv(contract.ENV_TASK, f"{__name__}.on_order")
    return queue


def handle(event: dict[str, Any]) -> list[str]:
    bodies = {record["messageId"]: record["body"] for record in event["Records"]}
    return [bodies[one["itemIdentifier"]] for one in queue_task.handler(event, None)["batchItemFailures"]]


def test_each_message_runs_the_task_whatever_it_says(serving: TaskQueue) -> None:
    serving.send("order 7", "{}", body_of(f"{__name__}.innocent", "x"))
    assert handle(serving.event()) == []
    assert [event.body for event, _ in seen][:2] == ["order 7", "{}"]
    assert len(seen) == 3


def test_only_what_failed_comes_again_and_is_dead_lettered_as_it_was(serving: TaskQueue) -> None:
    serving.send("good 1", "bad 2", "good 3")
    while serving.deliver(lambda event: queue_task.handler(event, None)):
        pass
    bodies = [event.body for event, _ in seen]
    assert [bodies.count(body) for body in ("good 1", "bad 2", "good 3")] == [1, 3, 1]
    assert {body: failure["reason"] for body, failure in serving.failures().items()} == {
        "bad 2": "failed at attempt 3: LookupError: bad 2"
    }


def test_a_message_keeps_its_id_however_often_it_comes(serving: TaskQueue) -> None:
    serving.send("bad 1")
    serving.deliver(lambda event: queue_task.handler(event, None))
    serving.deliver(lambda event: queue_task.handler(event, None))
    first, second = (context for _, context in seen)
    assert (first.id, first.attempt, second.attempt) == (second.id, 1, 2)


def test_an_event_tells_what_was_sent(serving: TaskQueue) -> None:
    serving.send("order 7")
    event = serving.event(MessageGroupId="tenant-7")
    event["Records"][0]["messageAttributes"] = {
        "kind": {"stringValue": "order", "dataType": "String"},
        "count": {"stringValue": "-7", "dataType": "Number"},
        "price": {"stringValue": "7.5", "dataType": "Number.float"},
        "image": {"binaryValue": base64.b64encode(b"\0\1").decode(), "dataType": "Binary"},
    }
    assert handle(event) == []
    [(sqs_event, context)] = seen
    assert sqs_event.message_attributes == {"kind": "order", "count": -7, "price": 7.5, "image": b"\0\1"}
    assert sqs_event.attributes["MessageGroupId"] == context.group == "tenant-7"
    assert sqs_event.message_id == event["Records"][0]["messageId"]
    assert sqs_event.receipt == context.receipt
    assert context.event is event["Records"][0]


def test_a_body_that_is_not_json_is_dead_lettered_at_once(serving: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_TASK, f"{__name__}.reads_json")
    serving.send('{"order": 7}', "order 7")
    assert handle(serving.event()) == []
    assert seen == [{"order": 7}]
    [failure] = serving.failures().values()
    assert failure["reason"].startswith("the message is not JSON: Expecting value")


def test_a_dead_letter_keeps_what_the_message_came_with_and_a_redrive_sends_it(serving: TaskQueue, sqs: Any) -> None:
    serving.send("bad 1")
    event = serving.event(ApproximateReceiveCount=3)
    event["Records"][0]["messageAttributes"] = {
        "kind": {"stringValue": "order", "dataType": "String"},
        "image": {"binaryValue": base64.b64encode(b"\0\1").decode(), "dataType": "Binary"},
    }
    assert handle(event) == []
    sqs.delete_message(QueueUrl=serving.url, ReceiptHandle=event["Records"][0]["receiptHandle"])
    assert requeue_dead_letters(serving.dead_letter_queue, client=sqs) == 1
    [message] = sqs.receive_message(QueueUrl=serving.url, MessageAttributeNames=["All"])["Messages"]
    assert message["Body"] == "bad 1"
    found = {name: one.get("StringValue") or one["BinaryValue"] for name, one in message["MessageAttributes"].items()}
    assert found == {"kind": "order", "image": b"\0\1"}


def test_a_message_as_large_as_any_can_be_dead_lettered(serving: TaskQueue) -> None:
    serving.send("bad" + "x" * (contract.SQS_MAX_BYTES - 1_003))
    assert handle(serving.event(ApproximateReceiveCount=3)) == []
    [letter] = serving.dead_letters()
    assert failure_of(letter)["reason"].startswith("failed at attempt 3: LookupError: badx")
    size = sum(len(name) + len("String") + len(one["StringValue"]) for name, one in letter["MessageAttributes"].items())
    assert len(letter["Body"]) + size <= contract.SQS_MAX_BYTES


def test_a_task_that_was_not_started_by_a_queue_has_no_such_event() -> None:
    envelope = Envelope.new(on_order.name, [], {}, priority=Priority.DEFAULT)
    outcome = run(on_order, envelope, Delivery(event={"Records": []}))
    assert isinstance(outcome, DeadLettered)
    assert "serve it by ManagedAsyncTask.from_queue" in outcome.reason


# --- Dispatched messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "payload"),
    [
        (({"foo": "bar"},), {}, {"foo": "bar"}),
        ((1, 2), {}, [1, 2]),
        ((), {"foo": "bar"}, {"foo": "bar"}),
        ((1,), {"foo": 2}, {"args": [1], "kwargs": {"foo": 2}}),
        ((None,), {}, None),
    ],
)
def test_a_managed_event_has_what_was_dispatched(args: Any, kwargs: Any, payload: Any, queue: TaskQueue) -> None:
    queue.send(body_of(managed.name, *args, metadata={"source": "shop.cart", "chain": "first"}, **kwargs))
    assert managed_async_task.handler(queue.event(), None) == {"batchItemFailures": []}
    assert seen == [(payload, "shop.cart", "first")]


# --- Dead letters of others ------------------------------------------------------------------------------------------


@pytest.fixture
def letters(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> TaskQueue:
    """The queue of `clean_up`, to which others leave their dead letters."""
    monkeypatch.setenv(contract.ENV_TASK, clean_up.name)
    monkeypatch.setenv(contract.ENV_TAKES_DEAD_LETTERS, "1")
    return queue


FAILURE = {"reason": "failed at attempt 3", "error_type": "LookupError", "attempts": 3, "source": "sqs:orders"}
DESTINATION = {
    "version": "1.0",
    "requestContext": {"condition": "RetriesExhausted", "functionArn": "arn:aws:lambda:r:1:function:f:$LATEST"},
    "requestPayload": json.loads(body_of(f"{__name__}.innocent", "x")),
    "responsePayload": {"errorType": "LookupError"},
}
SHAPES = {
    "task": (body_of(f"{__name__}.innocent", "x"), {"TaskFailure": json.dumps(FAILURE)}, {}),
    "redrive": (body_of(f"{__name__}.innocent", "x"), {}, {"DeadLetterQueueSourceArn": "arn:aws:sqs:r:1:orders"}),
    "redrive, of which SQS tells nothing": (body_of(f"{__name__}.innocent", "x"), {}, {}),
    "destination": (json.dumps(DESTINATION), {}, {}),
    "schedule": ('{"schedule": "s"}', {"ERROR_CODE": "AccessDenied"}, {}),
    "stream": (json.dumps({"requestContext": {"condition": "x"}, "DDBStreamBatchInfo": {"shardId": "s"}}), {}, {}),
    "unreadable": ("order 7", {"TaskFailure": json.dumps(FAILURE)}, {}),
}


@pytest.mark.parametrize(("body", "attributes", "system"), SHAPES.values(), ids=SHAPES)
def test_a_dead_letter_of_any_shape_runs_the_task_and_never_the_one_it_names(
    body: str, attributes: dict[str, str], system: dict[str, str], letters: TaskQueue
) -> None:
    letters.send(body)
    event = letters.event(**system)
    event["Records"][0]["messageAttributes"] = {
        name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()
    }
    assert managed_async_task.handler(event, None) == {"batchItemFailures": []}
    [letter] = seen
    assert isinstance(letter, DeadLetter)
    assert letter.failure.reason
    assert letters.failures() == {}


@pytest.mark.parametrize("body", ["order 7", "refused"])
def test_a_letter_that_sqs_moved_runs_though_it_brings_its_receives_along(
    body: str, letters: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "10")
    letters.send(body)
    event = letters.event(ApproximateReceiveCount=11, DeadLetterQueueSourceArn="arn:aws:sqs:r:1:orders")
    assert managed_async_task.handler(event, None) == {"batchItemFailures": []}
    [letter] = seen
    assert letter.failure.reason == "10 deliveries ended without a report: timeout, out of memory or killed"
    assert [failure["reason"] for failure in letters.failures().values()] == ["not mine"] * (body == "refused")


def test_it_has_the_letters_reason_and_body(letters: TaskQueue) -> None:
    body, attributes, _ = SHAPES["task"]
    letters.send(body)
    event = letters.event()
    event["Records"][0]["messageAttributes"] = {
        name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()
    }
    managed_async_task.handler(event, None)
    [letter] = seen
    assert (letter.body, letter.task) == (body, f"{__name__}.innocent")
    assert (letter.failure.reason, letter.failure.source) == ("failed at attempt 3", "sqs:orders")


def test_what_is_dispatched_to_the_task_itself_is_no_letter(letters: TaskQueue) -> None:
    letters.send(body_of(clean_up.name, reason="by hand"))
    assert managed_async_task.handler(letters.event(), None) == {"batchItemFailures": []}
    [failure] = letters.failures().values()
    assert (
        "what started it is none: serve it by a ManagedAsyncTask that others are given as dead_letter_task="
        in (failure["reason"])
    )


def test_a_task_that_takes_no_letter_is_dispatched_to_as_ever(
    letters: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_TASK, innocent.name)
    letters.send(body_of(innocent.name, "x"))
    assert managed_async_task.handler(letters.event(), None) == {"batchItemFailures": []}
    assert seen == ["x"]


def test_a_letter_that_the_task_rejects_is_dead_lettered_itself(letters: TaskQueue) -> None:
    letters.send("refused")
    assert managed_async_task.handler(letters.event(), None) == {"batchItemFailures": []}
    assert letters.failures()["refused"]["reason"] == "not mine"


def test_a_letter_that_sqs_moved_on_goes_back_to_the_task_that_was_to_take_it() -> None:
    message = {
        "Body": SHAPES["task"][0],
        "Attributes": {"DeadLetterQueueSourceArn": "arn:aws:sqs:r:1:letters", "ApproximateReceiveCount": "11"},
        "MessageAttributes": {"TaskFailure": {"DataType": "String", "StringValue": json.dumps(FAILURE)}},
    }
    letter = read_dead_letter(message)
    assert (letter.failure.shape, letter.failure.source) == ("redrive", "sqs:letters")
    assert letter.attributes == message["MessageAttributes"]


def test_a_letter_that_is_run_again_tells_what_it_told_before(letters: TaskQueue, sqs: Any) -> None:
    letters.send("refused")
    event = letters.event()
    event["Records"][0]["messageAttributes"] = {
        name: {"stringValue": value, "dataType": "String"}
        for name, value in {"TaskFailure": json.dumps(FAILURE), "kind": "order"}.items()
    }
    assert managed_async_task.handler(event, None) == {"batchItemFailures": []}
    sqs.delete_message(QueueUrl=letters.url, ReceiptHandle=event["Records"][0]["receiptHandle"])
    [given_up] = receive_dead_letters(letters.dead_letter_queue, client=sqs, visibility_timeout=0)
    assert given_up.failure.reason == "not mine"

    assert requeue_dead_letters(letters.dead_letter_queue, client=sqs) == 1
    [message] = sqs.receive_message(QueueUrl=letters.url, MessageAttributeNames=["All"])["Messages"]
    again = read_dead_letter(message)
    assert (again.failure, again.body) == (seen[0].failure, "refused")
    assert again.failure.reason == "failed at attempt 3"
    assert again.attributes == seen[0].attributes
