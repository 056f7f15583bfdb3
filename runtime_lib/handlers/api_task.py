"""The handler of an ApiTask's function: one request of a REST API per invocation."""

import os
import sys
from typing import TYPE_CHECKING, Any

from runtime_lib.api.binding import Binding, binding_of
from runtime_lib.api.responses import error_response, render, response_of
from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_API_RESPOND, ENV_API_STATUS_PATH
from runtime_lib.errors import (
    ArgumentError,
    Discard,
    HttpError,
    NoRouteError,
    PayloadTooLargeError,
    Reject,
    RetryLater,
    TaskDefinitionError,
)
from runtime_lib.events.api import ApiEvent, ApiResponse, JsonResponse
from runtime_lib.execution import DeadLettered, Message, Succeeded
from runtime_lib.handlers._async_invocation import delivery_of
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._one_task import envelope_of, the_task
from runtime_lib.handlers._running import run_message
from runtime_lib.log import logger

if TYPE_CHECKING:
    from runtime_lib.handle import TaskHandle
    from runtime_lib.task import Call, Task

__all__ = ["handler"]

_RETRY_AFTER_SECONDS = "5"

start()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run the function's task for a request and answer with its result, or dispatch it and answer 202.

    Whatever goes wrong is an answer with ``{"message": …}``, and in the log where it is not the client's fault.

    Raises:
        ArgumentError: the event is no request of a REST API.
    """
    request = ApiEvent(event)
    # Not API Gateway's own id of the request, which a client may choose.
    request_id = context.aws_request_id if context else request.request_id
    try:
        return render(_response(request, request_id, context), request)
    except _FailedError:
        pass  # the log says why
    except Exception as error:  # noqa: BLE001  (all that a client may know is the id)
        logger.exception(
            "%s %s could not be answered: %s", request.method, request.resource, error, extra={"id": request_id}
        )
    return render(error_response(HttpError(500, "internal server error", details={"id": request_id})), request)


class _FailedError(Exception):
    """The task has failed."""


def _response(request: ApiEvent, request_id: str, context: Any) -> ApiResponse:
    task = the_task()
    binding = binding_of(task, request.resource)
    try:
        if os.environ.get(ENV_API_RESPOND) == "accepted":
            return _dispatch(task, binding, request)
        delivery = delivery_of(request.raw, context)
        return _run(
            Message(task, envelope_of(request_id, task)),
            delivery._replace(awaited=True, arguments=lambda: binding.bind(request)),
        )
    except HttpError as error:
        return error_response(error)


def _run(message: Message, delivery: Delivery) -> ApiResponse:
    match run_message(message, delivery):
        case Succeeded(result):
            return response_of(result)
        case DeadLettered(_, HttpError() as error):
            raise error
        case DeadLettered(_, (Discard() | Reject() | RetryLater()) as error):
            logger.error(
                "%s raised %s, which says what becomes of a message, and behind an API there is none: raise HttpError "
                "to answer with an error",
                message.task.name,
                type(error).__name__,
                extra={"id": message.envelope.id},
            )
    raise _FailedError


def _dispatch(task: "Task[..., Any]", binding: Binding, request: ApiEvent) -> JsonResponse:
    if binding.is_given_event:
        raise TaskDefinitionError(
            f"{task.name} takes an ApiEvent, which is not there any more when it runs in the background: take typed "
            "parameters, or let its ApiTask respond with the result"
        )
    args, kwargs = binding.bind(request)
    try:
        call = task.call(*args, **kwargs)
        handle = _send(task, call)
    except PayloadTooLargeError as error:
        raise HttpError(413, "the request is larger than the message of a task may be") from error
    except ArgumentError as error:  # (what fits the signature need not fit into a message: infinity, nesting)
        raise HttpError(400, str(error)) from error
    status_path = os.environ.get(ENV_API_STATUS_PATH)
    if not status_path:
        return JsonResponse({"id": handle.id}, 202)
    status_url = request.url(status_path.replace("{id}", handle.id))
    return JsonResponse({"id": handle.id, "status_url": status_url}, 202, {"Location": status_url})


def _send(task: "Task[..., Any]", call: "Call") -> "TaskHandle":
    try:
        [handle] = task.dispatch_many([call])
    except (NoRouteError, PayloadTooLargeError):
        raise  # which trying again does not help
    except Exception as error:
        logger.exception("%s was not dispatched", task.name, extra={"id": call.envelope.id})
        message = "the task could not be dispatched: try again later"
        raise HttpError(503, message, {"Retry-After": _RETRY_AFTER_SECONDS}) from error
    return handle


if "runtime_lib.streaming.background" in sys.modules:  # its task's module has imported after_response
    from runtime_lib.streaming.hook import with_work_after

    handler = with_work_after(handler)  # type: ignore[assignment]
