"""What an execution's history tells of the nodes of its workflow.

Events tell the state they belong to by name only where it is entered and left. To which state, branch and iteration the
others belong is found by the events that they follow.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from runtime_lib.contract import NODE_DISCARDED, SPREAD
from runtime_lib.workflow.node import failure_of
from tasks_cli.workflows import Node

__all__ = ["ItemErrors", "Items", "MapRun", "NodeRun", "NodeState", "item_errors", "nodes_of", "one_line"]

Event = Mapping[str, Any]
_MAPS = ("each", "each apart")
"""What the names of maps have behind the node's and a colon: of inline and of distributed ones."""
_NUMBERS = 5
"""Items that failed alike, of which so many are told by their numbers."""


class NodeState(StrEnum):
    """Where a node is in a run of its workflow."""

    WAITING = "waiting"
    """What is before it has not ended, or a wait has not, or its message is in the queue."""
    RUNNING = "running"
    RETRYING = "retrying"
    """An attempt has failed, and another one comes."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It never ran, and will not."""
    CANCELLED = "cancelled"
    """It discarded itself, or was running when the workflow was stopped."""


class Items(NamedTuple):
    """How far a node has come that runs for the items of a list; ``total`` is None if not all of them reach it."""

    total: int | None
    succeeded: int
    failed: int
    running: int


class ItemErrors(NamedTuple):
    """An error in one line, and the items of a list that failed with it."""

    error: str
    failed: int
    items: tuple[str, ...]
    """Their numbers, from 0 on, ``0.2`` in a list in a list; fewer than ``failed`` where those are not known."""

    def __str__(self) -> str:
        if not self.items:
            return f"{self.failed} item{'s' if self.failed > 1 else ''}: {self.error}"
        told = self.items[:_NUMBERS]
        more = f" and {self.failed - len(told)} more" if self.failed > len(told) else ""
        return f"item{'s' if self.failed > 1 else ''} {', '.join(told)}{more}: {self.error}"


