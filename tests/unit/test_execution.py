"""One message, one task, one outcome."""

import asyncio
import contextvars
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from runtime_lib import Discard, Reject, Retry, RetryLater, TaskContext, TaskDefinitionError, current_context, task
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.errors import ArgumentError
from runtime_lib.execution import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, describe, run, run_async
from tests.task_modules import load

THIRTY = Retry(3, first_delay=30, multiplier=1, jitter="none", give_up_on=[PermissionError])
SECRET = "4711-0815"
local: contextvars.ContextVar[str] = contextvars.ContextVar("local", default="")


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot even say it")


@task(retry=THIRTY)
def runs(action: Any = None) -> Any:
    return act()


@task(retry=THIRTY)
async def aruns(action: Any = None) -> Any:
    await asyncio.sleep(0)
    return act()


act: Callable[[], Any] = lambda: None  # noqa: E731  (what the tasks do; each test sets its own)


def message(of: Any, *args: Any, **metadata: Any) -> Envelope:
    envelope = Envelope.new(of.name, list(args), {}, priority=Priority.DEFAULT)
    envelope.metadata.update(metadata)
    return envelope


def execute(of: Any, delivery: Delivery, envelope: Envelope | None = None) -> Outcome:
    envelope = envelope or message(of)
    return asyncio.run(run_async(of, envelope, delivery)) if of.is_async else run(of, envelope, delivery)


