"""The answer to one invocation, sent to the Lambda Runtime API over a plain socket.

(https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html)
"""

import socket

from runtime_lib.contract import LAMBDA_RESPONSE_MAX_BYTES
from runtime_lib.errors import ResponseRefusedError

__all__ = ["Connection", "RuntimeApiChannel"]

_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
_STREAMED = (
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
    "Transfer-Encoding: chunked\r\n"
    f"Trailer: {_ERROR_TYPE}, {_ERROR_BODY}\r\n"
)
_GONE, _TOO_LARGE = 410, 413
_LARGE = 65_536
"""Bytes of a chunk that is not copied to be sent in one piece with its frame."""
_ANSWER = 2_048
"""More bytes than the Runtime API's answer has."""
_DEFAULT_PORT = 80
_END_OF_HEADERS = b"\r\n\r\n"


class Connection:
    """A connection to the Runtime API, kept for the next answer where the last was not streamed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._host = f"Host: {address}\r\n"
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close it; the next request opens a new one."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def post(self, head: str, body: bytes) -> int:
        """The status with which a request is answered; its head lacks the host and the length.

        Raises:
            OSError: there is no answer.
        """
        request = f"{head}{self._host}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        if self._socket:
            try:
                return self._exchange(request)
            except ConnectionError:
                pass  # the other side had closed it since the last answer: it has not read this
        return self._exchange(request)

    def _exchange(self, request: bytes) -> int:
        try:
            self.send(request)
            return self.status()
        except BaseException:  # a signal's, too: what is left of this is not for the next answer
            self.close()
            raise

    def begin(self, head: str, first: bytes) -> None:
        """Send a request whose body follows, with the first bytes of it, over a connection of its own.

        Raises:
            OSError: nobody takes it.
        """
        self.close()
        self.send(f"{head}{self._host}\r\n".encode("latin-1") + first)

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: nobody takes it.
        """
        if self._socket is None:
            host, _, port = self._address.partition(":")
            self._socket = socket.create_connection((host, int(port or _DEFAULT_PORT)))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(data)
        except ConnectionError:
            raise
        except BaseException:  # a signal's: nobody knows how much of it is sent
            self.close()
            raise

    def status(self) -> int:
        """The status of the answer, after all of it is read.

        Raises:
            ConnectionError: there is none.
        """
        assert self._socket is not None
        received = b""
        while (end := received.find(_END_OF_HEADERS)) < 0:
            received += self._received()
        head = received[:end].lower()
        _, _, behind = head.partition(b"\r\ncontent-length:")
        left = int(behind.split(b"\r\n", 1)[0] or 0) - (len(received) - end - len(_END_OF_HEADERS))
        while left > 0:
            left -= len(self._received())
        if not behind or b"\r\nconnection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def _received(self) -> bytes:
        assert self._socket is not None
        received = self._socket.recv(_ANSWER)
        if not received:
            raise ConnectionResetError("the Runtime API closed the connection")
        return received


class RuntimeApiChannel:
    """The way of one invocation's answer to the Runtime API: whole, or opened, written and closed."""

    __slots__ = ("_connection", "_head")

    def __init__(self, connection: Connection, request_id: str, invocation_id: str | None) -> None:
        self._connection = connection
        self._head = f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\n"
        if invocation_id:
            self._head += f"Lambda-Runtime-Invocation-Id: {invocation_id}\r\n"

    def send(self, body: bytes, content_type: str) -> None:
        """Send a whole answer: whoever waits has it when this returns.

        Raises:
            ResponseRefusedError: the Runtime API does not take it.
        """
        try:
            status = self._connection.post(f"{self._head}Content-Type: {content_type}\r\n", body)
        except OSError as error:
            raise self._refused(str(error)) from error
        self._check(status)

    def open(self, content_type: str, first: bytes) -> None:
        """Begin a streamed answer with its first bytes; none is allowed.

        Raises:
            ResponseRefusedError: nobody takes it.
        """
        try:
            self._connection.begin(f"{self._head}Content-Type: {content_type}\r\n{_STREAMED}", _chunk(first))
        except OSError as error:
            raise self._refused(str(error)) from error

    def write(self, data: bytes) -> None:
        """Send more of a streamed answer.

        Raises:
            ResponseRefusedError: nobody takes it any more.
        """
        if len(data) < _LARGE:
            self._stream(_chunk(data))
        else:
            self._stream(b"%x\r\n" % len(data))
            self._stream(data)
            self._stream(b"\r\n")

    def close(self) -> None:
        """End a streamed answer.

        Raises:
            ResponseRefusedError: nobody takes it any more.
        """
        self._end(b"")

    def fail(self, error_type: str, description: bytes) -> bool:
        """End a streamed answer with an error, as JSON, in its trailers; True: it is told.

        Raises:
            ResponseRefusedError: nobody takes it any more.
        """
        from base64 import b64encode

        lines = f"{_ERROR_TYPE}: {error_type}\r\n{_ERROR_BODY}: {b64encode(description).decode()}\r\n"
        self._end(lines.encode("latin-1", "replace"))
        return True

    def _end(self, trailers: bytes) -> None:
        self._stream(b"0\r\n" + trailers + b"\r\n")
        try:
            status = self._connection.status()
        except OSError as error:
            raise self._refused(str(error)) from error
        # What was kept open after a streamed answer would be closed by the other side at a time of its choice.
        self._connection.close()
        self._check(status)

    def _stream(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except ConnectionError as error:
            try:
                reason = _described(self._connection.status())
            except OSError:
                reason = str(error)
            raise self._refused(reason) from error
        except OSError as error:
            raise self._refused(str(error)) from error

    def _check(self, status: int) -> None:
        if not 200 <= status < 300:  # noqa: PLR2004  (HTTP's successes)
            raise self._refused(_described(status))

    def _refused(self, reason: str) -> ResponseRefusedError:
        self._connection.close()
        return ResponseRefusedError(f"the response was refused: {reason}")


def _chunk(data: bytes) -> bytes:
    """A chunk of a body; nothing for no data, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _described(status: int) -> str:
    if status == _GONE:
        return "the invocation has timed out, and its answer is not awaited any more (410)"
    if status == _TOO_LARGE:
        return f"it is larger than Lambda returns, {LAMBDA_RESPONSE_MAX_BYTES:,} bytes (413): stream it"
    return f"the Runtime API answered {status}"
