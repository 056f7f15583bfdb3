"""The task runs now, in this thread: for scripts, tests and a laptop without a cloud."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_lib import hooks, registry
from runtime_lib.context import Delivery
from runtime_lib.contract import DEFAULT_MAX_RECEIVE_COUNT
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Outcome, RetryAfter, TaskRejectedError, give_up, run, run_async
from runtime_lib.tracking import receiving_store

if TYPE_CHECKING:
    from runtime_lib.task import Call, Task

__all__ = ["EagerTransport"]


class EagerTransport:
    """Runs each task at once; its last exception propagates, after retries that do not wait. Delays are skipped.

    The message goes through the codec like any other, so that what cannot be sent fails here as well.
    """

    def send(self, calls: "Sequence[Call]") -> None:
        """Run them one after the other.

        Raises:
            UnknownTaskError: one is not registered in this process; nothing is run.
            StoreError: one could not be recorded, and is not run.
            Exception: what the task raised at its last attempt.
        """
        tasks = [(registry.resolve(call.envelope.task), call) for call in calls]
        hooks.run_init_tasks()
        store = receiving_store()
        for task, call in tasks:
            if store:
                store.add(call.envelope.id, call.envelope.task)
            _run_until_done(task, call.body)


def _run_until_done(task: "Task[..., Any]", body: str) -> None:
    outcome: Outcome | None = None
    attempt = 0
    while outcome is None or isinstance(outcome, RetryAfter):
        attempt += 1
        delivery = Delivery(attempt=attempt, max_receive_count=DEFAULT_MAX_RECEIVE_COUNT, eager=True)
        envelope = Envelope.decode(body)  # anew: the last attempt may have changed its arguments
        outcome = _run_async(task, envelope, delivery) if task.is_async else run(task, envelope, delivery)
    if isinstance(outcome, DeadLettered):
        error = outcome.error or TaskRejectedError(outcome.reason)
        give_up(error)
        raise error


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
