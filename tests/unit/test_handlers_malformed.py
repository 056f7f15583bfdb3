"""Messages that are no dispatched tasks, or are of tasks that are not known here."""

import json
import re
import time
from typing import Any

import pytest

from runtime_lib import TaskError, contract
from runtime_lib.handlers.managed_async_task import handler
from tests import sqs_tasks
from tests.deliveries import TaskQueue, body_of
from tests.sqs_tasks import changed, failed, message, outcome_of, ran

pytestmark = pytest.mark.usefixtures("journal")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("order 7", "the message is not JSON: Expecting value"),
        ("[1]", "the message is an array: expected an object"),
        ("null", "the message is null: expected an object"),
        ("{}", "id is missing: expected a string"),
        (changed(args=[float("nan")]), "the message is not JSON: NaN is no JSON number"),
        ("[" * 100_000, "the message is not JSON"),
        (changed(id=None), "id is missing: expected a string"),
        (changed(id=7), "id is a whole number: expected a string"),
        (changed(task=None), "task is missing: expected a string"),
        (changed(task=""), "task is empty: expected a string that is not"),
        (changed(task=["x"]), "task is an array: expected a string"),
        (changed(args={}), "args is an object: expected an array"),
        (changed(args="xy"), "args is a string: expected an array"),
        (changed(kwargs=[]), "kwargs is an array: expected an object"),
        (changed(headers="x"), "headers is a string: expected an object"),
        (changed(headers=None), "headers is missing: expected an object"),
        (changed(metadata={"priority": "urgent"}), "metadata.priority is 'urgent': expected one of default, high"),
        (changed(metadata={"priority": None}), "metadata.priority is missing: expected a string"),
        (changed(metadata={"timestamp": "yesterday"}), "metadata.timestamp is 'yesterday': expected epoch"),
        (changed(metadata={"version": 1}), "metadata.version is a whole number: expected a string"),
        (changed(metadata={"hops": "2"}), "metadata.hops is a string: expected a whole number"),
        (changed(args=[]), "runs() missing 1 required positional argument: 'name'"),
        (changed(args=[["x"]]), "runs() argument 'name' takes str, given list"),
        (changed(kwargs={"cc": 1}), "runs() got an unexpected keyword argument 'cc'"),
        (changed(metadata={"hops": 17, "chain": "first"}), "17 tasks dispatched one another (max_hops is 16)"),
    ],
)
def test_a_malformed_message_is_dead_lettered_at_once_with_what_is_wrong(
    body: str, reason: str, queue: TaskQueue
) -> None:
    back, failure = outcome_of(queue, body)
    assert not back
    assert failure
    assert reason in failure["reason"]


def test_arguments_are_converted_where_that_is_lossless(queue: TaskQueue) -> None:
    assert outcome_of(queue, message("typed", "x", "7")) == (False, None)
    assert "x 7" in ran


UNKNOWN = {
    "unknown task": changed(task="shop.mail.sned"),
    "newer format": changed(metadata={"version": "2.0"}),
    "newer arguments": changed(metadata={"schema": 2}),
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_what_only_a_newer_worker_can_run_waits_for_one(body: str, queue: TaskQueue) -> None:
    assert outcome_of(queue, body) == (True, None)
    assert "hide x for 60" in ran


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_it_waits_no_longer_than_an_hour(body: str, queue: TaskQueue) -> None:
    back, failure = outcome_of(queue, body, SentTimestamp=1000 * round(time.time() - 3_601))
    assert not back
    assert failure
    assert re.search(r"\(waited 36\d\d s for a worker that can run it\)", failure["reason"])


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_it_is_dead_lettered_by_us_before_sqs_does_it(
    body: str, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "4")
    assert outcome_of(queue, body, ApproximateReceiveCount=4)[1] is not None


def test_an_unknown_task_names_the_nearest(queue: TaskQueue) -> None:
    body = body_of(f"{sqs_tasks.__name__}.runns", "x")
    failure = outcome_of(queue, body, SentTimestamp=1)[1]
    assert failure
    assert (
        f"no task called '{sqs_tasks.__name__}.runns' is registered here; did you mean '{sqs_tasks.__name__}.runs'?"
        in failure["reason"]
    )


def test_a_notification_of_a_topic_carries_a_message(queue: TaskQueue) -> None:
    notification = {"Type": "Notification", "TopicArn": "arn:aws:sns:…", "Message": message("runs", "x")}
    queue.send(json.dumps(notification))
    assert failed(queue.event()) == []
    assert ran == ["x"]


def test_a_notification_of_something_else_is_malformed(queue: TaskQueue) -> None:
    failure = outcome_of(queue, json.dumps({"Type": "Notification", "Message": "order 7"}))[1]
    assert failure
    assert "the message is not JSON" in failure["reason"]


@pytest.mark.parametrize(
    "event",
    [
        json.loads(message("runs", "x")),
        {},
        None,
        [],
        "order 7",
        {"Records": "x"},
        {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
        {"Records": [{"eventSource": "aws:dynamodb", "eventSourceARN": "arn:aws:dynamodb:r:1:table/t/stream/s"}]},
    ],
)
def test_an_invocation_without_a_queue_is_refused(event: Any) -> None:
    with pytest.raises(
        TaskError, match="this function works on a queue, and its events have Records with receiptHandles, given"
    ):
        handler(event, None)
    assert ran == []
