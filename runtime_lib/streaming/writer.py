"""The answer of a streaming handler: at once and whole, or in parts as they are written."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from runtime_lib.errors import ResponseRefusedError, ResponseStateError

__all__ = ["Channel", "Form", "Head", "ResponseWriter", "State"]

State = Literal["new", "started", "streaming", "finished", "refused"]
"""``started``: status and headers are set, and nothing is sent. ``refused``: nobody takes the response any more."""


class Channel(Protocol):
    """Where an answer goes: whole, or opened, written and closed."""

    def send(self, body: bytes, content_type: str) -> None:
        """Send a whole answer."""

    def open(self, content_type: str, first: bytes) -> None:
        """Begin a streamed answer with its first bytes; none is allowed."""

    def write(self, data: bytes) -> None:
        """Send more of a streamed answer; never nothing."""

    def close(self) -> None:
        """End a streamed answer."""

    def fail(self, error_type: str, description: bytes) -> bool:
        """End a streamed answer with an error, as JSON; False: nothing of the answer has been sent."""
        ...


class Head(NamedTuple):
    """What goes ahead of a streamed answer where the invoker takes it."""

    status: int = 200
    headers: Mapping[str, str] = {}
    cookies: tuple[str, ...] = ()

    @property
    def content_type(self) -> str | None:
        """What its headers say."""
        return next((value for name, value in self.headers.items() if name.lower() == "content-type"), None)


class Form(Protocol):
    """How an answer is spelled for who invoked, and sent."""

    def respond(self, response: object) -> None:
        """Send a whole answer."""

    def open(self, head: Head, content_type: str, first: bytes) -> None:
        """Begin a streamed answer, of this content type if its head tells none."""

    def write(self, data: bytes) -> None:
        """Send more of a streamed answer; never nothing."""

    def close(self) -> None:
        """End a streamed answer."""

    def fail(self, error_type: str, description: bytes) -> bool:
        """End a streamed answer with an error, as JSON; False: nothing of the answer has been sent."""
        ...


class ResponseWriter:
    """What a handler answers with: `respond` once, or `write` as often as there is something, and `finish`.

    Whoever invoked has the answer when `respond` or `finish` returns; the invocation lasts until the handler ends.
    Only one thread may use it at a time.
    """

    __slots__ = ("_finished", "_form", "_head", "state")

    def __init__(self, form: Form, finished: Callable[[], None] = lambda: None) -> None:
        self._form = form
        self._finished = finished
        self._head = Head()
        self.state: State = "new"

    def __repr__(self) -> str:
        return f"ResponseWriter(state={self.state!r})"

    def respond(self, response: Any = None) -> None:
        """Answer now, with all there is to say: JSON values, dataclasses and the like, bytes as they are.

        Behind a function URL or an API also an `ApiResponse`, or a dict with a ``statusCode``.

        Raises:
            ResponseStateError: the response has begun already.
            ResponseRefusedError: nobody takes it.
        """
        self._expect("respond", "new")
        self._sent(self._form.respond, response)
        self._end()

    def start(self, status: int = 200, headers: Mapping[str, str] | None = None, cookies: Iterable[str] = ()) -> None:
        """Set the HTTP status, headers and cookies (``name=value; Secure``), which go ahead of the first `write`.

        Only a function URL and an API take them: any other invoker gets what is written, and nothing else.

        Raises:
            ResponseStateError: the response has begun already.
            TypeError: the cookies are one string.
        """
        self._expect("start", "new")
        if isinstance(cookies, str):
            raise TypeError(f"start() takes a list of cookies, given the str {cookies!r}: write [{cookies!r}]")
        self._head = Head(status, {name: str(value) for name, value in (headers or {}).items()}, tuple(cookies))
        self.state = "started"

    def write(self, data: str | bytes) -> None:
        """Send a part of the answer. Nothing (``b""``) as the first sends the status and headers alone.

        Raises:
            ResponseStateError: the response is finished.
            ResponseRefusedError: nobody takes it any more.
            TypeError: it is neither text nor bytes.
        """
        self._expect("write", "new", "started", "streaming")
        if not isinstance(data, (str, bytes, bytearray, memoryview)):  # (of an int, bytes() makes so many zeros)
            raise TypeError(
                f"a part of an answer is str or bytes, given the {type(data).__name__} {data!r:.80}: encode it"
            )
        encoded = data.encode() if isinstance(data, str) else bytes(data)
        if self.state == "streaming":
            if encoded:
                self._sent(self._form.write, encoded)
            return
        self._open(encoded, "text/plain; charset=utf-8" if isinstance(data, str) else "application/octet-stream")

    def finish(self) -> None:
        """End the answer: whoever invoked has all of it when this returns.

        Raises:
            ResponseStateError: it has ended already.
            ResponseRefusedError: nobody takes it any more.
        """
        self._expect("finish", "new", "started", "streaming")
        if self.state != "streaming":
            self._open(b"", "application/octet-stream")
        self._sent(self._form.close)
        self._end()

    def fail(self, error_type: str, description: bytes) -> bool:
        """End an answer that has begun with an error, as JSON; False: nothing of it has been sent."""
        self._expect("fail", "streaming")
        is_told: bool = self._sent(self._form.fail, error_type, description)
        self._end()
        return is_told

    def _open(self, first: bytes, content_type: str) -> None:
        self._sent(self._form.open, self._head, content_type, first)
        self.state = "streaming"

    def _end(self) -> None:
        self.state = "finished"
        self._finished()

    def _expect(self, method: str, *states: State) -> None:
        if self.state in states:
            return
        if self.state == "refused":
            raise ResponseRefusedError
        done = {
            "started": "start() has been called",
            "streaming": "a part of the response has been written",
            "finished": "the response is finished",
        }[self.state]
        raise ResponseStateError(f"{method}() is not possible any more: {done}")

    def _sent(self, send: Callable[..., Any], *arguments: object) -> Any:
        try:
            return send(*arguments)
        except ResponseRefusedError:
            self.state = "refused"
            raise
