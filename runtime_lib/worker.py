"""Workers that poll a queue and run its tasks: in a container, in an ASGI app, on a laptop."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from math import ceil
from threading import Event, current_thread, main_thread
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from runtime_lib import hooks, registry
from runtime_lib.context import current_context
from runtime_lib.contract import (
    DEFAULT_NAMESPACE,
    SQS_MAX_BATCH_ENTRIES,
    SQS_MAX_VISIBILITY_SECONDS,
    SQS_MAX_WAIT_SECONDS,
    Priority,
    Route,
    namespace_route_variable,
)
from runtime_lib.errors import TaskError
from runtime_lib.log import logger
from runtime_lib.tracking import get_store, receiving_store, using_store

if TYPE_CHECKING:
    from asyncio import Task

    from runtime_lib.polling import Poller
    from runtime_lib.store import Store

__all__ = ["TaskWorker", "WorkerOptions", "extend_visibility_timeout", "listen_for_messages"]

# asyncio is imported when a worker starts: a Lambda function may import this module to extend a visibility timeout.


class WorkerOptions(TypedDict, total=False):
    """What `listen_for_messages` passes on to `TaskWorker`, which describes it."""

    modules: str | Iterable[str]
    namespace: str
    queue: str | None
    dead_letter_queue: str | None
    concurrency: int
    wait_time_s: int
    grace_period_s: float | None
    client: Any


def listen_for_messages(
    priority: Priority = Priority.DEFAULT,
    num_messages: int = SQS_MAX_BATCH_ENTRIES,
    visibility_timeout_s: int | None = None,
    loop_count: int | None = None,
    shutdown_event: Event | None = None,
    **options: Unpack[WorkerOptions],
) -> None:
    """Poll a queue and run its tasks, until stopped; returns when what was running is finished.

    It is stopped by ``shutdown_event``, and in the main thread by SIGTERM and SIGINT; a second signal ends the process
    at once, and what was running comes back when its visibility timeout ends. The arguments are those of `TaskWorker`.

    Raises:
        TaskError: there is no such queue, it may not be polled, or no task is registered here.
        ValueError: a number is out of its range.
    """
    from asyncio import run

    worker = TaskWorker(
        priority,
        num_messages=num_messages,
        visibility_timeout_s=visibility_timeout_s,
        loop_count=loop_count,
        shutdown_event=shutdown_event,
        **options,
    )
    with _stopped_by_signals(worker.stop):
        run(worker.run())


class TaskWorker:
    """A worker on the event loop that is running, as for an ASGI app's lifespan.

    ::

        async with TaskWorker(Priority.HIGH, modules=["shop.tasks"], concurrency=10):
            yield

    ``async def`` tasks run on that loop; ``def`` tasks and requests to AWS in threads. A task that ends the process
    takes along those beside it, which are delivered again: with a ``concurrency`` of 1 there are none.

    Args:
        priority: whose queue it polls, where the routes of its namespace tell priorities apart.
        modules: names of the modules that have the tasks, imported when it starts (or one string with commas).
        namespace: whose queue it polls: the one that ``TASK_ROUTE__<NAMESPACE>__<PRIORITY>`` names, else
            ``TASK_ROUTE__<NAMESPACE>``.
        queue: name or URL of the queue, instead of ``namespace``.
        dead_letter_queue: name or URL of the queue for messages that are given up; by default the one in the queue's
            redrive policy, else the one that ``TASK_DEAD_LETTER_QUEUE`` names.
        concurrency: how many tasks run at a time. No more messages are received than can start at once.
        num_messages: how many messages one request receives at most, 1 to 10.
        visibility_timeout_s: seconds after which a message is delivered to another worker if this one is gone; while
            it is there it extends them. By default the queue's own.
        wait_time_s: seconds that a request waits for a message, 0 to 20; an idle worker needs as long to stop.
        loop_count: how many requests are made; None: as many as there is time for until it is stopped.
        shutdown_event: stops the worker when it is set.
        grace_period_s: seconds that running tasks get to finish when it stops; None: as many as they take. After them
            ``async def`` tasks are cancelled and ``def`` tasks left to the end of the process, and their messages come
            back when their visibility timeout ends.
        client: a boto3 SQS client; by default one made from the environment.

    Raises:
        TaskError: no queue is given, and no route names one.
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        priority: Priority = Priority.DEFAULT,
        *,
        modules: str | Iterable[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        queue: str | None = None,
        dead_letter_queue: str | None = None,
        concurrency: int = 1,
        num_messages: int = SQS_MAX_BATCH_ENTRIES,
        visibility_timeout_s: int | None = None,
        wait_time_s: int = 5,
        loop_count: int | None = None,
        shutdown_event: Event | None = None,
        grace_period_s: float | None = None,
        client: Any | None = None,
    ) -> None:
        _check("concurrency", concurrency, 1)
        _check("num_messages", num_messages, 1, SQS_MAX_BATCH_ENTRIES)
        _check("visibility_timeout_s", visibility_timeout_s, 1, SQS_MAX_VISIBILITY_SECONDS)
        _check("wait_time_s", wait_time_s, 0, SQS_MAX_WAIT_SECONDS)
        _check("loop_count", loop_count, 0)
        _check("grace_period_s", grace_period_s, 0)
        self._modules = modules
        route = None if queue else _route(namespace, Priority(priority))
        self._queue = route.target if route else str(queue)
        self._is_stored = route is not None and route.stored
        self._dead_letter_queue = dead_letter_queue
        self._concurrency = concurrency
        self._num_messages = num_messages
        self._visibility_timeout = visibility_timeout_s
        self._wait_time = wait_time_s
        self._loop_count = loop_count
        self._shutdown_event = shutdown_event
        self._grace_period = grace_period_s
        self._client = client
        self._stopped = Event()
        self._polling: Task[None] | None = None

    async def run(self) -> None:
        """Work until stopped. Cancelling it stops it as gracefully; cancelling it again, at once.

        Raises:
            TaskError: there is no such queue, it may not be polled, no task is registered here, or an init task failed;
                a StoreError, if the route's tasks are recorded and ``TASK_STORE`` does not say where.
        """
        from asyncio import wait

        async with self:
            assert self._polling, "entered"
            await wait([self._polling])

    def stop(self) -> None:
        """Receive no more, and end when what runs is finished. Any thread may call it."""
        self._stopped.set()

    async def __aenter__(self) -> Self:
        from asyncio import create_task, to_thread

        registry.load_modules(self._modules)
        if not registry.names():
            raise TaskError("no task is registered here: pass modules=['<module that has the tasks>'] to the worker")
        await to_thread(hooks.run_init_tasks)
        store = get_store() if self._is_stored else receiving_store()
        poller = await to_thread(self._poller)
        self._polling = create_task(self._poll(poller, store))
        self._polling.add_done_callback(_log_failure)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._polling, "entered"
        self.stop()
        await self._polling

    async def _poll(self, poller: "Poller", store: "Store | None") -> None:
        with using_store(store) if store else nullcontext():
            await poller.poll(loop_count=self._loop_count, grace_period=self._grace_period)

    def _poller(self) -> "Poller":
        from runtime_lib.clients import client as shared_client
        from runtime_lib.polling import PolledQueue, Poller

        sqs = self._client or shared_client("sqs")
        queue = PolledQueue.find(
            self._queue,
            visibility_timeout=self._visibility_timeout,
            dead_letter_queue=self._dead_letter_queue,
            sqs=sqs,
        )
        return Poller(
            queue,
            sqs,
            concurrency=self._concurrency,
            num_messages=self._num_messages,
            wait_time=self._wait_time,
            is_stopping=self._is_stopping,
        )

    def _is_stopping(self) -> bool:
        return self._stopped.is_set() or (self._shutdown_event is not None and self._shutdown_event.is_set())


