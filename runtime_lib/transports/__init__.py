"""How a dispatched task leaves this process: the transport in force, batches, and the transports themselves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from runtime_lib.task import Call
    from runtime_lib.transports.eager import EagerTransport
    from runtime_lib.transports.lambda_invoke import LambdaTransport
    from runtime_lib.transports.recording import RecordingTransport
    from runtime_lib.transports.routes import RouteTransport
    from runtime_lib.transports.sqs import SqsTransport

__all__ = [
    "EagerTransport",
    "LambdaTransport",
    "RecordingTransport",
    "RouteTransport",
    "SqsTransport",
    "Transport",
    "dispatch_batch",
    "get_transport",
    "send",
    "set_transport",
    "using_transport",
]

_LAZY = {
    "EagerTransport": "eager",
    "LambdaTransport": "lambda_invoke",
    "RecordingTransport": "recording",
    "RouteTransport": "routes",
    "SqsTransport": "sqs",
}


class Transport(Protocol):
    """Sends tasks somewhere."""

    def send(self, calls: "Sequence[Call]") -> None:
        """Send all of them, or raise a DispatchError whose ``failed`` lists those that were not sent."""


_process_transport: Transport | None = None
_override: ContextVar[Transport | None] = ContextVar("runtime_lib.transport", default=None)
_batch: "ContextVar[list[tuple[Transport, Call]] | None]" = ContextVar("runtime_lib.batch", default=None)


def set_transport(transport: Transport | None) -> None:
    """Make ``transport`` the default of this process, for every thread and asyncio task; None: routes again."""
    global _process_transport  # noqa: PLW0603  (a process has one default)
    _process_transport = transport


def get_transport() -> Transport:
    """The transport in force here: the innermost `using_transport`, else `set_transport`'s, else the routes."""
    return _override.get() or _process_transport or _routes()


@contextmanager
def using_transport(transport: Transport | None = None) -> Iterator[Transport]:
    """Use ``transport`` inside the block, in this thread or asyncio task only; None: the one in force."""
    chosen = transport or get_transport()
    token = _override.set(chosen)
    try:
        yield chosen
    finally:
        _override.reset(token)


@contextmanager
def dispatch_batch() -> Iterator[None]:
    """Send the tasks dispatched inside the block together at its end; if it raises, send none of them.

    Their handles name messages that are with AWS once the block has ended.

    Raises:
        DispatchError: at the end of the block, some messages are not with AWS; ``failed`` says which and why.
    """
    waiting: list[tuple[Transport, Call]] = []
    token = _batch.set(waiting)
    try:
        yield
    finally:
        _batch.reset(token)
    by_transport: dict[int, tuple[Transport, list[Call]]] = {}
    for transport, call in waiting:
        by_transport.setdefault(id(transport), (transport, []))[1].append(call)
    send_all([(transport.send, calls) for transport, calls in by_transport.values()])


def send(calls: "Sequence[Call]") -> None:
    """Give calls to the transport in force, or to the `dispatch_batch` block they are in."""
    transport, waiting = get_transport(), _batch.get()
    if waiting is None:
        transport.send(calls)
    else:
        waiting.extend((transport, call) for call in calls)


def send_all(groups: "Sequence[tuple[Any, Sequence[Call]]]") -> None:
    """Send each group through its function; a failing one does not keep the others from being sent.

    Raises:
        DispatchError: with the failures of all groups.
    """
    from runtime_lib.errors import DispatchError

    errors: list[DispatchError] = []
    for send_group, calls in groups:
        try:
            send_group(calls)
        except DispatchError as error:
            if len(groups) == 1:
                raise
            errors.append(error)
    if errors:
        raise DispatchError(
            "; ".join(str(error) for error in errors), failed=[one for error in errors for one in error.failed]
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
