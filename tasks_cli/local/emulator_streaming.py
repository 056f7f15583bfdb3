"""Answers of functions as Lambda passes them on, in the process of the local cloud.

MiniStack gives a caller the whole answer once the function's environment is free again. Here a caller has it when it is
sent, and one that takes a stream has each chunk of it; the environment is free when it asks for the next invocation.
`emulator` runs this file by its path.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

import asyncio
import base64
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

HTTP_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
"""Of an answer that begins with its status, headers and cookies, as JSON."""
SEPARATOR = b"\0" * 8
"""Between these and the body."""
STREAMING_PATH = "/response-streaming-invocations"
"""How the address ends to which an API sends what is to be streamed."""
WAITING_CHUNKS = 16
"""A function that writes faster than its caller reads waits, when so many chunks do."""
RESPONSE_PATH = re.compile(r"/runtime/invocation/([^/]+)/response$")

Error = dict[str, Any]


class Reader:
    """A caller that takes an answer as it is written."""

    def __init__(self, head: Callable[[dict[str, Any]], Any] | None) -> None:
        self.head = head
        """What the caller's own code is given for an answer whose body comes later; None: it wants every byte."""
        self.is_streamed = False
        self.prelude: dict[str, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | Error | None] = asyncio.Queue(WAITING_CHUNKS)
        self._is_gone = False
        request = asyncio.current_task()
        assert request
        request.add_done_callback(self._leave)

    def put(self, chunk: bytes | Error | None) -> None:
        """Give the caller a chunk, or at last None or the error that ended it; from another thread."""
        asyncio.run_coroutine_threadsafe(self._put(chunk), self._loop).result()

    async def _put(self, chunk: bytes | Error | None) -> None:
        if not self._is_gone:
            await self._chunks.put(chunk)

    def _leave(self, _: object) -> None:
        """Have the function go on where the answer ended before it did."""
        self._is_gone = True
        while not self._chunks.empty():
            self._chunks.get_nowait()

    async def get(self) -> bytes | Error | None:
        """The next chunk."""
        return await self._chunks.get()


class Answer:
    """What one invocation answers."""

    def __init__(self, event: object, reader: Reader | None) -> None:
        self.event = event
        self._reader = reader
        self._given = threading.Event()
        self._result: dict[str, Any] = {}
        self._failure: BaseException | None = None
        self._has_head = False
        self._written = bytearray()

    def wait(self) -> dict[str, Any]:
        """What MiniStack's code is to go on with: all of the answer, or the head of one that is streamed."""
        self._given.wait()
        if self._failure:
            raise self._failure
        return self._result

    def give(self, result: dict[str, Any]) -> None:
        """Answer, unless that is done."""
        if not self._given.is_set():
            self._result = result
            self._given.set()

    def fail(self, failure: BaseException) -> None:
        """Have the caller know that there was no invocation."""
        self._failure = failure
        self._given.set()

    def begin(self, content_type: str) -> None:
        """Begin a streamed answer."""
        if self._reader and not (self._reader.head and content_type == HTTP_CONTENT_TYPE):
            self._pass_head({})

    def write(self, chunk: bytes) -> None:
        """Pass a chunk on, or keep it for who takes the answer as a whole."""
        if self._reader and self._has_head:
            self._reader.put(chunk)
            return
        self._written += chunk
        if self._reader and SEPARATOR in self._written:
            head, _, body = self._written.partition(SEPARATOR)
            self._pass_head(json.loads(head))
            if body:
                self._reader.put(bytes(body))

    def end(self, error: Error | None) -> None:
        """End a streamed answer, with an error if the function says so or is gone."""
        if self._reader and self._has_head:
            self._reader.put(error)
        elif error:
            self.give({"body": error, "error": True})
        else:
            self.give({"body": bytes(self._written)})

    def _pass_head(self, prelude: dict[str, Any]) -> None:
        assert self._reader
        self._has_head = self._reader.is_streamed = True
        self._reader.prelude = prelude
        self.give({"body": self._reader.head(prelude) if self._reader.head else b""})


taken_by: ContextVar[Reader | None] = ContextVar("taken_by", default=None)
"""The caller, if it takes a stream."""
answering: ContextVar[Answer | None] = ContextVar("answering", default=None)


def pass_answers_on_as_lambda_does() -> None:
    """Have MiniStack's environments answer before they are free, and its callers take streams."""
    answer_before_the_end()
    take_answers_from_environments()
    stream_to_function_urls()
    stream_to_apis()
    stream_to_clients()


