"""Functions of the application around tasks and dispatches."""

import logging
from typing import Any

import pytest

from runtime_lib import (
    ArgumentError,
    Discard,
    RecordingTransport,
    Reject,
    Retry,
    TaskContext,
    TaskDefinitionError,
    after_task,
    before_task,
    current_context,
    default_headers,
    hooks,
    task,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, run

seen: list[Any] = []


@pytest.fixture(autouse=True)
def no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("before", "after", "headers"):
        monkeypatch.setattr(hooks, name, [])
    seen.clear()


@task(retry=Retry(2, first_delay=7, jitter="none"))
def send(number: int = 0) -> int:
    seen.append("task")
    return 1 // number


def run_send(number: int, attempt: int = 1) -> Outcome:
    envelope = Envelope.new(send.name, [number], {}, priority=Priority.DEFAULT)
    return run(send, envelope, Delivery(attempt=attempt, receipt="r"))


def test_hooks_run_around_each_task_in_their_order() -> None:
    before_task(lambda context: seen.append(("first", context.task, context.attempt)))
    before_task(lambda _: seen.append("second"))
    after_task(lambda context, outcome: seen.append((context.id is not None, outcome)))
    run_send(1, attempt=2)
    assert seen == [("first", send.name, 2), "second", "task", (True, Succeeded(1))]


def test_decorated_hooks_stay_functions() -> None:
    @before_task
    def hook(context: TaskContext) -> int:
        return 5

    assert hook(None) == 5  # type: ignore[arg-type]
    assert hooks.before == [hook]


def test_a_before_hook_that_raises_fails_the_task_which_does_not_run() -> None:
    @before_task
    def check(context: TaskContext) -> None:
        raise PermissionError("suspended")

    outcome = run_send(1)
    assert isinstance(outcome, RetryAfter)
    assert (outcome.delay, str(outcome.error)) == (7, "suspended")
    assert isinstance(run_send(1, attempt=2), DeadLettered)
    assert seen == []


@pytest.mark.parametrize(("raised", "outcome"), [(Discard, Discarded), (Reject, DeadLettered)])
def test_a_before_hook_may_say_what_shall_become_of_the_message(raised: type[Exception], outcome: type) -> None:
    @before_task
    def check(context: TaskContext) -> None:
        raise raised("suspended")

    assert run_send(1)[0] == "suspended"
    assert isinstance(run_send(1), outcome)


def test_an_after_hook_sees_how_the_task_ended() -> None:
    after_task(lambda _, outcome: seen.append(type(outcome)))
    run_send(0)
    run_send(0, attempt=2)
    assert seen == ["task", RetryAfter, "task", DeadLettered]


def test_what_an_after_hook_raises_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @after_task
    def report(context: TaskContext, outcome: Outcome) -> None:
        raise ConnectionError("no metrics")

    after_task(lambda *_: seen.append("next"))
    with caplog.at_level(logging.ERROR, "runtime_lib"):
        assert run_send(1) == Succeeded(1)
    assert seen == ["task", "next"]
    assert "report failed" in caplog.text
    assert "no metrics" in caplog.text


def test_hooks_see_the_running_task() -> None:
    before_task(lambda context: seen.append(current_context() is context))
    after_task(lambda context, _: seen.append(current_context() is context))
    run_send(1)
    assert seen == [True, "task", True]
    assert current_context() is None


def test_default_headers_are_added_to_each_dispatch_and_overridden_by_its_own() -> None:
    default_headers(lambda of: {"task": of.name, "trace": "hook", "request_id": "hook"})
    default_headers(lambda _: {"trace": "later hook"})
    with using_transport(RecordingTransport()) as recording:
        send.dispatch(1)
        send.with_headers(request_id="own").dispatch(1)
        send.dispatch_many([send.call(1)])
    assert [call.envelope.headers for call in recording.sent] == [
        {"task": send.name, "trace": "later hook", "request_id": "hook"},
        {"task": send.name, "trace": "later hook", "request_id": "own"},
        {"task": send.name, "trace": "later hook", "request_id": "hook"},
    ]


def test_a_hook_that_gives_no_headers_is_refused_by_its_name() -> None:
    @default_headers
    def tracing(of: Any) -> dict[str, Any]:
        return None  # type: ignore[return-value]

    with pytest.raises(ArgumentError, match=r"the default_headers hook .*tracing returned NoneType: return a dict"):
        send.dispatch(1)


def test_headers_of_a_hook_that_are_no_json_are_refused() -> None:
    default_headers(lambda _: {"user": object()})
    with pytest.raises(ArgumentError, match=r"headers\['user'\] takes a JSON value"):
        send.dispatch(1)


@pytest.mark.parametrize("register", [before_task, after_task, default_headers])
def test_an_async_hook_is_refused_because_nothing_would_await_it(register: Any) -> None:
    async def hook(*_: Any) -> None: ...

    with pytest.raises(
        TaskDefinitionError, match=r"the hook .*hook is async: it runs beside tasks of both kinds, make it def"
    ):
        register(hook)
    with pytest.raises(TaskDefinitionError, match="a hook is a function, given 5"):
        register(5)
    assert (hooks.before, hooks.after, hooks.headers) == ([], [], [])
