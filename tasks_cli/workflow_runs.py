"""Runs of workflows: listed, found by their ids, read node by node, cancelled, and what they returned."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from runtime_lib.contract import ENV_PAYLOADS, ENV_STORE
from runtime_lib.errors import StoreError
from runtime_lib.store import TaskStore
from runtime_lib.task_record import TaskRecord, TaskStatus
from runtime_lib.workflow.node import failure_of, node_id
from tasks_cli import output
from tasks_cli.errors import CliError, UsageError
from tasks_cli.workflow_history import MapRun, NodeRun, NodeState, nodes_of, one_line

if TYPE_CHECKING:
    from tasks_cli.cloud import Cloud
    from tasks_cli.workflows import Node, Workflow

__all__ = ["STATUSES", "Run", "cancel", "find_run", "list_runs", "read_nodes", "result_of"]

STATUSES = {
    "running": "RUNNING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "timed-out": "TIMED_OUT",
    "cancelled": "ABORTED",
}
"""What a run's status is called, and what Step Functions calls it."""
_SPELLED = {theirs: ours for ours, theirs in STATUSES.items()}
_PAGE = 1_000
"""Events or executions a request; the most that Step Functions gives."""
_SEARCHED = 2_000
"""Executions of a workflow among which a beginning of an id is looked for, the latest first."""
_OPENED = 100
"""And whose inputs are read for the id of the message that started them: those that a schedule starts."""
_ITEMS = 200
"""Items of a distributed map whose histories are read."""
_PARALLEL = 8


class Run(NamedTuple):
    """One run of a workflow. Times are epoch seconds."""

    id: str
    """The name of its execution, which is the id of the message that started it unless a schedule did."""
    workflow: "Workflow"
    status: str
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    """What failed and how, in one line."""
    message_id: str = ""
    """The id of the message that started it, from which the ids of its tasks' records are derived."""
    arn: str = ""
    """Of its execution; empty if that is one of an Express machine."""
    answer: str | None = None
    """What it returned, as its execution tells it."""
    record: TaskRecord | None = None
    """The record of an Express run as a whole."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status != "running"


# --- Finding ---------------------------------------------------------------------------------------------------------


def list_runs(cloud: "Cloud", workflows: "Sequence[Workflow]", *, status: str | None, limit: int) -> list[Run]:
    """The latest runs of workflows, the latest first; those of Express machines cannot be listed."""
    found = [
        _listed(workflow, one)
        for workflow in workflows
        if not workflow.is_express
        for one in islice(_executions(cloud, workflow, status), limit)
    ]
    latest = sorted(found, key=lambda run: run.started or 0.0, reverse=True)[:limit]
    return [_described(cloud, run.workflow, run.arn) if run.status == "failed" else run for run in latest]


def find_run(cloud: "Cloud", workflows: "Sequence[Workflow]", given: str) -> Run:
    """The run of this id, ARN, or beginning of an id.

    Raises:
        CliError: there is none, or several ids begin like that.
    """
    if given.startswith("arn:"):
        machine = given.replace(":execution:", ":stateMachine:").rpartition(":")[0]
        workflow = next((one for one in workflows if one.arn == machine), None)
        if workflow is None:
            raise CliError(f"{given!r} is an execution of none of the workflows {_names(workflows)}")
        return _described(cloud, workflow, given)
    standard = [one for one in workflows if not one.is_express]
    for workflow in standard:
        found = _described_or_none(cloud, workflow, f"{_execution_prefix(workflow)}{given}")
        if found:
            return found
    for workflow in workflows:
        if workflow.is_express and (record := _find(cloud, workflow, given)) and record.task == workflow.task:
            return _recorded(workflow, record)
    begun = [
        (workflow, one)
        for workflow in standard
        for one in islice(_executions(cloud, workflow), _SEARCHED)
        if one["name"].startswith(given)
    ]
    if len(begun) == 1:
        [(workflow, one)] = begun
        return _described(cloud, workflow, one["executionArn"])
    if begun:
        raise CliError(f"{len(begun)} runs have ids that begin with {given!r}: give more of one")
    for workflow in standard:
        # A scheduled run has a name of its own, and the message's id in its input alone.
        for one in islice(_executions(cloud, workflow), _OPENED):
            found = _described(cloud, workflow, one["executionArn"])
            if found.message_id.startswith(given):
                return found
    raise CliError(
        f"no run of {_names(workflows)} has an id that begins with {given!r}: `tasks runs list` lists them"
        + (", those of Express workflows excepted" if len(standard) < len(workflows) else "")
    )


def _executions(cloud: "Cloud", workflow: "Workflow", status: str | None = None) -> Iterator[dict[str, Any]]:
    """A workflow's executions, the latest first."""
    wanted = {"statusFilter": STATUSES[status]} if status else {}
    pages = cloud.client("stepfunctions").get_paginator("list_executions")
    for page in pages.paginate(stateMachineArn=workflow.arn, maxResults=_PAGE, **wanted):
        yield from page["executions"]


