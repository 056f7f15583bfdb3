"""What becomes of an asynchronous invocation."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from runtime_lib import (
    Discard,
    LambdaTransport,
    RecordingTransport,
    Reject,
    Retry,
    RetryLater,
    TaskContext,
    TaskError,
    UnknownTaskError,
    contract,
    task,
    using_transport,
)
from runtime_lib.handlers.background_task_function import handler
from tests.deliveries import TaskQueue, body_of

FOPS: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "fops_event.json").read_text())
"""What LambdaTransport of fops.background 0.3.0 sent for the tasks of shop.tasks below."""
ran: list[Any] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()


def event(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return json.loads(body_of(f"{__name__}.{name}", *args, **kwargs))


CONTEXT = SimpleNamespace(
    function_name="receipts", aws_request_id="request-1", get_remaining_time_in_millis=lambda: 60_000
)


def invoke(event: Any) -> None:
    handler(event, CONTEXT)


@task
def runs(name: str, context: TaskContext) -> None:
    ran.append((name, round(context.remaining_seconds() or 0)))


@task
async def aruns(name: str) -> None:
    ran.append(name)


@task
def fails() -> None:
    raise LookupError("no such order")


@task
async def afails() -> None:
    raise LookupError("no such order")


@task
def exits() -> None:
    sys.exit("gone")


@task
def discards() -> None:
    raise Discard


@task
def rejects() -> None:
    raise Reject("no such customer")


@task
def asks() -> None:
    raise RetryLater(60)


@task(retry="never")
def never() -> None:
    raise ValueError("never again")


@task(retry=Retry(3, give_up_on=[LookupError]))
def given_up() -> None:
    raise KeyError("order")


def test_a_task_runs_and_knows_the_functions_deadline(queue: TaskQueue) -> None:
    invoke(event("runs", "a"))
    invoke(event("aruns", "b"))
    assert ran == [("a", 60), "b"]
    assert queue.dead_letters() == []


@pytest.mark.usefixtures("queue")
def test_what_a_transport_sends_is_what_the_handler_takes() -> None:
    with using_transport(RecordingTransport()) as recording:
        runs.with_headers(request_id="1").dispatch("größer")
    invoke(json.loads(recording.sent[0].body))
    assert ran == [("größer", 60)]


@pytest.mark.parametrize("name", ["fails", "afails"])
def test_lambda_gets_the_error_itself_to_retry(name: str, queue: TaskQueue) -> None:
    with pytest.raises(LookupError, match="no such order"):
        invoke(event(name))
    assert queue.dead_letters() == []


@pytest.mark.usefixtures("queue")
def test_a_task_that_exits_is_an_error_that_lambda_can_report() -> None:
    with pytest.raises(TaskError, match="SystemExit: gone"):
        invoke(event("exits"))


def test_a_discarded_message_is_done(queue: TaskQueue) -> None:
    invoke(event("discards"))
    assert queue.dead_letters() == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rejects", "no such customer"),
        ("never", "failed at attempt 1: ValueError: never again"),
        ("given_up", "failed at attempt 1: KeyError: 'order'"),
        ("asks", "RetryLater cannot be raised on an asynchronous invocation, which has no delays: serve the task by a"),
    ],
)
def test_what_lambda_is_not_to_retry_is_dead_lettered_here(name: str, reason: str, queue: TaskQueue) -> None:
    sent = event(name)
    invoke(sent)
    [(body, failure)] = queue.failures().items()
    assert json.loads(body) == sent
    assert failure["reason"].startswith(reason)
    assert failure["source"] == "lambda:receipts"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (7, "the message is a whole number: expected an object"),
        (None, "the message is null: expected an object"),
        ({}, "id is missing"),
        ([float("nan")], "NaN is no JSON number"),
        (event("runs"), "runs() missing 1 required positional argument: 'name'"),
        ({"target": "shop", "payload": {"body": "{}"}}, "target is 'shop': expected 'module:name'"),
        ({"target": 7}, "target is 7: expected 'module:name'"),
        ({"target": "shop:tasks"}, "payload.body is missing: expected a string"),
        ({"target": "shop:tasks", "payload": {"body": {}}}, "payload.body is missing: expected a string"),
        ({"target": "shop:tasks", "payload": {"body": "order 7"}}, "payload.body is not JSON: Expecting value"),
        ({"target": "shop:tasks", "payload": {"body": "[1]"}}, "payload.body is no object: expected the arguments"),
    ],
)
def test_a_malformed_event_is_dead_lettered_with_what_is_wrong(sent: Any, reason: str, queue: TaskQueue) -> None:
    invoke(sent)
    [(body, failure)] = queue.failures().items()
    assert body == json.dumps(sent, separators=(",", ":"))
    assert reason in failure["reason"]


@pytest.mark.parametrize("sent", [event("sned"), {**FOPS["all given"], "target": "os:system"}])
def test_an_unknown_task_is_an_error_because_a_deploy_may_be_rolling(sent: Any, queue: TaskQueue) -> None:
    with pytest.raises(UnknownTaskError, match="is registered here"):
        invoke(sent)
    assert queue.dead_letters() == []


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("dead_letter_queue", ["absent", None])
def test_lambda_gets_what_cannot_be_dead_lettered_here(
    dead_letter_queue: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dead_letter_queue:
        monkeypatch.setenv(contract.ENV_DEAD_LETTER_QUEUE, dead_letter_queue)
    else:
        monkeypatch.delenv(contract.ENV_DEAD_LETTER_QUEUE)
    with pytest.raises(Reject, match="no such customer"):
        invoke(event("rejects"))
    with pytest.raises(TaskError, match="max_hops is 16"):
        invoke(json.loads(body_of(f"{__name__}.runs", "a", metadata={"hops": 17})))


def test_lambda_transport_has_the_handler_for_users_who_keep_their_own() -> None:
    LambdaTransport("receipts").lambda_handler(event("runs", "a"), CONTEXT)
    LambdaTransport("receipts").lambda_handler(event("aruns", "b"), None)
    assert ran == [("a", 60), "b"]


# --- Events of fops.background ---------------------------------------------------------------------------------------


@task(name="shop.tasks.long_process")
def long_process(identifier: str, message: str, context: TaskContext) -> None:
    ran.append((context.id, identifier, message))


@task(name="shop.tasks.send_email")
def send_email(to: str, subject: str, from_email: str | None = None, copies: int = 1) -> None:
    ran.append((to, subject, from_email, copies))


@task(name="shop.tasks.archive")
async def archive(order: UUID, at: datetime, lines: list[int]) -> None:
    ran.append((order, at, lines))


@task(name="shop.tasks.notify")
def notify(channel: str, *recipients: str, urgent: bool = False, **fields: Any) -> None:
    ran.append((channel, recipients, urgent, {name: fields[name] for name in fields.keys() - {"metadata", "headers"}}))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("all given", ("request-1", "123ABC", "Order received \u2013 größer")),
        ("defaults left out", ("a@b.c", "Hi", None, 1)),
        ("coerced", ("a@b.c", "Hi", "shop@b.c", 2)),
        (
            "typed",
            (UUID("b1328174-a21c-43d3-b303-964dfcc76efc"), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), [1, 2]),
        ),
        ("variadic", ("sms", ("anna", "bob"), True, {"color": "red"})),
        ("variadic left out", ("sms", (), False, {})),
    ],
)
def test_an_event_of_fops_runs_its_task(sent: str, expected: Any, queue: TaskQueue) -> None:
    invoke(FOPS[sent])
    assert ran == [expected]
    assert queue.dead_letters() == []


def test_an_event_of_fops_whose_arguments_do_not_fit_is_dead_lettered_as_it_came(queue: TaskQueue) -> None:
    sent = {**FOPS["all given"], "target": "shop.tasks:send_email"}
    invoke(sent)
    [(body, failure)] = queue.failures().items()
    assert json.loads(body) == sent
    assert "got an unexpected keyword argument 'identifier'" in failure["reason"]
