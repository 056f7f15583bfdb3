"""Asks work after the answer to stop, shortly before Lambda would cut it off."""

import faulthandler
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from runtime_lib.contract import ENV_BACKGROUND_TIMEOUT

__all__ = ["BackgroundTimeoutError", "Stop", "stop"]

_MARGIN_SECONDS = 1.0
"""Before the deadline: what is asked to stop has this to clean up, and to be reported in."""
_STDERR = 2


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
        self._most = float("inf")
        self._is_armed = False
        self._is_inside = False

    def install(self) -> None:
        """Take the signal; for the main thread.

        Python runs `_on_signal` when the main thread is back in Python, which a call into a library may keep it from.
        Where it is, faulthandler says at once, from within the signal: in such a case that is all that can be said
        before Lambda's deadline.
        """
        self._most = float(os.environ.get(ENV_BACKGROUND_TIMEOUT) or "inf")
        signal.signal(signal.SIGALRM, self._on_signal)
        faulthandler.register(signal.SIGALRM, file=_STDERR, chain=True)

    def arm(self, remaining: float) -> None:
        """Ask in time: after the background timeout, and before the ``remaining`` seconds to the deadline are over."""
        if self._is_armed:
            return
        seconds = max(remaining - _MARGIN_SECONDS, remaining / 2)
        seconds = max(min(seconds, self._most), 0.001)
        self._is_armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def disarm(self) -> None:
        """Nothing runs any more."""
        if self._is_armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
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
            result = function(*arguments)
            if self.asked:  # and has swallowed it
                raise BackgroundTimeoutError
            return result
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


stop = Stop()
