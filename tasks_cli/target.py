"""Which cloud a command works on: the one of this folder, or AWS when that was asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks_cli import output
from tasks_cli.errors import CliError, UsageError

if TYPE_CHECKING:
    from runtime_lib.contract import Priority
    from tasks_cli.cloud import Cloud

Aws = Annotated[
    bool,
    typer.Option("--aws", help="Work on AWS, with your own credentials, instead of the local cloud of this folder."),
]
Stack = Annotated[
    str | None,
    typer.Option("--stack", help="Stack to look in; default on the local cloud: all of them.", metavar="NAME"),
]

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", metavar="NAME", help="The tasks' namespace; default: that of their module's server."),
]
PriorityName = Annotated[str, typer.Option("--priority", metavar="NAME", help="high, default, low or bulk.")]


def priority_of(name: str) -> "Priority":
    """The priority of this name.

    Raises:
        UsageError: there is none.
    """
    from runtime_lib.contract import Priority  # noqa: PLC0415

    try:
        return Priority(name.lower())
    except ValueError:
        known = ", ".join(one.value for one in Priority)
        raise UsageError(f"there is no priority {name!r}; it is one of {known}") from None


def choose_cloud(*, aws: bool) -> "Cloud":
    """The cloud to work on; it is told on standard error.

    Raises:
        CliError: the local cloud does not run, or AWS has no region or credentials.
    """
    from tasks_cli.cloud import Cloud  # noqa: PLC0415  (boto3 is slow to import)

    if not aws:
        cloud = local_cloud(remedy=", or use AWS with --aws")
        output.say(f"Using {cloud}.")
        return cloud
    cloud = Cloud()
    if not cloud.region:
        raise CliError("AWS has no region here: set AWS_REGION, or a region in your AWS profile")
    account = cloud.client("sts").get_caller_identity()["Account"]
    output.say(f"Using AWS account {account} in {cloud.region}.")
    return cloud


def local_cloud(*, remedy: str = "") -> "Cloud":
    """The local cloud of this folder; ``remedy`` is what else can be done where it does not run.

    Raises:
        CliError: it does not run.
    """
    from tasks_cli.local.detached import find  # noqa: PLC0415

    running = find(Path.cwd())
    if running is None:
        raise CliError(f"no local cloud of this folder runs: start one with `tasks local up`{remedy}")
    return running.cloud()
