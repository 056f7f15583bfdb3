"""`tasks synth`."""

from pathlib import Path
from typing import Annotated

import typer

from tasks_cli import output

App = Annotated[
    str | None,
    typer.Option("--app", help="Command that runs the CDK app; default: the 'app' of cdk.json.", metavar="COMMAND"),
]
Validate = Annotated[
    bool, typer.Option("--validate", help="Also validate the templates as CloudFormation would; takes some seconds.")
]


def synth(*, app: App = None, validate: Validate = False, json: output.Json = False) -> None:
    """Synthesize the CDK app into cdk.out, without the CDK command line.

    \b
    Examples:
      tasks synth
      tasks synth --validate --app "python app.py"
    """
    from tasks_cli.local.assembly import read_stacks  # noqa: PLC0415
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415

    project = Path.cwd()
    folder, notes = synthesize(app_command(project, app), project, validate=validate)
    stacks = [stack.name for stack in read_stacks(folder)]
    if json:
        output.print_json({"output": str(folder), "stacks": stacks, "warnings": [note._asdict() for note in notes]})
        return
    for note in notes:
        output.say(f"{note.level}: {note.path}: {note.message}")
    print(f"Synthesized {', '.join(stacks) or 'no stacks'} into {folder}")
