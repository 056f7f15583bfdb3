"""A process that imports the modules of a workflow, and tells which tasks belong to it; see `_manifest`."""

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from runtime_lib import registry
from runtime_lib.errors import TaskError
from runtime_lib.workflow import graph

if TYPE_CHECKING:
    from runtime_lib.task import Task


def main() -> None:
    """Read what to import from standard input; write ``{"tasks": …}`` or ``{"error": …}`` to standard output."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the modules print is no part of the answer
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    try:
        registry.load_modules(asked["modules"])
        start = registry.resolve(asked["start"])
        graph.check(start)
        found: dict[str, Any] = {"tasks": _reached(start)}
    except TaskError as error:
        cause = error.__cause__
        found = {"error": str(error), "missing": cause.name if isinstance(cause, ModuleNotFoundError) else None}
    with answer:
        json.dump(found, answer)
    sys.stderr.flush()
    os._exit(0)  # whatever threads the modules have left running


def _reached(start: "Task[..., Any]") -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    waiting = [start]
    while waiting:
        task = waiting.pop()
        if task.name not in tasks:
            tasks[task.name] = _described(task)
            waiting += [found for _, _, found in graph.edges_of(task)]
    return tasks


def _described(task: "Task[..., Any]") -> dict[str, Any]:
    """What a state machine has to know of a task."""
    retry = task.retry
    edges: dict[str, list[dict[str, Any]]] = {"run_before": [], "run_after": [], "on_failure": []}
    for option, edge, found in graph.edges_of(task):
        if option == "then":
            edges["run_after"][-1]["then"] = found.name
        else:
            most = edge.for_each.max_concurrency if edge.for_each else None
            edges[option].append({"task": found.name, "wait": edge.wait, "max_concurrency": most})
    return {
        "name": task.name,
        "function": task.definition.__name__,
        "module": task.definition.__module__,
        "namespaces": task.namespaces,
        "priority": task.priority.value,
        "max_attempts": retry.max_attempts,
        "first_delay": retry.first_delay,
        "multiplier": retry.multiplier,
        "max_delay": retry.max_delay,
        "jitter": retry.jitter,
        "timeout": task.timeout,
        "subprocess": task.subprocess,
        **edges,
    }


if __name__ == "__main__":
    main()
