"""How runs of workflows failed: as their executions tell it, and with what is known better of their nodes."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runtime_lib.contract import NODE_FAILED, PREREQUISITE_FAILED
from runtime_lib.workflow.node import failure_of
from tasks_cli.workflow_history import NodeRun, one_line

if TYPE_CHECKING:
    from runtime_lib.task_record import RecordedError
    from tasks_cli.workflow_runs import Run
    from tasks_cli.workflows import Node

__all__ = ["LATER_ITEM", "explained", "failure_in", "innermost", "reason", "recorded_failure", "said", "untold"]

LATER_ITEM = "one of the later items of a list failed"
"""What an execution tells of an item's failure instead of how it failed: that of all would be too large."""

_UNREAD = "an item of the list failed whose history was not read; the log of the function has it"


def failure_in(cause: str | None) -> dict[str, Any] | None:
    """What failed, in the cause of a failed execution; None if that is none of a workflow."""
    try:
        failed = json.loads(cause or "null")
    except ValueError:
        return None
    return failed if isinstance(failed, dict) and "task" in failed else None


def recorded_failure(error: "RecordedError", graph: "Node") -> dict[str, Any]:
    """What failed, as an Express machine records it of the whole: without the node, and its task before the cause."""
    task, _, cause = error.message.partition(": ")
    node = next((one.name for one in graph.walk() if one.task == task), task)
    return {"task": task, "node": node, "error": error.type, "cause": cause}


def said(failed: Mapping[str, Any], run: str) -> str:
    """What failed and how, in one line."""
    return one_line(str(failed.get("node")), reason(failed, run))


def reason(failed: Mapping[str, Any], run: str) -> str:
    """How it failed, in one line."""
    error = failure_of(dict(failed), run).error
    return one_line(error["type"], error["message"])


def innermost(failed: Mapping[str, Any]) -> Mapping[str, Any]:
    """What failed first: the prerequisite of what could not run, or of that."""
    told = failed.get("prerequisite")
    return innermost(told) if isinstance(told, dict) else failed


def untold(failed: Mapping[str, Any] | None, graph: "Node") -> "list[Node]":
    """The nodes of which one has failed in a way that the execution does not tell; none if it does."""
    if failed is None:
        return []
    failed = innermost(failed)
    cause = str(failed.get("cause", ""))
    is_prerequisite = failed.get("error") == PREREQUISITE_FAILED
    if LATER_ITEM not in cause and not (is_prerequisite and not cause):
        return []
    named = [one for one in graph.walk() if one.name == failed.get("node")]
    return [other for one in named for other in _prerequisites(one)] if is_prerequisite else named


def explained(run: "Run", told: Mapping[str, NodeRun]) -> "Run":
    """The run, whose error says how an item of a list failed if its nodes know that and its execution does not."""
    nodes = untold(run.failed, run.workflow.graph)
    if run.failed is None or not nodes:
        return run
    known = [(node, error) for node in nodes if (error := _error(told[node.name]))]
    node, error = known[0] if known else (nodes[0], _UNREAD)
    return run._replace(error=said(_with(run.failed, node, error), run.message_id))


def _with(failed: Mapping[str, Any], node: "Node", error: str) -> dict[str, Any]:
    """What failed, with how the innermost did."""
    if isinstance(failed.get("prerequisite"), dict):
        return {**failed, "prerequisite": _with(failed["prerequisite"], node, error)}
    told = {"task": node.task, "node": node.name, "error": NODE_FAILED, "cause": json.dumps({"errorMessage": error})}
    return {**failed, "prerequisite": told} if failed.get("error") == PREREQUISITE_FAILED else told


def _prerequisites(node: "Node") -> "Iterator[Node]":
    """What has to succeed before a node runs."""
    for one in node.before:
        yield from one.walk()


def _error(told: NodeRun) -> str | None:
    return told.item_errors[0].error if told.item_errors else told.error
