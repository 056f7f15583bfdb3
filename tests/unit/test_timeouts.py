"""timeout= of tasks that run in this process; tests/unit/test_subprocess_task.py has that of the others."""

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_lib import (
    EagerTransport,
    Retry,
    TaskDefinitionError,
    TaskTimeoutError,
    current_context,
    hooks,
    task,
    time_limit,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Outcome, RetryAfter, Succeeded, run, run_async
from runtime_lib.streaming.stopping import Stop
from tests.task_modules import load, run_program

# Its signal is the one that interrupts tasks.
pytestmark = pytest.mark.timeout(60, method="thread")

IN_MAIN_THREAD = (
    "is interrupted in the main thread only, where nothing else uses SIGALRM: make it async, or give it subprocess=True"
)
seen: list[Any] = []
act: Any = None
"""What the tasks do; each test sets its own."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    seen.clear()
    monkeypatch.setattr(time_limit, "_warned", set())
    yield
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@task(timeout=0.2, retry=Retry(2, first_delay=30, jitter="none"))
def works() -> Any:
    return act()


@task(timeout=0.2, retry=Retry(2, first_delay=30, jitter="none"))
async def aworks() -> Any:
    return await act()


@task(timeout=30)
def has_time() -> Any:
    return act()


@task(timeout=1, retry="never")
def outer() -> Any:
    return act()


def execute(of: Any, *, attempt: int = 1) -> Outcome:
    envelope = Envelope.new(of.name, [], {}, priority=Priority.DEFAULT)
    delivery = Delivery(attempt=attempt)
    return asyncio.run(run_async(of, envelope, delivery)) if of.is_async else run(of, envelope, delivery)


def sleep() -> None:
    time.sleep(10)


async def asleep() -> None:
    await asyncio.sleep(10)


def does(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    monkeypatch.setitem(globals(), "act", what)


@pytest.mark.parametrize(("of", "what"), [(works, sleep), (aworks, asleep)], ids=["def", "async def"])
def test_an_attempt_that_takes_too_long_fails_and_is_retried(
    monkeypatch: pytest.MonkeyPatch, of: Any, what: Any
) -> None:
    does(monkeypatch, what)
    started = time.monotonic()
    outcome = execute(of)
    assert 0.2 <= time.monotonic() - started < 5
    assert isinstance(outcome, RetryAfter)
    assert isinstance(outcome.error, TaskTimeoutError)
    assert isinstance(outcome.error, TimeoutError)
    assert str(outcome.error) == f"{of.name} did not end within 0.2 seconds, its timeout"
    assert outcome.delay == 30
    assert isinstance(execute(of, attempt=2), DeadLettered)


@pytest.mark.parametrize("of", [works, aworks], ids=["def", "async def"])
def test_an_attempt_that_ends_in_time_is_not_touched(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    async def answer() -> int:
        return 17

    does(monkeypatch, answer if of is aworks else lambda: 17)
    assert execute(of) == Succeeded(17)
    time.sleep(0.3)  # and nothing comes later


@pytest.mark.parametrize("of", [works, aworks], ids=["def", "async def"])
def test_a_tasks_own_timeout_error_stays_what_it_is(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    def fail() -> None:
        raise TimeoutError("the shop does not answer")

    async def afail() -> None:
        fail()

    does(monkeypatch, afail if of is aworks else fail)
    outcome = execute(of)
    assert isinstance(outcome, RetryAfter)
    assert type(outcome.error) is TimeoutError


@pytest.mark.parametrize("of", [works, aworks], ids=["def", "async def"])
def test_it_can_clean_up(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    def work() -> None:
        try:
            sleep()
        finally:
            seen.append("cleaned up")

    async def awork() -> None:
        try:
            await asleep()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    does(monkeypatch, awork if of is aworks else work)
    assert isinstance(execute(of), RetryAfter)
    assert seen == ["cleaned up"]


@pytest.mark.parametrize("of", [works, aworks], ids=["def", "async def"])
def test_swallowing_it_does_not_make_a_success(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    def work() -> str:
        with contextlib.suppress(TimeoutError):
            sleep()
        return "done all the same"

    async def awork() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asleep()
        return "done all the same"

    does(monkeypatch, awork if of is aworks else work)
    outcome = execute(of)
    assert isinstance(outcome, RetryAfter)
    assert isinstance(outcome.error, TaskTimeoutError)


@pytest.mark.parametrize("of", [works, aworks], ids=["def", "async def"])
def test_what_it_raises_instead_counts(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    def work() -> None:
        try:
            sleep()
        except TimeoutError:
            raise LookupError("no such order") from None

    async def awork() -> None:
        try:
            await asleep()
        except asyncio.CancelledError:
            raise LookupError("no such order") from None

    does(monkeypatch, awork if of is aworks else work)
    outcome = execute(of)
    assert isinstance(outcome, RetryAfter)
    assert isinstance(outcome.error, LookupError)


def test_middleware_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def around(context: Any, call_next: Any) -> Any:
        try:
            return call_next()
        except TaskTimeoutError as error:
            seen.append(str(error))
            raise

    monkeypatch.setattr(hooks, "around", [around])
    does(monkeypatch, sleep)
    execute(works)
    assert seen == [f"{works.name} did not end within 0.2 seconds, its timeout"]


def test_cancelling_an_async_task_with_a_timeout_is_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancel() -> None:
        envelope = Envelope.new(aworks.name, [], {}, priority=Priority.DEFAULT)
        running = asyncio.create_task(run_async(aworks, envelope, Delivery()))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    does(monkeypatch, asleep)
    asyncio.run(cancel())


# --- Tasks inside one another ----------------------------------------------------------------------------------------


def test_the_limit_of_an_eager_task_inside_another_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> str:
        started = time.monotonic()
        does(monkeypatch, lambda: None if current_context().attempt == 2 else sleep())
        works.dispatch()
        assert 0.2 <= time.monotonic() - started < 0.9
        return "done"

    does(monkeypatch, work)
    with using_transport(EagerTransport()):
        assert execute(outer) == Succeeded("done")


def test_the_outer_limit_goes_on_after_an_inner_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        does(monkeypatch, lambda: None)
        works.dispatch()
        sleep()

    does(monkeypatch, work)
    started = time.monotonic()
    with using_transport(EagerTransport()):
        outcome = execute(outer)
    assert isinstance(outcome, DeadLettered)
    assert str(outcome.error) == f"{outer.name} did not end within 1 seconds, its timeout"
    assert 1 <= time.monotonic() - started < 5


def test_the_outer_limit_holds_inside_an_inner_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def inner() -> None:
        seen.append("inner")
        if len(seen) == 1:
            sleep()

    def start() -> None:
        does(monkeypatch, inner)
        has_time.dispatch()

    does(monkeypatch, start)
    started = time.monotonic()
    with using_transport(EagerTransport()):
        outcome = execute(outer)
    assert isinstance(outcome, DeadLettered)
    assert str(outcome.error) == f"{outer.name} did not end within 1 seconds, its timeout"
    assert time.monotonic() - started < 5


# --- Where it cannot be kept -----------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    does(monkeypatch, lambda: time.sleep(0.3))


@pytest.mark.usefixtures("slow")
def test_in_another_thread_it_is_not_interrupted_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(execute(works))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Succeeded(), Succeeded()]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"the timeout of {works.name} is not kept here, since a def task {IN_MAIN_THREAD}"]


@pytest.mark.usefixtures("slow")
def test_a_signal_handler_of_others_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    def ring(*_: Any) -> None:
        seen.append("theirs")

    signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert execute(works) == Succeeded()
        assert seen == ["theirs"]
        assert signal.getsignal(signal.SIGALRM) == ring
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert "is not kept here" in caplog.text


@pytest.mark.usefixtures("slow")
def test_a_timer_of_others_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    signal.setitimer(signal.ITIMER_REAL, 30)
    try:
        assert execute(works) == Succeeded()
        assert 29 < signal.getitimer(signal.ITIMER_REAL)[0] < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.usefixtures("slow")
def test_the_timer_of_work_after_the_answer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    monkeypatch.setattr("faulthandler.register", lambda *_, **__: None)
    stop.install()
    try:
        stop.arm(30)
        assert execute(works) == Succeeded()
        assert 28 < signal.getitimer(signal.ITIMER_REAL)[0] < 29
        stop.disarm()
        assert execute(works) == Succeeded()
        assert getattr(signal.getsignal(signal.SIGALRM), "__self__", None) is stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_signal_handler_that_the_task_installs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs(*_: Any) -> None: ...

    def install() -> None:
        signal.signal(signal.SIGALRM, theirs)

    does(monkeypatch, install)
    try:
        assert execute(has_time) == Succeeded()
        assert signal.getsignal(signal.SIGALRM) == theirs
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_batch_task_takes_no_timeout() -> None:
    with pytest.raises(TaskDefinitionError, match="timeout= is for tasks that run one by one"):
        load("from runtime_lib import batch_task\n@batch_task(timeout=0.05)\ndef together(items: list[int]): ...")


def test_a_task_that_swallows_its_timeout_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "_AGAIN_SECONDS", 0.01)
    interrupted = []

    def swallow() -> None:
        for _ in range(3):
            try:
                time.sleep(5)
            except TaskTimeoutError:
                interrupted.append(time.monotonic())

    does(monkeypatch, swallow)
    began = time.monotonic()
    outcome = execute(works)
    assert isinstance(outcome, RetryAfter)
    assert isinstance(outcome.error, TaskTimeoutError)
    assert len(interrupted) == 3
    assert time.monotonic() - began < 5


def test_a_task_without_a_timeout_loads_nothing_of_it() -> None:
    printed = run_program(
        "import sys\n"
        "from runtime_lib import EagerTransport, task, using_transport\n"
        "@task\ndef send(): ...\n"
        "@task(timeout=5)\ndef send_slowly(): ...\n"
        "with using_transport(EagerTransport()): send.dispatch()\n"
        "print([name for name in ('signal', 'runtime_lib.time_limit') if name in sys.modules])\n"
        "with using_transport(EagerTransport()): send_slowly.dispatch()\n"
        "print([name for name in ('signal', 'subprocess', 'asyncio') if name in sys.modules])"
    )
    assert printed == "[]\n['signal']\n"
