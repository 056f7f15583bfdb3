"""Workflows that were dispatched: their records are what Step Functions tells of their executions."""

import json
import os
from typing import TYPE_CHECKING, Any

from runtime_lib.clients import client
from runtime_lib.contract import Route, task_route_variable
from runtime_lib.errors import EnvelopeError, NotRecordedError, PayloadLostError, PayloadUnavailableError, StoreError
from runtime_lib.task_record import RecordedError, TaskRecord, TaskStatus
from runtime_lib.transports.states import state_machine_arn
from runtime_lib.workflow.node import failed_in, failure_of

if TYPE_CHECKING:
    from runtime_lib.handle import TaskHandle

__all__ = ["cancel", "explained", "machine_of", "record"]

_STATUSES = {
    "PENDING_REDRIVE": TaskStatus.RETRYING,
    "RUNNING": TaskStatus.RUNNING,
    "SUCCEEDED": TaskStatus.SUCCEEDED,
    "FAILED": TaskStatus.FAILED,
    "TIMED_OUT": TaskStatus.FAILED,
    "ABORTED": TaskStatus.CANCELLED,
}


def machine_of(task: str) -> str | None:
    """The state machine that a task's route leads to; None if it leads elsewhere, or its runs are in a task store."""
    value = os.environ.get(task_route_variable(task), "")
    if not value.startswith("states"):
        return None
    route = Route.parse(value, variable=task_route_variable(task))
    return route.target if route.kind == "states" and not route.stored else None


def record(machine: str, handle: "TaskHandle") -> TaskRecord:
    """What is known of a workflow that was dispatched.

    Raises:
        NotRecordedError: there is no such execution.
        StoreError: it may not be read, or Step Functions failed.
    """
    states = client("stepfunctions")
    try:
        found = states.describe_execution(executionArn=_execution_arn(machine, handle.id, states))
    except states.exceptions.ExecutionDoesNotExist:
        raise NotRecordedError(
            f"{machine} has no execution of {handle.task} {handle.id}: it is kept for 90 days after its end"
        ) from None
    except Exception as error:
        raise StoreError(
            f"the execution of {handle.task} {handle.id} cannot be read: {error} (grant_read(function) of the "
            "TaskWorkflow allows to)"
        ) from error
    status = _STATUSES.get(found["status"], TaskStatus.RUNNING)
    answer = json.loads(found.get("output") or "{}") if status is TaskStatus.SUCCEEDED else {}
    result, missing = _result(answer)
    failure = None
    if status in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
        failure = _failure(found.get("error") or found["status"], found.get("cause") or "", handle.id)
    if answer.get("discarded"):
        status, failure = TaskStatus.CANCELLED, RecordedError("Discard", "the task discarded itself")
    stopped = found.get("stopDate")
    return TaskRecord(
        handle.id,
        handle.task,
        status,
        1,
        queued_at=found["startDate"].timestamp(),
        started_at=found["startDate"].timestamp(),
        finished_at=stopped.timestamp() if stopped else None,
        result=result,
        result_missing=missing,
        error=failure,
    )


def explained(record: TaskRecord) -> TaskRecord:
    """The record of an Express execution, which says of a failure what its state machine knows."""
    if record.error is None:
        return record
    return record._replace(error=_failure(record.error.type, record.error.message, record.id))


def cancel(machine: str, handle: "TaskHandle") -> bool:
    """Stop a workflow: no further task of it begins; False if it has ended.

    Raises:
        NotRecordedError: there is no such execution.
        StoreError: it may not be stopped, or Step Functions failed.
    """
    if record(machine, handle).has_finished:
        return False
    states = client("stepfunctions")
    try:
        states.stop_execution(executionArn=_execution_arn(machine, handle.id, states), error="TaskCancelled")
    except Exception as error:
        if record(machine, handle).has_finished:
            return False
        raise StoreError(
            f"the execution of {handle.task} {handle.id} cannot be stopped: {error} (grant_cancel(function) of the "
            "TaskWorkflow allows to)"
        ) from error
    return True


def _execution_arn(machine: str, execution: str, states: Any) -> str:
    return f"{state_machine_arn(machine, states).replace(':stateMachine:', ':execution:')}:{execution}"


def _result(answer: dict[str, Any]) -> tuple[Any, str | None]:
    """What the first task returned, or why it is not here."""
    if "key" not in answer:
        return answer.get("value"), None
    from runtime_lib.payloads import read_value

    try:
        return read_value(answer["key"]), None
    except (EnvelopeError, PayloadLostError, PayloadUnavailableError) as error:
        return None, str(error)


def _failure(error: str, cause: str, run_id: str) -> RecordedError:
    failed = failed_in(cause)
    if failed is None:
        return RecordedError(error, cause)
    told = failure_of(failed, run_id)
    return RecordedError(told.error["type"], f"{told.task}: {told.error['message']}")
