"""The connection by which answers go to the Lambda Runtime API, at an API that closes, refuses or vanishes."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runtime_lib.errors import ResponseRefusedError
from runtime_lib.streaming.connection import Connection, RuntimeApiChannel

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class Api:
    """Answers each connection with its own answers, one a request, and closes it then."""

    def __init__(self, connections: list[list[bytes]]) -> None:
        self.requests: list[bytes] = []
        self._connections = connections
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        for answers in self._connections:
            connection, _ = self._server.accept()
            with connection:
                connection.settimeout(5)
                for answer in answers:
                    self.requests.append(self._request(connection))
                    connection.sendall(answer)
        self._server.close()

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith((b"body", b"0\r\n\r\n")):
            received += connection.recv(4096)
        return received


@contextmanager
def serving(*connections: list[bytes]) -> Iterator[Api]:
    api = Api(list(connections))
    api.thread.start()
    yield api
    api.thread.join(5)
    assert not api.thread.is_alive()


def channel(connection: Connection, request_id: str = "id") -> RuntimeApiChannel:
    return RuntimeApiChannel(connection, request_id, None)


def test_a_connection_is_kept_for_the_next_answer() -> None:
    with serving([ACCEPTED, ACCEPTED]) as api:
        connection = Connection(api.address)
        for request_id in ("1", "2"):
            channel(connection, request_id).send(b"body", "text/plain")
        connection.close()
    assert [request.split(b" ")[1] for request in api.requests] == [
        b"/2018-06-01/runtime/invocation/1/response",
        b"/2018-06-01/runtime/invocation/2/response",
    ]


def test_an_answer_is_sent_again_where_the_kept_connection_was_closed() -> None:
    with serving([ACCEPTED], [ACCEPTED]) as api:
        connection = Connection(api.address)
        for _ in range(2):
            channel(connection).send(b"body", "text/plain")
        connection.close()
    assert len(api.requests) == 2


def test_a_streamed_answer_has_a_connection_of_its_own() -> None:
    with serving([ACCEPTED], [ACCEPTED], [ACCEPTED]) as api:
        connection = Connection(api.address)
        channel(connection).send(b"body", "text/plain")
        streamed = channel(connection)
        streamed.open("text/csv", b"a")
        streamed.write(b"b")
        streamed.close()
        assert connection._socket is None
        channel(connection).send(b"body", "text/plain")
        connection.close()
    assert api.requests[1].partition(b"\r\n\r\n")[2] == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone", r"the invocation has timed out.*\(410\)"),
        (
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
            r"it is larger than Lambda returns.*\(413\): stream it",
        ),
        (b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "the Runtime API answered 500"),
        (b"", "the Runtime API closed the connection"),
    ],
)
def test_what_is_not_taken_says_why(answer: bytes, reason: str) -> None:
    with serving([answer], [answer]) as api:
        connection = Connection(api.address)
        with pytest.raises(ResponseRefusedError, match=f"the response was refused: {reason}"):
            channel(connection).send(b"body", "text/plain")
        streamed = channel(connection)
        streamed.open("text/plain", b"part")
        with pytest.raises(ResponseRefusedError, match=reason):
            streamed.close()


@pytest.mark.parametrize("kind", [TimeoutError, LookupError])
def test_a_part_that_a_signal_tears_ends_the_stream_and_waits_for_nobody(kind: type[Exception]) -> None:
    def interrupt(*_: object) -> None:
        raise kind("the client is too slow")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:  # which reads nothing
            streamed = channel(Connection(f"127.0.0.1:{server.getsockname()[1]}"))
            streamed.open("text/plain", b"part")
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises((kind, ResponseRefusedError), match="the client is too slow"):
                streamed.write(b"x" * 50_000_000)
            taken, _ = server.accept()
            with taken:
                taken.settimeout(5)
                while taken.recv(1_000_000):
                    pass  # until the end, which comes
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_answer_that_a_signal_tears_leaves_nothing_to_the_next() -> None:
    def interrupt(*_: object) -> None:
        raise LookupError("enough")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connection = Connection(f"127.0.0.1:{server.getsockname()[1]}")
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(LookupError, match="enough"):
                channel(connection).send(b"body", "text/plain")
            taken, _ = server.accept()
            with taken:
                taken.settimeout(5)
                while taken.recv(4096):
                    pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_where_nobody_listens_the_answer_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ResponseRefusedError, match="refused"):
        channel(Connection(address)).send(b"body", "text/plain")
