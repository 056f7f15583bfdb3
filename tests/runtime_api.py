"""Runs a handler on the real `awslambdaric`, as Lambda does, against a Lambda Runtime API in this process.

``with RuntimeApi() as api, api.function("package.module.handler", root, {"NAME": "value"}) as function:`` then
``function.invoke(event)``. The function's process sees its own code, `awslambdaric` and boto3, and nothing else of the
environment that runs the tests.
"""

import base64
import http.server
import json
import queue
import socket
import struct
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from tasks_cli.local import function_runtime
from tasks_cli.local.process import end_group

FUNCTION_NAME = "function"
_POLL_SECONDS = 0.01
_TO_THE_EMULATOR = "\x1etasks-local"


class Result(NamedTuple):
    """What became of one invocation."""

    kind: Literal["response", "error", "crash"]
    """``error`` is an exception of the handler or of its import; ``crash`` a process that ended without a word."""
    body: Any
    """The decoded answer, or Lambda's description of the error; None after a crash."""
    error_type: str | None
    output: str
    """What the function printed and logged during the invocation."""


class Chunk(NamedTuple):
    """A part of an answer, as it arrived; ``at`` in seconds from the beginning of the invocation."""

    at: float
    data: bytes


class Post(NamedTuple):
    """A request by which a function answered."""

    kind: str
    """``response`` or ``error``."""
    headers: Mapping[str, str]
    chunks: list[Chunk]
    """One, unless it was streamed."""
    trailers: Mapping[str, str]
    at: float
    """When all of it had arrived."""

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def is_streamed(self) -> bool:
        """Whether it came in streaming mode."""
        return self.headers.get("Lambda-Runtime-Function-Response-Mode") == "streaming"

    @property
    def error(self) -> Any:
        """What its trailers tell of an error; None if there is none."""
        body = self.trailers.get("lambda-runtime-function-error-body")
        return None if body is None else json.loads(base64.b64decode(body))


class Exchange:
    """One invocation: what was asked, what came, and when it ended."""

    def __init__(
        self,
        event: object,
        *,
        timeout: float = 10,
        headers: Mapping[str, str] | None = None,
        refuse: Literal["gone", "disconnect"] | None = None,
        keeps_bodies: bool = True,
    ) -> None:
        self.request_id = str(uuid.uuid4())
        self.body = json.dumps(event).encode()
        self.headers = dict(headers or {})
        self.timeout = timeout
        self.refuse = refuse
        """``gone``: 410 for whatever is posted; ``disconnect``: the connection is cut after the first chunk."""
        self.keeps_bodies = keeps_bodies
        self.posts: list[Post] = []
        self.started = self.started_at = 0.0
        """By the monotonic clock, and in epoch seconds."""
        self.ended_at = 0.0
        """When the next event was asked for, in seconds from the beginning."""
        self._ended = threading.Event()

    def begin(self) -> None:
        """It is handed to the function."""
        self.started, self.started_at = time.monotonic(), time.time()

    def end(self) -> None:
        """The next event is asked for."""
        self.ended_at = self.now()
        self._ended.set()

    def now(self) -> float:
        """Seconds from the beginning."""
        return time.monotonic() - self.started

    def wait(self, seconds: float) -> bool:
        """Whether it ends within these seconds."""
        return self._ended.wait(seconds)

    @property
    def post(self) -> Post:
        """The only one."""
        [post] = self.posts
        return post


class _Event(NamedTuple):
    exchange: Exchange
    deadline: float


class _Answer(NamedTuple):
    request_id: str | None
    kind: Literal["response", "error"]
    body: bytes


