"""Functions that serve one task, whose events are no envelopes: the task, and an envelope made for an event."""

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_lib import registry
from runtime_lib.contract import ENV_TASK, ENVELOPE_VERSION
from runtime_lib.envelope import Envelope
from runtime_lib.errors import TaskError

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = ["envelope_of", "the_task"]


def the_task() -> "Task[..., Any]":
    """The task that this function serves.

    Raises:
        TaskError: ``TASK_NAME`` names none.
        UnknownTaskError: no module that is loaded has it.
    """
    name = os.environ.get(ENV_TASK)
    if not name:
        raise TaskError(f"{ENV_TASK} names no task for this function: its construct sets it")
    return registry.resolve(name)


def envelope_of(
    event_id: str,
    task: "Task[..., Any]",
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    **metadata: Any,
) -> Envelope:
    """The envelope of an event that came without one.

    ``event_id`` is the same however often the event is delivered: retries, logs and the store know the run by it.
    """
    return Envelope(
        event_id,
        task.name,
        list(args),
        dict(kwargs or {}),
        {},
        {
            "priority": task.priority.value,
            "timestamp": time.time_ns() // 1_000_000,
            "version": ENVELOPE_VERSION,
            **metadata,
        },
    )
