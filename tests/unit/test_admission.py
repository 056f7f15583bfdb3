"""What becomes of a message before its task runs."""

import json
import logging
import time
from typing import Any

import pytest

from runtime_lib import task
from runtime_lib.context import Delivery
from runtime_lib.contract import DEFAULT_MAX_RECEIVE_COUNT
from runtime_lib.errors import EnvelopeError, NewerMessageError, UnknownTaskError
from runtime_lib.execution import DeadLettered, Message, RetryAfter, admit
from tests.deliveries import body_of

SECRET = "4711-0815"


@task
def send(to: str = "") -> None: ...


@task(schema_version=2)
def render() -> None: ...


def test_a_message_of_a_known_task_is_admitted() -> None:
    admitted = admit(body_of(send.name, "a@b.c"), Delivery())
    assert isinstance(admitted, Message)
    assert admitted.task is send
    assert admitted.envelope.args == ["a@b.c"]


def test_an_sns_notification_is_unwrapped() -> None:
    wrapped = json.dumps({"Type": "Notification", "MessageId": "1", "Message": body_of(send.name, "a@b.c")})
    admitted = admit(wrapped, Delivery())
    assert isinstance(admitted, Message)
    assert admitted.envelope.args == ["a@b.c"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("hello", "the message is not JSON: "),
        (b"\xff", "the message is not JSON: "),
        ("[]", "the message is an array: expected an object"),
        ("null", "the message is null: expected an object"),
        ('{"Type": "Notification"}', "the message is not JSON: "),
        ('{"Type": "Notification", "Message": "[]"}', "the message is an array: expected an object"),
        ('{"Type": "Notification", "Message": [5]}', "the message is an array: expected an object"),
        ('{"Type": "Notification", "Message": "{}"}', "id is missing: expected a string"),
    ],
)
def test_a_malformed_message_is_given_up_at_once(body: str | bytes, reason: str) -> None:
    outcome = admit(body, Delivery(max_receive_count=10))
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason.startswith(reason)
    assert isinstance(outcome.error, EnvelopeError)


WAITING = {
    "an unknown task": (body_of("shop.nothing"), UnknownTaskError, "no task called 'shop.nothing' is registered here"),
    "a newer format": (
        body_of(send.name, metadata={"version": "2.0"}),
        NewerMessageError,
        "metadata.version is '2.0': this release reads '1.0'",
    ),
    "newer arguments": (
        body_of(render.name, metadata={"schema": 3}),
        NewerMessageError,
        f"the message has version 3 of {render.name}'s arguments, this code has 2",
    ),
    "arguments of a version": (
        body_of(send.name, metadata={"schema": 1}),
        NewerMessageError,
        f"the message has version 1 of {send.name}'s arguments, this code has None",
    ),
}


@pytest.mark.parametrize(("body", "error", "said"), WAITING.values(), ids=WAITING)
def test_a_message_that_cannot_run_yet_waits_an_hour_for_a_worker_that_can_and_is_given_up_then(
    body: str, error: type[Exception], said: str
) -> None:
    age, deliveries = 0.0, 0
    while True:
        deliveries += 1
        delivery = Delivery(deliveries, DEFAULT_MAX_RECEIVE_COUNT, sent_at=time.time() - age)
        outcome = admit(body, delivery)
        if not isinstance(outcome, RetryAfter):
            break
        assert isinstance(outcome.error, error)
        age += outcome.delay
    assert isinstance(outcome, DeadLettered)
    assert isinstance(outcome.error, error)
    assert outcome.reason.startswith(said)
    assert outcome.reason.endswith("(waited 3600 s for a worker that can run it)")
    assert deliveries < DEFAULT_MAX_RECEIVE_COUNT


def test_it_waits_shortly_at_first_for_a_deploy_that_is_nearly_done() -> None:
    outcome = admit(body_of("shop.nothing"), Delivery(1, 10, sent_at=time.time()))
    assert isinstance(outcome, RetryAfter)
    assert outcome.delay == 60


def test_a_message_that_cannot_run_is_given_up_before_sqs_does_it_without_a_reason() -> None:
    assert isinstance(admit(body_of("shop.nothing"), Delivery(2, 3, sent_at=time.time())), RetryAfter)
    outcome = admit(body_of("shop.nothing"), Delivery(3, 3, sent_at=time.time() - 600))
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason.endswith("(waited 600 s for a worker that can run it)")


@pytest.mark.parametrize("attempt", [1, 2, 50])
def test_without_a_queue_to_wait_in_whoever_invoked_is_to_try_again(attempt: int) -> None:
    assert isinstance(admit(body_of("shop.nothing"), Delivery(attempt)), RetryAfter)


@pytest.mark.parametrize("schema", [None, 1, 2])
def test_older_arguments_run(schema: int | None) -> None:
    body = body_of(render.name, metadata={} if schema is None else {"schema": schema})
    assert isinstance(admit(body, Delivery()), Message)


@pytest.mark.parametrize(
    ("body", "level", "said"),
    [
        ({"id": 5, "args": [SECRET]}, logging.ERROR, "a message is dead-lettered unread: id is a whole number"),
        (
            json.loads(body_of("shop.nothing", SECRET)),
            logging.WARNING,
            "a message cannot run here: no task called 'shop.nothing'",
        ),
    ],
)
def test_what_is_not_admitted_is_logged_without_its_arguments(
    body: Any, level: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        admit(json.dumps(body), Delivery(attempt=2))
    (record,) = caplog.records
    assert (record.levelno, record.attempt) == (level, 2)  # type: ignore[attr-defined]
    assert record.getMessage().startswith(said)
    assert SECRET not in caplog.text