@pytest.fixture(params=[runs, aruns], ids=["def", "async def"])
def of(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Lets the tasks return this, or raise it."""

    def do(what: Any) -> None:
        def action() -> Any:
            if isinstance(what, BaseException):
                raise what
            return what() if callable(what) else what

        monkeypatch.setitem(globals(), "act", action)

    return do


# --- Outcomes --------------------------------------------------------------------------------------------------------


def test_a_task_that_returns_has_succeeded(of: Any, does: Any) -> None:
    does({"rows": 5})
    assert execute(of, Delivery()) == Succeeded({"rows": 5})


@pytest.mark.parametrize(
    ("raised", "attempt", "outcome"),
    [
        (LookupError("no order"), 1, RetryAfter),
        (LookupError("no order"), 2, RetryAfter),
        (LookupError("no order"), 3, DeadLettered("failed at attempt 3: LookupError: no order")),
        (LookupError(), 7, DeadLettered("failed at attempt 7: LookupError")),
        (PermissionError("closed"), 1, DeadLettered("failed at attempt 1: PermissionError: closed")),
        (SystemExit(3), 1, RetryAfter),
        (SystemExit(3), 3, DeadLettered("failed at attempt 3: SystemExit: 3")),
        (asyncio.CancelledError(), 1, RetryAfter),
        (MuteError(), 3, DeadLettered("failed at attempt 3: MuteError")),
        (Discard("already paid"), 1, Discarded("already paid")),
        (Discard(), 3, Discarded("")),
        (Reject("no such customer"), 1, DeadLettered("no such customer")),
        (Reject(), 1, DeadLettered("rejected by the task")),
        (RetryLater(90), 1, RetryAfter),
        (RetryLater(90), 8, RetryAfter),
        (RetryLater(90), 9, DeadLettered("RetryLater after 9 deliveries: the queue allows no more")),
    ],
    ids=repr,
)
def test_what_a_task_raises_becomes_an_outcome(
    of: Any, does: Any, raised: BaseException, attempt: int, outcome: Any
) -> None:
    does(raised)
    found = execute(of, Delivery(attempt=attempt, max_receive_count=10))
    if outcome is RetryAfter:
        assert found == RetryAfter(90 if isinstance(raised, RetryLater) else 30, raised)
    elif isinstance(outcome, DeadLettered):
        assert found == DeadLettered(outcome.reason, raised)
    else:
        assert found == outcome


def test_an_interrupt_is_no_outcome(of: Any, does: Any) -> None:
    does(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        execute(of, Delivery())
    assert current_context() is None


def test_an_async_task_that_is_cancelled_from_outside_has_no_outcome() -> None:
    sleeps = load(
        "import asyncio\nfrom runtime_lib import task\n@task\nasync def sleeps(): await asyncio.sleep(9)"
    ).sleeps

    async def main() -> None:
        running = asyncio.create_task(run_async(sleeps, message(sleeps), Delivery()))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_a_cancellation_inside_one_task_does_not_reach_its_neighbours() -> None:
    module = load("""
        import asyncio
        from runtime_lib import Retry, task
        @task(retry=Retry.never())
        async def cancelled():
            waiting = asyncio.create_task(asyncio.sleep(9))
            asyncio.get_running_loop().call_soon(waiting.cancel)
            await waiting
        @task
        async def neighbour():
            await asyncio.sleep(0.02)
            return 5
        """)

    async def main() -> list[Outcome]:
        return await asyncio.gather(
            *(run_async(one, message(one), Delivery()) for one in (module.cancelled, module.neighbour))
        )

    cancelled, neighbour = asyncio.run(main())
    assert isinstance(cancelled, DeadLettered)
    assert cancelled.reason == "failed at attempt 1: CancelledError"
    assert neighbour == Succeeded(5)


@pytest.mark.parametrize(
    ("error", "described"),
    [(ValueError("x"), "ValueError: x"), (ValueError(), "ValueError"), (MuteError(), "MuteError")],
)
def test_an_exception_is_described_by_type_and_message(error: BaseException, described: str) -> None:
    assert describe(error) == described


NOT_RUN = {
    "an async def below a def": ("async def send(): ...", "return function()", "coroutine"),
    "a generator below a def": ("def send(): yield", "return function()", "generator"),
    "an async generator below a def": ("async def send(): yield", "return function()", "async_generator"),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("function", "wrapper", "kind"), NOT_RUN.values(), ids=NOT_RUN)
@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_task_whose_code_has_not_run_has_not_succeeded(function: str, wrapper: str, kind: str, prefix: str) -> None:
    send = load(
        "import functools\nfrom runtime_lib import task\n"
        "def deco(function):\n    @functools.wraps(function)\n"
        f"    {prefix}def inner(): {wrapper}\n    return inner\n"
        f"@task\n@deco\n{function}\n"
    ).send
    outcome = execute(send, Delivery(), message(send))
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason == (
        f"{send.name} returned a {kind}, whose code has not run: a decorator below @task has to be async if its "
        "function is, and to use up a generator"
    )
    assert isinstance(outcome.error, TaskDefinitionError)


def test_a_decorator_that_awaits_or_runs_the_function_is_fine() -> None:
    module = load("""
        import asyncio, functools
        from runtime_lib import task
        def awaiting(function):
            @functools.wraps(function)
            async def inner(): return await function()
            return inner
        def running(function):
            @functools.wraps(function)
            def inner(): return asyncio.run(function())
            return inner
        @task
        @awaiting
        async def a(): return 1
        @task
        @running
        async def b(): return 2
        """)
    assert execute(module.a, Delivery(), message(module.a)) == Succeeded(1)
    assert execute(module.b, Delivery(), message(module.b)) == Succeeded(2)


# --- What must not run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "max_receive_count", "last_run"),
    [
        (Retry(3), 10, 9),
        (Retry.never(), 10, 9),
        (Retry(9), 10, 9),
        (Retry(10), 10, 10),
        (Retry(50), 10, 10),
        (Retry.always(), 10, 10),
        (Retry(3), 3, 3),
        (Retry(3), 4, 3),
        (Retry(3), 1, 1),
        (Retry.never(), 2, 1),
        (Retry.never(), 1, 1),
    ],
)
def test_a_policy_of_fewer_attempts_than_receives_leaves_one_delivery_to_tell_that_none_reported(
    retry: Retry, max_receive_count: int, last_run: int, does: Any
) -> None:
    does(5)
    send = load("from runtime_lib import task\nimport runtime_lib\ndef send(): return 5")
    one = task(name=f"last.{retry.max_attempts}.{max_receive_count}", retry=retry)(send.send)
    ran = [
        execute(one, Delivery(attempt=attempt, max_receive_count=max_receive_count), message(one))
        for attempt in range(1, max_receive_count + 1)
    ]
    assert ran[:last_run] == [Succeeded(5)] * last_run
    for outcome in ran[last_run:]:
        assert outcome == DeadLettered(
            f"{max_receive_count - 1} deliveries ended without a report: timeout, out of memory or killed"
        )


_AT_LIMIT = ", the last that the queue's max_receive_count allows"


@pytest.mark.parametrize(
    ("retry", "why"), [(Retry(3), ""), (Retry(10), ""), (Retry(20), _AT_LIMIT), (Retry.always(), _AT_LIMIT)]
)
def test_the_last_run_of_a_failing_task_is_its_last_and_says_what_ended_it(retry: Retry, why: str) -> None:
    send = load("def send(): 1 / 0").send
    one = task(name=f"failing.{retry.max_attempts}", retry=retry)(send)
    outcomes = [execute(one, Delivery(attempt=attempt, max_receive_count=10), message(one)) for attempt in range(1, 11)]
    expected = min(retry.max_attempts or 10, 10)
    assert [type(outcome) for outcome in outcomes[:expected]] == [RetryAfter] * (expected - 1) + [DeadLettered]
    assert outcomes[expected - 1].reason == f"failed at attempt {expected}{why}: ZeroDivisionError: division by zero"


def test_without_a_receive_count_the_policy_alone_decides(of: Any, does: Any) -> None:
    does(ValueError())
    assert isinstance(execute(of, Delivery(attempt=2)), RetryAfter)
    assert isinstance(execute(of, Delivery(attempt=3)), DeadLettered)
    does(5)
    assert execute(of, Delivery(attempt=50)) == Succeeded(5)
    does(RetryLater(1))
    assert isinstance(execute(of, Delivery(attempt=50)), RetryAfter)


def test_more_hops_than_allowed_are_a_loop_that_is_given_up_with_its_chain(of: Any, does: Any) -> None:
    does(5)
    assert execute(of, Delivery(), message(of, hops=16)) == Succeeded(5)
    outcome = execute(of, Delivery(), message(of, hops=17, chain="first-id", source="shop.ping", parent="p"))
    assert outcome == DeadLettered(
        "17 tasks dispatched one another (max_hops is 16): a loop? The chain began with first-id; this one was "
        "dispatched by shop.ping"
    )


def test_arguments_that_do_not_fit_are_given_up_at_once(of: Any) -> None:
    outcome = execute(of, Delivery(), message(of, 1, 2))
    assert isinstance(outcome, DeadLettered)
    assert outcome.reason.endswith("but 2 were given")
    assert isinstance(outcome.error, ArgumentError)


# --- Around it -------------------------------------------------------------------------------------------------------


def test_the_running_task_is_known_while_it_runs(of: Any, does: Any) -> None:
    envelope = message(of)
    does(current_context)
    found = execute(of, Delivery(attempt=2), envelope)
    assert isinstance(found, Succeeded)
    assert isinstance(found.result, TaskContext)
    assert (found.result.id, found.result.attempt) == (envelope.id, 2)
    assert current_context() is None


def test_context_variables_that_a_task_sets_end_with_it(of: Any, does: Any) -> None:
    def leave() -> str:
        before = local.get()
        local.set("left behind")
        return before

    does(leave)
    token = local.set("outer")
    try:
        assert execute(of, Delivery()) == Succeeded("outer")
        assert execute(of, Delivery()) == Succeeded("outer")
    finally:
        local.reset(token)


def test_concurrent_async_tasks_have_contexts_of_their_own() -> None:
    module = load("""
        import asyncio, contextvars
        from runtime_lib import current_context, task
        local = contextvars.ContextVar("local", default=None)
        @task
        async def send(number: int):
            seen = [local.get()]
            local.set(number)
            for _ in range(3):
                await asyncio.sleep(0.001)
                seen.append(local.get())
                seen.append(current_context().envelope.args[0])
            return seen
        """)

    async def main() -> list[Outcome]:
        return await asyncio.gather(
            *(run_async(module.send, message(module.send, number), Delivery()) for number in range(20))
        )

    assert asyncio.run(main()) == [Succeeded([None, *[number] * 6]) for number in range(20)]


LOGGED = [
    (5, 1, logging.INFO, "succeeded in "),
    (Discard("twice"), 1, logging.INFO, "discarded its message: twice"),
    (RetryLater(90), 1, logging.INFO, "asked to run again in 90.0 s"),
    (LookupError("no order"), 1, logging.WARNING, "failed at attempt 1 and runs again in 30.0 s"),
    (LookupError("no order"), 3, logging.ERROR, "is dead-lettered: failed at attempt 3: LookupError: no order"),
    (Reject("no order"), 1, logging.ERROR, "is dead-lettered: no order"),
]


@pytest.mark.parametrize("logged", LOGGED, ids=repr)
def test_each_run_is_one_log_record_with_its_message_and_without_its_arguments(
    of: Any, does: Any, logged: tuple[Any, int, int, str], caplog: pytest.LogCaptureFixture
) -> None:
    what, attempt, level, text = logged
    does(what)
    envelope = message(of, {"card": SECRET}, chain="first-id")
    envelope.headers["token"] = SECRET
    with caplog.at_level(logging.DEBUG):
        execute(of, Delivery(attempt=attempt, max_receive_count=10, receipt="r"), envelope)
    (record,) = [record for record in caplog.records if record.name == "runtime_lib"]
    assert record.levelno == level
    assert f"{of.name} {text}" in record.getMessage()
    assert (record.task, record.id, record.attempt, record.chain) == (of.name, envelope.id, attempt, "first-id")  # type: ignore[attr-defined]
    assert (record.exc_info is not None) is (level > logging.INFO)
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps(vars(record), default=repr)


def test_an_after_hook_that_exits_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch, of: Any, does: Any) -> None:
    does(5)
    monkeypatch.setattr("runtime_lib.hooks.after", [lambda *_: sys.exit(1)])
    assert execute(of, Delivery()) == Succeeded(5)