def extend_visibility_timeout(
    receipt: str | None, seconds: float, *, queue_url: str | None = None, client: Any | None = None
) -> None:
    """Let a message stay invisible to other receivers for ``seconds`` from now; 0: deliver it again at once.

    A worker extends the messages that it runs by itself. In an ``async def`` task, call it by ``asyncio.to_thread``.

    Args:
        receipt: the SQS receipt handle, as ``metadata["receipt"]`` and ``TaskContext.receipt`` give it.
        seconds: 0 to 43,200 (12 hours, also the most that they may add up to), rounded up to whole ones. More than
            11¾ hours are asked for as 11¾, since SQS counts its 12 from the receive.
        queue_url: URL or name of the queue; not needed for the message of the task that is running.
        client: a boto3 SQS client; by default one made from the environment.

    Raises:
        ValueError: the seconds are out of range.
        TaskError: the message is in no queue, or its queue is not known here.
    """
    _check("seconds", seconds, 0, SQS_MAX_VISIBILITY_SECONDS)
    if not receipt:
        raise TaskError("there is no receipt: this message was not received from a queue, so it has no visibility")
    context = current_context()
    queue = queue_url or (context.delivery.queue_url if context else None)
    if not queue:
        raise TaskError(
            "the queue is known only inside a task that was received from one: pass queue_url='<name or URL>'"
        )
    from runtime_lib import queues

    queues.change_visibility(queues.queue_url(queue, client), receipt, ceil(seconds), client)


def _check(name: str, value: float | None, lowest: int, highest: int | None = None) -> None:
    if value is not None and not (lowest <= value and (highest is None or value <= highest)):
        allowed = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
        raise ValueError(f"{name} is {allowed}, given {value!r}")


def _route(namespace: str, priority: Priority) -> Route:
    """The route to the queue of a namespace and priority.

    Raises:
        TaskError: none does, or the route leads elsewhere; says what to set.
    """
    variables = namespace_route_variable(namespace, priority), namespace_route_variable(namespace)
    for variable in variables:
        value = os.environ.get(variable)
        if value:
            try:
                route = Route.parse(value, variable=variable)
            except ValueError as error:
                raise TaskError(str(error)) from None
            if route.kind == "sqs":
                return route
            raise TaskError(f"{variable} is {value!r}, which no worker can poll: pass queue='<name or URL>'")
    raise TaskError(
        f"the worker has no queue: pass queue='<name or URL>', or set {variables[0]} (or {variables[1]}, for every "
        "priority) to 'sqs:<queue name or url>'"
    )


def _log_failure(polling: "Task[None]") -> None:
    """An app in whose lifespan the worker runs sees its exception only when it ends."""
    error = None if polling.cancelled() else polling.exception()
    if error:
        logger.error("the worker has ended: %s", error, exc_info=error)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGTERM or SIGINT; the second has its default effect, and ends the process."""
    if current_thread() is not main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        for number in previous:
            signal.signal(number, signal.SIG_DFL)
        stop()

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in previous:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
