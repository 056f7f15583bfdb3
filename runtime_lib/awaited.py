"""`await compute(data)`: a task that has others before or after it, or a process of its own, dispatched and waited for.

The task that waits keeps its function, or its place in its worker, all the while. What it waits for does not start
anew when it is retried: its id is made of that of the task that waits, and how it has ended is looked up first.
"""

import json
import time
from asyncio import sleep, timeout, to_thread
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from runtime_lib.context import TaskContext, current_context
from runtime_lib.envelope import derived_id
from runtime_lib.errors import (
    DispatchError,
    NotRecordedError,
    ResultUnavailableError,
    StoreError,
    TaskCancelledError,
    TaskFailedError,
    message_of,
)
from runtime_lib.outcomes import DeadLettered, Discarded, Outcome, Succeeded
from runtime_lib.queues import queue_name
from runtime_lib.task_record import TaskStatus
from runtime_lib.tracking import get_store
from runtime_lib.transports import RouteTransport, get_transport
from runtime_lib.transports.eager import EagerTransport, answers, asked
from runtime_lib.transports.routes import find_route

if TYPE_CHECKING:
    from runtime_lib.contract import Route
    from runtime_lib.invocation import Call
    from runtime_lib.task import Task
    from runtime_lib.transports import Transport

__all__ = ["result_of"]

_SECONDS_AHEAD = 1.0
"""Before its function's deadline a task that waits fails, while it can still say why."""
_PATIENCE_SECONDS = 10.0
"""Step Functions tells of an execution some time after it has started it."""
_PAUSE_SECONDS = 0.2


def result_of(task: "Task[..., Any]", args: Sequence[Any], kwargs: Mapping[str, Any]) -> Coroutine[Any, Any, Any]:
    """Awaited, it dispatches the task, and waits for what it returns; if it is cancelled, only the waiting is.

    Raises:
        ArgumentError: (a TypeError) at the call: the arguments do not fit the signature or cannot be sent.
        DispatchError: it is not with AWS, or nothing would tell how it ends; says why.
        TaskFailedError: it was given up; ``failure`` says with what.
        TaskCancelledError: it was cancelled, or discarded itself.
        ResultUnavailableError: it succeeded, and its result is no JSON or was not recorded; says why.
        TimeoutError: it has not ended a second before the deadline of the function that waits.
    """
    call = task.call(*args, **kwargs)
    context = current_context()
    if context is None:
        return _wait_for(call, None)
    key = json.dumps(("await", call.envelope.task, call.envelope.args, call.envelope.kwargs))
    which = str(next(context.repeats.setdefault(key, count())))
    return _wait_for(call, context, (derived_id("await", context.id, key, which, str(run)) for run in count()))


async def _wait_for(call: "Call", context: TaskContext | None, ids: Iterable[str] = ()) -> Any:
    """Wait for the first run of these ids that has not failed in an earlier attempt; without any, for a new one."""
    transport = get_transport()
    route = find_route(call) if isinstance(transport, RouteTransport) else None
    is_here = isinstance(transport, EagerTransport) or (isinstance(transport, RouteTransport) and route is None)
    if not is_here:
        _require_records(call, transport, route)
        _refuse_own_place(call, context, route)
    status_of = _status_here if is_here else _status_there
    status: TaskStatus | None = None
    for one in ids:
        call = _with_id(call, one)
        status = await to_thread(status_of, call)
        if status not in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
            break
    if is_here:
        return await to_thread(_run_here, transport, call)
    if status is None or status is TaskStatus.QUEUED:  # (its record may be all that came of an attempt to dispatch it)
        await to_thread(_send, transport, call)
    return await _until_deadline(call, context)


def _with_id(call: "Call", envelope_id: str) -> "Call":
    envelope = call.envelope._replace(id=envelope_id)
    return call._replace(envelope=envelope, body=envelope.encode())


# --- Where it is dispatched ------------------------------------------------------------------------------------------


def _status_here(call: "Call") -> TaskStatus | None:
    match (answers.get() or {}).get(call.envelope.id):
        case Succeeded():
            return TaskStatus.SUCCEEDED
        case DeadLettered():
            return TaskStatus.FAILED
        case Discarded():
            return TaskStatus.CANCELLED
    return None