def _described_or_none(cloud: "Cloud", workflow: "Workflow", arn: str) -> Run | None:
    try:
        return _described(cloud, workflow, arn)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"ExecutionDoesNotExist", "InvalidArn"}:
            return None
        raise


def _described(cloud: "Cloud", workflow: "Workflow", arn: str) -> Run:
    found = cloud.client("stepfunctions").describe_execution(executionArn=arn)
    run = _listed(workflow, found)
    sent = _json(found.get("input"))
    message_id = str(sent.get("id", run.id)) if isinstance(sent, dict) else run.id
    error = None
    if run.has_ended and run.status != "succeeded":
        error = _failure(found, message_id)
    return run._replace(error=error, message_id=message_id, answer=found.get("output"))


def _listed(workflow: "Workflow", found: Mapping[str, Any]) -> Run:
    return Run(
        found["name"],
        workflow,
        _SPELLED.get(found["status"], "running"),
        started=_epoch(found["startDate"]),
        finished=_epoch(found.get("stopDate")),
        message_id=found["name"],
        arn=found["executionArn"],
    )


def _recorded(workflow: "Workflow", record: TaskRecord) -> Run:
    """A run of an Express machine, as its record tells of it."""
    status = record.status.value if record.has_finished else "running"
    error = str(record.error) if record.error and record.has_finished else None
    begun = record.queued_at or record.started_at
    return Run(record.id, workflow, status, begun, record.finished_at, error, record.id, record=record)


def _failure(found: Mapping[str, Any], run: str) -> str:
    """What a failed execution tells, in one line."""
    cause = _json(found.get("cause"))
    if isinstance(cause, dict) and "task" in cause:
        failed = failure_of(cause, run)
        return one_line(failed.node, one_line(failed.error["type"], failed.error["message"]))
    return one_line(found.get("error") or "", found.get("cause") or "")


# --- Reading ---------------------------------------------------------------------------------------------------------


def read_nodes(cloud: "Cloud", run: Run) -> dict[str, NodeRun]:
    """What became of each node of a run, by its name: from its history, and from the store where there is one."""
    graph = run.workflow.graph
    if run.record:
        found = {node.name: NodeRun(NodeState.WAITING) for node in graph.walk()}
    else:
        events = _history(cloud, run.arn)
        arns = [one["mapRunStartedEventDetails"]["mapRunArn"] for one in events if one["type"] == "MapRunStarted"]
        map_runs = {arn: _map_run(cloud, arn) for arn in arns}
        found = nodes_of(graph, events, run=run.message_id, has_ended=run.has_ended, map_runs=map_runs)
    if run.workflow.store:
        # The items of a list have records of their own, of which there may be many.
        names = [node.name for node in _once(graph)]
        for name, record in zip(names, _records(cloud, run, names), strict=True):
            if record:
                found[name] = completed(found[name], record)
    if run.record and run.has_ended:
        never = {name for name, told in found.items() if told.state is NodeState.WAITING}
        found |= {name: NodeRun(NodeState.SKIPPED) for name in never}
    return found


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


_STATES = {
    TaskStatus.QUEUED: NodeState.WAITING,
    TaskStatus.RUNNING: NodeState.RUNNING,
    TaskStatus.RETRYING: NodeState.RETRYING,
    TaskStatus.SUCCEEDED: NodeState.SUCCEEDED,
    TaskStatus.FAILED: NodeState.FAILED,
    TaskStatus.CANCELLED: NodeState.CANCELLED,
}


def _history(cloud: "Cloud", arn: str) -> list[dict[str, Any]]:
    pages = cloud.client("stepfunctions").get_paginator("get_execution_history")
    # With what went in and out they would be hundreds of kilobytes each.
    found = pages.paginate(executionArn=arn, maxResults=_PAGE, includeExecutionData=False)
    return [event for page in found for event in page["events"]]


