"""Serves the APIs of the local cloud at a port of this machine, as a browser or a client would find them."""

import http.client
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

from tasks_cli import output
from tasks_cli.cloud import Cloud
from tasks_cli.errors import CliError
from tasks_cli.local.apis import Api

TIMEOUT_SECONDS: Final = 60.0
"""API Gateway waits 29 seconds; a function's first start comes on top here. As long is waited for each chunk."""
_CHUNK_BYTES: Final = 65_536
# They are about one connection. (RFC 9110, 7.6.1)
_OF_A_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)


class Mount(NamedTuple):
    """An API and the prefix at which it is served; an empty one is the root."""

    prefix: str
    api: Api


def mounts(apis: Sequence[Api]) -> list[Mount]:
    """One API is served at the root; of several, each below the name of its construct.

    Raises:
        CliError: there is none.
    """
    if not apis:
        raise CliError("no API is deployed to the local cloud: make a TaskApi and ApiTasks, then `tasks local deploy`")
    if len(apis) == 1:
        return [Mount("", apis[0])]
    names = [api.construct.rpartition("/")[2] for api in apis]
    return [
        Mount(f"/{name if names.count(name) == 1 else api.construct.replace('/', '-')}", api)
        for name, api in zip(names, apis, strict=True)
    ]


class ApiProxy(ThreadingHTTPServer):
    """Passes requests on to the local cloud: ``serve_forever()``, from another thread ``shutdown()``.

    ``tell`` is given a line for each request; None: nobody is.

    Raises:
        CliError: the port is taken.
    """

    def __init__(
        self,
        cloud: Cloud,
        mounted: Sequence[Mount],
        *,
        port: int = 0,
        tell: Callable[[str], None] | None = output.say,
    ) -> None:
        self.cloud: Final = cloud
        self.tell: Final = tell or (lambda _: None)
        self.mounted: Final = mounted
        self.domain_names: Final = {mount.api.domain_name for mount in mounted} - {None}
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise CliError(
                f"port {port} of 127.0.0.1 cannot be used ({error.strerror}): choose another one, or none to get a "
                "free one"
            ) from error

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; tell everything else."""
        from sys import exc_info  # noqa: PLC0415

        if not isinstance(exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    stream: http.client.HTTPResponse | None = None
    """What the body comes from, if it is sent as it comes."""

    @classmethod
    def of_proxy(cls, status: int, message: str) -> "_Answer":
        return cls(status, [("Content-Type", "application/json")], json.dumps({"message": message}).encode())


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"

    @property
    def _proxy(self) -> ApiProxy:
        assert isinstance(self.server, ApiProxy)
        return self.server

    def _handle(self) -> None:
        started = time.monotonic()
        with ExitStack() as connections:
            answer = self._answer(connections)
            self._proxy.tell(f"{self.command} {self.path} {answer.status} {1000 * (time.monotonic() - started):.0f} ms")
            self._send(answer)

    def _send(self, answer: _Answer) -> None:
        self.send_response_only(answer.status)
        is_head = self.command == "HEAD"  # which has the length of what GET would answer
        for name, value in answer.headers:
            if name.lower() not in _OF_A_CONNECTION and (is_head or name.lower() != "content-length"):
                self.send_header(name, value)
        if answer.stream:
            self.send_header("Transfer-Encoding", "chunked")
        elif not is_head and answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.stream:
            self._relay(answer.stream)
        elif not is_head:
            self.wfile.write(answer.body)

    def _relay(self, stream: http.client.HTTPResponse) -> None:
        """Send what comes when it comes; a stream that breaks off does so for the client too."""
        try:
            while chunk := stream.read1(_CHUNK_BYTES):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        except (OSError, http.client.HTTPException) as error:
            self._proxy.tell(f"{self.command} {self.path} broke off: {error}")
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = _handle  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (as the base class names it)
        """Every request is told once it is answered; here come requests that are none."""
        self._proxy.tell(format % args)

    def _answer(self, connections: ExitStack) -> _Answer:
        if "transfer-encoding" in self.headers:
            self.close_connection = True  # nothing tells where the next request begins
            return _Answer.of_proxy(411, "say how long the body is: Content-Length")
        length = self.headers.get("content-length", "0")
        if not length.isdecimal():
            self.close_connection = True
            return _Answer.of_proxy(400, f"Content-Length is {length!r}, allowed is a number of bytes")
        body = self.rfile.read(int(length))
        dropped = {*_OF_A_CONNECTION, "x-forwarded-prefix", "x-forwarded-proto"}
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
        headers.append(("X-Forwarded-Proto", "http"))  # as the client came, whatever the local cloud speaks
        path = self.path
        if self.headers.get("host", "").partition(":")[0].lower() not in self._proxy.domain_names:
            mount = self._mount()
            if mount is None:
                prefixes = ", ".join(f"{mount.prefix}/" for mount in self._proxy.mounted)
                return _Answer.of_proxy(404, f"no API is here; they are at {prefixes}")
            path = mount.api.stage_path + (self.path.removeprefix(mount.prefix) or "/")
            headers.append(("X-Forwarded-Prefix", mount.prefix or "/"))
        return self._ask(path, headers, body, connections)

    def _mount(self) -> Mount | None:
        path = self.path.partition("?")[0]
        return next(
            (
                mount
                for mount in self._proxy.mounted
                if not mount.prefix or path == mount.prefix or path.startswith(f"{mount.prefix}/")
            ),
            None,
        )

    def _ask(self, path: str, headers: list[tuple[str, str]], body: bytes, connections: ExitStack) -> _Answer:
        cloud = self._proxy.cloud
        connection = cloud.connection(timeout=TIMEOUT_SECONDS)
        connections.callback(connection.close)
        try:
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            # A client of HTTP/1.0 knows no chunks.
            if response.chunked and self.request_version == self.protocol_version and self.command != "HEAD":
                connections.callback(response.close)
                return _Answer(response.status, response.getheaders(), b"", response)
            return _Answer(response.status, response.getheaders(), response.read())
        except (OSError, http.client.HTTPException) as error:
            return _Answer.of_proxy(
                502, f"{cloud} did not answer ({error}): see .tasks/local.log, `tasks local status`"
            )
