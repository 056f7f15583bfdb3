"""What the task store knows of the nodes of a run, and of the items of lists."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from runtime_lib.contract import ENV_STORE
from runtime_lib.store import TaskStore
from runtime_lib.task_record import TaskRecord, TaskStatus
from runtime_lib.workflow.node import node_id
from tasks_cli.workflow_failures import untold
from tasks_cli.workflow_history import Items, NodeRun, NodeState, item_errors, one_line

if TYPE_CHECKING:
    from tasks_cli.cloud import Cloud
    from tasks_cli.workflow_runs import Run
    from tasks_cli.workflows import Node, Workflow

__all__ = ["complete", "completed", "find_record"]

_STATES = {
    TaskStatus.QUEUED: NodeState.WAITING,
    TaskStatus.RUNNING: NodeState.RUNNING,
    TaskStatus.RETRYING: NodeState.RETRYING,
    TaskStatus.SUCCEEDED: NodeState.SUCCEEDED,
    TaskStatus.FAILED: NodeState.FAILED,
    TaskStatus.CANCELLED: NodeState.CANCELLED,
}
_PARALLEL = 8
_AT_ONCE = 40
"""Items whose records are read before it is looked whether there are more; as many may be begun out of order."""
_ITEMS = 10_000
"""Items of a list whose records are read at most."""


def find_record(cloud: "Cloud", workflow: "Workflow", record_id: str) -> TaskRecord | None:
    """The record of this id in a workflow's store; None if there is none, or no store."""
    table = workflow.store.get(ENV_STORE)
    return TaskStore(table, client=cloud.client("dynamodb")).find(record_id) if table else None


def complete(cloud: "Cloud", run: "Run", found: dict[str, NodeRun]) -> None:
    """Complete what is known of a run's nodes with what their records know better.

    Items of lists have records of their own, of which there may be many: they are read if nothing else tells of them.

    Raises:
        StoreError: the store cannot be read.
    """
    graph = run.workflow.graph
    with ThreadPoolExecutor(_PARALLEL) as threads:

        def records(ids: Sequence[str]) -> list[TaskRecord | None]:
            return list(threads.map(lambda one: find_record(cloud, run.workflow, one), ids))

        names = [node.name for node in _once(graph)]
        for name, record in zip(names, records([node_id(run.message_id, name) for name in names]), strict=True):
            if record:
                found[name] = completed(found[name], record)

        def of_items(names: Sequence[str]) -> Iterator[tuple[str, str, TaskRecord]]:
            for first in range(0, _ITEMS, _AT_ONCE):
                keys = [(name, str(number)) for number in range(first, first + _AT_ONCE) for name in names]
                there = records([node_id(run.message_id, *key) for key in keys])
                if not any(there):
                    return
                yield from ((*key, record) for key, record in zip(keys, there, strict=True) if record)

        if run.record:
            for inside in _lists(graph):
                _tell_items(found, of_items(inside), is_over=run.has_ended)
        wanted = {node.name for node in untold(run.failed, graph)}
        if any(found[name].item_errors or found[name].error for name in wanted):
            return
        for inside in _lists(graph):
            if wanted & set(inside):
                _tell_failure(found, of_items(inside), wanted)


def completed(told: NodeRun, record: TaskRecord) -> NodeRun:
    """What the history tells of a node, with what its record knows better."""
    state = told.state
    if state in {NodeState.WAITING, NodeState.RUNNING, NodeState.RETRYING}:
        state = _STATES[record.status]
    error = told.error
    if record.error and state is not NodeState.SUCCEEDED:
        error = one_line(record.error.type, record.error.message)
    return told._replace(
        state=state,
        attempts=max(told.attempts, record.attempts),
        started=told.started or record.started_at,
        finished=told.finished or record.finished_at,
        error=error,
        progress=str(record.progress) if record.progress else None,
    )


def _tell_items(found: dict[str, NodeRun], records: Iterator[tuple[str, str, TaskRecord]], *, is_over: bool) -> None:
    """Tell of the nodes that run for the items of a list from their records alone; ``is_over``: the run has ended."""
    by_name = defaultdict(list)
    for name, number, record in records:
        by_name[name].append((number, record))
    for name, items in by_name.items():
        found[name] = _of_items(items, is_over=is_over)


def _of_items(items: Sequence[tuple[str, TaskRecord]], *, is_over: bool) -> NodeRun:
    records = [record for _, record in items]
    states = [_STATES[record.status] for record in records]
    unfinished = [state for state in states if state in {NodeState.RUNNING, NodeState.RETRYING}]
    ended = (NodeState.FAILED, NodeState.CANCELLED, NodeState.SUCCEEDED)
    state = next((one for one in ended if is_over and one in states), NodeState.RUNNING)
    errors = item_errors((number, _error(one)) for number, one in items if one.status is TaskStatus.FAILED)
    finished = [record.finished_at for record in records if record.finished_at]
    return NodeRun(
        state,
        attempts=sum(record.attempts for record in records),
        started=min((record.started_at for record in records if record.started_at), default=None),
        finished=max(finished, default=None) if is_over else None,
        error=errors[-1].error if errors else None,
        items=Items(None, states.count(NodeState.SUCCEEDED), states.count(NodeState.FAILED), len(unfinished)),
        item_errors=errors,
    )


def _tell_failure(found: dict[str, NodeRun], records: Iterator[tuple[str, str, TaskRecord]], wanted: set[str]) -> None:
    """Tell of the first item that failed at one of the nodes."""
    for name, number, record in records:
        if name in wanted and record.status is TaskStatus.FAILED:
            error = _error(record)
            found[name] = found[name]._replace(error=error, item_errors=item_errors([(number, error)]))
            return


def _error(record: TaskRecord) -> str:
    return one_line(record.error.type, record.error.message) if record.error else "its record does not say how"


def _once(node: "Node") -> "Iterator[Node]":
    """The nodes of a graph that do not run for the items of a list."""
    if node.each:
        if node.each.then:
            yield from _once(node.each.then)
        return
    yield node
    for one in (*node.before, *node.after, *([node.failure] if node.failure else [])):
        yield from _once(one)


def _lists(graph: "Node") -> list[list[str]]:
    """The names of the nodes that run for the items of one list, of each list that is not inside another one."""
    found: list[list[str]] = []
    for node in graph.walk():
        if node.each and not any(node.name in inside for inside in found):
            found.append([one.name for one in _once(node._replace(each=None))])
    return found
