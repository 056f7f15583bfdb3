"""`timeout=` of tasks that run in this process; loaded for a task that has one.

An ``async def`` is cancelled. A ``def`` is interrupted by a signal, which only the main thread gets.
"""

import signal
import time
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any

from runtime_lib.errors import TaskTimeoutError
from runtime_lib.log import logger

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = ["limited", "overrun"]

_SOON_SECONDS = 0.001
"""For a timer: 0 would stop it."""
_AGAIN_SECONDS = 1.0
"""After which a task is interrupted once more that goes on all the same."""
_warned: set[str] = set()


def overrun(task: "Task[..., Any]") -> TaskTimeoutError:
    """What an attempt that took longer than the task's timeout has failed with."""
    return TaskTimeoutError(f"{task.name} did not end within {task.timeout:g} seconds, its timeout")


def limited(task: "Task[..., Any]") -> Callable[..., Any]:
    """The task's function, which raises `TaskTimeoutError` after its timeout, also if it swallows that and returns."""
    return _limited_async(task) if task.is_async else _limited(task)


def _limited_async(task: "Task[..., Any]") -> Callable[..., Any]:
    from asyncio import timeout

    async def call(*args: Any, **kwargs: Any) -> Any:
        scope = timeout(task.timeout)
        try:
            async with scope:
                result = await task.function(*args, **kwargs)
        except TimeoutError as error:
            if not scope.expired():  # the task's own
                raise
            raise overrun(task) from error
        if scope.expired():
            raise overrun(task)
        return result

    return call


def _limited(task: "Task[..., Any]") -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _alarm.is_free():
            _warn(
                task,
                "is not kept here, since a def task is interrupted in the main thread only, where nothing else uses "
                "SIGALRM: make it async, or give it subprocess=True",
            )
            return task.function(*args, **kwargs)
        return _alarm.call(_Limit(task), task.function, args, kwargs)

    return call


def _warn(task: "Task[..., Any]", what: str) -> None:
    if task.name not in _warned:
        _warned.add(task.name)
        logger.warning("the timeout of %s %s", task.name, what)


class _Limit:
    """Until when one attempt may run."""

    __slots__ = ("deadline", "error", "is_over", "is_up")

    def __init__(self, task: "Task[..., Any]") -> None:
        assert task.timeout is not None
        self.deadline = time.monotonic() + task.timeout
        self.error = overrun(task)
        self.is_up = False
        """Whether the task was interrupted."""
        self.is_over = False


class _Alarm:
    """The one timer of the process, for tasks that run inside one another where they are dispatched eagerly."""

    def __init__(self) -> None:
        self._limits: list[_Limit] = []
        self._previous: Any = None

    def is_free(self) -> bool:
        """Whether this thread can be interrupted, and nobody else has taken the signal or its timer."""
        if current_thread() is not main_thread() or not hasattr(signal, "setitimer"):
            return False
        taken_by = signal.getsignal(signal.SIGALRM)
        if self._limits:
            return taken_by == self._on_signal
        return taken_by in (signal.SIG_DFL, signal.SIG_IGN) and not signal.getitimer(signal.ITIMER_REAL)[0]

    def call(self, limit: _Limit, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call the function, and interrupt it at the limit."""
        try:
            if not self._limits:
                self._previous = signal.signal(signal.SIGALRM, self._on_signal)
            self._limits.append(limit)
            self._set_timer()
            result = function(*args, **kwargs)
        finally:
            limit.is_over = True  # first of all: nothing below may be interrupted
            self._forget(limit)
        if limit.is_up:
            raise limit.error
        return result

    def _forget(self, limit: _Limit) -> None:
        self._limits = [one for one in self._limits if one is not limit]
        if signal.getsignal(signal.SIGALRM) != self._on_signal:
            return  # the task has taken it for good
        self._set_timer()
        if not self._limits:
            signal.signal(signal.SIGALRM, self._previous)

    def _set_timer(self) -> None:
        waiting = [one.deadline for one in self._limits if not one.is_over]
        left = max(min(waiting) - time.monotonic(), _SOON_SECONDS) if waiting else 0
        signal.setitimer(signal.ITIMER_REAL, left)

    def _on_signal(self, _: int, frame: FrameType | None) -> None:  # noqa: ARG002
        now = time.monotonic()
        if self._limits and self._limits[-1].is_over:
            return  # its timer is set anew in a moment
        up = next((one for one in self._limits if one.deadline <= now and not one.is_over), None)
        if up:
            up.is_up = True
            up.deadline = now + _AGAIN_SECONDS  # the task may have swallowed it
        self._set_timer()
        if up:
            raise up.error


_alarm = _Alarm()
