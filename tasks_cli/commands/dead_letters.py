"""`tasks dead-letters …`: what was given up, and why."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks_cli import output
from tasks_cli.errors import CliError
from tasks_cli.target import Aws, Stack, choose_cloud

if TYPE_CHECKING:
    from runtime_lib.dead_letters import DeadLetter
    from tasks_cli.cloud import Cloud

app = typer.Typer(
    help="Tasks that were given up, and why.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

QueueName = Annotated[
    str | None,
    typer.Option("--queue", metavar="NAME", help="A dead letter queue; default: those of all deployed constructs."),
]
_HIDDEN_SECONDS = 5
"""On AWS a queue can only be read by receiving: for how long a letter is hidden from others."""
_REASON_CHARACTERS = 100


@app.command("list")
def list_letters(*, queue: QueueName = None, stack: Stack = None, aws: Aws = False, json: output.Json = False) -> None:
    """List the dead letters: the task, how often it was tried, and the reason.

    On AWS this receives them, which hides each for 5 seconds and counts as a receive.

    \b
    Examples:
      tasks dead-letters list
      tasks dead-letters list --aws --stack Shop
    """
    letters = _letters(queue=queue, stack=stack, aws=aws)
    if json:
        output.print_json([_as_json(where, letter) for where, letter in letters])
        return
    if not letters:
        print("No dead letters.")
        return
    rows = [
        (letter.id, letter.task or "?", letter.failure.attempts, letter.failure.reason[:_REASON_CHARACTERS], where)
        for where, letter in letters
    ]
    output.print_table("Dead letters", ["message", "task", "attempts", "reason", "queue"], rows)


@app.command("show")
def show(
    message: Annotated[str, typer.Argument(help="The message's id, or its beginning, as `list` shows it.")],
    *,
    queue: QueueName = None,
    stack: Stack = None,
    aws: Aws = False,
    json: output.Json = False,
) -> None:
    """Show one dead letter: its error with the traceback, its times, and the message itself.

    \b
    Examples:
      tasks dead-letters show 5f0c
      tasks dead-letters show 5f0c --json
    """
    found = [one for one in _letters(queue=queue, stack=stack, aws=aws) if one[1].id.startswith(message)]
    if len(found) != 1:
        many = f"{len(found)} dead letters have ids that begin with {message!r}: give more of one"
        raise CliError(many if found else f"no dead letter has an id that begins with {message!r}: list them first")
    where, letter = found[0]
    if json:
        output.print_json(_as_json(where, letter))
        return
    failure = letter.failure
    facts = [
        ("message", letter.id),
        ("task", letter.task),
        ("id", letter.envelope_id),
        ("queue", where),
        ("source", failure.source),
        ("attempts", failure.attempts),
        ("first", _time(failure.first_at)),
        ("last", _time(failure.last_at)),
        ("reason", failure.reason),
        ("error", ": ".join(filter(None, [failure.error_type, failure.error_message]))),
    ]
    for name, value in facts:
        if value not in {None, ""}:
            print(f"{name + ':':<10}{value}")
    for title, text in (("traceback", failure.traceback.rstrip()), ("body", letter.body)):
        if text:
            print(f"\n{title}:\n{text}")


def _letters(*, queue: str | None, stack: str | None, aws: bool) -> "list[tuple[str, DeadLetter]]":
    """The dead letters of each queue, with the queue's name."""
    from tasks_cli import deployed  # noqa: PLC0415

    cloud = choose_cloud(aws=aws)
    if queue:
        names = [queue]
    else:
        functions = deployed.functions(cloud, deployed.stack_names(cloud, stack))
        names = sorted({function.dead_letter_queue for function in functions} - {""})
    return [(name, letter) for name in names for letter in _read(cloud, name)]


def _read(cloud: "Cloud", name: str) -> "list[DeadLetter]":
    from runtime_lib.dead_letters import read_dead_letter, receive_dead_letters  # noqa: PLC0415
    from tasks_cli.local.inspection import queued_messages  # noqa: PLC0415

    sqs = cloud.client("sqs")
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        raise CliError(f"there is no queue {name!r} on {cloud}") from None
    if not cloud.is_local:
        return list(receive_dead_letters(url, client=sqs, visibility_timeout=_HIDDEN_SECONDS))
    return [read_dead_letter(message.as_received()) for message in queued_messages(cloud, url)]


def _as_json(where: str, letter: "DeadLetter") -> dict[str, Any]:
    return {
        "message": letter.id,
        "queue": where,
        "task": letter.task,
        "id": letter.envelope_id,
        "failure": letter.failure._asdict(),
        "body": letter.body,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