class NodeRun(NamedTuple):
    """What became of one node. Times are epoch seconds."""

    state: NodeState
    attempts: int = 0
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    """Of the latest attempt that failed, in one line."""
    progress: str | None = None
    """What the task told of its progress: ``40/100 orders``."""
    items: Items | None = None
    item_errors: tuple[ItemErrors, ...] = ()
    """How items of a list failed, each way once, by the numbers of the items."""

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far; None if it has not begun."""
        if self.started is None or (self.finished is None and self.state is NodeState.WAITING):
            return None
        return max(0.0, (self.finished or time.time()) - self.started)


class MapRun(NamedTuple):
    """A distributed map: how many items it has, and the histories of those that were read."""

    total: int
    histories: Sequence[Sequence[Event]]


@dataclass(slots=True)
class _Visit:
    """One time that a state was entered."""

    name: str
    kind: str
    outer: "_Visit | None"
    entered: float
    exited: float | None = None
    attempts: int = 0
    error: tuple[str, str] | None = None
    is_failing: bool = False
    """Whether the latest attempt has failed."""
    is_aborted: bool = False
    is_spread: bool = False
    """Whether it is a distributed map."""
    length: int = 0
    """Of the list, if it is a map."""
    index: int | None = None
    """Of the item, if it is the work on one in a map."""

    @property
    def is_open(self) -> bool:
        return self.exited is None and not self.is_aborted

    @property
    def item(self) -> str:
        """The number of the item that it is about: ``2``, or ``0.2`` in a list in a list; empty if it is unknown."""
        numbers, visit = [], self.outer
        while visit:
            if visit.index is not None:
                numbers.append(str(visit.index))
            elif visit.is_spread:
                return ""
            visit = visit.outer
        return ".".join(reversed(numbers))


def nodes_of(
    graph: Node,
    events: Iterable[Event],
    *,
    run: str,
    has_ended: bool,
    map_runs: Mapping[str, MapRun] | None = None,
) -> dict[str, NodeRun]:
    """What became of each node of a graph, by its name.

    Args:
        graph: of the workflow.
        events: the history of the execution, from its beginning.
        run: id of the run.
        has_ended: whether the execution has.
        map_runs: what its distributed maps did, by their ARNs.
    """
    known = [*events]
    visits = _visits(known, map_runs or {})
    by_name = defaultdict(list)
    for visit in visits:
        by_name[visit.name.replace(SPREAD, "")].append(visit)
    found: dict[str, NodeRun] = {}
    ended = _epoch(known[-1]["timestamp"]) if known and has_ended else None
    _read(graph, None, _Reading(by_name, run, has_ended, ended), found)
    _seal(graph, found, reachable=True)
    return found


# --- From events to states ------------------------------------------------------------------------------------------


def _visits(events: Iterable[Event], map_runs: Mapping[str, MapRun], outer: _Visit | None = None) -> list[_Visit]:
    """Every state that was entered, those of the items of distributed maps included."""
    found: list[_Visit] = []
    owners: dict[int, _Visit | None] = {0: outer}
    for event in events:
        kind, before = event["type"], owners.get(event.get("previousEventId", 0), outer)
        if kind.endswith("StateEntered"):
            entered = owners[event["id"]] = _entered(event, before)
            found.append(entered)
            continue
        owner = owners[event["id"]] = _owner(event, before)
        if owner:
            _apply(event, owner)
        if owner and kind == "MapIterationStarted":
            index = event["mapIterationStartedEventDetails"]["index"]
            owners[event["id"]] = _Visit("", "MapIteration", owner, _epoch(event["timestamp"]), index=index)
        if owner and kind == "MapRunStarted":
            owner.is_spread = True
            told = map_runs.get(event["mapRunStartedEventDetails"]["mapRunArn"], MapRun(0, ()))
            owner.length = told.total
            found += (visit for history in told.histories for visit in _visits(history, map_runs, owner))
    return found


def _entered(event: Event, before: _Visit | None) -> _Visit:
    """The state that this event enters: in the one whose event it follows, or beside one that was left."""
    outer = before if before is None or before.exited is None else before.outer
    kind = event["type"].removesuffix("StateEntered")
    return _Visit(event["stateEnteredEventDetails"]["name"], kind, outer, _epoch(event["timestamp"]))


def _owner(event: Event, before: _Visit | None) -> _Visit | None:
    """The state that an event is about: the one whose event it follows, or one around that."""
    kind = event["type"]
    name = event.get("stateExitedEventDetails", {}).get("name")
    wanted = next((one for one in ("Parallel", "Map") if kind.startswith(one)), None)
    while before:
        if name is None and (wanted is None or before.kind == wanted) and (before.exited is None or wanted is None):
            return before
        if name == before.name and before.exited is None:
            return before
        before = before.outer
    return None


def _apply(event: Event, visit: _Visit) -> None:
    kind = event["type"]
    if kind.endswith("StateExited"):
        visit.exited = _epoch(event["timestamp"])
    elif kind.endswith("StateAborted"):
        visit.is_aborted = True
    elif kind == "MapStateStarted":
        visit.length = event.get("mapStateStartedEventDetails", {}).get("length", 0)
    elif visit.kind == "Task" and kind.endswith("Scheduled"):
        visit.attempts += 1
        visit.is_failing = False
    elif visit.kind == "Task" and kind.endswith(("Failed", "TimedOut")) and not kind.startswith("Execution"):
        details: Mapping[str, str] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
        visit.error = (details.get("error") or kind, details.get("cause") or "")
        visit.is_failing = True


def _epoch(moment: datetime | float) -> float:
    return moment.timestamp() if isinstance(moment, datetime) else moment


# --- From states to nodes --------------------------------------------------------------------------------------------


class _Reading(NamedTuple):
    """What there is to read of the states of one run."""

    visits: Mapping[str, list[_Visit]]
    run: str
    has_ended: bool
    ended: float | None
    """When it has, for what ended with it."""

    def node(self, node: Node) -> NodeRun:
        """What became of a node that runs once."""
        visits, failed = self.visits.get(node.name, []), self.visits.get(f"{node.name}: failed")
        if not visits:
            never = self.has_ended or f"{node.name}: not run" in self.visits
            return NodeRun(NodeState.SKIPPED if never else NodeState.WAITING)
        state = self.state(visits[-1])
        return self._told(NodeState.FAILED if failed and state is NodeState.SUCCEEDED else state, visits)

    def items(self, node: Node, around: Node) -> NodeRun:
        """What became of a node that runs for each item of the list of ``around``."""
        visits = self.visits.get(node.name, [])
        maps = [one for word in _MAPS for one in self.visits.get(f"{around.name}: {word}", [])]
        has_ended = self.has_ended or (bool(maps) and not any(one.is_open for one in maps))
        total = sum(one.length for one in maps) if node is around and maps else None
        if not visits:
            state = NodeState.SKIPPED if has_ended else NodeState.WAITING
            return NodeRun(state, items=Items(total, 0, 0, 0) if maps else None)
        states = [self.state(one) for one in visits]
        failed = states.count(NodeState.FAILED)
        open_states = {NodeState.RUNNING, NodeState.RETRYING} & set(states)
        if open_states:
            state = NodeState.RUNNING if NodeState.RUNNING in open_states else NodeState.RETRYING
        elif not has_ended:
            state = NodeState.RUNNING
        else:
            order = (NodeState.FAILED, NodeState.CANCELLED, NodeState.SUCCEEDED)
            state = next(one for one in order if one in states)
        running = states.count(NodeState.RUNNING) + states.count(NodeState.RETRYING)
        items = Items(total, states.count(NodeState.SUCCEEDED), failed, running)
        errors = item_errors(
            (one.item, self._error(one))
            for one, ended in zip(visits, states, strict=True)
            if ended is NodeState.FAILED and one.error
        )
        return self._told(state, visits)._replace(items=items, item_errors=errors)

    def state(self, visit: _Visit) -> NodeState:
        """What became of one visit of a node's own state."""
        if visit.exited is not None:
            if visit.error and visit.error[0] == NODE_DISCARDED and visit.is_failing:
                return NodeState.CANCELLED
            return NodeState.FAILED if visit.is_failing else NodeState.SUCCEEDED
        if visit.is_aborted:
            return NodeState.CANCELLED
        if self.has_ended:
            return NodeState.FAILED if visit.is_failing else NodeState.CANCELLED
        return NodeState.RETRYING if visit.is_failing else NodeState.RUNNING

    def _told(self, state: NodeState, visits: Sequence[_Visit]) -> NodeRun:
        ends = [one.exited or self.ended for one in visits]
        finished = [one for one in ends if one is not None]
        is_open = state in {NodeState.RUNNING, NodeState.RETRYING}
        failing = [one for one in visits if one.error and one.is_failing] or [one for one in visits if one.error]
        return NodeRun(
            state,
            attempts=sum(one.attempts for one in visits),
            started=min(one.entered for one in visits),
            finished=max(finished) if finished and not is_open else None,
            error=self._error(failing[-1]) if failing and state is not NodeState.SUCCEEDED else None,
        )

    def _error(self, visit: _Visit) -> str:
        error, cause = visit.error or ("", "")
        told = failure_of({"task": "", "node": visit.name, "error": error, "cause": cause}, self.run)
        return one_line(told.error["type"], told.error["message"])


