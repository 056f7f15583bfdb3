"""`tasks local …`: the local cloud of this folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks_cli import output
from tasks_cli.commands.synth import App, Validate
from tasks_cli.errors import CliError
from tasks_cli.target import local_cloud

if TYPE_CHECKING:
    from tasks_cli.deployed import Function
    from tasks_cli.local.detached import RunningCloud

app = typer.Typer(
    help="A cloud on this machine: queues, functions, e-mail, logs. No docker, no AWS account.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Port = Annotated[
    int, typer.Option("--port", help="Port on 127.0.0.1; default: a free one.", min=0, max=65535, show_default=False)
]
LoggedFunction = Annotated[
    str | None, typer.Argument(help="A function's name or its construct's path; default: every function.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")]
EnforceIam = Annotated[
    bool,
    typer.Option("--enforce-iam", help="Deny functions what their roles do not allow; serves https, as policies ask."),
]
FOLLOW_SECONDS = 0.5
"""How often new lines are looked for."""


@app.command("up")
def up(*, port: Port = 0, enforce_iam: EnforceIam = False, json: output.Json = False) -> None:
    """Start the local cloud of this folder; returns when it is ready.

    It runs until `tasks local down`. Its address is in .tasks/local.json, what it logs in .tasks/local.log.

    \b
    Examples:
      tasks local up
      tasks local up --enforce-iam --port 4566
    """
    from tasks_cli.local import detached, function_runtime  # noqa: PLC0415

    running = detached.start(Path.cwd(), port=port, enforce_iam=enforce_iam)
    if not function_runtime.is_available():
        output.say("warning: awslambdaric has no wheel for this system: functions run in the emulator's own worker")
    if json:
        output.print_json(_as_json(running))
        return
    print(f"The local cloud is ready at {running.url} (process {running.process_id}).")
    print("Next: `tasks local deploy`; `tasks local down` ends it.")


@app.command("deploy")
def deploy(*, app: App = None, validate: Validate = False, json: output.Json = False) -> None:
    """Synthesize the CDK app and deploy its stacks to the local cloud of this folder; again updates them.

    \b
    Examples:
      tasks local deploy
      tasks local deploy --app "python app.py"
    """
    from tasks_cli.local import deployment  # noqa: PLC0415
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415

    project = Path.cwd()
    cloud = local_cloud()
    folder, notes = synthesize(app_command(project, app), project, validate=validate)
    for note in notes:
        output.say(f"{note.level}: {note.path}: {note.message}")
    stacks = deployment.deploy(cloud, folder)
    if json:
        output.print_json([stack._asdict() for stack in stacks])
        return
    for stack in stacks:
        print(f"{stack.name}: deployed in {stack.seconds:.1f} s")
        for name, value in sorted(stack.outputs.items()):
            print(f"  {name} = {value}")


@app.command("status")
def status(*, json: output.Json = False) -> None:
    """Show the stacks of the local cloud, their functions, and what waits in their queues."""
    from tasks_cli import deployed, stacks  # noqa: PLC0415

    cloud = local_cloud()
    found = stacks.top_level(cloud)
    names = [stack["StackName"] for stack in found]
    functions, queues = deployed.functions(cloud, names), deployed.queues(cloud, names)
    if json:
        output.print_json(
            {
                "url": cloud.url,
                "stacks": [{"name": stack["StackName"], "status": stack["StackStatus"]} for stack in found],
                "functions": [function._asdict() for function in functions],
                "queues": [queue._asdict() for queue in queues],
            }
        )
        return
    print(f"The local cloud is at {cloud.url}.")
    if not found:
        print("Nothing is deployed: `tasks local deploy`")
        return
    output.print_table("Stacks", ["stack", "status"], [(stack["StackName"], stack["StackStatus"]) for stack in found])
    rows = [(function.name, function.construct, function.path) for function in functions]
    output.print_table("Functions", ["function", "construct", "path"], rows)
    counts = [(queue.name, queue.waiting, queue.delayed, queue.in_flight) for queue in queues]
    output.print_table("Queues", ["queue", "waiting", "delayed", "in flight"], counts)


@app.command("logs")
def logs(function: LoggedFunction = None, *, follow: Follow = False, json: output.Json = False) -> None:
    """Print what the functions of the local cloud print, the oldest first.

    With --json every line of the logs as a document, Lambda's START, END and REPORT lines included.

    \b
    Examples:
      tasks local logs
      tasks local logs Shop-Invoice-1A2B --follow
      tasks local logs Shop/Invoice
    """
    import time  # noqa: PLC0415

    from tasks_cli import deployed  # noqa: PLC0415
    from tasks_cli.local.logs import LogReader  # noqa: PLC0415

    cloud = local_cloud()
    names = _matching(deployed.functions(cloud, deployed.stack_names(cloud, None)), function)
    reader = LogReader(cloud, names)
    while True:
        for line in reader.read():
            if json:
                output.print_json_line(line._asdict())
            elif not line.is_platforms:
                at = time.strftime("%H:%M:%S", time.localtime(line.timestamp))
                print(f"{at} {line.function} {line.readable()}", flush=True)
        if not follow:
            return
        time.sleep(FOLLOW_SECONDS)


@app.command("down")
def down(*, json: output.Json = False) -> None:
    """End the local cloud of this folder, with its functions and everything in it."""
    from tasks_cli.local import detached  # noqa: PLC0415

    running = detached.end(Path.cwd())
    if json:
        output.print_json({"ended": _as_json(running) if running else None})
    elif running:
        print(f"The local cloud at {running.url} ended, with all its processes.")
    else:
        print("No local cloud of this folder runs.")


def _matching(functions: "list[Function]", wanted: str | None) -> list[str]:
    """The names of the functions of this name or construct path; of all, if none is wanted."""
    found = [function.name for function in functions if wanted in {None, function.name, function.path}]
    if wanted and not found:
        known = ", ".join(sorted(function.name for function in functions)) or "none"
        raise CliError(f"there is no function {wanted!r}; deployed are: {known}")
    return found


def _as_json(running: "RunningCloud") -> dict[str, object]:
    return {"url": running.url, "process_id": running.process_id, "enforces_iam": running.enforces_iam}
