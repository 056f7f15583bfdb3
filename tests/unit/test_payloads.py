"""Arguments that are too large for a message: by way of the bucket, and never lost or led astray there."""

import json
import logging
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from boto3 import client as new_client
from botocore.exceptions import ClientError

from runtime_lib import (
    DispatchError,
    EagerTransport,
    LambdaTransport,
    ManagedSqsEvent,
    PayloadTooLargeError,
    Retry,
    SqsTransport,
    clients,
    current_context,
    dispatch_batch,
    dispatch_task,
    requeue_dead_letters,
    task,
    using_transport,
)
from runtime_lib.contract import ENV_MAX_RECEIVE_COUNT, ENV_PAYLOADS, ENV_QUEUE_URL_PREFIX, MESSAGE_MAX_BYTES
from runtime_lib.handlers import background_task_function, managed_async_task
from runtime_lib.transports import RouteTransport
from tests.deliveries import TaskQueue, body_of
from tests.polled import listen
from tests.task_modules import run_program

BUCKET = "shop-payloads"
LARGE = "x" * 1_200_000
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


@task
def managed(text: str, event: ManagedSqsEvent) -> None:
    ran.append(event.payload)


@task(retry=Retry.never())
def once(text: str) -> None:
    ran.append((text, current_context().attempt))


@task(retry=Retry(2, first_delay=0))
def fails(text: str) -> None:
    raise LookupError("no such order")


