"""The sales report: a workflow that is run for real, and once more where there is no room for what it makes."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.errors import TaskFailedError
from tasks_cli.cloud import Cloud
from tasks_cli.drawing.svg import picture
from tasks_cli.drawing.words import outcome
from tasks_cli.local.inspection import Email, emails
from tasks_cli.workflow_history import NodeState
from tasks_cli.workflow_runs import find_run, read_nodes
from tasks_cli.workflows import deployed_workflows, find_workflow

if TYPE_CHECKING:
    from runtime_lib.handle import TaskHandle
    from sample_app.orders import Order
    from tasks_cli.workflow_history import NodeRun
    from tasks_cli.workflow_runs import Run
    from tasks_cli.workflows import Workflow

LOST_REPORT = "rehearsal"
"""The header of the run that is to fail: `sample_app.faults`."""
_START = "sample_app.sales.extract"
_REPORTS = "sales/"
_NOTIFICATION = "No sales report: "
_TIMEOUT_SECONDS = 60.0


class Node(NamedTuple):
    """What became of one task."""

    state: str
    seconds: float | None
    attempts: int | None
    """None where it is run for each item of a list."""
    items: int | None
    """For how many it has succeeded there."""


class WorkflowRun(NamedTuple):
    """One run of the workflow."""

    id: str
    status: str
    seconds: float | None
    error: str | None
    nodes: dict[str, Node]
    report: dict[str, Any] | None
    """What it has put into the bucket; None if it has not."""


class Sales(NamedTuple):
    """Both runs: the one that has to come to its end, and the one that cannot."""

    made: WorkflowRun
    refused: WorkflowRun
    notified: int
    """The e-mails that told the shop of the latter."""
    picture: str
    """The file with the workflow as it was run for real."""


def run_sales(cloud: Cloud, stack: str, bucket: str, drawing: Path) -> Sales:
    """Dispatch the first task of the workflow twice, the second time for a fault, and draw how the first run went.

    This process has the routes in its environment.
    """
    from sample_app.sales import extract  # noqa: PLC0415  (the project's)

    workflow = find_workflow(deployed_workflows(cloud, [stack]), _START)
    run, nodes = _followed(cloud, workflow, extract.dispatch())
    drawing.parent.mkdir(parents=True, exist_ok=True)
    note = f"run {run.id}: {outcome(run)}"
    drawing.write_text(picture(workflow.path, workflow.graph, nodes, note=note), encoding="utf-8")
    refused, refused_nodes = _followed(cloud, workflow, extract.with_headers(report=LOST_REPORT).dispatch())
    return Sales(
        _told(cloud, bucket, run, nodes),
        _told(cloud, bucket, refused, refused_nodes),
        sum(is_notification(mail) and refused.id in mail.subject for mail in emails(cloud)),
        str(drawing),
    )


def is_notification(mail: Email) -> bool:
    """Whether an e-mail is to the shop itself, and tells that there is no report."""
    return mail.to == (mail.sender,) and mail.subject.startswith(_NOTIFICATION)


def expected_report(accepted: "Sequence[Order]", invoiced: Collection[str]) -> dict[str, Any]:
    """What the report has to say: of the orders of the input alone, and of which of them an invoice is there."""
    currencies = {}
    for currency in sorted({order.currency for order in accepted}):
        amounts = [order.cents for order in accepted if order.currency == currency]
        sold = sorted(cents for cents in amounts if cents > 0)
        currencies[currency] = {
            "orders": len(sold),
            "sold": sum(sold),
            "refunded": sum(sold) - sum(amounts),
            "remaining": sum(amounts),
            "median_order": sold[(len(sold) - 1) // 2] if sold else None,
        }
    refunds = sum(order.is_refund for order in accepted)
    return {
        "orders": len(accepted) - refunds,
        "refunds": refunds,
        "without_invoice": sorted(one.id for one in accepted if not one.is_refund and one.id not in invoiced),
        "currencies": currencies,
    }


def problems(sales: Sales, expected: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it has to be, the figures among it."""
    made, refused = sales.made, sales.refused
    if made.status != "succeeded":
        yield f"run {made.id} has {made.status}: {made.error}"
    elif made.report is None:
        yield f"run {made.id} has succeeded, and there is no report"
    else:
        found, wanted = _flat(made.report), _flat(expected)
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                yield f"{name} is {found.get(name)!r}, and by the orders {wanted.get(name)!r}"
    yield from _states(made, failed=())
    if refused.status != "failed" or refused.report is not None:
        report = "no report" if refused.report is None else "a report"
        yield f"run {refused.id} has {refused.status} and made {report}, though there was no room for one"
    yield from _states(refused, failed=("load",))
    if sales.notified != 1:
        yield f"{sales.notified} e-mails told the shop that run {refused.id} has {refused.status}, and it has to be one"


def _states(run: WorkflowRun, *, failed: Collection[str]) -> Iterator[str]:
    """The nodes that are in another state than they have to be."""
    for name, node in run.nodes.items():
        wanted = NodeState.FAILED if name in failed else NodeState.SUCCEEDED
        if name == "notify" and not failed:
            wanted = NodeState.SKIPPED
        if node.state != wanted:
            yield f"{name} of run {run.id} is {node.state}, and has to be {wanted.value}"


def _followed(cloud: Cloud, workflow: "Workflow", handle: "TaskHandle") -> "tuple[Run, dict[str, NodeRun]]":
    """A run at its end, and what became of each of its nodes."""
    # Its status tells of either.
    with suppress(TaskFailedError, TimeoutError):
        handle.result(timeout=_TIMEOUT_SECONDS)
    run = find_run(cloud, [workflow], handle.id)
    return run, read_nodes(cloud, run)


def _told(cloud: Cloud, bucket: str, run: "Run", nodes: "Mapping[str, NodeRun]") -> WorkflowRun:
    times = (run.started, run.finished)
    return WorkflowRun(
        run.id,
        run.status,
        times[1] - times[0] if times[0] and times[1] else None,
        run.error,
        {one.name: _node(nodes[one.name]) for one in run.workflow.graph.walk()},
        _report(cloud, bucket, run.id),
    )


def _node(told: "NodeRun") -> Node:
    attempts, items = (None, told.items.succeeded) if told.items else (told.attempts, None)
    return Node(told.state.value, told.seconds, attempts, items)


def _report(cloud: Cloud, bucket: str, run: str) -> dict[str, Any] | None:
    s3 = cloud.client("s3")
    try:
        body = s3.get_object(Bucket=bucket, Key=f"{_REPORTS}{run}.json")["Body"]
    except s3.exceptions.NoSuchKey:
        return None
    report: dict[str, Any] = json.loads(body.read())
    return report


def _flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every figure by its path: ``currencies.EUR.sold``."""
    flat: dict[str, Any] = {}
    for name, value in figures.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
