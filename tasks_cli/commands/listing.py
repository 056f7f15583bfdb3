"""`tasks list`."""

from pathlib import Path

from tasks_cli import output
from tasks_cli.commands.synth import App


def list_tasks(*, app: App = None, json: output.Json = False) -> None:
    """List every task of the CDK app: what starts it, and the construct that serves it.

    The app is synthesized; nothing needs to be deployed, and the tasks' modules are not imported. A task that several
    constructs start has a line for each, and one that nothing serves says so: give it a construct, or a namespace that
    has one. (Tasks whose source is not in a function's asset are only listed where they are served.)

    \b
    Examples:
      tasks list
      tasks list --app "python app.py" --json
    """
    from tasks_cli import listing  # noqa: PLC0415
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415

    project = Path.cwd()
    folder, _ = synthesize(app_command(project, app), project)
    found = listing.list_tasks(folder)
    if json:
        output.print_json([one._asdict() for one in found])
        return
    if not found:
        print("The app has no tasks.")
        return
    rows = [
        (one.task, one.trigger or "-", one.construct or "nothing serves it", one.path or one.source or "-")
        for one in found
    ]
    output.print_table("Tasks", ["task", "trigger", "construct", "path"], rows)
