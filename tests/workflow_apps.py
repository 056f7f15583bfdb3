"""Workflows for tests of constructs, and graphs for tests of what they become."""

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from constructs import Construct

from constructs_lib import TaskCode, TaskWorkflow
from constructs_lib._manifest import EdgeManifest, TaskManifest
from constructs_lib._workflow_graph import Run, unfold
from constructs_lib._workflow_servers import Place

_FIXTURES = Path(__file__).parent / "fixtures"


@cache
def warehouse() -> TaskCode:
    """The code of tests/fixtures/warehouse."""
    sys.path.insert(0, str(_FIXTURES))
    try:
        return TaskCode.from_package("warehouse")
    finally:
        sys.path.remove(str(_FIXTURES))


def add_restock(scope: Construct, construct_id: str = "Restock", **arguments: Any) -> TaskWorkflow:
    """The workflow of the warehouse."""
    arguments = {"modules": ["warehouse.restock"], "start": "warehouse.restock:count_stock", **arguments}
    return TaskWorkflow(scope, construct_id, code=warehouse(), **arguments)


def task_manifest(name: str, **options: Any) -> TaskManifest:
    """A task of a graph; its edges are the names of others, or manifests."""
    edges = {
        option: [edge if isinstance(edge, EdgeManifest) else EdgeManifest(edge) for edge in options.pop(option, ())]
        for option in ("run_before", "run_after", "on_failure")
    }
    given = {
        "function": name,
        "module": "shop.etl",
        "namespaces": ["DEFAULT"],
        "priority": "default",
        "max_attempts": 3,
        "first_delay": 1.0,
        "multiplier": 2.0,
        "max_delay": 900.0,
        "jitter": "full",
        "timeout": None,
        "subprocess": False,
        **options,
    }
    return TaskManifest(name=f"shop.etl.{name}", **{**given, **_qualified(edges)})


def unfolded(tasks: Iterable[TaskManifest]) -> Run:
    """The graph that the first of the tasks starts; those whose names begin with ``queued`` are in a queue."""
    known = {task.name: task for task in tasks}
    return unfold(known, next(iter(known)), _place)


def _place(task: TaskManifest) -> Place:
    if task.function.startswith("queued"):
        return Place("Shop/Queue", "sqs", "Shop-Queue", 86_400)
    return Place("Shop/Etl", "lambda", "Shop-Etl", 70)


def _qualified(edges: dict[str, list[EdgeManifest]]) -> dict[str, list[EdgeManifest]]:
    def qualified(edge: EdgeManifest) -> EdgeManifest:
        return edge._replace(task=f"shop.etl.{edge.task}", then=edge.then and f"shop.etl.{edge.then}")

    return {option: [qualified(edge) for edge in found] for option, found in edges.items()}


def flat(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """A graph whose nodes are inside one another, as the metadata of a state machine has it."""
    runs: list[dict[str, Any]] = []

    def place(node: dict[str, Any]) -> int:
        runs.append(described := dict(node))
        number = len(runs) - 1
        for key in ("before", "after"):
            if key in node:
                described[key] = [place(one) for one in node[key]]
        if "failure" in node:
            described["failure"] = place(node["failure"])
        if "then" in node.get("each", {}):
            described["each"] = {**node["each"], "then": place(node["each"]["then"])}
        return number

    place(graph)
    return runs
