"""`tasks openapi`."""

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from tasks_cli import output
from tasks_cli.commands.synth import App

Api = Annotated[str | None, typer.Option("--api", help="Path of the TaskApi, if the app has several.", metavar="PATH")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write to; default: print it.", metavar="FILE")]


def openapi(*, app: App = None, api: Api = None, out: Out = None, json: output.Json = False) -> None:
    """Describe the API of the CDK app as OpenAPI 3.1, from the signatures of its tasks.

    The app is synthesized, and the modules of its ApiTasks are imported in a process of their own.

    \b
    Examples:
      tasks openapi --out openapi.json
      tasks openapi --app "python app.py" --api Shop/Api
    """
    from tasks_cli.openapi.describe import describe  # noqa: PLC0415
    from tasks_cli.openapi.methods import methods_of, read_methods  # noqa: PLC0415
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415

    project = Path.cwd()
    folder, _ = synthesize(app_command(project, app), project)
    document = describe(methods_of(read_methods(folder), api), project)
    if out is None:
        output.print_json(document)
        return
    out.write_text(json_format.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    title, count = document["info"]["title"], sum(map(len, document["paths"].values()))
    if json:
        output.print_json({"output": str(out), "api": title, "operations": count})
        return
    print(f"Wrote {count} operations of {title} to {out}")
