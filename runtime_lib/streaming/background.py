"""Work that runs once the answer is out."""

from collections.abc import Callable
from contextvars import copy_context
from time import time
from types import CoroutineType
from typing import Any, NamedTuple, ParamSpec

from runtime_lib.contract import METRIC_BACKGROUND_FAILURES, METRIC_BACKGROUND_TIMEOUTS
from runtime_lib.errors import TaskError
from runtime_lib.log import logger
from runtime_lib.streaming.metrics import count
from runtime_lib.streaming.stopping import BackgroundTimeoutError, stop

__all__ = ["BackgroundTimeoutError", "Work", "after_response", "begin", "begin_with", "run_supervised"]

P = ParamSpec("P")


class _Call(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        return str(getattr(self.function, "__qualname__", self.function))


def after_response(function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a function, ``def`` or ``async def``, once the answer of the handler that runs here is out.

    That is an ApiTask's task, or a StreamingLambda's handler. The calls run one after the other, in their order,
    whatever the answer is; one that raises is logged and counted. The invocation lasts, and costs, until they end. If
    nobody takes the answer, they do not run.

    Raises:
        TaskError: no answer is awaited here, or this function's handler was not prepared for it.
    """
    if _work is None:
        raise TaskError(
            "after_response() is for the handlers of an ApiTask and a StreamingLambda, while they run, and is to be "
            "imported where their module is: elsewhere no answer is awaited; dispatch a task instead"
        )
    _work.calls.append(_Call(function, args, kwargs))


class Work:
    """What is to be done after the answer to one invocation."""

    __slots__ = ("_deadline", "calls", "request_id")

    def __init__(self, request_id: str, deadline: float) -> None:
        self.request_id = request_id
        self.calls: list[_Call] = []
        self._deadline = deadline

    def limit(self) -> None:
        """The answer is out: from now on, what runs is asked to stop in time."""
        stop.arm(self._deadline - time())

    def run(self) -> None:
        """Make the calls, and those that they ask for."""
        if not self.calls:
            return
        self.limit()
        while self.calls:
            call = self.calls.pop(0)
            try:
                stop.run(copy_context().run, _call, self, call)
            except BackgroundTimeoutError:
                self.timed_out(str(call))
                self.drop("there was no time left")
            except (Exception, SystemExit) as error:  # noqa: BLE001  (the answer is out: nobody else would tell)
                self.failed(str(call), error)

    def drop(self, reason: str) -> None:
        """Say which calls are not made."""
        if self.calls:
            logger.error("not run after the answer, because %s: %s", reason, ", ".join(map(str, self.calls)))
            self.calls.clear()

    def failed(self, what: str, error: BaseException) -> None:
        """Log and count what was raised after the answer."""
        logger.error("%s failed after the answer", what, exc_info=error, extra={"id": self.request_id})
        count(METRIC_BACKGROUND_FAILURES, self.request_id)

    def timed_out(self, what: str) -> None:
        """Log and count what was asked to stop."""
        logger.error(
            "%s was stopped: there was no time left for work after the answer", what, extra={"id": self.request_id}
        )
        count(METRIC_BACKGROUND_TIMEOUTS, self.request_id)

    def end(self) -> None:
        """The invocation is over."""
        global _work  # noqa: PLW0603
        stop.disarm()
        _work = None


_work: Work | None = None
"""Of the invocation that runs: an environment has one at a time."""


def begin(request_id: str, deadline: float) -> Work:
    """Take calls for an invocation, which ends at its deadline, in epoch seconds."""
    global _work  # noqa: PLW0603
    _work = Work(request_id, deadline)
    return _work


def begin_with(context: Any) -> Work:
    """Take calls for the invocation of a runtime client's context."""
    return begin(context.aws_request_id, time() + context.get_remaining_time_in_millis() / 1000)


def _call(work: Work, call: _Call) -> None:
    result = call.function(*call.args, **call.kwargs)
    if isinstance(result, CoroutineType):
        run_supervised(result, work)


def _nothing(_: Any = None) -> None:
    pass


def run_supervised(
    coroutine: "CoroutineType[Any, Any, Any]", work: Work, done: Callable[[Any], None] = _nothing
) -> None:
    """Run a coroutine, call ``done`` with its result, and wait for the asyncio tasks that it has started.

    They would stand still when the environment is frozen, and run on in the next invocation.

    Raises:
        BackgroundTimeoutError: it was asked to stop.
        TaskError: it was cancelled by somebody else.
        Exception: the coroutine's.
    """
    from runtime_lib.handlers._running import run_in_loop

    # An exception out of nowhere would tear the event loop, and leave what it runs to the next invocation.
    stop.cancel = _nothing
    try:
        run_in_loop(_supervised(coroutine, work, done))
    finally:
        stop.cancel = None


async def _supervised(coroutine: "CoroutineType[Any, Any, Any]", work: Work, done: Callable[[Any], None]) -> None:
    import asyncio

    this, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert this is not None
    before = asyncio.all_tasks()
    stop.cancel = lambda: loop.call_soon_threadsafe(this.cancel)
    if stop.asked:
        this.cancel()
    try:
        done(await coroutine)
        while started := asyncio.all_tasks() - before:
            for result in await asyncio.gather(*started, return_exceptions=True):
                if isinstance(result, Exception):
                    work.failed("an asyncio task", result)
    except asyncio.CancelledError as error:
        if stop.asked:
            raise BackgroundTimeoutError from None
        raise TaskError(f"{coroutine.__qualname__} was cancelled, and not by this library") from error
    finally:
        stop.cancel = _nothing
        if started := asyncio.all_tasks() - before:
            for task in started:
                task.cancel()
            await asyncio.gather(*started, return_exceptions=True)
