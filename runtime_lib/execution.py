"""Run one task for one message, and say what shall become of the message."""

import time
from contextvars import copy_context
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from runtime_lib import hooks
from runtime_lib.admission import Message, admit, refused, wait
from runtime_lib.context import Delivery, TaskContext, running
from runtime_lib.contract import NODE_KEY
from runtime_lib.envelope import Envelope
from runtime_lib.errors import (
    ArgumentError,
    Discard,
    EnvelopeError,
    HttpError,
    NotBegunError,
    PayloadLostError,
    PayloadUnavailableError,
    Reject,
    RetryLater,
    TaskDefinitionError,
    message_of,
)
from runtime_lib.log import logger
from runtime_lib.outcomes import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, TaskRejectedError
from runtime_lib.tracking import receiving_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime_lib.retry import Retry
    from runtime_lib.task import Task

__all__ = [
    "DeadLettered",
    "Discarded",
    "Message",
    "Outcome",
    "RetryAfter",
    "Succeeded",
    "TaskRejectedError",
    "admit",
    "describe",
    "give_up",
    "last_run",
    "refused",
    "run",
    "run_async",
]


def run(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    """Run a ``def`` task; what it raises becomes an outcome, and context variables that it sets end with it."""
    return copy_context().run(_run, task, envelope, delivery)


def _run(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    store = receiving_store()
    if store is None:
        return _attempt(task, envelope, delivery)
    from runtime_lib import tracked_run

    begun = tracked_run.begin(store, envelope, delivery)
    if not isinstance(begun, tracked_run.TrackedRun):
        return begun
    with begun:
        outcome = _attempt(task, envelope, begun.delivery)
    begun.end(outcome)
    return outcome


def _attempt(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    context = TaskContext(envelope, delivery)
    running.set(context)
    started = time.monotonic()
    try:
        _check(task, context)
        if "overlap" in envelope.metadata:
            _begin_occurrence(context)
        _before(context)
        args, kwargs = _arguments(task, context, _sent(task, envelope))
        outcome: Outcome = Succeeded(_returned(task, _inside_middleware(task, context)(*args, **kwargs)))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  (also sys.exit(): a task must not end its neighbours)
        outcome = _failed(task, context, error)
    _finish(context, outcome, started)
    if "overlap" in envelope.metadata:
        _end_occurrence(context, outcome)
    return outcome


async def run_async(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    """`run` for an ``async def`` task."""
    from asyncio import create_task

    return await create_task(_run_async(task, envelope, delivery))  # which has context variables of its own


async def _run_async(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    store = receiving_store()
    if store is None:
        return await _attempt_async(task, envelope, delivery)
    from asyncio import to_thread

    from runtime_lib import tracked_run

    begun = await to_thread(tracked_run.begin, store, envelope, delivery)
    if not isinstance(begun, tracked_run.TrackedRun):
        return begun
    with begun:
        outcome = await _attempt_async(task, envelope, begun.delivery)
    await to_thread(begun.end, outcome)
    return outcome


async def _attempt_async(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    from asyncio import CancelledError, current_task, to_thread

    context = TaskContext(envelope, delivery)
    running.set(context)
    started = time.monotonic()
    try:
        _check(task, context)
        if "overlap" in envelope.metadata:
            await to_thread(_begin_occurrence, context)
        _before(context)
        is_elsewhere = "payload_key" in envelope.metadata or NODE_KEY in envelope.metadata
        sent = await to_thread(_sent, task, envelope) if is_elsewhere else _sent(task, envelope)
        args, kwargs = _arguments(task, context, sent)
        outcome: Outcome = Succeeded(_returned(task, await _inside_middleware(task, context)(*args, **kwargs)))
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        this = current_task()
        if isinstance(error, CancelledError) and this and this.cancelling():
            if "overlap" in envelope.metadata:
                _drop_occurrence(context)
            raise  # its run is cancelled; otherwise it awaited something else that was
        outcome = _failed(task, context, error)
    _finish(context, outcome, started)
    if "overlap" in envelope.metadata:
        await to_thread(_end_occurrence, context, outcome)
    return outcome


def _returned(task: "Task[..., Any]", result: Any) -> Any:
    """The result, unless it is the task itself, not yet run: a decorator's ``def`` around an ``async def``."""
    if not isinstance(result, _NOT_RUN):
        return result
    if isinstance(result, CoroutineType):
        result.close()
    error = TaskDefinitionError(
        f"{task.name} returned a {type(result).__name__}, whose code has not run: a decorator below @task has to be "
        "async if its function is, and to use up a generator"
    )
    raise _GivenUp(str(error)) from error


class _GivenUp(Exception):  # noqa: N818
    """The message must not run."""


def _check(task: "Task[..., Any]", context: TaskContext) -> None:
    """Whether nothing speaks against running the message."""
    envelope, delivery = context.envelope, context.delivery
    if delivery.attempt > 1 and delivery.max_receive_count and delivery.attempt > last_run(task.retry, delivery):
        raise _GivenUp(f"{delivery.attempt - 1} deliveries ended without a report: timeout, out of memory or killed")
    if envelope.hops > task.max_hops:
        raise _GivenUp(
            f"{envelope.hops} tasks dispatched one another (max_hops is {task.max_hops}): a loop? "
            f"The chain began with {envelope.chain}; this one was dispatched by {envelope.metadata.get('source')}"
        )


def _before(context: TaskContext) -> None:
    for hook in hooks.before:
        hook(context)


def _begin_occurrence(context: TaskContext) -> None:
    from runtime_lib import occurrence

    occurrence.begin(context)


def _drop_occurrence(context: TaskContext) -> None:
    from runtime_lib import occurrence

    occurrence.drop(context)


def _end_occurrence(context: TaskContext, outcome: Outcome) -> None:
    from runtime_lib import occurrence

    occurrence.end(context, outcome)


def _sent(task: "Task[..., Any]", envelope: Envelope) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as they were sent: by the message, by way of the payload bucket, or by the task before this one."""
    metadata = envelope.metadata
    if "payload_key" not in metadata and NODE_KEY not in metadata:
        return envelope.args, envelope.kwargs
    try:
        if NODE_KEY in metadata:
            from runtime_lib.workflow import node

            return node.arguments(task, envelope)
        from runtime_lib.payloads import claim

        return claim(envelope)
    except (EnvelopeError, PayloadLostError) as error:
        raise _GivenUp(str(error)) from error


def _arguments(
    task: "Task[..., Any]", context: TaskContext, sent: tuple[list[Any], dict[str, Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as the task takes them, with what the library passes."""
    if sent[0] is not context.envelope.args:  # what is made of the context has them, too
        context.envelope = context.envelope._replace(args=sent[0], kwargs=sent[1])
    try:
        if context.delivery.arguments:
            args, kwargs = context.delivery.arguments()
        else:
            args, kwargs = task.signature.accept(*sent)
        kwargs |= {parameter: inject(context) for parameter, inject in task.signature.injected.items()}
    except (ArgumentError, TaskDefinitionError) as error:
        raise _GivenUp(str(error)) from error
    return args, kwargs


def _inside_middleware(task: "Task[..., Any]", context: TaskContext) -> "Callable[..., Any]":
    """The task's function, with the middleware around it where there is any."""
    try:
        function = _innermost(task, context) if task.timeout or task.subprocess else task.function
        if not (hooks.around or task.middleware or task.group):
            return function
        from runtime_lib.middleware_chain import wrapped

        return wrapped(task, context, function)
    except TaskDefinitionError as error:
        raise _GivenUp(str(error)) from error


def _innermost(task: "Task[..., Any]", context: TaskContext) -> "Callable[..., Any]":
    """The task's function as it runs in a process of its own, or within its timeout."""
    if task.subprocess:
        from runtime_lib.subprocess_run import in_its_own_process

        return in_its_own_process(task, context)
    from runtime_lib.time_limit import limited

    return limited(task)


def last_run(retry: "Retry", delivery: Delivery) -> float:
    """The last delivery that runs the task.

    A policy of fewer attempts than the queue allows leaves one delivery over: if it comes, earlier ones never reported,
    and the message is given up with that reason before SQS would move it without any.
    """
    if delivery.max_receive_count is None:
        return float("inf")
    wanted = retry.max_attempts or float("inf")
    return delivery.max_receive_count if wanted >= delivery.max_receive_count else delivery.max_receive_count - 1


_GIVEN_UP = "_runtime_lib_given_up"
_NOT_RUN = (CoroutineType, GeneratorType, AsyncGeneratorType)


def give_up(error: BaseException) -> None:
    """Mark an exception as final: an eager task whose eager dispatch raised it is not retried, however deep it is."""
    vars(error)[_GIVEN_UP] = True  # (an exception class may refuse to set attributes)


def _failed(task: "Task[..., Any]", context: TaskContext, error: BaseException) -> Outcome:
    delivery = context.delivery
    if isinstance(error, _GivenUp):
        return DeadLettered(str(error), error.__cause__)
    if delivery.awaited:
        return DeadLettered(describe(error), error)
    if isinstance(error, Discard):
        return Discarded(message_of(error))
    if isinstance(error, Reject):
        return DeadLettered(message_of(error) or "rejected by the task", error)
    if delivery.eager and _GIVEN_UP in vars(error):
        return DeadLettered(f"a task dispatched eagerly failed: {describe(error)}", error)
    at_end = delivery.attempt >= last_run(task.retry, delivery)
    if isinstance(
        error, NotBegunError | PayloadUnavailableError
    ):  # not the task's failure: its policy has no say in it
        return DeadLettered(str(error), error) if at_end else RetryAfter(wait(delivery), error)
    if isinstance(error, RetryLater):
        if delivery.is_invocation:
            return DeadLettered(
                "RetryLater cannot be raised on an asynchronous invocation, which has no delays: serve the task by a "
                "ManagedAsyncTask or PriorityTaskQueues",
                error,
            )
        if at_end:
            return DeadLettered(f"RetryLater after {delivery.attempt} deliveries: the queue allows no more", error)
        return RetryAfter(error.delay, error)
    is_counted = delivery.is_counted or task.retry.max_attempts == 1
    delay = task.retry.delay(error, delivery.attempt if is_counted else 0)
    if delay is not None and not at_end:
        return RetryAfter(delay, error)
    is_invoked = (delivery.source or "").startswith("lambda:")
    allowing = "retry_attempts" if is_invoked else "the queue's max_receive_count"
    limit = "" if delay is None else f", the last that {allowing} allows"
    return DeadLettered(f"failed at attempt {delivery.attempt}{limit}: {describe(error)}", error)


def describe(error: BaseException) -> str:
    """An exception as its type and message."""
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _finish(context: TaskContext, outcome: Outcome, started: float) -> None:
    for hook in hooks.after:
        try:
            hook(context, outcome)
        except (Exception, SystemExit):  # noqa: BLE001  (the task has run: what happens after it changes nothing)
            logger.exception("the after_task hook %s failed", getattr(hook, "__name__", hook), extra=_extra(context))
    elapsed = 1000 * (time.monotonic() - started)
    extra = _extra(context)
    # The engine of a workflow is answered, and somebody may be: what is given up for them lies nowhere.
    is_answered = context.delivery.awaited or (NODE_KEY in context.envelope.metadata and not context.receipt)
    match outcome:
        case Succeeded():
            logger.info("%s succeeded in %.0f ms", context.task, elapsed, extra=extra)
        case Discarded(reason):
            logger.info("%s discarded its message: %s", context.task, reason, extra=extra)
        case RetryAfter(delay, RetryLater()):
            logger.info("%s asked to run again in %.1f s", context.task, delay, extra=extra)
        case RetryAfter(delay, error):
            extra |= _notes(error)
            # Without a receipt the message is in no queue, and the delay is up to whoever invoked.
            again = f" and runs again in {delay:.1f} s" if context.receipt else ""
            logger.warning(
                "%s failed at attempt %d%s", context.task, context.attempt, again, exc_info=error, extra=extra
            )
        case DeadLettered(_, HttpError() as error) if context.delivery.awaited:
            logger.info("%s answered %s in %.0f ms", context.task, error, elapsed, extra=extra)
        case DeadLettered(reason, error) if is_answered:
            logger.error("%s failed: %s", context.task, reason, exc_info=error, extra=extra | _notes(error))
        case DeadLettered(reason, error):
            logger.error("%s is dead-lettered: %s", context.task, reason, exc_info=error, extra=extra | _notes(error))


def _notes(error: BaseException | None) -> dict[str, Any]:
    """The notes of an exception, such as the traceback of a task's own process: Lambda's JSON lines leave them out."""
    notes = getattr(error, "__notes__", None)
    return {"notes": notes} if notes else {}


def _extra(context: TaskContext) -> dict[str, Any]:
    envelope = context.envelope
    return {
        "task": envelope.task,
        "id": envelope.id,
        "attempt": context.delivery.attempt,
        "chain": envelope.chain,
    }
