"""How runs of workflows failed: as their executions tell it, and with what is known better of their nodes."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runtime_lib.contract import LATER_ITEM, NODE_FAILED, PREREQUISITE_FAILED
from runtime_lib.workflow.node import failure_of
from tasks_cli.workflow_history import NodeRun, one_line

if TYPE_CHECKING:
    from tasks_cli.workflow_runs import Run
    from tasks_cli.workflows import Node

__all__ = ["explained", "innermost", "reason", "said", "untold"]

_UNREAD = "an item of the list failed whose history was not read; the log of the function has it"


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
    is_prerequisite = failed.get("error") == PREREQUISITE_FAILED
    if LATER_ITEM not in str(failed.get("cause")):
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
