"""An app on taskhawk itself, run by the Python of .venv/taskhawk: ``peer.py consume high``, ``peer.py dispatch high``.

Prints one JSON document: the calls of its tasks, or the payloads that it published.
"""

import json
import os
import sys
from contextlib import suppress
from decimal import Decimal
from typing import Any

import taskhawk
from taskhawk.backends.aws import AWSSNSPublisherBackend, AWSSQSConsumerBackend
from taskhawk.conf import configure_with_object

configure_with_object(
    {
        "AWS_REGION": "us-east-1",
        "AWS_ACCOUNT_ID": "000000000000",
        "AWS_ACCESS_KEY": "test",
        "AWS_SECRET_KEY": "test",
        "AWS_ENDPOINT_SNS": os.environ["AWS_ENDPOINT_URL"],
        "AWS_ENDPOINT_SQS": os.environ["AWS_ENDPOINT_URL"],
        "TASKHAWK_QUEUE": "SHOP",
        "TASKHAWK_PUBLISHER_BACKEND": "taskhawk.backends.aws.AWSSNSPublisherBackend",
        "TASKHAWK_CONSUMER_BACKEND": "taskhawk.backends.aws.AWSSQSConsumerBackend",
    }
)
calls: list[dict[str, Any]] = []


@taskhawk.task(name="shop.send_email")
def send_email(
    to: str, subject: str, from_email: str | None = None, *, metadata: taskhawk.Metadata, headers: dict
) -> None:
    calls.append(
        {
            "arguments": [to, subject, from_email],
            "headers": headers,
            "id": metadata.id,
            "priority": metadata.priority.name,
            "version": metadata.version,
            "timestamp": metadata.timestamp,
        }
    )


@taskhawk.task(name="shop.render")
def render(order: Any, lines: list) -> None:
    calls.append({"arguments": [order, lines]})


@taskhawk.task(name="shop.fail")
def fail(order: str) -> None:
    raise LookupError(order)


def consume(priority: taskhawk.Priority) -> list[dict[str, Any]]:
    """Run what is in the queue."""
    AWSSQSConsumerBackend.WAIT_TIME_SECONDS = 0
    taskhawk.listen_for_messages(priority, num_messages=10, loop_count=2)
    return calls


def dispatch(priority: taskhawk.Priority) -> list[str]:
    """Dispatch both tasks; what was published, three times each."""
    published: list[str] = []
    publish = AWSSNSPublisherBackend._publish_over_sns

    def note(self: AWSSNSPublisherBackend, topic: str, payload: str, attributes: dict[str, str]) -> str:
        published.append(payload)
        return publish(self, topic, payload, attributes)

    AWSSNSPublisherBackend._publish_over_sns = note
    email = send_email.with_headers(request_id="größer").with_priority(priority)
    # It looks in SNS's response for what only boto 2 had there, and publishes again because it is not.
    with suppress(KeyError):
        email.dispatch("a@b.c", "Grüße 🎉", from_email="shop@b.c")
    with suppress(KeyError):
        render.with_priority(priority).dispatch(Decimal("12.5"), lines=[1, {"sku": None}])
    return published


def names(priority: taskhawk.Priority) -> list[str]:
    """Of its queue and dead letter queue."""
    return [AWSSQSConsumerBackend(priority, dlq=dlq).queue_name for dlq in (False, True)]


if __name__ == "__main__":
    _, command, name = sys.argv
    found = {"consume": consume, "dispatch": dispatch, "names": names}[command](taskhawk.Priority[name])
    sys.stdout.write(json.dumps(found))
