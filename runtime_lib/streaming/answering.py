"""One invocation of a streaming handler: its answer, its errors, and what becomes of each."""

import json
from typing import TYPE_CHECKING, Any

from runtime_lib.errors import ArgumentError, HttpError, ResponseRefusedError, ResponseStateError, TaskError
from runtime_lib.log import logger
from runtime_lib.streaming import background, hook
from runtime_lib.streaming.forms import Collected, Enveloped, Plain, Prelude, is_buffered, is_http
from runtime_lib.streaming.stopping import BackgroundTimeoutError, stop
from runtime_lib.streaming.writer import Form, ResponseWriter

if TYPE_CHECKING:
    from runtime_lib.streaming.handlers import StreamingHandler

__all__ = ["answer", "answer_collected"]


def answer(handler: "StreamingHandler[..., Any]", event: Any, context: Any) -> bytes:
    """Run the handler for an event; its answer is on its way when this returns, for the runtime client nothing.

    Raises:
        Exception: what is to be reported as the invocation's error, or to be logged if the answer is out.
    """
    invocation = hook.current()
    assert invocation is not None
    channel = invocation.channel()
    form: Form
    if not is_http(event):
        form = Plain(channel, invocation.encode)
    else:
        form = Enveloped(channel, event) if is_buffered(event) else Prelude(channel, event)
    work = invocation.work
    writer = ResponseWriter(form, finished=work.limit)
    invocation.writer = writer
    _run(handler, event, writer, context, work)
    return b""  # (which the runtime client does not encode)


def answer_collected(handler: "StreamingHandler[..., Any]", event: Any, context: Any) -> Any:
    """Run the handler and the work after its answer, and return the answer: for a runtime client of another kind.

    Raises:
        Exception: the handler's, if its answer is not whole.
    """
    collected = Collected()
    form: Form = Enveloped(collected, event) if is_http(event) else Plain(collected, _encode)
    work = background.begin_with(context)
    writer = ResponseWriter(form, finished=work.limit)
    failure: Exception | None = None
    try:
        try:
            _run(handler, event, writer, context, work)
        except Exception as error:  # noqa: BLE001  (raised when the work after it is done)
            if writer.state == "finished":
                work.failed(handler.name, error)
            else:
                failure = error
        work.run()
    finally:
        work.end()
    if failure:
        raise failure
    return collected.value


def _encode(response: Any) -> tuple[bytes, str]:
    if isinstance(response, bytes):
        return response, "application/octet-stream"
    from runtime_lib.results import plain

    return json.dumps(response, default=plain).encode(), "application/json"


def _run(
    handler: "StreamingHandler[..., Any]", event: Any, writer: ResponseWriter, context: Any, work: background.Work
) -> None:
    def done(result: Any) -> None:
        _complete(handler, writer, result)

    try:
        given = handler.given(event, writer, context)
    except ArgumentError as error:
        if not is_http(event):
            raise
        _refuse(writer, HttpError(400, str(error)))
        return
    try:
        stop.run(handler.run, given, writer, work, done)
    except BackgroundTimeoutError:
        work.timed_out(handler.name)
        work.drop("there was no time left")
    except ResponseRefusedError as refusal:
        logger.warning("%s: %s", handler.name, refusal, extra={"id": work.request_id})
    except HttpError as error:
        if not (is_http(event) and writer.state in {"new", "started"}):
            raise
        _refuse(writer, error)
    except SystemExit as error:
        if writer.state != "finished":
            raise
        raise TaskError(f"{handler.name} called sys.exit({error.code!r}) after its answer") from error
    finally:
        if writer.state == "refused":
            work.drop("nobody takes the answer")


def _complete(handler: "StreamingHandler[..., Any]", writer: ResponseWriter, result: Any) -> None:
    """End the answer of a handler that has returned."""
    if result is not None:
        writer.respond(result)
    elif writer.state in {"started", "streaming"}:
        writer.finish()
    elif writer.state == "new":
        raise ResponseStateError(
            f"{handler.name} returned without an answer: call respond() or write() of its ResponseWriter, yield the "
            "parts, or return the answer"
        )


def _refuse(writer: ResponseWriter, error: HttpError) -> None:
    """Answer with an error; what was to be the head of another answer has not been sent."""
    from runtime_lib.api.responses import error_response

    writer.state = "new"
    writer.respond(error_response(error))
