"""The handler of a PureTask's function: whoever invokes it gives the arguments, and gets the result."""

import json
from typing import Any

from runtime_lib.admission import received
from runtime_lib.envelope import Envelope
from runtime_lib.errors import Discard, EnvelopeError, UnknownTaskError
from runtime_lib.execution import DeadLettered, Message, RetryAfter, Succeeded, TaskRejectedError, describe
from runtime_lib.handlers._async_invocation import delivery_of
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._one_task import envelope_of, the_task
from runtime_lib.handlers._running import run_message

__all__ = ["handler"]

start()


def handler(event: Any, context: Any) -> Any:
    """Run the task with the arguments in ``event`` and return what it returns, as JSON; None if it raised `Discard`.

    An object gives the arguments by name, an array by position, null none, and anything else the only one. A task
    without parameters of its own gets none: it finds the event in its `TaskContext`. An envelope, as a dispatch makes
    it, is run as what it is.

    Raises:
        UnknownTaskError: an envelope is of another task.
        TypeError: what it returns is not JSON, nor known to msgspec or pydantic.
        Exception: what the task raised.
    """
    task = the_task()
    envelope = _envelope(event)
    if envelope is None:
        args, kwargs = _arguments(event) if task.signature.parameters else ([], {})
        invocation = context.aws_request_id if context else "invocation"
        envelope = envelope_of(invocation, task, args, kwargs)
    elif envelope.task != task.name:
        raise UnknownTaskError(f"this function runs {task.name}, given a message of {envelope.task!r:.200}")
    delivery = delivery_of(event, context)._replace(awaited=True)
    match run_message(Message(task, envelope), delivery):
        case Succeeded(result):
            return json.loads(json.dumps(result, default=_plain))
        case DeadLettered(_, Discard()):
            return None
        case RetryAfter(_, error) | DeadLettered(_, BaseException() as error):
            raise error if isinstance(error, Exception) else TaskRejectedError(describe(error))
        case DeadLettered(reason):
            raise TaskRejectedError(reason)
    return None


def _envelope(event: Any) -> Envelope | None:
    """The envelope that an event is, if it is one."""
    if not isinstance(event, dict) or not {"id", "task", "metadata"} <= event.keys():
        return None
    try:
        return received(json.dumps(event))
    except EnvelopeError:
        return None


def _plain(value: Any) -> Any:
    from runtime_lib.results import plain

    return plain(value)


def _arguments(event: Any) -> tuple[list[Any], dict[str, Any]]:
    match event:
        case None:
            return [], {}
        case dict():
            return [], event
        case list():
            return event, {}
    return [event], {}
