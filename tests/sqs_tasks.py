"""Tasks for tests of the handlers of queues, and what becomes of their messages."""

import json
import time
from typing import Any

from runtime_lib import Discard, Reject, Retry, RetryLater, task
from runtime_lib.handlers.managed_async_task import handler
from tests.deliveries import Event, TaskQueue, body_of

NAMES = {
    "runs",
    "fails",
    "afails",
    "asks",
    "discards",
    "rejects",
    "exits",
    "given_up",
    "never",
    "typed",
    "aruns",
    "takes_a_while",
}
ran: list[str] = []
"""The tasks that ran, and what was asked of SQS, in order."""


def message(name: str, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> str:
    assert name in NAMES
    return body_of(f"{__name__}.{name}", *args, metadata=metadata, **kwargs)


@task
def runs(name: str) -> None:
    ran.append(name)


@task
async def aruns(name: str) -> None:
    ran.append(name)


@task(retry=Retry(3, first_delay=30, jitter="none"))
def fails(name: str) -> None:
    ran.append(name)
    raise LookupError("no such order")


@task
async def afails(name: str) -> None:
    raise LookupError(name)


@task
def asks(name: str) -> None:
    raise RetryLater(120)


@task
def discards(name: str) -> None:
    raise Discard("done already")


@task
def rejects(name: str) -> None:
    raise Reject("no such customer")


@task(retry=Retry(3, give_up_on=[LookupError]))
def given_up(name: str) -> None:
    raise KeyError(name)


@task(retry="never")
def never(name: str) -> None:
    ran.append(name)
    raise ValueError("never again")


@task
def typed(name: str, count: int) -> None:
    ran.append(f"{name} {count!r}")


def failed(event: Event) -> list[str]:
    """The bodies that the handler reports."""
    response = handler(event, None)
    bodies = {record["messageId"]: record["body"] for record in event["Records"]}
    return [bodies[one["itemIdentifier"]] for one in response["batchItemFailures"]]


def outcome_of(queue: TaskQueue, body: str, **system_attributes: Any) -> tuple[bool, dict[str, Any] | None]:
    """Whether a message goes back to its queue, and its dead letter; a neighbour on each side has to run once."""
    queue.send(message("runs", "before"), body, message("aruns", "after"))
    event = queue.event()
    for record in event["Records"]:
        if record["body"] == body:
            record["attributes"] |= {name: str(value) for name, value in system_attributes.items()}
    back = failed(event)
    assert [ran.count(name) for name in ("before", "after")] == [1, 1]
    assert back in ([], [body])
    letters = queue.failures()
    assert letters.keys() <= {body}
    return back == [body], letters.get(body)


@task
def takes_a_while(name: str) -> None:
    time.sleep(0.3)
    ran.append(name)


def changed(**fields: Any) -> str:
    """A message with other fields; None leaves one out."""
    whole = json.loads(message("runs", "x"))
    whole["metadata"] |= fields.pop("metadata", {})
    whole |= fields
    whole["metadata"] = {name: value for name, value in whole["metadata"].items() if value is not None}
    return json.dumps({name: value for name, value in whole.items() if value is not None})
