"""`tasks local …`: the local cloud of this folder."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks_cli import output
from tasks_cli.commands.synth import App, Validate
from tasks_cli.errors import CliError
from tasks_cli.target import local_cloud

if TYPE_CHECKING:
    from tasks_cli.cloud import Cloud
    from tasks_cli.deployed import Function
    from tasks_cli.local.apis import Api, FunctionUrl, Route
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
ServedApi = Annotated[
    str | None, typer.Option("--api", help="The path of a TaskApi, served alone; default: every one.", metavar="PATH")
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
    from tasks_cli.local.apis import function_urls, local_text  # noqa: PLC0415
    from tasks_cli.synthesis import app_command, synthesize  # noqa: PLC0415

    project = Path.cwd()
    cloud = local_cloud()
    folder, notes = synthesize(app_command(project, app), project, validate=validate)
    for note in notes:
        output.say(f"{note.level}: {note.path}: {note.message}")
    stacks = [
        stack._replace(outputs={name: local_text(cloud, value) for name, value in stack.outputs.items()})
        for stack in deployment.deploy(cloud, folder)
    ]
    if json:
        output.print_json([stack._asdict() for stack in stacks])
        return
    for stack in stacks:
        print(f"{stack.name}: deployed in {stack.seconds:.1f} s")
        for name, value in sorted(stack.outputs.items()):
            print(f"  {name} = {value}")
    _print_function_urls(function_urls(cloud, [stack.name for stack in stacks]))
    if any("execute-api" in value for stack in stacks for value in stack.outputs.values()):
        print("Next: `tasks local serve` has the API at a shorter address.")


@app.command("status")
def status(*, json: output.Json = False) -> None:
    """Show the stacks of the local cloud, their functions, and what waits in their queues."""
    from tasks_cli import deployed, stacks  # noqa: PLC0415
    from tasks_cli.local.apis import deployed_apis, function_urls  # noqa: PLC0415

    cloud = local_cloud()
    found = stacks.top_level(cloud)
    names = [stack["StackName"] for stack in found]
    apis, urls = deployed_apis(cloud, names), function_urls(cloud, names)
    functions, queues = deployed.functions(cloud, names), deployed.queues(cloud, names)
    if json:
        output.print_json(
            {
                "url": cloud.url,
                "stacks": [{"name": stack["StackName"], "status": stack["StackStatus"]} for stack in found],
                "functions": [function._asdict() for function in functions],
                "apis": [_api_as_json(api, cloud) for api in apis],
                "function_urls": [url._asdict() for url in urls],
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
    if apis:
        places = [(api.construct, api.url(cloud), api.domain_name or "") for api in apis]
        output.print_table("APIs", ["path", "url", "domain name"], places)
    _print_function_urls(urls)
    counts = [(queue.name, queue.waiting, queue.delayed, queue.in_flight) for queue in queues]
    output.print_table("Queues", ["queue", "waiting", "delayed", "in flight"], counts)


@app.command("serve")
def serve(*, api: ServedApi = None, port: Port = 0, json: output.Json = False) -> None:
    """Serve the APIs of the local cloud at http://127.0.0.1:<port>/ until Ctrl-C.

    One API is at the root; of several, each is below the name of its construct. A request whose Host header is an API's
    domain name goes there. With --json one document says what is served, before the first request.

    \b
    Examples:
      tasks local serve --port 8000
      tasks local serve --api Shop/Api
    """
    from tasks_cli import deployed  # noqa: PLC0415
    from tasks_cli.local.api_proxy import ApiProxy, mounts  # noqa: PLC0415
    from tasks_cli.local.apis import deployed_apis, function_urls  # noqa: PLC0415

    cloud = local_cloud()
    names = deployed.stack_names(cloud, None)
    found, urls = deployed_apis(cloud, names), function_urls(cloud, names)
    if api is not None:
        known = ", ".join(each.construct for each in found) or "none"
        found = [each for each in found if each.construct == api]
        if not found:
            raise CliError(f"there is no API {api!r}; deployed are: {known}")
    mounted = mounts(found)
    with ApiProxy(cloud, mounted, port=port) as proxy:
        if json:
            served = [_api_as_json(each, cloud) | {"url": proxy.url + prefix} for prefix, each in mounted]
            output.print_json({"url": proxy.url, "apis": served, "function_urls": [url._asdict() for url in urls]})
        for prefix, each in () if json else mounted:
            rows = [
                (route.method, f"{proxy.url}{prefix}{route.path}", route.construct, _asks(route))
                for route in each.routes
            ]
            output.print_table(each.construct, ["method", "url", "answered by", "asks for"], rows)
        if not json:
            _print_function_urls(urls)
        output.say("Ctrl-C ends it.")
        sys.stdout.flush()
        proxy.serve_forever()


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


def _api_as_json(api: "Api", cloud: "Cloud") -> dict[str, object]:
    routes = [route._asdict() for route in api.routes]
    return {"construct": api.construct, "url": api.url(cloud), "domain_name": api.domain_name, "routes": routes}


_ASKED = {"AWS_IAM": "a signature", "COGNITO_USER_POOLS": "a user's token", "CUSTOM": "what its authorizer wants"}


def _asks(route: "Route") -> str:
    """What a request needs besides its arguments."""
    needs = [_ASKED[route.authorization]] if route.authorization in _ASKED else []
    return " and ".join([*needs, *(["an API key"] if route.api_key else [])])


def _print_function_urls(urls: "list[FunctionUrl]") -> None:
    rows = [
        (url.function, url.url, "as it is written" if url.streams else "whole", _ASKED.get(url.authorization, ""))
        for url in urls
    ]
    if rows:
        output.print_table("Function URLs", ["function", "url", "answers", "asks for"], rows)


def _as_json(running: "RunningCloud") -> dict[str, object]:
    return {"url": running.url, "process_id": running.process_id, "enforces_iam": running.enforces_iam}