class RuntimeApi:
    """The Runtime API of one execution environment: it has one function at a time, and one invocation of each worker."""

    def __init__(self) -> None:
        self.init_errors: list[Post] = []
        self._exchanges: dict[str, Exchange] = {}
        self._events: queue.Queue[_Event | None] = queue.Queue()
        self._answers: queue.Queue[_Answer] = queue.Queue()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler_class())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def function(
        self, handler: str, root: Path, environment: Mapping[str, str] | None = None
    ) -> Iterator["FunctionProcess"]:
        """Start a function whose code is in the folder ``root``; it ends with the block, and all it started."""
        self._events, self._answers = queue.Queue(), queue.Queue()
        with tempfile.TemporaryDirectory(prefix="runtime-api-") as name:
            directory = Path(name)
            bootstrap = directory / function_runtime.BOOTSTRAP_NAME
            bootstrap.write_bytes(function_runtime.BOOTSTRAP)
            bootstrap.chmod(0o755)
            with (directory / "output").open("w+", errors="replace") as output:
                process = subprocess.Popen(
                    [bootstrap],
                    cwd=root,
                    env={
                        "PATH": "/usr/local/bin:/usr/bin:/bin",
                        "AWS_ACCESS_KEY_ID": "test",
                        "AWS_SECRET_ACCESS_KEY": "test",
                        "AWS_REGION": "us-east-1",
                        "AWS_DEFAULT_REGION": "us-east-1",
                        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
                        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                        "AWS_LAMBDA_LOG_STREAM_NAME": "2000/01/01/[$LATEST]0",
                        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                        "LAMBDA_TASK_ROOT": str(root),
                        "_HANDLER": handler,
                        **function_runtime.environment(directory),
                        **(environment or {}),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                try:
                    with (directory / "output").open(errors="replace") as printed:
                        yield FunctionProcess(process, printed, self._events, self._answers, self._exchanges)
                finally:
                    end_group(process.pid)
                    process.wait()
                    # Wakes the request for the next event that the process may have left open.
                    self._events.put(None)

    def _handler_class(self) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: C901  (its methods count as its own)
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one segment per answer: 1 ms, not the 40 ms of a delayed acknowledgement

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002  (its name in the base class)
                """Tests' output is not the place for requests."""

            exchange: Exchange | None = None
            """Of this connection, which is one of a worker."""

            def do_GET(self) -> None:
                if self.path.endswith("/restore/next"):
                    self._answer(200)
                    return
                if self.exchange:
                    self.exchange.end()
                else:  # a client opens a new connection after an answer that was refused
                    for exchange in api._exchanges.values():
                        if exchange.refuse and exchange.started:
                            exchange.end()
                event = api._events.get()
                if event is None:
                    self.close_connection = True
                    return
                self.exchange = event.exchange
                self.exchange.begin()
                self._answer(
                    200,
                    event.exchange.body,
                    {
                        "Lambda-Runtime-Aws-Request-Id": event.exchange.request_id,
                        "Lambda-Runtime-Deadline-Ms": str(int(event.deadline * 1000)),
                        "Lambda-Runtime-Invoked-Function-Arn": (
                            f"arn:aws:lambda:us-east-1:000000000000:function:{FUNCTION_NAME}"
                        ),
                        "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
                    }
                    | event.exchange.headers,
                )

            def do_POST(self) -> None:
                *_, request_id, kind = self.path.split("/")
                # /runtime/init/error or /runtime/invocation/<request id>/{response,error}
                is_init = request_id == "init"
                exchange = Exchange(None) if is_init else api._exchanges[request_id]
                chunks, trailers = list[Chunk](), dict[str, str]()
                try:
                    for data in _parts(self, trailers):
                        if exchange.keeps_bodies or not chunks:
                            chunks.append(Chunk(exchange.now(), data))
                        if exchange.refuse == "disconnect":
                            _cut(self)
                            return
                except ConnectionError:
                    return
                post = Post(kind, dict(self.headers), chunks, trailers, exchange.now())
                (api.init_errors if is_init else exchange.posts).append(post)
                if exchange.refuse == "gone":
                    self._answer(410, b'{"errorType": "Gone"}')
                    return
                api._answers.put(
                    _Answer(None if is_init else request_id, "response" if kind == "response" else "error", post.body)
                )
                self._answer(202)

            def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _parts(request: http.server.BaseHTTPRequestHandler, trailers: dict[str, str]) -> Iterator[bytes]:
    """The chunks of a request's body, or all of it; its trailers then."""
    reader = request.rfile
    if request.headers.get("Transfer-Encoding") != "chunked":
        yield reader.read(int(request.headers["Content-Length"]))
        return
    while size := int(reader.readline(), 16):
        yield reader.read(size)
        assert reader.readline() == b"\r\n"
    while line := reader.readline().strip().decode():
        name, _, value = line.partition(": ")
        trailers[name.lower()] = value


def _cut(request: http.server.BaseHTTPRequestHandler) -> None:
    """Reset the connection: who writes on hears of it."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.rfile.close()
    request.connection.close()
    request.close_connection = True


class FunctionProcess:
    """A running function."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        printed: Any,
        events: "queue.Queue[_Event | None]",
        answers: "queue.Queue[_Answer]",
        exchanges: dict[str, Exchange],
    ) -> None:
        self._process = process
        self._printed = printed
        self._events = events
        self._answers = answers
        self._exchanges = exchanges

    def invoke(self, event: object, *, timeout: float = 10) -> Result:
        """Run the handler once; ``timeout`` seconds are also the time that its context says remains.

        Raises:
            TimeoutError: it did not answer in time; its process is ended, as Lambda does.
        """
        deadline = time.time() + timeout
        request_id = self.begin(Exchange(event, timeout=timeout)).request_id
        while time.time() < deadline:
            # Asked before the answers: the last thing a process does may be to answer.
            ended = self._process.poll() is not None
            try:
                answer = self._answers.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if ended:
                    return Result("crash", None, None, self.output())
                continue
            if answer.request_id in {request_id, None}:
                body = json.loads(answer.body)
                error_type = body.get("errorType") if answer.kind == "error" else None
                return Result(answer.kind, body, error_type, self.output())
        self._process.kill()
        raise TimeoutError(f"no answer within {timeout} s; it printed: {self.output()}")

    def begin(self, exchange: Exchange) -> Exchange:
        """Have the function, or one of its workers, take an event; without waiting for its answer."""
        self._exchanges[exchange.request_id] = exchange
        self._events.put(_Event(exchange, time.time() + exchange.timeout))
        return exchange

    def exchange(self, event: object, **options: Any) -> Exchange:
        """Run the handler once, and wait until the next event is asked for.

        Raises:
            TimeoutError: it is not.
        """
        return self.wait(self.begin(Exchange(event, **options)))

    def wait(self, exchange: Exchange) -> Exchange:
        """Wait until the next event is asked for.

        Raises:
            TimeoutError: it is not.
        """
        end = time.time() + exchange.timeout + 1
        while not exchange.wait(_POLL_SECONDS):
            if time.time() > end or self._process.poll() is not None:
                raise TimeoutError(f"the invocation did not end; it posted {exchange.posts}; {self.output()}")
        return exchange

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    def output(self) -> str:
        """What was printed since the last time, without the lines by which a function talks to the emulator."""
        lines = self._printed.read().split("\n")
        return "\n".join(line for line in lines if not line.startswith(_TO_THE_EMULATOR))