class Answering:
    """An S3 client that asks a real one, unless a test says what to answer."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.exceptions = s3.exceptions
        self.asked: list[str] = []
        self.error: Exception | None = None

    def put_object(self, **request: Any) -> Any:
        return self._answer("put_object", request)

    def get_object(self, **request: Any) -> Any:
        return self._answer("get_object", request)

    def _answer(self, operation: str, request: dict[str, Any]) -> Any:
        self.asked.append(f"{operation} {request['Bucket']}/{request['Key']}")
        if self.error:
            raise self.error
        return getattr(self._s3, operation)(**request)

    def keys(self) -> list[str]:
        return [one["Key"] for one in self._s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def clear(self) -> None:
        for key in self.keys():
            self._s3.delete_object(Bucket=BUCKET, Key=key)

    def put(self, key: str, content: str) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=content.encode())


DOWN = ClientError({"Error": {"Code": "SlowDown", "Message": "please reduce your rate"}}, "GetObject")


@pytest.fixture
def s3(sqs: Any, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """A bucket, which the environment names."""
    made = new_client("s3")
    made.create_bucket(Bucket=BUCKET)
    answering = Answering(made)
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs, "s3": answering})
    monkeypatch.setenv(ENV_PAYLOADS, BUCKET)
    monkeypatch.setenv(ENV_MAX_RECEIVE_COUNT, "10")
    yield answering
    answering.clear()
    made.delete_bucket(Bucket=BUCKET)


def deliver(queue: TaskQueue) -> int:
    return queue.deliver(lambda event: managed_async_task.handler(event, None))


def messages(queue: TaskQueue) -> list[dict[str, Any]]:
    return [json.loads(record["body"]) for record in queue.event()["Records"]]


# --- There and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [index, aindex])
def test_large_arguments_arrive_as_they_were_dispatched(queue: TaskQueue, s3: Answering, run: Any) -> None:
    with using_transport(SqsTransport(queue.url)):
        handle = run.dispatch(LARGE, language="de")
    assert s3.asked == [f"put_object {BUCKET}/payloads/{handle.id}"]
    deliver(queue)
    assert ran == [(LARGE, "de")]
    assert queue.left() == 0
    assert s3.keys() == [f"payloads/{handle.id}"], "kept for duplicates, and for a redrive"


def test_a_task_that_takes_its_message_gets_large_arguments_too(queue: TaskQueue, s3: Answering) -> None:
    with using_transport(SqsTransport(queue.url)):
        managed.dispatch(LARGE)
    deliver(queue)
    assert ran == [LARGE]


def test_a_message_says_where_its_arguments_are_and_nothing_of_them(queue: TaskQueue, s3: Answering) -> None:
    with using_transport(SqsTransport(queue.url)):
        handle = index.with_headers(tenant=7).with_group("t-7").dispatch(LARGE)
    [message] = messages(queue)
    assert (message["args"], message["kwargs"], message["headers"]) == ([], {}, {"tenant": 7})
    assert message["metadata"]["payload_key"] == f"payloads/{handle.id}"
    assert message["metadata"]["group"] == "t-7"
    assert len(json.dumps(message)) < 1_000


def test_many_and_batches_mix_large_and_small(queue: TaskQueue, s3: Answering) -> None:
    with using_transport(SqsTransport(queue.url)):
        index.dispatch_many([index.call(text) for text in ("a", LARGE, "b", LARGE + "!")])
        with dispatch_batch():
            index.dispatch("c")
            index.dispatch(LARGE + "?")
            assert len(s3.asked) == 2, "sent at the end of the block"
    while queue.left():
        deliver(queue)
    assert sorted(text[-1] for text, _ in ran) == sorted("ab!?cx")
    assert len(s3.keys()) == 3


def test_a_task_dispatched_by_its_name_alone_may_be_large(queue: TaskQueue, s3: Answering) -> None:
    with using_transport(SqsTransport(queue.url)):
        dispatch_task("other.index", LARGE)
    [message] = messages(queue)
    assert s3.keys() == [message["metadata"]["payload_key"]]


def test_an_asynchronous_invocation_may_be_large(queue: TaskQueue, s3: Answering) -> None:
    events: list[bytes] = []

    class Functions:
        def invoke(self, **request: Any) -> Any:
            events.append(request["Payload"])
            return {"StatusCode": 202, "Payload": SimpleNamespace(read=lambda: b"")}

    with using_transport(LambdaTransport("shop", Functions())):
        once.dispatch(LARGE)
    assert len(events[0]) < 1_000
    background_task_function.handler(json.loads(events[0]), None)
    assert ran == [(LARGE, 1)]


def test_a_worker_reads_them_as_well(queue: TaskQueue, s3: Answering) -> None:
    with using_transport(SqsTransport(queue.url)):
        index.dispatch(LARGE)
        aindex.dispatch(LARGE)
    listen(queue.name, requests=2)
    assert ran == [(LARGE, "en")] * 2


def test_what_fits_exactly_goes_in_the_message(queue: TaskQueue, s3: Answering) -> None:
    empty = len(index.call("").body)
    with using_transport(SqsTransport(queue.url)):
        index.dispatch("x" * (MESSAGE_MAX_BYTES - empty))
        assert s3.asked == []
        index.dispatch("x" * (MESSAGE_MAX_BYTES - empty + 1))
        assert len(s3.asked) == 1


def test_what_fits_into_a_message_loads_nothing_of_this() -> None:
    printed = run_program(
        f"""
        import os, sys
        os.environ["{ENV_PAYLOADS}"] = "{BUCKET}"
        from runtime_lib import SqsTransport, task, using_transport
        from runtime_lib.context import Delivery
        from runtime_lib.execution import Message, admit, run

        class Sqs:
            def send_message_batch(self, QueueUrl, Entries):
                self.bodies = [entry["MessageBody"] for entry in Entries]
                return {{}}

        @task
        def send(text: str) -> None:
            print(text)

        sqs = Sqs()
        with using_transport(SqsTransport("https://sqs/mail", client=sqs)):
            send.dispatch("a")
        message = admit(sqs.bodies[0], Delivery())
        run(message.task, message.envelope, Delivery())
        print("runtime_lib.payloads" in sys.modules, "boto3" in sys.modules)
        """
    )
    assert printed == "a\nFalse False\n"


def test_eager_tasks_never_touch_the_bucket(s3: Answering) -> None:
    with using_transport(EagerTransport()):
        index.dispatch(LARGE)
    assert ran == [(LARGE, "en")]
    assert s3.asked == []


# --- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", [SqsTransport("https://sqs/mail", client=object()), EagerTransport()])
def test_without_a_bucket_the_error_says_how_to_get_one(transport: Any) -> None:
    with using_transport(transport), pytest.raises(PayloadTooLargeError) as refused:
        index.dispatch(LARGE)
    assert str(refused.value) == (
        f"{__name__}.index() with these arguments makes a message of {len(LARGE) + len(index.call('').body):,} bytes, "
        "and AWS takes 1,044,480 (4,096 of its 1,048,576 are kept for the dead letter's reason): give the construct "
        "that serves the task payloads=PayloadBucket(…), through which larger ones go, or store the data in S3 and "
        "send its key"
    )


def test_a_server_without_a_bucket_gets_none_of_the_senders_bucket_for_another(
    queue: TaskQueue, s3: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_QUEUE_URL_PREFIX, queue.url.removesuffix(queue.name))
    monkeypatch.setenv("TASK_ROUTE__DEFAULT", f"sqs:{queue.name}")
    with using_transport(RouteTransport()), pytest.raises(PayloadTooLargeError, match="payloads=PayloadBucket"):
        index.dispatch_many([index.call("small"), index.call(LARGE)])
    assert (s3.asked, queue.left()) == ([], 0)
    monkeypatch.setenv("TASK_ROUTE__DEFAULT", f"sqs+payloads:{queue.name}")
    with using_transport(RouteTransport()):
        index.dispatch_many([index.call("small"), index.call(LARGE)])
    assert (len(s3.asked), queue.left()) == (1, 2)


def test_headers_stay_in_the_message(queue: TaskQueue, s3: Answering) -> None:
    with (
        using_transport(SqsTransport(queue.url)),
        pytest.raises(PayloadTooLargeError, match=r"without its arguments.*its headers are too large"),
    ):
        index.with_headers(note=LARGE).dispatch("a")
    assert (s3.keys(), queue.left()) == ([], 0)


def test_a_bucket_that_takes_nothing_means_not_dispatched(queue: TaskQueue, s3: Answering) -> None:
    s3.error = DOWN
    with (
        using_transport(SqsTransport(queue.url)),
        pytest.raises(DispatchError, match=f"not dispatched: the bucket {BUCKET} did not take .*SlowDown"),
    ):
        index.dispatch_many([index.call("small"), index.call(LARGE)])
    assert queue.left() == 0


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


def test_senders_of_equal_messages_do_not_share(queue: TaskQueue, s3: Answering) -> None:
    calls: Sequence[Any] = [index.call(LARGE), index.call(LARGE)]
    with using_transport(SqsTransport(queue.url)):
        index.dispatch_many(calls)
    assert sorted(s3.keys()) == sorted(f"payloads/{call.envelope.id}" for call in calls)
