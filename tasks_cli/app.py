"""The `tasks` command: its groups, its exit codes and its errors."""

import signal
import sys
from typing import NoReturn

import typer

from tasks_cli.commands import (
    check_streaming,
    dead_letters,
    demo,
    dispatch,
    invoke,
    listing,
    local,
    openapi,
    runs,
    synth,
    worker,
    workflow,
)
from tasks_cli.errors import CliError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2

_HELP = """
Background tasks on AWS Lambda: synthesize, run and look into an app, on this machine or on AWS.

\b
  tasks demo                          run the sample app on a file of orders, and check every one
  tasks local up                      start a local cloud (no docker, no AWS account)
  tasks local deploy                  synthesize the app of cdk.json and deploy it there
  tasks list                          every task, what starts it and the construct that serves it
  tasks dispatch shop.mail:send 42    run a task in the background
  tasks invoke shop.mail:send         run its function, and see what it returns and logs
  tasks local status                  stacks, functions, queues and what waits in them
  tasks openapi --out openapi.json    describe the API, from the signatures of its tasks
  tasks local serve --port 8000       the API at http://127.0.0.1:8000/
  tasks local logs --follow           what the functions print
  tasks worker shop.mail              run a queue's tasks in this process
  tasks workflow show shop.etl:run    what runs before and after what, as text or as a picture
  tasks runs list                     workflows that were started, and what failed
  tasks check-streaming URL           whether an answer comes bit by bit, or at once
  tasks dead-letters list             what failed, and why
  tasks local down                    end it, with everything it started

Exit codes: 0 done, 1 failed, 2 called wrongly.
"""

app = typer.Typer(
    name="tasks",
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("synth")(synth.synth)
app.add_typer(local.app, name="local")
app.command("list")(listing.list_tasks)
app.command("openapi")(openapi.openapi)
app.command("dispatch")(dispatch.dispatch)
app.command("invoke")(invoke.invoke)
app.command("worker")(worker.worker)
app.command("check-streaming")(check_streaming.check_streaming)
app.add_typer(workflow.app, name="workflow")
app.add_typer(runs.app, name="runs")
app.add_typer(dead_letters.app, name="dead-letters")


def run() -> NoReturn:
    """Run one command and exit with its code."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup tasks worker …` has it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        # As SystemExit, so that every `with` and `finally` on the way ends what it started.
        signal.signal(number, _exit)
    try:
        app()
    except UsageError as error:
        _fail(str(error), EXIT_USAGE)
    except CliError as error:
        _fail(str(error), EXIT_FAILED)
    except Exception as error:
        if not _is_expected(error):
            raise
        _fail(str(error), EXIT_FAILED)
    sys.exit(0)


def _is_expected(error: Exception) -> bool:
    """Whether the error's message says it all: AWS or the system refused something, or a task cannot be dispatched."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (slow to import)

    from runtime_lib.errors import TaskError  # noqa: PLC0415

    return isinstance(error, BotoCoreError | ClientError | OSError | TaskError)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
