"""Middleware around tasks: of all tasks, of groups and of one."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from runtime_lib import (
    Discard,
    EagerTransport,
    Reject,
    Retry,
    TaskContext,
    TaskDefinitionError,
    TaskGroup,
    batch_task,
    current_context,
    hooks,
    middleware,
    task,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, run, run_async
from tests.task_modules import run_program

seen: list[Any] = []
CallNext = Callable[[], Any]


@pytest.fixture(autouse=True)
def no_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "around", [])
    seen.clear()


def noting(name: str) -> Callable[[TaskContext, CallNext], Any]:
    def note(context: TaskContext, call_next: CallNext) -> Any:
        seen.append(f"{name} before")
        try:
            return call_next()
        finally:
            seen.append(f"{name} after")

    return note


outer = TaskGroup(middleware=[noting("outer")])
inner = TaskGroup(middleware=[noting("inner")])
outer.include(inner, middleware=[noting("between")])


@task(retry=Retry(2, first_delay=7, jitter="none"), middleware=[noting("first"), noting("second")])
def divide(number: int) -> float:
    seen.append("task")
    return 1 / number


@inner.task(middleware=[noting("own")])
def grouped() -> str:
    seen.append("task")
    return "done"


@task
async def wait_for(number: int) -> float:
    await asyncio.sleep(0)
    seen.append("task")
    return 1 / number


def outcome_of(of: Any, *args: Any) -> Outcome:
    envelope = Envelope.new(of.name, list(args), {}, priority=Priority.DEFAULT)
    if of.is_async:
        return asyncio.run(run_async(of, envelope, Delivery()))
    return run(of, envelope, Delivery())


def test_the_first_of_all_tasks_is_outermost_then_groups_then_the_tasks_own() -> None:
    middleware(noting("all 1"))
    middleware(noting("all 2"))
    assert outcome_of(grouped) == Succeeded("done")
    order = ["all 1", "all 2", "outer", "between", "inner", "own"]
    assert seen == [*(f"{name} before" for name in order), "task", *(f"{name} after" for name in reversed(order))]


def test_middleware_of_one_task_is_around_no_other() -> None:
    outcome_of(divide, 1)
    assert seen == ["first before", "second before", "task", "second after", "first after"]
    seen.clear()
    outcome_of(wait_for, 1)
    assert seen == ["task"]


def test_what_the_middleware_returns_is_the_result() -> None:
    middleware(lambda _, call_next: {"result": call_next()})
    assert outcome_of(divide, 2) == Succeeded({"result": 0.5})


def test_what_an_async_middleware_returns_is_the_result() -> None:
    @middleware
    async def double(context: TaskContext, call_next: CallNext) -> Any:
        return await call_next() * 2

    assert outcome_of(wait_for, 2) == Succeeded(1)


def test_a_middleware_that_does_not_call_next_keeps_the_task_from_running() -> None:
    middleware(lambda *_: 0)
    assert [outcome_of(divide, 1), outcome_of(wait_for, 1)] == [Succeeded(0), Succeeded(0)]
    assert seen == []


def test_the_tasks_exception_passes_through_and_is_retried_as_the_policy_says() -> None:
    outcome = outcome_of(divide, 0)
    assert isinstance(outcome, RetryAfter)
    assert (outcome.delay, type(outcome.error)) == (7, ZeroDivisionError)
    assert seen == ["first before", "second before", "task", "second after", "first after"]


def test_a_middleware_may_take_an_exceptions_place() -> None:
    @middleware
    def forgive(context: TaskContext, call_next: CallNext) -> Any:
        try:
            return call_next()
        except ZeroDivisionError:
            return float("inf")

    assert outcome_of(divide, 0) == Succeeded(float("inf"))


@pytest.mark.parametrize(
    ("raised", "outcome"), [(Discard(), Discarded), (Reject("no"), DeadLettered), (OSError(), RetryAfter)]
)
def test_what_a_middleware_raises_is_an_outcome(raised: Exception, outcome: type) -> None:
    @middleware
    def refuse(context: TaskContext, call_next: CallNext) -> Any:
        raise raised

    assert isinstance(outcome_of(divide, 1), outcome)
    assert isinstance(outcome_of(wait_for, 1), outcome)
    assert seen == []


def test_call_next_may_be_called_again() -> None:
    middleware(lambda _, call_next: [call_next(), call_next()])
    assert outcome_of(divide, 1) == Succeeded([1, 1])


def test_middleware_knows_the_message_and_its_context_variables_end_with_the_run() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

    @middleware
    def with_tenant(context: TaskContext, call_next: CallNext) -> Any:
        assert current_context() is context
        tenant.set(context.task)
        return call_next()

    @middleware
    def note_tenant(context: TaskContext, call_next: CallNext) -> Any:
        seen.append(tenant.get())
        return call_next()

    outcome_of(divide, 1)
    outcome_of(wait_for, 1)
    assert [one for one in seen if one in {divide.name, wait_for.name}] == [divide.name, wait_for.name]
    assert tenant.get() == "nobody"


def test_async_middleware_awaits_an_async_task() -> None:
    @middleware
    async def timed(context: TaskContext, call_next: CallNext) -> Any:
        seen.append("before")
        await asyncio.sleep(0)
        result = await call_next()
        seen.append("after")
        return result

    assert outcome_of(wait_for, 1) == Succeeded(1)
    assert seen == ["before", "task", "after"]


def test_a_def_middleware_around_an_async_task_gets_an_awaitable_and_may_return_it() -> None:
    @middleware
    def plain(context: TaskContext, call_next: CallNext) -> Any:
        awaitable = call_next()
        assert asyncio.iscoroutine(awaitable)
        return awaitable

    @middleware
    async def awaiting(context: TaskContext, call_next: CallNext) -> Any:
        return await call_next() + 1

    middleware(plain)
    middleware(lambda *_: 4)  # innermost, and no awaitable
    assert outcome_of(wait_for, 1) == Succeeded(5)


def test_middleware_runs_after_the_hooks_and_the_check_of_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    middleware(noting("all"))
    assert isinstance(outcome_of(divide, "one"), DeadLettered)
    monkeypatch.setattr(hooks, "before", [lambda _: seen.append("hook")])
    monkeypatch.setattr(hooks, "after", [lambda *_: seen.append("end")])
    assert isinstance(outcome_of(divide, "two"), DeadLettered)
    assert seen == ["hook", "end"]
    seen.clear()
    outcome_of(wait_for, 1)
    assert seen == ["hook", "all before", "all after", "task", "end"]


@batch_task(retry="never")
def index(numbers: list[int]) -> list[int]:
    seen.append(numbers)
    return [10 * number for number in numbers]


def test_middleware_is_around_each_item_of_a_batch() -> None:
    @middleware
    def plain(context: TaskContext, call_next: CallNext) -> Any:
        seen.append(("plain", context.envelope.args))
        return call_next()

    @middleware
    async def but_two(context: TaskContext, call_next: CallNext) -> Any:
        return None if context.envelope.args == [2] else await call_next() + 1

    messages = [(Envelope.new(index.name, [n], {}, priority=Priority.DEFAULT), Delivery()) for n in (1, 2, 3)]
    outcomes = asyncio.run(index.run_together(messages))
    assert outcomes == [Succeeded(11), Succeeded(None), Succeeded(31)]
    assert seen == [("plain", [1]), ("plain", [2]), ("plain", [3]), [1, 3]]


def test_async_middleware_around_a_def_task_is_refused_with_what_to_do() -> None:
    @middleware
    async def timed(context: TaskContext, call_next: CallNext) -> Any:
        return await call_next()

    outcome = outcome_of(divide, 1)
    assert isinstance(outcome, DeadLettered)
    assert "timed is async and" in outcome.reason
    assert "make the middleware def" in outcome.reason
    assert seen == []


def test_a_tasks_own_async_middleware_is_refused_when_a_def_task_is_decorated() -> None:
    async def timed(context: TaskContext, call_next: CallNext) -> Any: ...

    with pytest.raises(TaskDefinitionError, match=r"timed is async and .*plain_function is not"):
        task(middleware=[timed])(plain_function)
    for decorated in (task(middleware=[timed])(async_function), batch_task(middleware=[timed])(batch_function)):
        assert decorated.middleware == (timed,)


def test_middleware_runs_around_eager_tasks_and_not_around_plain_calls() -> None:
    divide(1)
    assert seen == ["task"]
    seen.clear()
    with using_transport(EagerTransport()):
        divide.dispatch(1)
    assert seen[0] == "first before"


@pytest.mark.parametrize("given", [5, [5], noting("a"), "name"])
def test_what_is_no_middleware_is_refused_where_it_is_given(given: Any) -> None:
    for make in (lambda: task(middleware=given)(plain_function), lambda: TaskGroup(middleware=given)):
        with pytest.raises(TaskDefinitionError, match="middleware is"):
            make()
    with pytest.raises(TaskDefinitionError, match="@middleware: middleware is a list of functions"):
        middleware(5)  # type: ignore[type-var]


def plain_function() -> None: ...


async def async_function() -> None: ...


def batch_function(items: list[int]) -> None: ...


def test_a_task_without_middleware_loads_and_calls_nothing_for_it() -> None:
    printed = run_program(
        """
        import sys
        from runtime_lib import EagerTransport, task, using_transport
        from runtime_lib.execution import _inside_middleware

        @task
        def send() -> None: ...

        with using_transport(EagerTransport()):
            send.dispatch()
        modules = ("runtime_lib.middleware_chain", "runtime_lib.task_group", "runtime_lib.init_tasks")
        print([module for module in modules if module in sys.modules], _inside_middleware(send, None) is send.function)
        """
    )
    assert printed == "[] True\n"
