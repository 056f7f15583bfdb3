"""`tasks local …`: the local cloud of this folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks_cli import output
from tasks_cli.commands.synth import App, Validate

if TYPE_CHECKING:
    from tasks_cli.local.detached import RunningCloud

app = typer.Typer(
    help="A cloud on this machine: queues, functions, e-mail, logs. No docker, no AWS account.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Port = Annotated[
    int, typer.Option("--port", help="Port on 127.0.0.1; default: a free one.", min=0, max=65535, show_default=False)
]
EnforceIam = Annotated[
    bool,
    typer.Option("--enforce-iam", help="Deny functions what their roles do not allow; serves https, as policies ask."),
]


@app.command("up")
def up(*, port: Port = 0, enforce_iam: EnforceIam = False, json: output.Json = False) -> None:
    r"""Start the local cloud of this folder; returns when it is ready.

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
    r"""Synthesize the CDK app and deploy its stacks to the local cloud of this folder; again updates them.

    \b
    Examples:
      tasks local deploy
      tasks local deploy --app "python sample_app/app.py"
    """
    from tasks_cli.local import deployment  # noqa: PLC0415
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415

    project = Path.cwd()
    cloud = _running(project).cloud()
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


def _running(project: Path) -> "RunningCloud":
    from tasks_cli.local.detached import find  # noqa: PLC0415
    from tasks_cli.local.process import LocalCloudError  # noqa: PLC0415

    running = find(project)
    if running is None:
        raise LocalCloudError("no local cloud of this folder runs: start one with `tasks local up`")
    return running


def _as_json(running: "RunningCloud") -> dict[str, object]:
    return {"url": running.url, "process_id": running.process_id, "enforces_iam": running.enforces_iam}
