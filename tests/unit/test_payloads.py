"""Arguments that are too large for a message, by way of the bucket: there and back, or refused."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from runtime_lib import (
    DispatchError,
    EagerTransport,
    LambdaTransport,
    ManagedSqsEvent,
    PayloadTooLargeError,
    Retry,
    SqsTransport,
    batch_task,
    current_context,
    dispatch_batch,
    dispatch_task,
    task,
    using_transport,
)
from runtime_lib.contract import ENV_PAYLOADS, ENV_QUEUE_URL_PREFIX, MESSAGE_MAX_BYTES
from runtime_lib.handlers import background_task_function, managed_async_task
from runtime_lib.transports import RouteTransport
from tests.buckets import BUCKET, DOWN, LARGE, Answering
from tests.deliveries import TaskQueue
from tests.polled import listen
from tests.task_modules import run_program

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


@batch_task
def together(texts: list[str]) -> None:
    ran.append(texts)


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


def test_the_items_of_a_batch_task_may_be_large(queue: TaskQueue, s3: Answering) -> None:
    with using_transport(SqsTransport(queue.url)):
        together.dispatch_many([together.call(text) for text in ("small", LARGE, LARGE + "!")])
    deliver(queue)
    assert [sorted(texts) for texts in ran] == [sorted(["small", LARGE, LARGE + "!"])]
    assert queue.left() == 0


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


def test_senders_of_equal_messages_do_not_share(queue: TaskQueue, s3: Answering) -> None:
    calls: Sequence[Any] = [index.call(LARGE), index.call(LARGE)]
    with using_transport(SqsTransport(queue.url)):
        index.dispatch_many(calls)
    assert sorted(s3.keys()) == sorted(f"payloads/{call.envelope.id}" for call in calls)


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
