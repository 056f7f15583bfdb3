"""Tasks that run at once, where they are dispatched."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_lib import (
    ArgumentError,
    Discard,
    EagerTransport,
    Reject,
    Retry,
    RetryLater,
    TaskContext,
    TaskError,
    UnknownTaskError,
    current_context,
    dispatch_batch,
    dispatch_task,
    task,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, RetryAfter, run

ran: list[Any] = []
local: contextvars.ContextVar[str] = contextvars.ContextVar("local", default="")


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    ran.clear()
    with using_transport(EagerTransport()):
        yield


@task
def send(to: str, *, context: TaskContext | None = None) -> None:
    assert context is not None
    ran.append((to, context.id, threading.get_ident()))


@task
async def asend(to: str) -> None:
    await asyncio.sleep(0)
    ran.append((to, local.get(), current_context() is not None))


@task(retry=Retry(4, first_delay=3_600))
def fails(times: int, rows: list[int]) -> None:
    ran.append(list(rows))
    rows.append(len(ran))
    if len(ran) <= times:
        raise ConnectionError(f"attempt {len(ran)}")


@task
async def afails() -> None:
    ran.append("afails")
    raise ConnectionError("down")


def test_a_task_runs_now_in_this_thread_with_its_message() -> None:
    handle = send.dispatch("a@b.c")
    assert ran == [("a@b.c", handle.id, threading.get_ident())]
    assert current_context() is None


def test_its_result_is_not_returned_but_the_handle() -> None:
    assert asend.dispatch("a").task == asend.name


def test_it_is_retried_without_waiting_and_with_its_arguments_as_they_were() -> None:
    fails.dispatch(2, [0])
    assert ran == [[0], [0], [0]]


def test_its_exception_propagates_after_its_last_attempt() -> None:
    with pytest.raises(ConnectionError, match="attempt 4"):
        fails.dispatch(99, [])
    assert len(ran) == 4


@task(retry=Retry.never(), name="eager.never")
def never() -> None:
    ran.append(1)
    raise KeyError("x")


@task(retry="always", name="eager.always")
def always() -> None:
    ran.append(1)
    raise KeyError("x")


@task(name="eager.later")
def later(times: int) -> None:
    ran.append(1)
    if len(ran) <= times:
        raise RetryLater(3_600)


@task(name="eager.exits")
def exits() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(("of", "attempts"), [(never, 1), (always, 10)])
def test_it_runs_as_often_as_its_policy_says_up_to_what_a_queue_allows(of: Any, attempts: int) -> None:
    with pytest.raises(KeyError):
        of.dispatch()
    assert len(ran) == attempts


def test_retry_later_runs_it_again_without_waiting_and_not_for_ever() -> None:
    later.dispatch(5)
    assert len(ran) == 6
    ran.clear()
    with pytest.raises(RetryLater):
        later.dispatch(99)
    assert len(ran) == 9


def test_an_exit_propagates() -> None:
    with pytest.raises(SystemExit):
        exits.dispatch()


def test_a_delay_is_skipped() -> None:
    send.with_delay(minutes=15).dispatch("a")
    assert len(ran) == 1


@task
def discards() -> None:
    raise Discard("done already")


@task
def rejects() -> None:
    ran.append(1)
    raise Reject("no such customer")


def test_discard_ends_it_quietly_and_reject_propagates_at_once() -> None:
    discards.dispatch()
    with pytest.raises(Reject, match="no such customer"):
        rejects.dispatch()
    assert ran == [1]


def test_an_unknown_task_is_refused_before_any_runs() -> None:
    with pytest.raises(UnknownTaskError, match=r"shop\.nothing"), dispatch_batch():  # noqa: PT012
        send.dispatch("a")
        dispatch_task("shop.nothing")
    assert ran == []


def test_arguments_go_through_the_message_like_any_other() -> None:
    with pytest.raises(ArgumentError):
        send.dispatch(b"a")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        dispatch_task(send.name, "a", "b")


# --- Async tasks -----------------------------------------------------------------------------------------------------


def test_an_async_task_runs_to_its_end() -> None:
    asend.dispatch("a")
    assert ran == [("a", "", True)]
    with pytest.raises(ConnectionError):
        afails.dispatch()
    assert ran[1:] == ["afails"] * 3


def test_an_async_task_runs_to_its_end_inside_a_running_loop_and_sees_its_context_variables() -> None:
    async def main() -> None:
        local.set("outer")
        asend.dispatch("a")
        assert ran == [("a", "outer", True)]
        with pytest.raises(ConnectionError):
            afails.dispatch()
        await asend.adispatch("b")

    asyncio.run(main())
    assert [one[0] for one in ran if isinstance(one, tuple)] == ["a", "b"]


def test_an_async_task_that_dispatches_an_async_task_runs_both() -> None:
    outer_async.dispatch()
    assert ran == [("inner", "", True), "outer"]


@task
async def outer_async() -> None:
    asend.dispatch("inner")
    ran.append("outer")


# --- Tasks that dispatch ---------------------------------------------------------------------------------------------


@task(name="eager.inner")
def inner() -> None:
    context = current_context()
    assert context is not None
    ran.append((context.hops, context.source))
    raise ConnectionError("down")


@task(name="eager.middle")
def middle() -> None:
    inner.dispatch()


@task(name="eager.outer")
def outer() -> None:
    middle.dispatch()


@task(name="eager.handles")
def handles() -> None:
    try:
        inner.dispatch()
    except ConnectionError:
        raise KeyError("of its own") from None


def test_a_nested_failure_does_not_multiply_the_attempts() -> None:
    with pytest.raises(ConnectionError, match="down"):
        outer.dispatch()
    assert ran == [(2, "eager.middle")] * 3


class FrozenError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("frozen")


@task(name="eager.frozen")
def frozen() -> None:
    ran.append(1)
    raise FrozenError("x")


def test_an_exception_that_takes_no_attributes_propagates_as_well() -> None:
    with pytest.raises(FrozenError):
        frozen.dispatch()
    assert len(ran) == 3


def test_a_task_in_a_queue_is_retried_for_what_failed_eagerly_inside() -> None:
    envelope = Envelope.new(middle.name, [], {}, priority=Priority.DEFAULT)
    assert isinstance(run(middle, envelope, Delivery(receipt="r", max_receive_count=10)), RetryAfter)
    last = run(middle, envelope, Delivery(3, 10, "r"))
    assert isinstance(last, DeadLettered)
    assert last.reason == "failed at attempt 3: ConnectionError: down"


def test_a_task_that_handles_a_nested_failure_is_retried_for_its_own() -> None:
    with pytest.raises(KeyError):
        handles.dispatch()
    assert len(ran) == 9


@task(name="eager.itself", retry="never")
def itself() -> None:
    ran.append(1)
    itself.dispatch()


def test_a_task_that_dispatches_itself_for_ever_ends() -> None:
    with pytest.raises(TaskError, match=r"17 tasks dispatched one another \(max_hops is 16\): a loop\?"):
        itself.dispatch()
    assert len(ran) == 17
