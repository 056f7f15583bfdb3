"""What all drawings say of a node: where it runs, how, and what became of it."""

import time
from typing import TYPE_CHECKING

from tasks_cli.workflow_history import NodeRun, NodeState
from tasks_cli.workflows import Each, Node

if TYPE_CHECKING:
    from tasks_cli.workflow_runs import Run

__all__ = ["SIGNS", "badges", "duration", "errors", "facts", "outcome", "place", "repetition", "start"]

SIGNS = {
    NodeState.SUCCEEDED: "✓",
    NodeState.RUNNING: "▶",
    NodeState.RETRYING: "↻",
    NodeState.WAITING: "…",
    NodeState.FAILED: "✗",
    NodeState.SKIPPED: "\N{EN DASH}",
    NodeState.CANCELLED: "⊘",
}
"""Beside its word and its colour, what a state is known by."""
_TENTHS_BELOW = 10
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """So many seconds in the two largest units: ``0.4 s``, ``12 s``, ``3 min 4 s``, ``2 d``."""
    if seconds < _TENTHS_BELOW:
        return f"{round(seconds, 1):g} s"
    rest, parts = round(seconds), []
    for unit, length in _UNITS:
        if rest >= length:
            parts.append(f"{rest // length} {unit}")
            rest %= length
        elif parts:
            break
    return " ".join(parts[:2])


def place(node: Node) -> str:
    """Where a node runs: a construct's path, and whether a queue is before it."""
    return f"{node.on} by queue" if node.via == "sqs" else node.on


def repetition(each: Each) -> str:
    """That a node runs for each item of a list, and for how many at once."""
    return f"for each item, {each.max_concurrency:,} at once"


def badges(node: Node) -> list[str]:
    """What is special about how a node runs, in a few words each."""
    return [*(["subprocess"] if node.subprocess else []), *start(node)]


def start(node: Node) -> list[str]:
    """What is special about when a node begins, and how often: that is said of all that belongs to it."""
    found = [f"after {duration(node.wait)}"] if node.wait else []
    return [*found, repetition(node.each)] if node.each else found


def facts(told: NodeRun) -> list[str]:
    """What became of a node, its state first: how long it took, how often it was tried, how far it has come."""
    found = [told.state.value]
    if told.items and told.state is not NodeState.SKIPPED:
        total = "" if told.items.total is None else f" of {told.items.total}"
        found.append(f"{told.items.succeeded}{total} done")
        others = {"failed": told.items.failed, "running": told.items.running}
        found += [f"{number} {word}" for word, number in others.items() if number]
    if told.seconds is not None:
        found.append(duration(told.seconds))
    if told.attempts > 1 and not told.items:
        found.append(f"{told.attempts} attempts")
    if told.progress:
        found.append(told.progress)
    return found


def errors(told: NodeRun, most: int = 3) -> list[str]:
    """How a node failed, a line each: of a list, in which ways its items did, ``most`` of them."""
    if not told.item_errors:
        return [told.error] if told.error else []
    more = sum(one.failed for one in told.item_errors[most:])
    others = [f"and {more} more, in other ways"] if more else []
    return [*map(str, told.item_errors[:most]), *others]


def outcome(run: "Run") -> str:
    """What became of a run: ``failed after 3 min 4 s``, ``running for 12 s``."""
    if run.started is None:
        return run.status
    took = duration((run.finished or time.time()) - run.started)
    return f"{run.status} {'after' if run.has_ended else 'for'} {took}"
