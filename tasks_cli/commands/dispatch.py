"""`tasks dispatch`."""

import json as json_format
import os
from typing import Annotated, Any

import typer

from tasks_cli import output
from tasks_cli.errors import CliError, UsageError
from tasks_cli.target import Aws, Namespace, PriorityName, Stack, choose_cloud, priority_of

Name = Annotated[str, typer.Argument(help="The task: shop.mail.send, or shop.mail:send.")]
Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="[ARGS]...", help="Positional arguments: JSON, else taken as text.")
]
Keywords = Annotated[
    list[str] | None,
    typer.Option(
        "--kwargs", metavar="KEY=VALUE|JSON", help="A keyword argument, or a JSON object of them; repeatable."
    ),
]
Headers = Annotated[
    list[str] | None, typer.Option("--header", metavar="KEY=VALUE", help="A header of the message; repeatable.")
]
Delay = Annotated[int, typer.Option("--delay", min=0, max=900, help="Seconds until it may start; queues only.")]


def dispatch(
    name: Name,
    args: Arguments = None,
    *,
    kwargs: Keywords = None,
    priority: PriorityName = "default",
    delay: Delay = 0,
    header: Headers = None,
    namespace: Namespace = None,
    stack: Stack = None,
    aws: Aws = False,
    json: output.Json = False,
) -> None:
    """Run a task in the background, by its name; the app's code is not imported.

    Arguments are JSON where they can be: 3, true, '"3"', '{"width": 2}'; anything else is text.
    Put -- before arguments that start with a dash.

    \b
    Examples:
      tasks dispatch shop.mail:send ann@example.com Hello
      tasks dispatch shop.images.resize 42 --kwargs width=200 --kwargs '{"crop": true}'
      tasks dispatch shop.mail.send ann@example.com --priority high --delay 60
      tasks dispatch shop.reports.nightly --aws --stack Shop
    """
    from runtime_lib.contract import DEFAULT_NAMESPACE  # noqa: PLC0415
    from runtime_lib.envelope import Envelope  # noqa: PLC0415
    from runtime_lib.task import Call  # noqa: PLC0415
    from runtime_lib.transports.routes import RouteTransport, find_route  # noqa: PLC0415
    from tasks_cli import deployed  # noqa: PLC0415

    task = name.replace(":", ".")
    envelope = Envelope.new(
        task,
        [json_or_text(text) for text in args or ()],
        keywords_of(kwargs or ()),
        priority=priority_of(priority),
        headers=dict(_pair(text, "--header") for text in header or ()),
    )
    cloud = choose_cloud(aws=aws)
    functions = deployed.targets(cloud, deployed.stack_names(cloud, stack))
    routes = deployed.routes(functions)
    if namespace is None:
        namespace = deployed.namespace_of_task(functions, task)
    # From here on this process is a sender like any other: it has the routes in its environment.
    cloud.use_in_this_process()
    os.environ.update(routes)
    call = Call(envelope, envelope.encode(), namespace or DEFAULT_NAMESPACE, delay)
    route = find_route(call)
    if route is None:
        raise CliError(f"no deployed construct serves the namespace {namespace!r}; the routes are {sorted(routes)}")
    # Where it is recorded is what its server says, should there be several stores.
    os.environ.update(next((one.store for one in functions if str(route) in one.routes.values()), {}))
    RouteTransport().send([call])
    if json:
        output.print_json({"id": envelope.id, "task": task, "route": str(route)})
        return
    print(f"Dispatched {task} to {route} with id {envelope.id}")
    if route.kind == "states":
        output.say(f"Next: `tasks runs show {envelope.id[:8]}` tells what becomes of it")


def json_or_text(text: str) -> Any:
    """A value as it was typed: JSON where it is that, else the text."""
    try:
        return json_format.loads(text)
    except ValueError:
        return text


def keywords_of(given: list[str] | tuple[()]) -> dict[str, Any]:
    """Keyword arguments as they were typed: ``key=value``, or an object in JSON.

    Raises:
        UsageError: one is neither.
    """
    keywords: dict[str, Any] = {}
    for text in given:
        if text.lstrip().startswith("{"):
            found = json_or_text(text)
            if not isinstance(found, dict):
                raise UsageError(f"--kwargs {text!r} is not a JSON object")
            keywords |= found
        else:
            key, value = _pair(text, "--kwargs")
            keywords[key] = json_or_text(value)
    return keywords


def _pair(text: str, option: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"{option} {text!r}: write it as key=value")
    return key, value
