"""Asks work after the answer to stop, shortly before Lambda would cut it off."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

from runtime_lib.contract import ENV_BACKGROUND_TIMEOUT, METRIC_BACKGROUND_TIMEOUTS
from runtime_lib.log import logger
from runtime_lib.streaming.metrics import count

__all__ = ["BackgroundTimeoutError", "Stop", "stop"]

_MARGIN_SECONDS = 1.0
"""Before the deadline: what is asked to stop has this to clean up, and to be reported."""
_GRACE_SECONDS = 1.0
"""After which what does not stop is reported, if its function's deadline leaves as much."""


class BackgroundTimeoutError(BaseException):
    """Raised in work that goes on after the answer, where it has no time left: clean up, and end.

    No `Exception`, as little as asyncio's CancelledError: work that goes on after any Exception ends all the same.
    """


class Stop:
    """The one timer of a process: it has one invocation at a time.

    The timer is a signal, which interrupts the main thread also where it sleeps or waits for a socket.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether the work of this invocation has been asked to stop."""
        self.cancel: Callable[[], object] | None = None
        """How to ask what runs on an event loop."""
        self._is_armed = False
        self._is_inside = False
        self._request_id = ""
        self._watch = _Watch(self._report)

    def install(self) -> None:
        """Take the signal; for the main thread."""
        signal.signal(signal.SIGALRM, self._on_signal)

    def arm(self, remaining: float, request_id: str) -> None:
        """Ask in time: after the background timeout, and before the ``remaining`` seconds to the deadline are over."""
        if self._is_armed:
            return
        seconds = max(remaining - _MARGIN_SECONDS, remaining / 2)
        seconds = max(min(seconds, _background_timeout()), 0.001)
        self._request_id = request_id
        self._is_armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self._watch.until(time.monotonic() + seconds + min(_GRACE_SECONDS, max(remaining - seconds, 0) / 2))

    def disarm(self) -> None:
        """Nothing runs any more."""
        if self._is_armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._watch.end()
        self._is_armed = self.asked = False
        self.cancel = None

    def run(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function that may be asked to stop, in the main thread.

        Raises:
            BackgroundTimeoutError: it was asked to stop.
        """
        self._is_inside = True
        try:
            if self.asked:
                raise BackgroundTimeoutError
            return function(*arguments)
        finally:
            self._is_inside = False

    def _on_signal(self, _: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self._is_armed or self.asked:
            return
        self.asked = True
        if self.cancel:
            self.cancel()
        elif self._is_inside:
            self._is_inside = False
            raise BackgroundTimeoutError(
                f"the work after the answer has no time left: raise the function's timeout, or {ENV_BACKGROUND_TIMEOUT}"
            )

    def _report(self) -> None:
        """Say what does not stop: called in a thread, while the main thread is somewhere that Python cannot reach."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
        from traceback import format_stack

        if not self.asked:
            count(METRIC_BACKGROUND_TIMEOUTS, self._request_id)
        logger.error(
            "the work after the answer does not stop, and will be cut off at the function's deadline; it is at:\n%s",
            "".join(format_stack(frame)),
            extra={"id": self._request_id},
        )


class _Watch:
    """Calls a function at a time, unless it is ended before.

    Its thread outlives an invocation, and ends when it wakes for nothing: a thread for each would cost more than the
    rest of a quick invocation.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._changed = threading.Condition()
        self._at: float | None = None
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def until(self, at: float) -> None:
        with self._changed:
            self._at = at
            if self._thread is None or not self._thread.is_alive():
                self._wakes_at = at
                self._thread = threading.Thread(target=self._wait, name="background-timeout", daemon=True)
                self._thread.start()
            elif at < self._wakes_at:
                self._changed.notify()

    def end(self) -> None:
        self._at = None

    def _wait(self) -> None:
        with self._changed:
            while self._at is not None:
                self._wakes_at = self._at
                if self._changed.wait(self._at - time.monotonic()) or self._at is None or self._at > time.monotonic():
                    continue
                self._at = None
                self._function()
            self._thread = None


@cache
def _background_timeout() -> float:
    return float(os.environ.get(ENV_BACKGROUND_TIMEOUT) or "inf")


stop = Stop()
