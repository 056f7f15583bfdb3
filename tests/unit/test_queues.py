"""SQS as this library uses it."""

import logging
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from runtime_lib import contract, queues
from runtime_lib.errors import DispatchError
from runtime_lib.queues import Entry
from tests.deliveries import TaskQueue
from tests.polled import Answers, Requests, asked

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/mail"


class Client:
    """Answers SendMessageBatch as it is told: for each request, what became of each entry."""

    def __init__(self, *answers: dict[str, str]) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self._answers = list(answers)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.requests.append(Entries)
        refused = self._answers.pop(0) if self._answers else {}
        failed = [
            {
                "Id": entry["Id"],
                "Code": refused[entry["MessageBody"]],
                "Message": "said",
                "SenderFault": refused[entry["MessageBody"]].startswith("Sender"),
            }
            for entry in Entries
            if entry["MessageBody"] in refused
        ]
        return {"Failed": failed} if failed else {}

    @property
    def bodies(self) -> list[str]:
        return ["".join(entry["MessageBody"] for entry in entries) for entries in self.requests]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def entries(text: str) -> list[Entry]:
    return [Entry(f"id-{body}", body) for body in text]


# --- Sending ---------------------------------------------------------------------------------------------------------


def test_what_fails_on_awss_side_is_sent_again_alone_with_a_pause(pauses: list[float]) -> None:
    client = Client({"b": "InternalError", "d": "Throttled"}, {"d": "InternalError"})
    queues.send_entries(URL, entries("abcd"), client)
    assert client.bodies == ["abcd", "bd", "d"]
    assert len(pauses) == 2
    assert all(0 <= pause <= 0.8 for pause in pauses)


def test_what_fails_again_and_again_is_raised_with_the_reason() -> None:
    client = Client(*[{"b": "InternalError"}] * 4)
    with pytest.raises(DispatchError) as caught:
        queues.send_entries(URL, entries("abc"), client)
    assert client.bodies == ["abc", "b", "b", "b"]
    assert caught.value.failed == (("id-b", "InternalError", "said"),)
    assert str(caught.value) == "1 of 3 messages were not sent to mail: InternalError: said"


def test_what_is_the_senders_fault_is_not_sent_again() -> None:
    client = Client({"a": "SenderBad", "b": "InternalError"})
    with pytest.raises(DispatchError) as caught:
        queues.send_entries(URL, entries("abc"), client)
    assert client.bodies == ["abc", "b"]
    assert caught.value.failed == (("id-a", "SenderBad", "said"),)


def test_a_failed_batch_does_not_keep_the_next_from_being_sent() -> None:
    client = Client({"a": "SenderBad"})
    with pytest.raises(DispatchError):
        queues.send_entries(URL, entries("abcdefghijkl"), client)
    assert client.bodies == ["abcdefghij", "kl"]


def test_in_a_fifo_queue_nothing_is_sent_past_what_failed() -> None:
    client = Client({"c": "SenderBad"})
    with pytest.raises(DispatchError) as caught:
        queues.send_entries(f"{URL}.fifo", entries("abcdefghijkl"), client)
    assert client.bodies == ["abcdefghij"]
    assert [(one.id, one.code) for one in caught.value.failed] == [
        ("id-c", "SenderBad"),
        ("id-k", "NotSent"),
        ("id-l", "NotSent"),
    ]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1] * 10, [10]),
        ([1] * 11, [10, 1]),
        ([524_288] * 3, [2, 1]),
        ([524_288, 524_289], [1, 1]),
        ([1_048_576, 1], [1, 1]),
        ([1, 1_048_575, 1], [2, 1]),
        ([], []),
    ],
)
def test_a_request_has_at_most_ten_messages_and_one_mebibyte(sizes: list[int], expected: list[int]) -> None:
    client = Client()
    queues.send_entries(URL, [Entry("x", "x" * size) for size in sizes], client)
    assert [len(request) for request in client.requests] == expected


def test_bytes_are_counted_and_attributes_with_them() -> None:
    assert Entry("x", "ö").size() == 2
    text = {"DataType": "String", "StringValue": "ö"}
    assert Entry("x", "a", attributes={"Name": text}).size() == 1 + 4 + len("String") + 2
    assert Entry("x", "a", attributes={"N": {"DataType": "Binary", "BinaryValue": b"1"}}).size() == 1 + 1 + 6 + 1


def test_boto3_takes_the_request() -> None:
    attributes = {
        "Name": {"DataType": "String", "StringValue": "v"},
        "Bytes": {"DataType": "Binary", "BinaryValue": b"v"},
    }
    client = boto3.client("sqs", region_name="eu-west-1")
    with Stubber(client) as stub:
        stub.add_response(
            "send_message_batch",
            {"Successful": [], "Failed": []},
            {
                "QueueUrl": URL,
                "Entries": [
                    {
                        "Id": "0",
                        "MessageBody": "a",
                        "DelaySeconds": 5,
                        "MessageGroupId": "g",
                        "MessageAttributes": attributes,
                    },
                    {"Id": "1", "MessageBody": "b"},
                ],
            },
        )
        queues.send_entries(URL, [Entry("x", "a", 5, "g", attributes), Entry("y", "b")], client)