def _run_here(transport: "Transport", call: "Call") -> Any:
    """What it returns, as JSON values, or returned in an earlier attempt."""
    known, task_id = answers.get(), call.envelope.id
    found: dict[str, Outcome] = {} if known is None else known
    if task_id not in found:
        asked.set((task_id, found))  # (in the context of this thread's call alone)
        try:
            transport.send([call])
        except (Exception, SystemExit):
            if task_id not in found:
                raise
    return _told(call, found[task_id])


def _told(call: "Call", outcome: Outcome) -> Any:
    from runtime_lib.results import encode_result

    named = f"{call.envelope.task} {call.envelope.id}"
    match outcome:
        case Succeeded(result):
            text, missing = encode_result(result)
            if text is None:
                raise ResultUnavailableError(f"{named} succeeded, but its result is not here: {missing}")
            return json.loads(text)
        case Discarded(reason):
            raise TaskCancelledError(f"{named} was cancelled: {reason}")
        case DeadLettered(reason, error):
            from runtime_lib.task_record import RecordedError

            failure = (
                RecordedError(type(error).__name__, message_of(error)) if error else RecordedError("TaskError", reason)
            )
            raise TaskFailedError(f"{named} failed: {failure}", failure) from error
    raise AssertionError(outcome)


# --- Elsewhere -------------------------------------------------------------------------------------------------------


def _require_records(call: "Call", transport: "Transport", route: "Route | None") -> None:
    if route and route.kind == "states" and not route.stored:
        return
    task = call.envelope.task
    if route and not route.stored:
        raise DispatchError(
            f"{task} cannot be awaited: its route {str(route)!r} leads to what records nothing, so that nobody learns "
            "how it ends; give the construct that serves it store=TaskStore(…), and call grant_read(function) on that"
        )
    try:
        get_store()
    except StoreError as error:
        raise DispatchError(f"{task} cannot be awaited through {transport!r}: {error}") from None


def _refuse_own_place(call: "Call", context: TaskContext | None, route: "Route | None") -> None:
    """A task that waits for what has to run where it runs itself may take the last place there."""
    source = context.delivery.source if context else None
    if context is None or route is None or source is None or source != _place(route):
        return
    what = "queue" if route.kind == "sqs" else "function"
    raise DispatchError(
        f"{context.task} awaits {call.envelope.task}, which the same {what} serves ({source}): it would hold a place "
        f"there while that waits for one, and when all are held so, none ever ends. Name {context.task} in a "
        f"workflow (run_after=) instead of awaiting, or let another construct serve {call.envelope.task}"
    )


def _place(route: "Route") -> str:
    """A route as `Delivery.source` spells where a message was delivered."""
    if route.kind == "sqs":
        return f"sqs:{queue_name(route.target)}"
    return f"{route.kind}:{route.target.rpartition(':function:')[2].partition(':')[0]}"


def _status_there(call: "Call") -> TaskStatus | None:
    try:
        return call.handle.status()
    except NotRecordedError:
        return None


def _send(transport: "Transport", call: "Call") -> None:
    """Send it now, also inside of a `dispatch_batch`, whose end would be waited for by what it waits for."""
    if isinstance(transport, RouteTransport):
        transport.send([call])
        return
    from runtime_lib.tracked_send import send_recorded

    send_recorded(transport.send, [call])


async def _until_deadline(call: "Call", context: TaskContext | None) -> Any:
    left = context.remaining_seconds() if context else None
    scope = timeout(None if left is None else max(0.0, left - _SECONDS_AHEAD))
    try:
        async with scope:
            return await _ended(call)
    except TimeoutError:
        if not scope.expired():
            raise
    raise TimeoutError(
        f"{context and context.task} has waited for {call.envelope.task} {call.envelope.id} until {_SECONDS_AHEAD:g} s "
        "before its function's deadline: that goes on, and the next attempt waits for the same run; give the function "
        "a longer timeout, or let run_after= name what needs the result"
    )


async def _ended(call: "Call") -> Any:
    began = time.monotonic()
    while True:
        try:
            return await call.handle
        except NotRecordedError:
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise
        await sleep(_PAUSE_SECONDS)