def item_errors(failed: Iterable[tuple[str, str]]) -> tuple[ItemErrors, ...]:
    """How items failed, by their numbers, with what; those whose number is not known, as an empty one, last."""
    by_error = defaultdict(list)
    for number, error in sorted(
        failed, key=lambda one: (not one[0], [int(part) for part in one[0].split(".") if part])
    ):
        by_error[error].append(number)
    return tuple(ItemErrors(error, len(numbers), tuple(filter(None, numbers))) for error, numbers in by_error.items())


def one_line(kind: str, message: str) -> str:
    """An error with its message, in one line of what can be printed."""
    printable = "".join(one if one.isprintable() else " " for one in message)
    return ": ".join(filter(None, (kind, " ".join(printable.split()))))


def _read(node: Node, around: Node | None, reading: _Reading, found: dict[str, NodeRun]) -> None:
    """Read a node and all that belongs to it; ``around`` is the one for whose items it runs."""
    inside = node if node.each else around
    found[node.name] = reading.items(node, inside) if inside else reading.node(node)
    for one in (*node.before, *node.after, *([node.failure] if node.failure else [])):
        _read(one, inside, reading, found)
    if node.each and node.each.then:
        _read(node.each.then, around, reading, found)


def _seal(node: Node, found: dict[str, NodeRun], *, reachable: bool) -> None:
    """Mark what waits, and cannot be reached any more, as skipped."""
    told = found[node.name]
    if not reachable and told.state is NodeState.WAITING:
        told = found[node.name] = told._replace(state=NodeState.SKIPPED)
    is_empty = told.items is not None and told.items.total == 0
    goes_on = reachable and (is_empty or told.state not in {NodeState.FAILED, NodeState.SKIPPED, NodeState.CANCELLED})
    fails = reachable and told.state not in {NodeState.SUCCEEDED, NodeState.CANCELLED}
    for one in node.before:
        _seal(one, found, reachable=reachable)
    for one in (*node.after, *([node.each.then] if node.each and node.each.then else [])):
        _seal(one, found, reachable=goes_on)
    if node.failure:
        _seal(node.failure, found, reachable=fails)
