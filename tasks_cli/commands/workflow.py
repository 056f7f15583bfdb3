"""`tasks workflow …`: what runs before and after what."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks_cli import output
from tasks_cli.commands.runs import as_json, deployed_here, told_as_json
from tasks_cli.commands.synth import App
from tasks_cli.errors import UsageError
from tasks_cli.target import Aws, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks_cli.workflow_history import NodeRun
    from tasks_cli.workflow_runs import Run
    from tasks_cli.workflows import Node, Workflow

app = typer.Typer(
    help="Workflows: what runs before and after what.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str,
    typer.Argument(
        help="The task that starts it: shop.etl.extract, or extract if no other one is called so; or a path."
    ),
]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="A run: the id of the dispatch, or its beginning.")
]
Form = Annotated[
    str | None,
    typer.Option("--format", metavar="FORM", help="svg, mermaid or text; default: as FILE ends, without one text."),
]
Out = Annotated[Path | None, typer.Option("--out", help="File to write to; default: print it.", metavar="FILE")]

_FORMS = {
    "svg": (".svg",),
    "mermaid": (".mmd", ".mermaid"),
    "text": (".txt",),
}


@app.callback()
def workflow() -> None:
    """Workflows: what runs before and after what."""


@app.command("show")
def show(
    name: Name,
    *,
    run: RunId = None,
    form: Form = None,
    out: Out = None,
    app: App = None,
    stack: Stack = None,
    aws: Aws = False,
    json: output.Json = False,
) -> None:
    """Draw a workflow: as a tree of text, as a picture (SVG), or as a flowchart for Mermaid.

    Without --run the CDK app is synthesized, and nothing needs to be deployed. With it, the drawing is of what is
    deployed, and shows what became of each task in that run: its state, how long it took, attempts, progress, errors.

    \b
    Examples:
      tasks workflow show extract
      tasks workflow show Shop/Etl --out etl.svg
      tasks workflow show shop.etl:extract --format mermaid
      tasks workflow show Shop/Etl --run 5f0c --out run.svg --aws --stack Shop
    """
    from tasks_cli.workflows import find_workflow  # noqa: PLC0415

    written = _form(form, out)
    told: Mapping[str, NodeRun] | None = None
    found_run: Run | None = None
    if run is None:
        if aws or stack:
            raise UsageError("--aws and --stack say where a run is: give it by --run, or leave them out")
        found = find_workflow(_synthesized(app), name)
    else:
        from tasks_cli.workflow_failures import explained  # noqa: PLC0415
        from tasks_cli.workflow_runs import find_run, read_nodes  # noqa: PLC0415

        if app:
            raise UsageError("--app is for what is not deployed, --run for what is: give one of them")
        cloud, workflows = deployed_here(aws=aws, stack=stack)
        found = find_workflow(workflows, name)
        found_run = find_run(cloud, [found], run)
        told = read_nodes(cloud, found_run)
        found_run = explained(found_run, told)
    if json and out is None:
        about = as_json(found_run) if found_run else {}
        output.print_json({**_as_json(found), **about, "graph": _graph_as_json(found.graph, told)})
        return
    text = _drawn(found, found_run, told, written)
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    out.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    if json:
        output.print_json({**_as_json(found), "output": str(out), "format": written})
        return
    print(f"Wrote {found} to {out}")


def _form(given: str | None, out: Path | None) -> str:
    """The form to write.

    Raises:
        UsageError: there is no such form, or neither is given nor does the file's name tell.
    """
    if given is not None:
        if given not in _FORMS:
            raise UsageError(f"there is no format {given!r}; it is one of {', '.join(_FORMS)}")
        return given
    if out is None:
        return "text"
    for form, endings in _FORMS.items():
        if out.suffix.lower() in endings:
            return form
    known = ", ".join(ending for endings in _FORMS.values() for ending in endings)
    raise UsageError(f"{str(out)!r} does not tell its format: let it end in {known}, or give --format")


def _synthesized(app: str | None) -> "list[Workflow]":
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415
    from tasks_cli.workflows import synthesized_workflows  # noqa: PLC0415

    project = Path.cwd()
    folder, _ = synthesize(app_command(project, app), project)
    return synthesized_workflows(folder)


def _drawn(workflow: "Workflow", run: "Run | None", told: "Mapping[str, NodeRun] | None", form: str) -> str:
    from tasks_cli.drawing import mermaid, svg, text  # noqa: PLC0415
    from tasks_cli.drawing.words import outcome  # noqa: PLC0415

    note = f"run {run.id}: {outcome(run)}" if run else ""
    match form:
        case "svg":
            return svg.picture(workflow.path, workflow.graph, told, note=note)
        case "mermaid":
            return mermaid.flowchart(workflow.graph, told)
    return "\n".join([f"{workflow}{f', {note}' if note else ''}", text.tree(workflow.graph, told)])


def _as_json(workflow: "Workflow") -> dict[str, Any]:
    return {
        "workflow": workflow.path,
        "task": workflow.task,
        "machine": workflow.machine,
        "stack": workflow.stack,
        "express": workflow.is_express,
    }


def _graph_as_json(node: "Node", told: "Mapping[str, NodeRun] | None") -> dict[str, Any]:
    """A graph, each node with those that belong to it inside; with what became of each, if that is told."""
    described: dict[str, Any] = {"name": node.name, "task": node.task, "on": node.on, "via": node.via}
    if node.subprocess:
        described["subprocess"] = True
    if node.wait:
        described["wait"] = node.wait
    if told:
        described["run"] = told_as_json(told[node.name])
    for key, nodes in (("before", node.before), ("after", node.after)):
        if nodes:
            described[key] = [_graph_as_json(one, told) for one in nodes]
    if node.failure:
        described["failure"] = _graph_as_json(node.failure, told)
    if node.each:
        then = {"then": _graph_as_json(node.each.then, told)} if node.each.then else {}
        described["each"] = {"max_concurrency": node.each.max_concurrency, **then}
    return described