@pytest.mark.parametrize("group", ["tenant 7", "", "ü", "x" * 129])
def test_a_group_that_sqs_does_not_take_is_sent_as_one_that_it_takes(group: str) -> None:
    """A message says it that others may have written, and one refused entry would be the request's failure."""
    found = {Entry("x", "a", group=group).request(number)["MessageGroupId"] for number in range(2)}
    assert len(found) == 1
    assert contract.SQS_GROUP.fullmatch(found.pop())


# --- Names and URLs --------------------------------------------------------------------------------------------------


def test_a_url_is_taken_as_it_is() -> None:
    assert queues.queue_url(URL, object()) == URL


def test_a_name_is_of_this_account_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_QUEUE_URL_PREFIX, "https://sqs.eu-west-1.amazonaws.com/123456789012/")
    assert queues.queue_url("mail", object()) == URL
    assert queues.queue_name(URL) == "mail"


def test_a_name_is_looked_up_once_for_each_client() -> None:
    class Region:
        asked = 0

        def __init__(self, name: str) -> None:
            self.name = name

        def get_queue_url(self, *, QueueName: str) -> dict[str, str]:  # noqa: N803
            self.asked += 1
            return {"QueueUrl": f"https://sqs.{self.name}.amazonaws.com/1/{QueueName}"}

    west, east = Region("us-west-2"), Region("us-east-1")
    for _ in range(2):
        assert queues.queue_url("mail", west) == "https://sqs.us-west-2.amazonaws.com/1/mail"
        assert queues.queue_url("mail", east) == "https://sqs.us-east-1.amazonaws.com/1/mail"
    assert (west.asked, east.asked) == (1, 1)


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        ("arn:aws:sqs:eu-west-1:123456789012:mail", URL),
        ("arn:aws-cn:sqs:cn-north-1:1:mail", "https://sqs.cn-north-1.amazonaws.com.cn/1/mail"),
        ("arn:aws-us-gov:sqs:us-gov-west-1:1:mail", "https://sqs.us-gov-west-1.amazonaws.com/1/mail"),
    ],
)
def test_a_url_is_made_from_an_arn_in_any_partition(arn: str, url: str) -> None:
    assert queues.url_of_arn(arn) == url


# --- After receiving -------------------------------------------------------------------------------------------------


def test_messages_are_deleted_ten_a_request(queue: TaskQueue, sqs: Any, requests: Requests) -> None:
    queue.send(*(str(number) for number in range(10)))
    receipts = [record["receiptHandle"] for record in queue.event()["Records"]]
    queue.send("10", "11")
    receipts += [record["receiptHandle"] for record in queue.event()["Records"]]
    requests.clear()
    queues.delete(queue.url, receipts, sqs)
    assert [len(params["Entries"]) for params in asked(requests, "DeleteMessageBatch")] == [10, 2]
    assert queue.event()["Records"] == []


def test_a_message_that_cannot_be_deleted_is_logged(
    queue: TaskQueue, sqs: Any, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "runtime_lib"):
        queues.delete(queue.url, ["no receipt"], sqs)
        answers("DeleteMessageBatch", ConnectionError("reset"))
        queues.delete(queue.url, ["r"], sqs)
    assert len(caplog.records) == 2
    assert "could not be deleted" in caplog.records[0].getMessage()
    assert caplog.records[1].getMessage().endswith("ConnectionError reset")


def test_without_a_client_the_environments_is_used(queue: TaskQueue) -> None:
    queue.send("a")
    receipt = queue.event()["Records"][0]["receiptHandle"]
    queues.change_visibility(queue.url, receipt, 0)
    (record,) = queue.event()["Records"]
    queues.delete(queue.url, [record["receiptHandle"]])
    queues.send_entries(queue.url, [Entry("x", "b")])
    assert [one["body"] for one in queue.event()["Records"]] == ["b"]


@pytest.mark.parametrize(
    ("seconds", "asked_for"), [(0, 0), (0.4, 0), (59.6, 60), (42_300, 42_300), (43_200, 42_300), (1e9, 42_300)]
)
def test_visibility_is_asked_for_in_whole_seconds_and_no_more_than_sqs_grants(
    seconds: float, asked_for: int, queue: TaskQueue, sqs: Any, requests: Requests
) -> None:
    queue.send("a")
    receipt = queue.event()["Records"][0]["receiptHandle"]
    queues.change_visibility(queue.url, receipt, seconds, sqs)
    (params,) = asked(requests, "ChangeMessageVisibility")
    assert params["VisibilityTimeout"] == asked_for
