"""What an ApiTask's function answers: the task's result, or that the task is dispatched; and what became of it."""

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from traceback import format_exception
from typing import Any, NamedTuple

import pydantic
import pytest

from runtime_lib import (
    ApiEvent,
    Discard,
    DispatchError,
    HttpError,
    JsonResponse,
    RecordingTransport,
    Reject,
    RetryLater,
    ScheduledEvent,
    TaskContext,
    before_task,
    contract,
    current_context,
    hooks,
    task,
    using_transport,
)
from runtime_lib.handlers.api_status import handler as status_handler
from runtime_lib.handlers.api_task import handler
from runtime_lib.memory_store import MemoryStore
from runtime_lib.task_record import Ending, RecordedError, TaskStatus
from runtime_lib.tracking import using_store
from runtime_lib.transports import Transport
from tests.api_events import DOMAIN, api_event
from tests.deliveries import TaskQueue

INVOCATION = "7f3c0f6e-1c4e-4a7e-9a0c-5d1c7d3f0a11"


class LambdaContext(NamedTuple):
    """As much of one as the library reads."""

    aws_request_id: str = INVOCATION
    function_name: str = "shop"

    def get_remaining_time_in_millis(self) -> int:
        return 5_000


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sends a request to the function of a task."""

    def send(asked: Any, method: str = "GET", url: str = "/", *, respond: str = "result", **request: Any) -> Answer:
        monkeypatch.setenv(contract.ENV_TASK, getattr(asked, "name", asked))
        monkeypatch.setenv(contract.ENV_API_RESPOND, respond)
        return as_answer(handler(api_event(method, url, **request), LambdaContext()))

    return send


def as_answer(returned: dict[str, Any]) -> Answer:
    headers = returned["headers"]
    is_json = headers.get("Content-Type") == "application/json"
    return Answer(returned["statusCode"], json.loads(returned["body"]) if is_json else returned["body"], headers)


# --- The result ------------------------------------------------------------------------------------------------------


@task
def greet(name: str, times: int = 1) -> str:
    return f"Hello {name}!" * times


@task
async def agreet(name: str) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"greeting": f"Hello {name}!"}


@task
def knows(event: ApiEvent, context: TaskContext) -> JsonResponse:
    assert current_context() is context
    found = {"id": context.id, "task": context.task, "path": event.path, "left": bool(context.remaining_seconds())}
    return JsonResponse(found, 201, {"X-Shop": "1"})


@task
def raises(kind: str) -> None:
    raise {
        "error": LookupError("the password is swordfish"),
        "http": HttpError(404, "there is no such order", {"X-Order": "7"}, {"order": 7}),
        "retry": RetryLater(5),
        "discard": Discard("done"),
        "reject": Reject("bad"),
        "exit": SystemExit(1),
    }[kind]


@task
def returns_what_is_no_json() -> object:
    return {"a": object()}


@task
def takes_what_only_a_schedule_has(event: ScheduledEvent) -> None: ...


def test_the_result_of_a_task_is_the_answer(ask: Any) -> None:
    found = ask(greet, url="/hello/Ann?times=2", resource="/hello/{name}")
    assert (found.status, found.body) == (200, "Hello Ann!Hello Ann!")


def test_an_async_task_answers_too(ask: Any) -> None:
    assert ask(agreet, url="/?name=Ann").body == {"greeting": "Hello Ann!"}


def test_a_task_knows_its_request_and_its_context(ask: Any) -> None:
    found = ask(knows, "POST", "/orders/7", body="any")
    assert (found.status, found.headers["X-Shop"]) == (201, "1")
    assert found.body == {"id": INVOCATION, "task": knows.name, "path": "/orders/7", "left": True}


def test_what_does_not_fit_is_answered_with_all_that_is_wrong_and_no_error_is_logged(
    ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = ask(greet, url="/?times=x")
    assert found.status == 400
    assert found.body["errors"] == [
        {"in": "query", "name": "name", "message": "is missing"},
        {"in": "query", "name": "times", "message": "takes int, given 'x'"},
    ]
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.message.startswith(f"{greet.name} answered 400 ")


def test_an_http_error_is_the_answer_that_it_says(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = ask(raises, url="/?kind=http")
    assert (found.status, found.body) == (404, {"message": "there is no such order", "order": 7})
    assert found.headers["X-Order"] == "7"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", ["error", "exit"])
def test_an_exception_is_answered_with_an_id_that_leads_to_the_log_and_nothing_else(
    ask: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    found = ask(raises, url=f"/?kind={kind}")
    assert (found.status, found.body) == (500, {"message": "internal server error", "id": INVOCATION})
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.id == INVOCATION  # type: ignore[attr-defined]
    assert record.exc_info
    assert "dead-lettered" not in record.message


@pytest.mark.parametrize("kind", ["retry", "discard", "reject"])
def test_what_is_about_a_message_is_an_error_that_says_what_to_raise(
    ask: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    assert ask(raises, url=f"/?kind={kind}").status == 500
    assert "behind an API there is none: raise HttpError to answer with an error" in caplog.text


def test_a_result_that_is_no_answer_is_logged(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = ask(returns_what_is_no_json)
    assert (found.status, found.body["id"]) == (500, INVOCATION)
    assert "GET / could not be answered: it has no JSON form: " in caplog.text


def test_a_task_that_asks_for_what_no_request_has_is_logged(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(takes_what_only_a_schedule_has).status == 500
    assert "ScheduledTask" in caplog.text


def test_a_task_that_is_not_there_is_logged(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert ask("shop.nobody").status == 500
    assert "no task called 'shop.nobody' is registered here" in caplog.text


def test_a_hook_may_answer_before_the_parameters_are_read(ask: Any) -> None:
    @before_task
    def refuse(context: TaskContext) -> None:
        if "authorization" not in ApiEvent.of(context).headers:
            raise HttpError(401, headers={"WWW-Authenticate": "Bearer"})

    try:
        found = ask(greet, url="/?times=x")
        assert (found.status, found.body) == (401, {"message": "Unauthorized"})
        assert found.headers["WWW-Authenticate"] == "Bearer"
        assert ask(greet, url="/?times=x", headers={"Authorization": "Bearer x"}).status == 400
    finally:
        hooks.before.remove(refuse)


def test_an_event_of_something_else_is_an_error_of_the_function() -> None:
    with pytest.raises(TypeError, match="a request of a REST API has httpMethod and requestContext"):
        handler({"Records": []}, LambdaContext())


# --- Accepted --------------------------------------------------------------------------------------------------------


@task(namespace="orders")
def place(order: str, amount: float, gift: bool = False) -> None: ...


class Weight(pydantic.BaseModel):
    grams: float


@task
def weigh(weight: Weight) -> None: ...


class Failing(Transport):
    """A transport that AWS does not answer, or answers so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, calls: Sequence[Any]) -> None:
        raise self.error


