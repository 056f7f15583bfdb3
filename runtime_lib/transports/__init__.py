"""How a dispatched task leaves this process: the transport in force, batches, and the transports themselves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from runtime_lib.contract import MESSAGE_MAX_BYTES

if TYPE_CHECKING:
    from runtime_lib.task import Call
    from runtime_lib.transports.eager import EagerTransport
    from runtime_lib.transports.lambda_invoke import LambdaTransport
    from runtime_lib.transports.recording import RecordingTransport
    from runtime_lib.transports.routes import RouteTransport
    from runtime_lib.transports.sqs import SqsTransport
    from runtime_lib.transports.states import StatesTransport

__all__ = [
    "EagerTransport",
    "LambdaTransport",
    "RecordingTransport",
    "RouteTransport",
    "SqsTransport",
    "StatesTransport",
    "Transport",
    "dispatch_batch",
    "get_transport",
    "send",
    "sendable",
    "set_transport",
    "using_transport",
]

_LAZY = {
    "EagerTransport": "eager",
    "LambdaTransport": "lambda_invoke",
    "RecordingTransport": "recording",
    "RouteTransport": "routes",
    "SqsTransport": "sqs",
    "StatesTransport": "states",
}


class Transport(Protocol):
    """Sends tasks somewhere."""

    def send(self, calls: "Sequence[Call]") -> None:
        """Send all of them, or raise a DispatchError whose ``failed`` lists those that were not sent."""


_T = TypeVar("_T", bound=Transport)
_process_transport: Transport | None = None
_override: ContextVar[Transport | None] = ContextVar("runtime_lib.transport", default=None)


def set_transport(transport: Transport | None) -> None:
    """Make ``transport`` the default of this process, for every thread and asyncio task; None: routes again."""
    global _process_transport  # noqa: PLW0603  (a process has one default)
    _process_transport = None if transport is None else _checked(transport)


def get_transport() -> Transport:
    """The transport in force here: the innermost `using_transport`, else `set_transport`'s, else the routes."""
    for transport in (_override.get(), _process_transport):
        if transport is not None:
            return transport
    return _routes()


@contextmanager
def using_transport(transport: _T) -> Iterator[_T]:
    """Use ``transport`` inside the block, in this thread or asyncio task only."""
    token = _override.set(_checked(transport))
    try:
        yield transport
    finally:
        _override.reset(token)


def _checked(transport: _T) -> _T:
    if isinstance(transport, type) or not callable(getattr(transport, "send", None)):
        raise TypeError(f"a transport is an object with send(calls), as EagerTransport() is, given {transport!r}")
    return transport


class _Batch:
    """What waits for the end of a `dispatch_batch` block; ``outer`` is the one around it."""

    def __init__(self, outer: "_Batch | None") -> None:
        from threading import Lock

        self._outer = outer
        self._waiting: list[tuple[Transport, Call]] = []
        self._ended = False
        self._lock = Lock()

    def add(self, sendings: "Sequence[tuple[Transport, Call]]") -> bool:
        """Let these wait for the end of the innermost block that has not ended; False if all have.

        An asyncio task that was started in a block may dispatch after its end: nothing would send that any more.
        """
        with self._lock:
            if not self._ended:
                self._waiting.extend(sendings)
                return True
        return self._outer is not None and self._outer.add(sendings)

    def end(self) -> "list[tuple[Transport, Call]]":
        """What has waited; from now on nothing does."""
        with self._lock:
            self._ended = True
        return self._waiting


_batch: ContextVar[_Batch | None] = ContextVar("runtime_lib.batch", default=None)


@contextmanager
def dispatch_batch() -> Iterator[None]:
    """Send the tasks dispatched inside the block together at its end; if it raises, send none of them.

    Their handles name messages that are with AWS once the block has ended; that of a block inside another one, once
    the outer one has.

    Raises:
        DispatchError: at the end of the block, some messages are not with AWS; ``failed`` says which and why.
    """
    outer = _batch.get()
    batch = _Batch(outer)
    token = _batch.set(batch)
    try:
        yield
    finally:
        _batch.reset(token)
        waiting = batch.end()
    if outer is not None and outer.add(waiting):
        return
    by_transport: dict[int, tuple[Transport, list[Call]]] = {}
    for transport, call in waiting:
        by_transport.setdefault(id(transport), (transport, []))[1].append(call)
    send_all([(transport.send, calls) for transport, calls in by_transport.values()])


def send(calls: "Sequence[Call]") -> None:
    """Give calls to the transport in force, or to the `dispatch_batch` block they are in."""
    transport, batch = get_transport(), _batch.get()
    if batch is None or not batch.add([(transport, call) for call in calls]):
        transport.send(calls)


def send_all(groups: "Sequence[tuple[Callable[[Sequence[Call]], None], Sequence[Call]]]") -> None:
    """Send each group through its function; a failing one does not keep the others from being sent.

    Raises:
        DispatchError: with the failures of all groups.
        Exception: what else a function raised, an eager task's exception for one; several, as an ExceptionGroup.
    """
    if len(groups) == 1:
        send_group, calls = groups[0]
        send_group(calls)
        return
    from runtime_lib.errors import DispatchError, FailedMessage

    failed: list[FailedMessage] = []
    refused: list[DispatchError] = []
    raised: list[Exception] = []
    for send_group, calls in groups:
        try:
            send_group(calls)
        except DispatchError as error:
            refused.append(error)
            failed += error.failed or [
                FailedMessage(one.envelope.id, type(error).__name__, str(error)) for one in calls
            ]
        except Exception as error:  # noqa: BLE001  (an eager task's)
            raised.append(error)
    if refused:
        raised.append(DispatchError("; ".join(map(str, refused)), failed=failed))
    if len(raised) > 1:
        raise ExceptionGroup("several transports failed", raised)
    if raised:
        raise raised[0]


def sendable(calls: "Sequence[Call]") -> "Sequence[Call]":
    """The calls as AWS takes them: arguments that are too large for a message are put into the payload bucket first.

    Raises:
        PayloadTooLargeError: there is no bucket.
        DispatchError: the bucket did not take them, or a task has a workflow, which no message starts.
    """
    refuse_workflows(calls)
    if all(len(call.body) <= MESSAGE_MAX_BYTES for call in calls):
        return calls
    from runtime_lib.payloads import checked_in

    return checked_in(calls)


def refuse_workflows(calls: "Sequence[Call]") -> None:
    """Refuse to send as a bare message what has tasks before or after it.

    Raises:
        DispatchError: one has.
    """
    from runtime_lib import registry

    for call in calls:
        task = registry.find(call.envelope.task)
        if task and task.edges:
            from runtime_lib.contract import task_route_variable
            from runtime_lib.errors import DispatchError

            raise DispatchError(
                f"{task.name} runs with the tasks before and after it, as a workflow, and this route leads to a "
                f"function or queue, which would run it alone: call grant_dispatch(function) on the TaskWorkflow "
                f"that starts with it ({task_route_variable(task.name)}='states:…')"
            )


def _routes() -> Transport:
    global _routes_transport  # noqa: PLW0603
    if _routes_transport is None:
        from runtime_lib.transports.routes import RouteTransport

        _routes_transport = RouteTransport()
    return _routes_transport


_routes_transport: Transport | None = None


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