def answer_before_the_end() -> None:
    """Have every caller go on once its answer is there, while the invocation goes on in a thread of its own."""
    from ministack.services import lambda_svc  # type: ignore[import-untyped]  # noqa: PLC0415

    execute = lambda_svc._execute_function  # noqa: SLF001

    def execute_until_answer(function: dict[str, Any], event: Any) -> dict[str, Any]:
        current = answering.get()
        if current and current.event is event:
            # MiniStack calls itself, in the account of the function.
            ended: dict[str, Any] = execute(function, event)
            return ended
        answer = Answer(event, taken_by.get())

        def run() -> None:
            answering.set(answer)
            taken_by.set(None)
            try:
                answer.give(execute(function, event))
            except BaseException as failure:  # noqa: BLE001  (it is raised where it is waited for)
                answer.fail(failure)

        threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
        return answer.wait()

    lambda_svc._execute_function = execute_until_answer  # noqa: SLF001


def take_answers_from_environments() -> None:
    """Have the Runtime API pass on what it is sent, from functions that go on after they have answered.

    The others have written all of their output when they answer, and their callers want that too.
    """
    from ministack.core.lambda_runtime import ProvidedWorker  # type: ignore[import-untyped]  # noqa: PLC0415

    worker_class: Any = ProvidedWorker
    invoke, record = worker_class.invoke, worker_class._record_result  # noqa: SLF001
    mark, build, pump = worker_class._mark_first_poll, worker_class._build_handler_class, worker_class._pump_output  # noqa: SLF001

    def invoke_for_answer(worker: Any, *arguments: Any, **named: Any) -> Any:
        worker.answer, worker.has_answered = answering.get(), False
        return invoke(worker, *arguments, **named)

    def record_and_answer(worker: Any, generation: int, request_id: str, kind: str, payload: Any) -> bool:
        if not getattr(worker, "goes_on", False):
            accepted: bool = record(worker, generation, request_id, kind, payload)
            return accepted
        if not accept(worker, generation, request_id, {"error" if kind == "error" else "response": payload}):
            return False
        worker.answer.give({"body": payload} | ({"error": True} if kind == "error" else {}))
        return True

    def mark_end(worker: Any, generation: int) -> bool:
        with worker._state_lock:  # noqa: SLF001
            if generation == worker._generation and getattr(worker, "has_answered", False):  # noqa: SLF001
                worker._response_ready.set()  # noqa: SLF001
        is_current: bool = mark(worker, generation)
        return is_current

    def build_streaming(worker: Any, generation: int, pending: Any) -> type[Any]:
        plain: Any = build(worker, generation, pending)

        class StreamingHandler(plain):  # type: ignore[misc]
            def do_POST(self) -> None:  # noqa: N802  (as the base class names it)
                found = RESPONSE_PATH.search(self.path)
                if not found or self.headers.get("Lambda-Runtime-Function-Response-Mode") != "streaming":
                    super().do_POST()
                    return
                self.close_connection = True
                if not accept(worker, generation, found[1], {"response": None}):
                    self._respond(410)
                    return
                relay(self, worker.answer)
                self._respond(202)

        return StreamingHandler

    def pump_without_mark(worker: Any, stream: Any, lines: Any) -> None:
        pump(worker, _Output(worker, stream), lines)

    worker_class.invoke, worker_class._record_result = invoke_for_answer, record_and_answer  # noqa: SLF001
    worker_class._mark_first_poll, worker_class._build_handler_class = mark_end, build_streaming  # noqa: SLF001
    worker_class._pump_output = pump_without_mark  # noqa: SLF001


class _Output:
    """The output of a function's process, without the line by which it tells that it goes on after its answers."""

    def __init__(self, worker: Any, stream: Any) -> None:
        self._worker = worker
        self._stream = stream
        self._mark = os.environ.get("TASKS_LOCAL_GOES_ON", "").encode() + b"\n"
        self.close = stream.close

    def readline(self) -> bytes:
        line: bytes = self._stream.readline()
        if line == self._mark:
            self._worker.goes_on = True
            line = self._stream.readline()
        return line


def accept(worker: Any, generation: int, request_id: str, result: dict[str, Any]) -> bool:
    """Note the answer to the current invocation, which ends when the next one is asked for; False: it is not that."""
    with worker._state_lock:  # noqa: SLF001
        if generation != worker._generation or request_id != worker._current_request_id:  # noqa: SLF001
            return False
        worker._current_request_id, worker._result, worker.has_answered = None, result, True  # noqa: SLF001
    return True


def relay(request: Any, answer: Answer) -> None:
    """Pass a streamed answer on while it arrives, and what its trailers say of an error."""
    answer.begin(request.headers.get("Content-Type", ""))
    try:
        for chunk in chunks(request.rfile):
            answer.write(chunk)
        trailers = dict(line.decode().rstrip().split(": ", 1) for line in iter(request.rfile.readline, b"\r\n"))
    except (ValueError, OSError):
        answer.end({"errorType": "Runtime.TruncatedResponse", "errorMessage": "the function was gone before its end"})
        return
    told = {name.lower(): value for name, value in trailers.items()}
    body = told.get("lambda-runtime-function-error-body")
    answer.end(json.loads(base64.b64decode(body)) if body else None)


