"""A task without a trigger: who invokes its function gives the arguments, and gets the result."""

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from runtime_lib import ArgumentError, Discard, Reject, RetryLater, TaskContext, TaskError, UnknownTaskError, contract
from runtime_lib import task as make_task
from runtime_lib.handlers.pure_task import handler
from tests.deliveries import body_of

CONTEXT = SimpleNamespace(function_name="pure", aws_request_id="request-1", get_remaining_time_in_millis=lambda: 30_000)


@make_task
def add(left: int, right: int = 1) -> int:
    return left + right


@make_task
async def aecho(value: Any = None) -> Any:
    return value


@dataclass
class Price:
    amount: Decimal
    until: date


@make_task
def prices(amount: Decimal) -> dict[str, Price]:
    return {"gold": Price(amount, date(2026, 1, 2))}


@make_task
def sees(context: TaskContext) -> Any:
    return {"event": context.event, "id": context.id, "remaining": (context.remaining_seconds() or 0) > 0}


@make_task
def opens() -> object:
    return object()


@make_task
def raises(kind: str) -> None:
    raise {"error": LookupError(7), "discard": Discard(), "reject": Reject("no"), "later": RetryLater(5)}.get(
        kind, SystemExit(3)
    )


def invoke(task: Any, event: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(contract.ENV_TASK, task.name)
    return handler(event, CONTEXT)


@pytest.mark.parametrize(
    ("task", "event", "result"),
    [
        (add, {"left": 2, "right": 3}, 5),
        (add, [2, 3], 5),
        (add, 2, 3),
        (aecho, None, None),
        (aecho, "text", "text"),
        (aecho, {"value": {"deep": [1]}}, {"deep": [1]}),
        (prices, {"amount": "7.50"}, {"gold": {"amount": "7.50", "until": "2026-01-02"}}),
        (add, json.loads(body_of(add.name, 4, right=5)), 9),
    ],
)
def test_an_event_gives_the_arguments_and_gets_the_result(
    task: Any, event: Any, result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(task, event, monkeypatch) == result


def test_a_result_that_is_not_json_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="a object is no JSON value, and msgspec does not know it"):
        invoke(opens, None, monkeypatch)


def test_a_task_without_parameters_finds_the_event_in_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"any": ["thing"]}
    assert invoke(sees, event, monkeypatch) == {"event": event, "id": "request-1", "remaining": True}


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        ({"left": "two"}, ArgumentError, "argument 'left' takes int, given str"),
        ({"wide": 2}, ArgumentError, "unexpected keyword argument 'wide'"),
        (json.loads(body_of(f"{__name__}.raises", "error")), UnknownTaskError, "this function runs"),
    ],
)
def test_what_does_not_fit_is_told_to_who_invokes(
    event: Any, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=message):
        invoke(add, event, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "error"), [("error", LookupError), ("reject", Reject), ("later", RetryLater), ("exit", TaskError)]
)
def test_what_the_task_raises_is_the_invocations_error(
    kind: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error):
        invoke(raises, {"kind": kind}, monkeypatch)


def test_a_discarded_run_has_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(raises, {"kind": "discard"}, monkeypatch) is None


def test_a_function_that_is_told_no_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(contract.ENV_TASK, raising=False)
    with pytest.raises(TaskError, match="TASK_NAME names no task for this function"):
        handler({}, CONTEXT)
