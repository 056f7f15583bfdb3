"""Reads back what arrived in the local cloud, without changing it."""

import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tasks_cli.cloud import LOCAL_ACCOUNT, LOCAL_REGION, Cloud


class Email(NamedTuple):
    """An e-mail that SES was asked to send."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str


class QueuedMessage(NamedTuple):
    """A message in a queue: waiting, delayed, or received and not yet deleted."""

    id: str
    body: str
    attributes: dict[str, Any]
    """Message attributes as ReceiveMessage gives them."""
    system_attributes: dict[str, str]
    receive_count: int
    is_visible: bool

    def as_received(self) -> dict[str, Any]:
        """The message as ReceiveMessage would give it now, with all attributes; receiving counts too."""
        return {
            "MessageId": self.id,
            "Body": self.body,
            "MessageAttributes": self.attributes,
            "Attributes": {**self.system_attributes, "ApproximateReceiveCount": str(self.receive_count + 1)},
        }


def emails(cloud: Cloud) -> list[Email]:
    """Every e-mail sent so far, the oldest first."""
    found = json.loads(cloud.read(f"/_ministack/ses/messages?account={LOCAL_ACCOUNT}"))["messages"]
    return [
        Email(
            sender=email["Source"],
            to=tuple(email["To"]),
            subject=email["Subject"],
            text=email["BodyText"],
            html=email["BodyHtml"] or "",
        )
        for email in found.get(LOCAL_ACCOUNT, [])
    ]


def queued_messages(cloud: Cloud, queue_url: str) -> list[QueuedMessage]:
    """Everything in a queue, in the order of its arrival; nothing is received."""
    query = urlencode({"account": LOCAL_ACCOUNT, "region": LOCAL_REGION, "QueueUrl": queue_url})
    found = json.loads(cloud.read(f"/_ministack/sqs/messages?{query}"))["messages"]
    messages = found.get(LOCAL_ACCOUNT, {}).get(LOCAL_REGION, {}).get(queue_url, [])
    return [
        QueuedMessage(
            id=message["MessageId"],
            body=message["Body"],
            attributes=message["MessageAttributes"],
            system_attributes={**message["Attributes"], **_times(message)},
            receive_count=message["ReceiveCount"],
            is_visible=message["IsVisible"],
        )
        for message in messages
    ]


def _times(message: dict[str, Any]) -> dict[str, str]:
    """The times of a message as SQS names them, in milliseconds; the emulator tells them in whole seconds."""
    names = {"SentTimestamp": "SentTimestamp", "FirstReceiveTimestamp": "ApproximateFirstReceiveTimestamp"}
    return {theirs: str(message[ours] * 1000) for ours, theirs in names.items() if message[ours]}
