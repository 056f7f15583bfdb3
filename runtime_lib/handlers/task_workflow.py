"""The handler of a TaskWorkflow's own function, which Step Functions invokes for each run of a task."""

from typing import Any

from runtime_lib.errors import TaskError
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._node import answer, is_node_event

__all__ = ["handler"]

start()


def handler(event: Any, context: Any) -> dict[str, Any] | None:
    """Run the task of one state, and return its result.

    Raises:
        TaskError: the event is none of a workflow's, or as `answer` says.
    """
    if not is_node_event(event):
        found = sorted(event) if isinstance(event, dict) else type(event).__name__
        raise TaskError(
            f"this function runs the tasks of a workflow for Step Functions, given {found!r:.200}: start the workflow "
            "by dispatching its first task"
        )
    return answer(event, context)
