"""The task runs now, in this thread: for scripts, tests and a laptop without a cloud."""

import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime_lib import hooks, registry
from runtime_lib.context import Delivery
from runtime_lib.contract import DEFAULT_MAX_RECEIVE_COUNT
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Outcome, RetryAfter, TaskRejectedError, give_up, run, run_async
from runtime_lib.tracking import receiving_store

if TYPE_CHECKING:
    from runtime_lib.task import Call, Task

__all__ = ["EagerRun", "EagerTransport", "answers", "asked", "run_until_done", "watchers"]

watchers: "list[Callable[[EagerRun], None]]" = []
"""Told of each run when it begins, in whatever thread it runs."""
asked: "ContextVar[tuple[str, dict[str, Outcome]] | None]" = ContextVar("runtime_lib.eager_asked", default=None)
"""The id of the message that somebody waits for, and where to put how it ended."""
answers: "ContextVar[dict[str, Outcome] | None]" = ContextVar("runtime_lib.eager_answers", default=None)
"""How what the running task has awaited ended, by id: its next attempt awaits it as well, and it has run already."""


class EagerRun:
    """One run of a task, of all its attempts; times are those of `time.monotonic`."""

    __slots__ = ("attempts", "ended", "envelope", "index", "node", "outcome", "started", "task")

    def __init__(self, task: str, envelope: Envelope | None, *, node: str, index: str | None = None) -> None:
        self.task, self.envelope, self.node, self.index = task, envelope, node, index
        self.attempts = 0
        self.started = time.monotonic()
        self.ended: float | None = None
        self.outcome: Outcome | None = None
        """How it ended; None: it is under way, or it never begins, if there is no envelope."""
        for watch in tuple(watchers):
            watch(self)

    def end(self, outcome: Outcome | None) -> None:
        """Say how it ended."""
        self.outcome, self.ended = outcome, time.monotonic()


class EagerTransport:
    """Runs each task at once; its last exception propagates, after retries that do not wait. Delays are skipped.

    The message goes through the codec like any other, so that what cannot be sent fails here as well. With a task run
    those before and after it, as in the cloud; branches run side by side, each in a thread.
    """

    def send(self, calls: "Sequence[Call]") -> None:
        """Run them one after the other.

        Raises:
            UnknownTaskError: one is not registered in this process; nothing is run.
            TaskDefinitionError: the tasks before and after one cannot be what they are named as; nothing is run.
            StoreError: one could not be recorded, and is not run.
            Exception: what the task raised at its last attempt, or the first of those before and after it that failed.
        """
        tasks = [(registry.resolve(call.envelope.task), call) for call in calls]
        _check_graphs([task for task, _ in tasks])
        hooks.run_init_tasks()
        store = receiving_store()
        for task, call in tasks:
            if store:
                store.add(call.envelope.id, call.envelope.task)
            _run(task, call.envelope.id, call.body)


def _check_graphs(tasks: "Sequence[Task[..., Any]]") -> None:
    for task in tasks:
        if task.edges:
            from runtime_lib.workflow import graph

            graph.check(task)


def _run(task: "Task[..., Any]", envelope_id: str, body: str) -> None:
    if task.edges:
        from runtime_lib.workflow import eager

        outcome = eager.run_workflow(task, body)
    else:
        message = partial(Envelope.decode, body)
        eager_run = EagerRun(task.name, message(), node=task.definition.__name__)
        outcome = run_until_done(task, message, eager_run)
        eager_run.end(outcome)
    waiting = asked.get()
    if waiting and waiting[0] == envelope_id:
        waiting[1][envelope_id] = outcome
    if isinstance(outcome, DeadLettered):
        error = outcome.error or TaskRejectedError(outcome.reason)
        give_up(error)
        raise error


def run_until_done(task: "Task[..., Any]", message: Callable[[], Envelope], eager_run: EagerRun) -> Outcome:
    """Run a task as often as its policy says, and say how its last attempt ended.

    Args:
        task: the task.
        message: makes its message, anew for each attempt: the last one may have changed its arguments.
        eager_run: where its attempts are counted.
    """
    token = answers.set({})
    outcome: Outcome | None = None
    try:
        while outcome is None or isinstance(outcome, RetryAfter):
            eager_run.attempts += 1
            delivery = Delivery(eager_run.attempts, DEFAULT_MAX_RECEIVE_COUNT, eager=True)
            outcome = (_run_async if task.is_async else run)(task, message(), delivery)
    finally:
        answers.reset(token)
    return outcome


def _run_async(task: "Task[..., Any]", envelope: Envelope, delivery: Delivery) -> Outcome:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_async(task, envelope, delivery))
    # A loop is running in this thread and cannot run another one inside: let a helper thread have its own.
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, run_async(task, envelope, delivery)).result()
