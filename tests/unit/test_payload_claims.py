"""Arguments that wait in the bucket: never lost when they cannot be read, and never led astray."""

import json
import logging
from typing import Any

import pytest

from runtime_lib import (
    Retry,
    SqsTransport,
    current_context,
    requeue_dead_letters,
    task,
    using_transport,
)
from runtime_lib.contract import ENV_PAYLOADS
from runtime_lib.handlers import background_task_function, managed_async_task
from tests.buckets import BUCKET, DOWN, LARGE, Answering
from tests.deliveries import TaskQueue, body_of

ran: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()


@task
def index(text: str, language: str = "en") -> None:
    ran.append((text, language))


@task
async def aindex(text: str, language: str = "en") -> None:
    ran.append((text, language))


@task(retry=Retry.never())
def once(text: str) -> None:
    ran.append((text, current_context().attempt))


@task(retry=Retry(2, first_delay=0))
def fails(text: str) -> None:
    raise LookupError("no such order")


def deliver(queue: TaskQueue) -> int:
    return queue.deliver(lambda event: managed_async_task.handler(event, None))


# --- Not there, or not now -------------------------------------------------------------------------------------------


def dispatch_large(queue: TaskQueue, run: Any = index) -> str:
    with using_transport(SqsTransport(queue.url)):
        task_id: str = run.dispatch(LARGE).id
    return task_id


@pytest.mark.parametrize("run", [index, aindex])
def test_a_missing_object_is_a_dead_letter_with_its_reason(queue: TaskQueue, s3: Answering, run: Any) -> None:
    task_id = dispatch_large(queue, run)
    s3.clear()
    deliver(queue)
    [(body, failure)] = queue.failures().items()
    assert failure["reason"] == (
        f"the arguments are not in the bucket {BUCKET} any more: 'payloads/{task_id}' is missing"
    )
    assert failure["error_type"] == "PayloadLostError"
    assert json.loads(body)["id"] == task_id
    assert (ran, queue.left()) == ([], 0)


def test_a_failed_task_is_sent_again_with_its_arguments(
    queue: TaskQueue, s3: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch_large(queue, fails)
    deliver(queue)
    deliver(queue)
    assert queue.left() == 0
    assert requeue_dead_letters(queue.dead_letter_url, to=queue.url) == 1
    monkeypatch.setattr(fails, "function", ran.append)
    deliver(queue)
    assert ran == [LARGE]


@pytest.mark.parametrize("run", [index, aindex, once])
def test_a_bucket_that_fails_for_a_while_loses_nothing(queue: TaskQueue, s3: Answering, run: Any) -> None:
    dispatch_large(queue, run)
    s3.error = DOWN
    for _ in range(3):
        deliver(queue)
        assert (ran, queue.left()) == ([], 1)
    s3.error = None
    deliver(queue)
    assert [text for text, _ in ran] == [LARGE]
    assert queue.left() == 0


def test_it_waits_longer_from_time_to_time(queue: TaskQueue, s3: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("runtime_lib.record.Record.back_to_queue", lambda _, delay: waits.append(delay))
    dispatch_large(queue)
    s3.error = DOWN
    for _ in range(3):
        deliver(queue)
    assert waits == [60, 540, 900]


def test_a_bucket_that_fails_for_good_is_a_dead_letter_in_the_end(queue: TaskQueue, s3: Answering) -> None:
    task_id = dispatch_large(queue)
    s3.error = DOWN
    deliveries = 0
    while queue.left():
        deliver(queue)
        deliveries += 1
    assert deliveries == 9, "before the queue would move it, without a reason"
    [failure] = queue.failures().values()
    assert failure["reason"].startswith(f"the arguments cannot be read from {BUCKET} at 'payloads/{task_id}': ")
    assert "SlowDown" in failure["reason"]


def test_lambda_retries_an_invocation_whose_arguments_cannot_be_read(queue: TaskQueue, s3: Answering) -> None:
    event = json.loads(body_of(f"{__name__}.once"))
    event["metadata"]["payload_key"] = f"payloads/{event['id']}"
    s3.error = DOWN
    with pytest.raises(Exception, match="the arguments cannot be read"):
        background_task_function.handler(event, None)
    assert queue.failures() == {}


def test_a_function_without_a_bucket_leaves_the_message_to_the_next_one(
    queue: TaskQueue, s3: Answering, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dispatch_large(queue)
    monkeypatch.delenv(ENV_PAYLOADS)
    with caplog.at_level(logging.WARNING):
        deliver(queue)
    assert queue.left() == 1
    assert f"{ENV_PAYLOADS} names none here" in str(caplog.records[-1].exc_info)


# --- Led astray ------------------------------------------------------------------------------------------------------

OTHER = "0b2f9a52-6c0d-4d53-9a3e-5f1c5c7e6a01"


@pytest.mark.parametrize(
    ("envelope_id", "key"),
    [
        (OTHER, "payloads/../secrets"),
        (OTHER, "secrets"),
        (OTHER, ""),
        (OTHER, "payloads/7d0c2a1e-1f0b-4a66-8a6e-0e8c2f3b4d02"),
        (OTHER, f"s3://other-bucket/payloads/{OTHER}"),
        (OTHER, f"payloads/{OTHER.upper()}"),
        ("../secrets", "payloads/../secrets"),
        (f"{OTHER}/../../secrets", f"payloads/{OTHER}/../../secrets"),
        (f"{OTHER}\n", f"payloads/{OTHER}\n"),
        (OTHER, 7),
        (OTHER, None),
    ],
)
def test_a_message_reads_nothing_but_its_own_arguments(
    queue: TaskQueue, s3: Answering, envelope_id: str, key: Any
) -> None:
    s3.put("secrets", '{"args": ["secret"], "kwargs": {}}')
    message = json.loads(body_of(f"{__name__}.index", metadata={"payload_key": key}))
    queue.send(json.dumps({**message, "id": envelope_id}))
    deliver(queue)
    assert (ran, s3.asked) == ([], [])
    [failure] = queue.failures().values()
    assert failure["reason"].startswith("metadata.payload_key is ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no arguments: expected args and kwargs"),
        ('{"args": {}, "kwargs": {}}', "has no arguments"),
        ('{"args": ["a"]}', "has no arguments"),
        ('{"args": [[7]], "kwargs": {}}', "takes str, given list"),
    ],
)
def test_what_is_no_arguments_is_a_dead_letter(queue: TaskQueue, s3: Answering, content: str, reason: str) -> None:
    task_id = dispatch_large(queue)
    s3.put(f"payloads/{task_id}", content)
    deliver(queue)
    [failure] = queue.failures().values()
    assert reason in failure["reason"]
    assert ran == []
