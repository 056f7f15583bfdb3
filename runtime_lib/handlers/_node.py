"""Runs of tasks inside executions of Step Functions: how one is run for the engine, and how its end is told.

The runtime decides what becomes of an attempt and says it by the name of an error; when the next one is, and what
follows, is in the state machine.
"""

import json
import os
from typing import Any

from runtime_lib.clients import client as shared_client
from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_PAYLOADS, FAILURE_CHARACTERS, MAPPED_ITEMS, NODE_KEY
from runtime_lib.errors import (
    AlreadyFailedError,
    Discard,
    EnvelopeError,
    NewerMessageError,
    NotBegunError,
    PayloadUnavailableError,
    TaskError,
    UnknownTaskError,
    message_of,
)
from runtime_lib.execution import DeadLettered, Discarded, Message, Outcome, RetryAfter, Succeeded, admit
from runtime_lib.handlers._async_invocation import delivery_of
from runtime_lib.handlers._running import run_message
from runtime_lib.log import logger
from runtime_lib.tracking import receiving_store
from runtime_lib.workflow.node import Node, node_id, node_of, result_text

__all__ = ["TaskDiscarded", "TaskFailed", "TaskNotBegun", "TaskRetry", "answer", "is_node_event", "report"]

_NOT_BEGUN = (NotBegunError, UnknownTaskError, NewerMessageError, PayloadUnavailableError)
_NOT_AWAITED = {"TaskTimedOut", "TaskDoesNotExist"}
"""What Step Functions answers of a task that has ended for it."""


# Step Functions knows an error by the name of its class, and nothing else of it: `contract.NODE_RETRY` and the like.


class TaskRetry(TaskError):  # noqa: N818
    """The attempt failed, and the task's policy allows another."""


class TaskFailed(TaskError):  # noqa: N818
    """The task failed for good."""


class TaskNotBegun(TaskError):  # noqa: N818
    """The attempt could not begin."""


class TaskDiscarded(TaskError):  # noqa: N818
    """The task is done with its message: nothing follows it, and nothing has failed."""


def is_node_event(event: Any) -> bool:
    """Whether an event is a run inside an execution."""
    return isinstance(event, dict) and NODE_KEY in event


