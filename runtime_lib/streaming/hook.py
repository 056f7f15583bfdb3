"""The hook into Lambda's runtime client, which by itself sends one answer, when the handler has returned.

The client's own function for one event stays what it is, with all that it does for a handler. It is given another
client object, which knows what has been sent already, and `/next` is asked for when everything has ended.
"""

import json
import os
from collections.abc import Callable
from functools import cache
from typing import Any

from runtime_lib.contract import METRIC_BACKGROUND_FAILURES
from runtime_lib.log import logger
from runtime_lib.streaming import background
from runtime_lib.streaming.connection import Connection, RuntimeApiChannel
from runtime_lib.streaming.metrics import count
from runtime_lib.streaming.stopping import stop
from runtime_lib.streaming.writer import ResponseWriter

__all__ = ["Invocation", "current", "install", "with_work_after"]

_FIRST = ("lambda_runtime_client", "request_handler", "invoke_id")
_DEADLINE, _INVOCATION_ID = "epoch_deadline_time_in_ms", "invocation_id"

Handler = Callable[[Any, Any], Any]


class Invocation:
    """What the runtime client takes for its client to the Runtime API, during one invocation."""

    __slots__ = ("_client", "_id", "marshaller", "request_id", "work", "writer")

    def __init__(self, client: Any, request_id: str, invocation_id: str | None, work: background.Work) -> None:
        self._client = client
        self._id = invocation_id
        self.marshaller = client.marshaller
        self.request_id = request_id
        self.work = work
        self.writer: ResponseWriter | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def channel(self) -> RuntimeApiChannel:
        """The way of its answer."""
        return RuntimeApiChannel(_connection(), self.request_id, self._id)

    def encode(self, response: Any) -> tuple[bytes, str]:
        """An answer as the runtime client encodes it, and its content type; dataclasses and the like, too."""
        try:
            body, content_type = self.marshaller.marshal_response(response)
        except Exception:  # noqa: BLE001  (it has a type of its own for what it cannot encode)
            from runtime_lib.results import plain

            encoded = json.dumps(response, default=plain, allow_nan=False)
            return encoded.encode(), "application/json"
        return body if isinstance(body, bytes) else body.encode(), content_type

    def post_invocation_result(self, *arguments: Any, **named: Any) -> None:
        """Send what a handler returned, unless it has a writer, through which all is sent."""
        if self.writer is None:
            self._client.post_invocation_result(*arguments, **named)

    def post_invocation_error(self, request_id: str, error: str, *arguments: Any, **named: Any) -> None:
        """Send an error the way that what has been sent leaves; the runtime client has logged it."""
        if self.writer is None:
            self._client.post_invocation_error(request_id, error, *arguments, **named)
            return
        try:
            is_told = self._is_told(self.writer, error)
            if not is_told:
                self.writer.state = "refused"  # for what outlasts the invocation, as a thread may
                self._client.post_invocation_error(request_id, error, *arguments, **named)
        except Exception as refusal:  # noqa: BLE001  (the client's own have no type; a stale one must not end the process)
            logger.warning("the error of %s was not taken: %s", self.request_id, refusal)

    def _is_told(self, writer: ResponseWriter, error: str) -> bool:
        """Whether all that can be done about an error is done."""
        match writer.state:
            case "finished":
                count(METRIC_BACKGROUND_FAILURES, self.request_id)
                return True
            case "streaming":
                return writer.fail(json.loads(error)["errorType"], error.encode())
            case "refused":
                return True
            case _:
                return False


_current: Invocation | None = None


def current() -> Invocation | None:
    """The invocation that runs; None where the runtime client is not hooked into."""
    return _current


@cache
def _connection() -> Connection:
    return Connection(os.environ["AWS_LAMBDA_RUNTIME_API"])


@cache
def install() -> bool:
    """Hook into the runtime client; whether that is possible, which a warning says otherwise."""
    stop.install()
    try:
        from awslambdaric import bootstrap  # type: ignore[import-untyped]
        from awslambdaric.lambda_runtime_client import LambdaRuntimeClient  # type: ignore[import-untyped]
    except ImportError:
        return _is_not("there is no awslambdaric here")
    original = getattr(bootstrap, "handle_event_request", None)
    code = getattr(original, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    native = [name for name in (*dir(bootstrap), *dir(LambdaRuntimeClient)) if "stream" in name.lower()]
    if native:
        return _is_not(f"this runtime client streams by itself ({native[0]}), and needs a newer runtime_lib")
    if original is None or names[: len(_FIRST)] != _FIRST or _DEADLINE not in names:
        return _is_not(f"this runtime client is another than the known ones: handle_event_request{names}")
    missing = {"post_invocation_result", "post_invocation_error", "marshaller"} - set(dir(LambdaRuntimeClient))
    if missing:
        return _is_not(f"this runtime client has no {', '.join(sorted(missing))}")
    bootstrap.handle_event_request = _hooked(original, names)
    return True


def _is_not(reason: str) -> bool:
    logger.warning("answers are collected, and sent when all work has ended: %s", reason)
    return False


def _hooked(original: Callable[..., None], names: tuple[str, ...]) -> Callable[..., None]:
    deadline_at = names.index(_DEADLINE)
    id_at = names.index(_INVOCATION_ID) if _INVOCATION_ID in names else len(names)

    def handle_event_request(*given: Any, **named: Any) -> None:
        global _current  # noqa: PLW0603
        if named:
            given += tuple(named[name] for name in names[len(given) :] if name in named)
        client, _, request_id = given[: len(_FIRST)]
        work = background.begin(request_id, int(given[deadline_at]) / 1000)
        _current = Invocation(client, request_id, given[id_at] if id_at < len(given) else None, work)
        try:
            original(_current, *given[1:])
            work.run()
        finally:
            _current = None
            work.end()

    return handle_event_request


def with_work_after(handler: Handler) -> Handler:
    """The handler, on a runtime client that runs what it leaves to `after_response`; or one that runs it before."""
    if install():
        return handler

    def work_then_answer(event: Any, context: Any) -> Any:
        work = background.begin_with(context)
        try:
            answer = handler(event, context)
            work.run()
        finally:
            work.end()
        return answer

    return work_then_answer