def test_a_task_is_dispatched_and_its_id_and_status_address_are_the_answer(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_API_STATUS_PATH, "/tasks/{id}")
    with using_transport(RecordingTransport()) as recording:
        found = ask(place, "POST", "/orders", respond="accepted", body={"order": "a", "amount": 1.5})
    [call] = recording.sent
    assert (call.envelope.kwargs, call.namespace) == ({"order": "a", "amount": 1.5}, "orders")
    assert found.status == 202
    assert found.body == {"id": call.envelope.id, "status_url": f"https://{DOMAIN}/prod/tasks/{call.envelope.id}"}
    assert found.headers["Location"] == found.body["status_url"]


def test_without_a_store_there_is_no_status_address(ask: Any) -> None:
    with using_transport(RecordingTransport()) as recording:
        found = ask(place, "POST", "/orders", respond="accepted", body={"order": "a", "amount": 1.5})
    assert (found.status, found.body) == (202, {"id": recording.sent[0].envelope.id})
    assert "Location" not in found.headers


def test_the_task_is_dispatched_along_its_route(ask: Any, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.task_route_variable(place.name), f"sqs:{queue.url}")
    found = ask(place, "POST", "/orders?gift=true", respond="accepted", body={"order": "a", "amount": 1})
    [record] = queue.event()["Records"]
    sent = json.loads(record["body"])
    assert (sent["id"], sent["kwargs"]) == (found.body["id"], {"order": "a", "amount": 1, "gift": True})


def test_what_does_not_fit_is_not_dispatched(ask: Any) -> None:
    with using_transport(RecordingTransport()) as recording:
        found = ask(place, "POST", "/orders", respond="accepted", body={"order": 1.5, "gift": "yes"})
    assert (found.status, len(found.body["errors"]), recording.sent) == (400, 3, [])


def test_what_fits_the_signature_and_no_message_is_the_clients_error(ask: Any) -> None:
    with using_transport(RecordingTransport()) as recording:
        found = ask(weigh, "POST", "/weights", respond="accepted", body={"grams": "inf"})
    assert (found.status, recording.sent) == (400, [])
    assert "argument 'weight' cannot be sent as JSON" in found.body["message"]


