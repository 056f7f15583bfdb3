"""Tasks as messages in queues."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from runtime_lib import DispatchError, Priority, SqsTransport, dispatch_batch, task, using_transport
from tests.deliveries import TaskQueue
from tests.polled import Answers, Requests, asked


@task
def send(number: int = 0, text: str = "") -> None: ...


@task(priority=Priority.HIGH)
def urgent() -> None: ...


def batches(requests: Requests) -> list[list[dict[str, Any]]]:
    return [params["Entries"] for params in asked(requests, "SendMessageBatch")]


def test_a_task_is_one_message(queue: TaskQueue, sqs: Any, requests: Requests) -> None:
    with using_transport(SqsTransport(queue.url, client=sqs)):
        handle = send.with_delay(minutes=2).with_group("tenant-7").dispatch(5)
    ((entry,),) = batches(requests)
    assert json.loads(entry["MessageBody"])["id"] == handle.id
    assert (entry["DelaySeconds"], entry["MessageGroupId"]) == (120, "tenant-7")
    assert "MessageAttributes" not in entry


def test_a_queue_may_be_given_by_name(queue: TaskQueue, requests: Requests) -> None:
    with using_transport(SqsTransport("mail")):
        send.dispatch(1)
        send.dispatch(2)
    assert [params["QueueUrl"] for params in asked(requests, "SendMessageBatch")] == [queue.url, queue.url]
    assert len(asked(requests, "GetQueueUrl")) == 1


def test_25_messages_of_200_kb_are_split_by_bytes(queue: TaskQueue, sqs: Any, requests: Requests) -> None:
    with using_transport(SqsTransport(queue.url, client=sqs)):
        handles = send.dispatch_many([send.call(number, "x" * 200_000) for number in range(25)])
    found = batches(requests)
    assert [len(entries) for entries in found] == [5, 5, 5, 5, 5]
    for entries in found:
        assert sum(len(entry["MessageBody"]) for entry in entries) <= 1_048_576
        assert len({entry["Id"] for entry in entries}) == len(entries)
    sent = [json.loads(entry["MessageBody"])["id"] for entries in found for entry in entries]
    assert sent == [handle.id for handle in handles]


def test_25_small_messages_are_split_by_count(queue: TaskQueue, sqs: Any, requests: Requests) -> None:
    with using_transport(SqsTransport(queue.url, client=sqs)):
        send.dispatch_many(send.call(number) for number in range(25))
    assert [len(entries) for entries in batches(requests)] == [10, 10, 5]


def test_a_batch_block_is_sent_in_as_few_requests(queue: TaskQueue, sqs: Any, requests: Requests) -> None:
    with using_transport(SqsTransport(queue.url, client=sqs)), dispatch_batch():
        for number in range(12):
            send.with_delay(number).dispatch(number)
    found = batches(requests)
    assert [len(entries) for entries in found] == [10, 2]
    delays = [entry.get("DelaySeconds", 0) for entries in found for entry in entries]
    assert delays == list(range(12))


def test_the_largest_message_is_sent(queue: TaskQueue, sqs: Any, requests: Requests) -> None:
    with using_transport(SqsTransport(queue.url, client=sqs)):
        send.dispatch(1, "x" * (1_044_480 - len(send.call(1, "").body)))
    ((entry,),) = batches(requests)
    assert len(entry["MessageBody"]) == 1_044_480


@pytest.mark.parametrize(
    "urls",
    [
        lambda queue: {"default": queue.url, "high": queue.dead_letter_url},
        lambda queue: {Priority.DEFAULT: queue.url, Priority.HIGH: queue.dead_letter_url},
    ],
)
def test_each_priority_goes_to_its_queue_and_others_to_the_defaults(
    queue: TaskQueue, sqs: Any, requests: Requests, urls: Callable[[TaskQueue], Any]
) -> None:
    with using_transport(SqsTransport(urls(queue), client=sqs)), dispatch_batch():
        send.dispatch(1)
        urgent.dispatch()
        send.with_priority(Priority.BULK).dispatch(2)
    sent = asked(requests, "SendMessageBatch")
    assert [(params["QueueUrl"], len(params["Entries"])) for params in sent] == [
        (queue.url, 2),
        (queue.dead_letter_url, 1),
    ]


def test_a_priority_without_a_queue_is_refused_and_nothing_is_sent(
    queue: TaskQueue, sqs: Any, requests: Requests
) -> None:
    message = "this SqsTransport has queues for high, and none for default: give it one, or one for 'default'"
    transport = SqsTransport({"high": queue.url}, client=sqs)
    with pytest.raises(DispatchError, match=message), using_transport(transport), dispatch_batch():  # noqa: PT012
        urgent.dispatch()
        send.dispatch(1)
    assert requests == []


@pytest.mark.parametrize("urls", [{"urgent": "mail"}, {}, "", {"high": ""}])
def test_what_names_no_queue_is_refused_with_what_is_allowed(urls: Any) -> None:
    message = "queue_urls is a queue's URL or name, or one for each of default, high, low, bulk, given "
    with pytest.raises(ValueError, match=message):
        SqsTransport(urls)


def test_a_queue_that_does_not_exist_fails_its_own_messages_and_says_which(queue: TaskQueue, sqs: Any) -> None:
    transport = SqsTransport({"default": queue.url, "high": "nowhere"}, client=sqs)
    calls = [send.call(1), urgent.call()]
    with pytest.raises(DispatchError, match=r"the queue 'nowhere' cannot be found: .*NonExistentQueue") as caught:
        transport.send(calls)
    assert [one.id for one in caught.value.failed] == [calls[1].envelope.id]
    assert len(queue.event()["Records"]) == 1


def test_a_request_that_fails_raises_with_its_messages_and_the_others_are_sent(
    queue: TaskQueue, sqs: Any, answers: Answers
) -> None:
    answers("SendMessageBatch", None, ConnectionError("reset"), None)
    calls = [send.call(number) for number in range(25)]
    with pytest.raises(DispatchError) as caught:
        SqsTransport(queue.url, client=sqs).send(calls)
    assert str(caught.value) == "10 of 25 messages were not sent to mail: ConnectionError: reset"
    assert [one.id for one in caught.value.failed] == [call.envelope.id for call in calls[10:20]]
