"""Runs of workflows: listed, found by their ids, read node by node, cancelled, and what they returned."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from runtime_lib.contract import ENV_PAYLOADS, PREREQUISITE_FAILED
from runtime_lib.errors import StoreError
from runtime_lib.task_record import TaskRecord
from runtime_lib.workflow.node import failed_in
from tasks_cli import output
from tasks_cli.errors import CliError, UsageError
from tasks_cli.workflow_failures import innermost, reason, said, untold
from tasks_cli.workflow_history import MapRun, NodeRun, NodeState, nodes_of, one_line
from tasks_cli.workflow_records import complete, find_record

if TYPE_CHECKING:
    from tasks_cli.cloud import Cloud
    from tasks_cli.workflows import Workflow

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
"""And whose inputs are read for the id of the message that started them, those that a schedule starts; of those that
succeeded, whose outputs are read for whether they discarded themselves."""
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
    failed: Mapping[str, Any] | None = None
    """The same, as its execution tells it; None if it tells of no task."""
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
    standard = [one for one in workflows if not one.is_express]
    found = [run for workflow in standard for run in _latest(cloud, workflow, status, limit)]
    latest = sorted(found, key=lambda run: run.started or 0.0, reverse=True)[:limit]
    return list(_opened(cloud, iter(latest)))


def _latest(cloud: "Cloud", workflow: "Workflow", status: str | None, limit: int) -> Iterator[Run]:
    """So many runs of one workflow, the latest first; what discarded itself is among the latest that succeeded."""

    def listed(status: str | None) -> Iterator[Run]:
        return (_listed(workflow, one) for one in _executions(cloud, workflow, status))

    if status == "succeeded":
        succeeded = (run for run in _opened(cloud, listed(status)) if run.status == status)
        yield from islice(succeeded, limit)
        return
    yield from islice(listed(status), limit)
    if status == "cancelled":
        yield from (run for run in _opened(cloud, islice(listed("succeeded"), _OPENED)) if run.status == status)


def _opened(cloud: "Cloud", runs: Iterator[Run]) -> Iterator[Run]:
    """Runs with what failed, or whether they discarded themselves, which lists of executions do not tell."""

    def opened(run: Run) -> Run:
        is_open = run.status not in {"succeeded", "failed"} or run.answer is not None or run.error is not None
        return run if is_open else _described(cloud, run.workflow, run.arn)

    with ThreadPoolExecutor(_PARALLEL) as threads:
        while some := list(islice(runs, _PARALLEL)):
            yield from threads.map(opened, some)


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
        if workflow.is_express and (record := find_record(cloud, workflow, given)) and record.task == workflow.task:
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
    run = run._replace(message_id=message_id, answer=found.get("output"))
    if not run.has_ended:
        return run
    if run.status == "succeeded":
        answer = _json(run.answer)
        if isinstance(answer, dict) and answer.get("discarded"):
            return run._replace(status="cancelled", error=f"{workflow.graph.name} discarded itself")
        return run
    failed = failed_in(found.get("cause") or "")
    error = said(failed, message_id) if failed else one_line(found.get("error") or "", found.get("cause") or "")
    return run._replace(error=error, failed=failed)


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
    failed = failed_in(record.error.message) if record.error and status == "failed" else None
    error = said(failed, record.id) if failed else str(record.error) if record.error and record.has_finished else None
    begun = record.queued_at or record.started_at
    return Run(record.id, workflow, status, begun, record.finished_at, error, failed, record.id, record=record)


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
        try:
            complete(cloud, run, found)
        except StoreError as error:
            output.say(f"Attempts and progress are not complete: {error}")
    if run.failed:
        _tell_failure(found, innermost(run.failed), run)
    if run.record and run.has_ended:
        never = {name for name, told in found.items() if told.state is NodeState.WAITING}
        found |= {name: NodeRun(NodeState.SKIPPED) for name in never}
    return found


def _tell_failure(found: dict[str, NodeRun], failed: Mapping[str, Any], run: Run) -> None:
    """Tell that an item of a list failed, of a node of which only items were read that did not."""
    told = found.get(failed["node"])
    if told and told.items and told.state is NodeState.SUCCEEDED and failed["error"] != PREREQUISITE_FAILED:
        error = None if untold(failed, run.workflow.graph) else reason(failed, run.message_id)
        found[failed["node"]] = told._replace(state=NodeState.FAILED, error=told.error or error)


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