def _map_run(cloud: "Cloud", arn: str) -> MapRun:
    """A distributed map, with the histories of its latest items."""
    states = cloud.client("stepfunctions")
    total = states.describe_map_run(mapRunArn=arn)["itemCounts"]["total"]
    pages = states.get_paginator("list_executions").paginate(mapRunArn=arn, maxResults=_PAGE)
    children = list(islice((one["executionArn"] for page in pages for one in page["executions"]), _ITEMS))
    if total > len(children) == _ITEMS:
        output.say(f"Of {total:,} items, the latest {_ITEMS} are read.")
    with ThreadPoolExecutor(_PARALLEL) as threads:
        return MapRun(total, list(threads.map(lambda child: _history(cloud, child), children)))


def _once(node: "Node") -> "Iterator[Node]":
    """The nodes of a graph that do not run for the items of a list."""
    if node.each:
        if node.each.then:
            yield from _once(node.each.then)
        return
    yield node
    for one in (*node.before, *node.after, *([node.failure] if node.failure else [])):
        yield from _once(one)


def _records(cloud: "Cloud", run: Run, names: Sequence[str]) -> list[TaskRecord | None]:
    """The records of nodes; None for each if the store cannot be read."""
    try:
        with ThreadPoolExecutor(_PARALLEL) as threads:
            return list(threads.map(lambda name: _find(cloud, run.workflow, node_id(run.message_id, name)), names))
    except StoreError as error:
        output.say(f"Attempts and progress are not complete: {error}")
        return [None] * len(names)


def _find(cloud: "Cloud", workflow: "Workflow", record_id: str) -> TaskRecord | None:
    table = workflow.store.get(ENV_STORE)
    return TaskStore(table, client=cloud.client("dynamodb")).find(record_id) if table else None


# --- Ends ------------------------------------------------------------------------------------------------------------


def cancel(cloud: "Cloud", run: Run) -> None:
    """Stop a run: none of its tasks begins any more, what runs is not interrupted.

    Raises:
        CliError: it has ended, or is one of an Express machine.
    """
    if run.has_ended:
        raise CliError(f"the run {run.id} has ended already: {run.status}")
    if not run.arn:
        raise CliError(f"the run {run.id} cannot be stopped: {run.workflow.path} is an Express workflow")
    cloud.client("stepfunctions").stop_execution(
        executionArn=run.arn, error="TaskCancelled", cause="cancelled by `tasks runs cancel`"
    )


def result_of(cloud: "Cloud", run: Run) -> Any:
    """What a run returned.

    Raises:
        CliError: it has not succeeded, or what it returned is not there any more.
    """
    if not run.has_ended:
        raise CliError(f"the run {run.id} has not ended: `tasks runs show {run.id}` shows where it is")
    if run.status != "succeeded":
        raise CliError(f"the run {run.id} has no result: {run.status}{f': {run.error}' if run.error else ''}")
    if run.record:
        if run.record.result_missing:
            raise CliError(f"the result of the run {run.id} is not there: {run.record.result_missing}")
        return run.record.result
    answer = _json(run.answer)
    if not isinstance(answer, dict) or "key" not in answer:
        return (answer or {}).get("value") if isinstance(answer, dict) else answer
    bucket = _bucket(cloud, run.workflow)
    s3 = cloud.client("s3")
    try:
        return json.loads(s3.get_object(Bucket=bucket, Key=answer["key"])["Body"].read())
    except s3.exceptions.NoSuchKey:
        raise CliError(f"the result is not in the bucket {bucket} any more: {answer['key']!r} is missing") from None


def _bucket(cloud: "Cloud", workflow: "Workflow") -> str:
    """The payload bucket of the function that runs the workflow's first task."""
    from tasks_cli import deployed  # noqa: PLC0415

    for function in deployed.functions(cloud, [workflow.stack]):
        if function.path == workflow.graph.on:
            answer = cloud.client("lambda").get_function_configuration(FunctionName=function.name)
            bucket = answer.get("Environment", {}).get("Variables", {}).get(ENV_PAYLOADS)
            if bucket:
                return bucket
    raise CliError(f"the result is in a bucket, and no function of {workflow.graph.on} in {workflow.stack} names it")


# --- Words -----------------------------------------------------------------------------------------------------------


def status_named(name: str) -> str:
    """The status of this name.

    Raises:
        UsageError: there is none.
    """
    status = name.lower().replace("_", "-")
    if status not in STATUSES:
        raise UsageError(f"there is no status {name!r}; it is one of {', '.join(STATUSES)}")
    return status


def _names(workflows: "Sequence[Workflow]") -> str:
    return ", ".join(one.path for one in workflows) or "(no workflow)"


def _execution_prefix(workflow: "Workflow") -> str:
    return workflow.arn.replace(":stateMachine:", ":execution:") + ":"


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except ValueError:
        return None
