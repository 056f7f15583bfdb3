"""A task queue with its dead letters, from which a test delivers to a handler what an event source mapping would."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from runtime_lib.contract import FAILURE_ATTRIBUTE, SQS_FIFO_SUFFIX, Priority, is_fifo
from runtime_lib.envelope import Envelope

Event = dict[str, Any]


def body_of(task: str, *args: Any, metadata: Mapping[str, Any] | None = None, **kwargs: Any) -> str:
    """The message of a dispatched task."""
    envelope = Envelope.new(task, list(args), kwargs, priority=Priority.DEFAULT)
    envelope.metadata.update(metadata or {})
    return envelope.encode()


class TaskQueue:
    """The queue ``name`` and its dead letter queue, ``name``-DLQ; both are FIFO queues if the name is that of one."""

    def __init__(self, sqs: Any, name: str, *, max_receive_count: int | None = None) -> None:
        self._sqs = sqs
        self.name = name
        stem, suffix = (name.removesuffix(SQS_FIFO_SUFFIX), SQS_FIFO_SUFFIX) if is_fifo(name) else (name, "")
        self.dead_letter_queue = f"{stem}-DLQ{suffix}"
        self.dead_letter_url = self._create(self.dead_letter_queue, {})
        redrive = {"deadLetterTargetArn": self._arn(self.dead_letter_url), "maxReceiveCount": str(max_receive_count)}
        self.url = self._create(name, {"RedrivePolicy": json.dumps(redrive)} if max_receive_count else {})
        self.arn = self._arn(self.url)
        self.bodies: dict[str, str] = {}
        """Of every message that was delivered, by its receipt handle."""

    def _create(self, name: str, attributes: dict[str, str]) -> str:
        attributes |= {"FifoQueue": "true"} if is_fifo(name) else {}
        return self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "300", **attributes})["QueueUrl"]

    def _arn(self, url: str) -> str:
        return self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def send(self, *bodies: str, group: str | None = None) -> None:
        """Put messages into the queue; into a FIFO queue, in a group and each as often as it is sent."""
        for body in bodies:
            order = {"MessageGroupId": group, "MessageDeduplicationId": str(uuid4())} if group else {}
            self._sqs.send_message(QueueUrl=self.url, MessageBody=body, **order)

    def event(self, **system_attributes: Any) -> Event:
        """Receive all that is visible, up to 10, as an event; ``system_attributes`` are set in every record."""
        messages: list[dict[str, Any]] = []
        while received := self._receive(self.url, 10 - len(messages)):
            messages += received
            if len(messages) == 10:
                break
        return {"Records": [self._record(message, system_attributes) for message in messages]}

    def _record(self, message: dict[str, Any], system_attributes: Mapping[str, Any]) -> dict[str, Any]:
        changed = {name: str(value) for name, value in system_attributes.items()}
        self.bodies[message["ReceiptHandle"]] = message["Body"]
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": {**message["Attributes"], **changed},
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": "us-east-1",
        }

    def deliver(self, handle: Callable[[Event], Any]) -> int:
        """Deliver one batch and delete what ``handle`` does not report; None from it is a crash. How many records.

        What is left becomes visible at once, as after the visibility timeout.
        """
        event = self.event()
        if event["Records"]:
            response = handle(event)
            failed = {one["itemIdentifier"] for one in response["batchItemFailures"]} if response else None
            for record in event["Records"]:
                # The handler deletes some itself; unlike SQS the emulator refuses to delete those again.
                with suppress(self._sqs.exceptions.ClientError):
                    self._settle(record, is_done=failed is not None and record["messageId"] not in failed)
        return len(event["Records"])

    def _settle(self, record: dict[str, Any], *, is_done: bool) -> None:
        message = {"QueueUrl": self.url, "ReceiptHandle": record["receiptHandle"]}
        if is_done:
            self._sqs.delete_message(**message)
        else:
            self._sqs.change_message_visibility(**message, VisibilityTimeout=0)

    def left(self) -> int:
        """How many messages are in the queue, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))

    def dead_letters(self) -> list[dict[str, Any]]:
        """Receive what lies in the dead letter queue."""
        found: list[dict[str, Any]] = []
        while received := self._receive(self.dead_letter_url, 10):
            found += received
        return found

    def failures(self) -> dict[str, dict[str, Any]]:
        """The failure that each dead letter tells, by its body."""
        return {letter["Body"]: failure_of(letter) for letter in self.dead_letters()}

    def clear(self) -> None:
        """Delete every message."""
        self._sqs.purge_queue(QueueUrl=self.url)

    def delete(self) -> None:
        """Delete both queues."""
        for url in (self.url, self.dead_letter_url):
            self._sqs.delete_queue(QueueUrl=url)

    def _receive(self, url: str, limit: int) -> list[dict[str, Any]]:
        return self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=limit, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages", [])


def failure_of(letter: Mapping[str, Any]) -> dict[str, Any]:
    """The failure in a dead letter's one attribute."""
    [(name, attribute)] = letter["MessageAttributes"].items()
    assert (name, attribute["DataType"]) == (FAILURE_ATTRIBUTE, "String")
    return json.loads(attribute["StringValue"])