def test_a_dispatch_that_fails_is_answered_with_when_to_try_again(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    for error in (ConnectionError("no route to sqs.internal"), DispatchError("1 of 1 messages were not sent")):
        with using_transport(Failing(error)):
            found = ask(place, "POST", "/orders?order=a&amount=1", respond="accepted")
        assert (found.status, found.headers["Retry-After"]) == (503, "5")
        assert found.body == {"message": "the task could not be dispatched: try again later"}
    assert "no route to sqs.internal" in caplog.text


def test_a_function_without_a_route_says_so_in_its_log(
    ask: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    assert ask(place, "POST", "/orders?order=a&amount=1", respond="accepted").status == 500
    assert "Call grant_dispatch(function)" in caplog.text


def test_a_request_larger_than_a_message_is_the_clients_error(ask: Any) -> None:
    with using_transport(RecordingTransport()):
        found = ask(place, "POST", "/orders?amount=1", respond="accepted", body={"order": "x" * 1_100_000})
    assert (found.status, found.body) == (413, {"message": "the request is larger than the message of a task may be"})


def test_a_task_that_takes_the_request_cannot_run_without_it(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    with using_transport(RecordingTransport()) as recording:
        assert ask(knows, respond="accepted").status == 500
    assert not recording.sent
    assert "takes an ApiEvent, which is not there any more when it runs in the background" in caplog.text


# --- Status ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with using_store(MemoryStore()) as store:
        yield store


ID = "00000000-0000-4000-8000-000000000000"


def status_of(task_id: str, context: Any = None) -> Answer:
    return as_answer(status_handler(api_event("GET", f"/tasks/{task_id}", resource="/tasks/{id}"), context))


def test_an_unfinished_task_is_told_with_when_to_ask_again(store: MemoryStore) -> None:
    store.add(ID, "shop.place")
    found = status_of(ID)
    assert (found.status, found.headers["Retry-After"], found.headers["Cache-Control"]) == (200, "2", "no-store")
    assert (found.body["id"], found.body["task"], found.body["status"]) == (ID, "shop.place", "queued")
    assert found.body["queued_at"].endswith("+00:00")
    assert found.body["started_at"] is None
    assert "result" not in found.body


@pytest.mark.parametrize("result", ["0", '""', "null", "[]", '{"invoice": 7}'])
def test_a_result_is_told_also_a_falsy_one(store: MemoryStore, result: str) -> None:
    store.begin(ID, "shop.place", owner="1", seconds=60)
    store.end(ID, Ending(TaskStatus.SUCCEEDED, result), owner="1")
    found = status_of(ID.upper())
    assert found.body["status"] == "succeeded"
    assert found.body["result"] == json.loads(result)
    assert "Retry-After" not in found.headers


class OthersHttpError(Exception):
    """As client libraries of web services have it."""


OthersHttpError.__name__ = OthersHttpError.__qualname__ = "HttpError"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LookupError("the password is swordfish"), "the task failed"),
        (OthersHttpError("https://internal.example/?key=swordfish"), "the task failed"),
        (Reject("the card has expired"), "the card has expired"),
        (HttpError(402, "the card has expired"), "402 the card has expired"),
    ],
)
def test_a_failure_tells_nothing_but_what_was_meant_for_others(store: MemoryStore, error: Exception, told: str) -> None:
    recorded = RecordedError(type(error).__name__, str(error), "".join(format_exception(error)))
    store.begin(ID, "shop.place", owner="1", seconds=60)
    store.end(ID, Ending(TaskStatus.FAILED, error=recorded), owner="1")
    found = status_of(ID)
    assert found.body["error"] == {"type": recorded.type, "message": told}
    assert "traceback" not in json.dumps(found.body)


@pytest.mark.parametrize("guessable", ["6ba7b810-9dad-51d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"])
def test_an_id_that_can_be_guessed_such_as_that_of_a_schedules_run_is_told_to_nobody(
    store: MemoryStore, guessable: str
) -> None:
    store.add(guessable, "shop.nightly")
    assert status_of(guessable).status == 404


def test_an_unknown_id_and_one_that_is_none_are_the_clients_errors(store: MemoryStore) -> None:
    store.acquire("schedule:nightly", "1", 60)
    assert status_of(ID).status == 404
    found = status_of("schedule:nightly")
    assert (found.status, found.body) == (400, {"message": "the id of a task is a UUID, given 'schedule:nightly'"})


def test_a_store_that_fails_is_answered_with_when_to_try_again(caplog: pytest.LogCaptureFixture) -> None:
    found = status_of(ID, LambdaContext())
    assert (found.status, found.body["id"], found.headers["Retry-After"]) == (503, INVOCATION, "5")
    assert "no task store" in caplog.text
