"""The handler of a TaskApi's own function: what became of a task that an ApiTask dispatched."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from runtime_lib.api.responses import error_response, render
from runtime_lib.errors import HttpError, Reject, StoreError
from runtime_lib.events.api import ApiEvent, ApiResponse, JsonResponse
from runtime_lib.handlers._init_phase import start
from runtime_lib.log import logger
from runtime_lib.task_record import RecordedError, TaskRecord, TaskStatus
from runtime_lib.tracking import get_store

__all__ = ["handler"]

_RETRY_AFTER_SECONDS = "2"
_RANDOM = 4
"""The version of a UUID that nobody can guess (RFC 9562); what a request dispatches has one."""
_FOR_CLIENTS = {error.__name__: f"{error.__module__}.{error.__qualname__}" for error in (HttpError, Reject)}
"""What a task raises with a message for others, as its traceback spells it: other libraries have an HttpError, too.

Any other exception's message may tell what is nobody's business.
"""

start()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer with the record of the task whose id is in the path.

    Raises:
        ArgumentError: the event is no request of a REST API.
    """
    request = ApiEvent(event)
    request_id = context.aws_request_id if context else request.request_id
    try:
        response: ApiResponse = _described(_find(request.path_params.get("id", "")))
    except HttpError as error:
        response = error_response(error)
    except StoreError:
        logger.exception("the status of a task could not be read", extra={"id": request_id})
        details = {"id": request_id}
        response = error_response(
            HttpError(503, "the status could not be read: try again later", {"Retry-After": "5"}, details)
        )
    return render(response, request)


def _find(text: str) -> TaskRecord:
    try:
        task_id = UUID(text)
    except ValueError:
        raise HttpError(400, f"the id of a task is a UUID, given {text[:50]!r}") from None
    # To know an id is to be told its result. Others than random ones can be guessed: those of schedules' runs, ….
    record = get_store().find(str(task_id)) if task_id.version == _RANDOM else None
    if record is None:
        raise HttpError(404, f"there is no task {task_id}, or it is too long ago")
    return record


def _described(record: TaskRecord) -> JsonResponse:
    """What a client may know of a record: no traceback, and only messages that were written for others."""
    described: dict[str, Any] = {
        "id": record.id,
        "task": record.task,
        "status": record.status,
        "attempts": record.attempts,
        "queued_at": _time(record.queued_at),
        "started_at": _time(record.started_at),
        "finished_at": _time(record.finished_at),
    }
    if record.status is TaskStatus.SUCCEEDED:
        missing = record.result_missing
        described |= {"result_missing": missing} if missing else {"result": record.result}
    if record.status is TaskStatus.FAILED and record.error:
        described["error"] = _error(record.error)
    headers = {"Cache-Control": "no-store"}
    if not record.has_finished:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return JsonResponse(described, headers=headers)


def _error(error: RecordedError) -> dict[str, str]:
    spelled = _FOR_CLIENTS.get(error.type)
    is_ours = spelled is not None and f"{spelled}: {error.message}" in error.traceback
    return {"type": error.type, "message": error.message if is_ours else "the task failed"}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
