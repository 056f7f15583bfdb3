"""`tasks runs …`: workflows that were started, and what became of each of their tasks."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks_cli import output
from tasks_cli.target import Aws, Stack, choose_cloud

if TYPE_CHECKING:
    from tasks_cli.cloud import Cloud
    from tasks_cli.workflow_history import NodeRun
    from tasks_cli.workflow_runs import Run
    from tasks_cli.workflows import Workflow

app = typer.Typer(
    help="Workflows that were started, and what became of each of their tasks.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str | None,
    typer.Argument(help="The task that starts the workflow: shop.etl.extract, or extract; or a path; default: all."),
]
RunId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The id of the dispatch or of the execution, or its beginning; or an ARN."),
]
Status = Annotated[
    str | None,
    typer.Option(
        "--status", metavar="STATUS", help="running, succeeded, failed, timed-out or cancelled; default: all."
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the latest first.")]


@app.command("list")
def list_runs(
    name: Name = None,
    *,
    status: Status = None,
    limit: Limit = 20,
    stack: Stack = None,
    aws: Aws = False,
    json: output.Json = False,
) -> None:
    """List the runs of workflows: when they began, how long they took, and what failed.

    Those of Express workflows cannot be listed, since AWS keeps none: `tasks runs show ID` finds one in the task store.
    What discarded itself is cancelled; with --status cancelled it is looked for among the latest 100 of a workflow that
    came to their ends.

    \b
    Examples:
      tasks runs list
      tasks runs list extract --status failed
      tasks runs list Shop/Etl --limit 5 --aws --stack Shop
    """
    from tasks_cli import workflow_runs  # noqa: PLC0415
    from tasks_cli.drawing.words import duration  # noqa: PLC0415
    from tasks_cli.workflows import find_workflow  # noqa: PLC0415

    wanted = workflow_runs.status_named(status) if status else None
    cloud, workflows = deployed_here(aws=aws, stack=stack)
    if name is not None:
        workflows = [find_workflow(workflows, name)]
    for one in workflows:
        if one.is_express:
            output.say(f"Runs of {one.path} are not listed, it is an Express workflow: show one by its id.")
    found = workflow_runs.list_runs(cloud, workflows, status=wanted, limit=limit)
    if json:
        output.print_json([as_json(run) for run in found])
        return
    if not found:
        print("No runs.")
        return
    rows = [
        (
            run.id,
            run.workflow.path,
            run.status,
            _time(run.started),
            "-" if run.started is None else duration((run.finished or time.time()) - run.started),
            run.error or "-",
        )
        for run in found
    ]
    output.print_table("Runs", ["id", "workflow", "status", "started", "duration", "failed"], rows)


@app.command("show")
def show(run: RunId, *, stack: Stack = None, aws: Aws = False, json: output.Json = False) -> None:
    """Show one run: each task's state, how long it took, how often it was tried, its error and its progress.

    What is told comes from the execution's history, and from the task store if the workflow has one.

    \b
    Examples:
      tasks runs show 5f0c
      tasks runs show 5f0c --json
      tasks runs show 5f0c --aws --stack Shop
    """
    from tasks_cli.drawing.text import tree  # noqa: PLC0415
    from tasks_cli.drawing.words import outcome  # noqa: PLC0415
    from tasks_cli.workflow_failures import explained  # noqa: PLC0415
    from tasks_cli.workflow_runs import read_nodes  # noqa: PLC0415

    cloud, found = _find(run, aws=aws, stack=stack)
    told = read_nodes(cloud, found)
    found = explained(found, told)
    if json:
        output.print_json({**as_json(found), "nodes": {name: told_as_json(one) for name, one in told.items()}})
        return
    facts = [
        ("run", found.id),
        ("message", found.message_id if found.message_id != found.id else None),
        ("workflow", found.workflow),
        ("status", outcome(found)),
        ("started", _time(found.started)),
        ("error", found.error),
    ]
    for name, value in facts:
        if value is not None:
            print(f"{name + ':':<10}{value}")
    print()
    print(tree(found.workflow.graph, told))


@app.command("cancel")
def cancel(run: RunId, *, stack: Stack = None, aws: Aws = False, json: output.Json = False) -> None:
    """Stop one run: none of its tasks begins any more. What runs already is not interrupted.

    \b
    Examples:
      tasks runs cancel 5f0c
    """
    from tasks_cli import workflow_runs  # noqa: PLC0415

    cloud, found = _find(run, aws=aws, stack=stack)
    workflow_runs.cancel(cloud, found)
    if json:
        output.print_json({**as_json(found), "status": "cancelled"})
        return
    print(f"Cancelled {found.id} of {found.workflow}")


@app.command("result")
def result(run: RunId, *, stack: Stack = None, aws: Aws = False, json: output.Json = False) -> None:
    """Print what the task returned that the run started with, as JSON.

    \b
    Examples:
      tasks runs result 5f0c
    """
    from tasks_cli.workflow_runs import result_of  # noqa: PLC0415

    cloud, found = _find(run, aws=aws, stack=stack)
    value = result_of(cloud, found)
    output.print_json({**as_json(found), "result": value} if json else value)


def deployed_here(*, aws: bool, stack: str | None) -> "tuple[Cloud, list[Workflow]]":
    """The cloud to work on, and the workflows that are deployed there."""
    from tasks_cli import deployed  # noqa: PLC0415
    from tasks_cli.workflows import deployed_workflows  # noqa: PLC0415

    cloud = choose_cloud(aws=aws)
    return cloud, deployed_workflows(cloud, deployed.stack_names(cloud, stack))


def as_json(run: "Run") -> dict[str, Any]:
    """A run for programs."""
    return {
        "id": run.id,
        "message_id": run.message_id,
        "workflow": run.workflow.path,
        "task": run.workflow.task,
        "status": run.status,
        "started": run.started,
        "finished": run.finished,
        "error": run.error,
        "arn": run.arn or None,
    }


def told_as_json(told: "NodeRun") -> dict[str, Any]:
    """What became of a node for programs."""
    errors = [one._asdict() for one in told.item_errors]
    return {**told._asdict(), "items": told.items and told.items._asdict(), "item_errors": errors}


def _find(given: str, *, aws: bool, stack: str | None) -> "tuple[Cloud, Run]":
    from tasks_cli.workflow_runs import find_run  # noqa: PLC0415

    cloud, workflows = deployed_here(aws=aws, stack=stack)
    return cloud, find_run(cloud, workflows, given)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
