"""Running a message in a Lambda environment: in its one thread, and on its one event loop."""

from collections.abc import Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from runtime_lib.context import Delivery
from runtime_lib.execution import Message, Outcome, run, run_async

if TYPE_CHECKING:
    from asyncio import Runner

__all__ = ["run_in_loop", "run_message"]

_runner: "Runner | None" = None


def run_message(message: Message, delivery: Delivery) -> Outcome:
    """Run a message's task, ``def`` or ``async def``, to its end."""
    task, envelope = message
    if not task.is_async:
        return run(task, envelope, delivery)
    outcome: Outcome = run_in_loop(run_async(task, envelope, delivery))
    return outcome


def run_in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on the one event loop of this environment, so that a task's connections outlive a batch."""
    global _runner  # noqa: PLW0603
    if _runner is None:
        from asyncio import Runner

        _runner = Runner()
    # (by default every run has the context variables of the first)
    try:
        return _runner.run(coroutine, context=copy_context())
    except SystemExit:  # of a task that nobody awaits, too: the others would run on in the next event
        _runner.close()
        _runner = None
        raise