def chunks(stream: Any) -> Iterator[bytes]:
    """The chunks of a body, as RFC 9112 frames them.

    Raises:
        ValueError: the connection ended within the body.
    """
    while size := int(stream.readline().partition(b";")[0], 16):
        chunk = stream.read(size)
        if len(chunk) < size:
            raise ValueError("the connection ended within a chunk")
        yield chunk
        stream.readline()


def as_response(reader: Reader, frame: Callable[[bytes | Error | None], bytes | None]) -> Any:
    """What MiniStack sends the caller: each chunk as ``frame`` makes it. Without a last one the connection breaks."""
    from ministack.core.responses import StreamingResponse  # type: ignore[import-untyped]  # noqa: PLC0415

    async def run(send: Any, _: Any) -> None:
        # To the end also for a client that has gone: the function goes on, as on Lambda.
        is_last = False
        while not is_last:
            chunk = await reader.get()
            is_last = not isinstance(chunk, bytes)
            framed = frame(chunk)
            if framed is not None:
                await send({"type": "http.response.body", "body": framed, "more_body": not is_last})

    return StreamingResponse(run)


def as_http_response(reader: Reader, answer: Any) -> Any:
    """The answer to a request: what MiniStack made of the head of a stream, and the stream."""
    if not reader.is_streamed:
        return answer
    status, headers, _ = answer
    if cookies := reader.prelude.get("cookies"):
        headers["Set-Cookie"] = list(cookies)
    # Only a missing end tells of an error.
    return status, headers, as_response(reader, lambda chunk: None if isinstance(chunk, dict) else chunk or b"")


def stream_to_function_urls() -> None:
    """Have a function URL stream whose invoke mode is RESPONSE_STREAM."""
    from ministack.services import lambda_svc  # noqa: PLC0415

    handle: Any = lambda_svc.handle_function_url_request

    async def handle_streaming(url_id: str, *arguments: Any, **named: Any) -> Any:
        resolved = named.get("resolved") or lambda_svc.resolve_function_url(url_id)
        if resolved is None or resolved[-1].get("InvokeMode") != "RESPONSE_STREAM":
            return await handle(url_id, *arguments, **named)
        reader = Reader(lambda prelude: json.dumps(prelude).encode() + SEPARATOR)
        taken_by.set(reader)
        return as_http_response(reader, await handle(url_id, *arguments, **named))

    lambda_svc.handle_function_url_request = handle_streaming


def stream_to_apis() -> None:
    """Have a method of a REST API stream whose integration has the response transfer mode STREAM."""
    from ministack.services import apigateway_v1  # noqa: PLC0415

    invoke: Any = apigateway_v1._invoke_lambda_proxy_v1  # noqa: SLF001

    async def invoke_streaming(integration: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        uri = integration.get("uri", "")
        if not uri.endswith(STREAMING_PATH):
            return await invoke(integration, *arguments, **named)
        reader = Reader(lambda prelude: {"statusCode": 200, **prelude, "body": ""})
        taken_by.set(reader)
        integration = integration | {"uri": uri.removesuffix(STREAMING_PATH) + "/invocations"}
        return as_http_response(reader, await invoke(integration, *arguments, **named))

    apigateway_v1._invoke_lambda_proxy_v1 = invoke_streaming  # noqa: SLF001


def stream_to_clients() -> None:
    """Have InvokeWithResponseStream send an event for each chunk, and at last how it ended."""
    from ministack.services import lambda_svc  # noqa: PLC0415

    invoke, build = lambda_svc._invoke_with_response_stream, lambda_svc._build_response_stream  # noqa: SLF001

    def event(kind: str, content_type: str, payload: bytes) -> bytes:
        headers = {":message-type": "event", ":event-type": kind, ":content-type": content_type}
        encoded: bytes = lambda_svc._es_encode_message(headers, payload)  # noqa: SLF001
        return encoded

    def as_event(chunk: bytes | Error | None) -> bytes | None:
        if isinstance(chunk, bytes):
            return event("PayloadChunk", "application/octet-stream", chunk)
        told = {"ErrorCode": chunk.get("errorType", ""), "ErrorDetails": json.dumps(chunk)} if chunk else {}
        return event("InvokeComplete", "application/json", json.dumps(told).encode())

    def build_with_error(payload: bytes, is_error: bool, function_error: str | None) -> bytes:  # noqa: FBT001
        error = json.loads(payload) if is_error else None
        if isinstance(error, dict):
            return as_event(error) or b""
        built: bytes = build(payload, is_error, function_error)
        return built

    async def invoke_streaming(*arguments: Any, **named: Any) -> tuple[int, dict[str, Any], Any]:
        reader = Reader(None)
        taken_by.set(reader)
        status, headers, body = await invoke(*arguments, **named)
        return status, headers, as_response(reader, as_event) if reader.is_streamed else body

    lambda_svc._build_response_stream = build_with_error  # noqa: SLF001
    lambda_svc._invoke_with_response_stream = invoke_streaming  # noqa: SLF001
