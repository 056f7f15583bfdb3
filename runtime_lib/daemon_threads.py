"""Threads that do not keep the process from ending."""

from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

__all__ = ["DaemonThreads"]

P = ParamSpec("P")
R = TypeVar("R")


class DaemonThreads:
    """Up to ``count`` threads for calls that would block the event loop; they end with the process.

    Those of a ThreadPoolExecutor do not: a process that ends waits for them, so that one task without an end would keep
    a stopped worker for ever.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[Thread] = []

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in one of the threads, and wait for it without blocking the event loop."""
        future: Future[R] = Future()
        self._calls.put((future, lambda: function(*args, **kwargs)))
        if len(self._threads) < self._count:
            thread = Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return await wrap_future(future)

    def end(self) -> None:
        """Let the threads end, each after what it is doing."""
        for _ in self._threads:
            self._calls.put(None)

    def _serve(self) -> None:
        while call := self._calls.get():
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001  (it is raised where the call is awaited)
                    future.set_exception(error)
            del call, future, function  # an idle thread keeps no task's arguments and results alive
