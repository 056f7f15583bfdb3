"""The handler of an EventTask's function: one event of EventBridge per asynchronous invocation."""

import json
from typing import Any

from runtime_lib.envelope import derived_id
from runtime_lib.errors import TaskError
from runtime_lib.events.bus import BusEvent
from runtime_lib.execution import Message
from runtime_lib.handlers._async_invocation import delivery_of, settle
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._one_task import envelope_of, the_task
from runtime_lib.handlers._running import run_message

__all__ = ["handler"]

start()


def handler(event: Any, context: Any) -> None:
    """Run the task for an event.

    Raises:
        TaskError: it is no event of EventBridge.
        Exception: what the task raised, so that Lambda retries and then writes the dead letter; also if the event is
            given up and its dead letter cannot be written here.
    """
    if not isinstance(event, dict) or not {"id", "detail-type", "detail"} <= event.keys():
        found = sorted(event) if isinstance(event, dict) else type(event).__name__
        raise TaskError(
            "this function runs its task for events of EventBridge, which have an id, a detail-type and a detail, "
            f"given {found!r:.200}"
        )
    task = the_task()
    sent_at = BusEvent(event).time.timestamp() if "time" in event else None  # (an event made by hand may have none)
    delivery = delivery_of(event, context)._replace(sent_at=sent_at)
    # Two EventTasks may get one event: each has a message of its own.
    envelope = envelope_of(derived_id(task.name, event["id"]), task)
    settle(run_message(Message(task, envelope), delivery), json.dumps(event), delivery)