def answer(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Run the task of an event, and return its result as `contract.NODE_KEY` says.

    Raises:
        TaskRetry: the attempt failed, and another one is allowed.
        TaskFailed: it failed for good.
        TaskNotBegun: it did not run, and is to be tried again.
        TaskDiscarded: what follows is not to run.
    """
    node = node_of(event)
    delivery = delivery_of(event, context)._replace(
        attempt=node.retries + 1,
        max_receive_count=None,
        # The same at each attempt of one entry into the state, so that a crashed one is known as one of them.
        message_id=f"{node.name} {node.item} {node.entered}",
        is_invocation=False,
        # Without a store only the engine knows how often the task itself has failed.
        is_counted=receiving_store() is not None,
    )
    outcome = _run(json.dumps(event), delivery)
    try:
        return _answer(outcome, node, event)
    except TaskError as error:
        # The traceback is in the log; that of this module would only fill the state.
        raise error.with_traceback(None) from None


def report(body: str, outcome: Outcome, *, region: str | None = None, client: Any | None = None) -> bool:
    """Tell the engine how a run ended that came through a queue; False: it could not be told, and has to be again.

    An execution that does not wait for it any more is told nothing. ``region`` is that of the queue, if it may be
    another one than this process's own.
    """
    try:
        event = json.loads(body)
        node = node_of(event)
    except (EnvelopeError, ValueError, RecursionError):
        return True  # nothing tells whom to tell
    if isinstance(outcome, RetryAfter) or not node.token:
        return True
    try:
        states = client or shared_client("stepfunctions", region)
        _tell(states, node, outcome, event)
    except Exception as error:  # noqa: BLE001  (botocore's errors share no base class)
        if getattr(error, "response", {}).get("Error", {}).get("Code") in _NOT_AWAITED:
            logger.warning("%s has ended, and its workflow does not wait for it any more", node.name)
            return True
        logger.exception("%s has ended, and its workflow could not be told", node.name)
        return False
    return True


def _tell(states: Any, node: Node, outcome: Outcome, event: dict[str, Any]) -> None:
    try:
        output = json.dumps(_answer(outcome, node, event))
    except TaskNotBegun:  # its result cannot be handed on now: the queue delivers it again
        raise
    except TaskError as error:
        cause = json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)})
        states.send_task_failure(taskToken=node.token, error=type(error).__name__, cause=cause)
    else:
        states.send_task_success(taskToken=node.token, output=output)


def _run(body: str, delivery: Delivery) -> Outcome:
    admitted = admit(body, delivery)
    return run_message(admitted, delivery) if isinstance(admitted, Message) else admitted


def _answer(outcome: Outcome, node: Node, event: dict[str, Any]) -> dict[str, Any] | None:
    match outcome:
        case Succeeded(result):
            return _result(result, node, str(event[NODE_KEY]["run"]["id"]))
        case RetryAfter(_, error) if isinstance(error, _NOT_BEGUN):
            raise TaskNotBegun(_described(error))
        case RetryAfter(_, error):
            raise TaskRetry(_described(error))
        case Discarded(reason):
            _leave_nothing(node, event)
            raise TaskDiscarded(reason[:FAILURE_CHARACTERS])
        case DeadLettered(reason, None):
            raise TaskFailed(f"TaskRejectedError: {reason}"[:FAILURE_CHARACTERS])
        case DeadLettered(reason, Discard()):
            _leave_nothing(node, event)
            raise TaskDiscarded(reason[:FAILURE_CHARACTERS])
        case DeadLettered(_, error):
            raise TaskFailed(_described(error))


def _result(result: Any, node: Node, run_id: str) -> dict[str, Any] | None:
    """The result, if somebody wants it: as it is, or as its key in the bucket."""
    if node.claim is None:
        return None
    try:
        text = result_text(node.task, result, is_list=node.items is not None)
    except TypeError as error:
        raise TaskFailed(_described(error)) from None
    is_long = node.items is not None and len(result) > node.items
    if node.items is not None and len(result) > MAPPED_ITEMS:
        raise TaskFailed(
            f"ValueError: {node.task} returned {len(result):,} items, and a workflow maps {MAPPED_ITEMS:,}: return "
            "lists of items"
        )
    fits = len(text) <= node.claim and not is_long
    if not fits and node.inline:
        raise TaskFailed(f"ValueError: {_too_large(node, text, result)}")
    key = "" if fits and not node.kept else _put(node, run_id, text)
    return {"value": json.loads(text)} if fits else {"key": key}


def _put(node: Node, run_id: str, text: str) -> str:
    """Put a result into the bucket; its key."""
    from runtime_lib.payloads import put_value

    try:
        return put_value(node_id(run_id, node.name, node.item), text)
    except PayloadUnavailableError as error:
        # What is recorded as done is not done again, and so can be told later.
        again = TaskNotBegun if receiving_store() and os.environ.get(ENV_PAYLOADS) else TaskFailed
        raise again(_described(error)) from None


def _too_large(node: Node, text: str, result: Any) -> str:
    given, allowed = f"{len(text):,} bytes of JSON", f"{node.claim:,} bytes"
    if node.items is not None:
        given, allowed = f"{given}, {len(result):,} items", f"{allowed} and {node.items:,} items"
    return (
        f"{node.task} returned {given}, and {allowed} are what can be handed on here: give the TaskWorkflow "
        "payloads=PayloadBucket(…), map lists outside of other lists, and do not make it an Express one"
    )


def _leave_nothing(node: Node, event: dict[str, Any]) -> None:
    """Put null where the results of other items are, so that that of one which discards itself is not missing."""
    if node.kept or node.claim == 0:
        _put(node, str(event[NODE_KEY]["run"]["id"]), "null")


def _described(error: BaseException | None) -> str:
    """An exception as its type and message, which `node.failure_of` reads."""
    if isinstance(error, AlreadyFailedError) and error.failure:
        return str(error.failure)[:FAILURE_CHARACTERS]
    return f"{type(error).__name__}: {message_of(error) if error else ''}"[:FAILURE_CHARACTERS]
