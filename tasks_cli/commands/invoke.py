"""`tasks invoke`."""

import json as json_format
import sys
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks_cli import output
from tasks_cli.commands.dispatch import Keywords, json_or_text, keywords_of
from tasks_cli.errors import CliError, UsageError
from tasks_cli.target import Aws, Stack, choose_cloud

if TYPE_CHECKING:
    from tasks_cli.deployed import Function

Name = Annotated[
    str, typer.Argument(help="The task: shop.mail.send, or shop.mail:send; or a function's name or construct's path.")
]
Event = Annotated[
    str | None,
    typer.Argument(metavar="[EVENT]", help="The event as JSON, @FILE with it, or - to read it from standard input."),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", metavar="VALUE", help="In place of EVENT, an argument: JSON, else text; repeatable."),
]
_TAKES_ENVELOPES = {"BackgroundTaskFunction", "PureTask", "ScheduledTask"}
_TAKES_RECORDS = {"ManagedAsyncTask", "PriorityTaskQueues"}
_TAKES_NODES = {"TaskWorkflow"}


def invoke(
    name: Name,
    event: Event = None,
    *,
    arg: Arguments = None,
    kwargs: Keywords = None,
    stack: Stack = None,
    aws: Aws = False,
    json: output.Json = False,
) -> None:
    """Invoke the function that serves a task, and print what it returned and what it logged.

    The event goes to the function as it is: what API Gateway, a stream or EventBridge would send it
    (runtime_lib.testing makes such events). Without one, the task gets the arguments given, wrapped as its queue or an
    asynchronous invocation would bring them. Nothing goes through a queue or is retried; what the task's policy gives
    up is dead-lettered as ever. Logs go to standard error, their last 4 KB. The exit code is 1 if the function failed,
    or if it would be sent the event again.

    \b
    Examples:
      tasks invoke shop.tasks:invoice --arg 42 --kwargs copies=2
      tasks invoke shop.api.get_order @event.json
      tasks invoke Shop/Uploads - < event.json
      tasks invoke shop.reports.nightly '{"region": "eu"}' --aws --stack Shop
    """
    from tasks_cli import deployed  # noqa: PLC0415
    from tasks_cli.local.logs import LogLine  # noqa: PLC0415

    if event is not None and (arg or kwargs):
        raise UsageError("give an EVENT, or arguments by --arg and --kwargs, not both")
    given = None if event is None else _event(event)
    cloud = choose_cloud(aws=aws)
    function = deployed.find_function(deployed.functions(cloud, deployed.stack_names(cloud, stack)), name)
    if event is None:
        given = _wrapped(function, name, [json_or_text(text) for text in arg or ()], keywords_of(kwargs or ()))
    answer = cloud.patient_lambda_client().invoke(
        FunctionName=function.name, LogType="Tail", Payload=json_format.dumps(given).encode()
    )
    result = json_or_text(answer["Payload"].read().decode(errors="replace") or "null")
    logged = b64decode(answer.get("LogResult", "")).decode(errors="replace").splitlines()
    lines = [line for text in logged if not (line := LogLine(0, function.name, text)).is_platforms]
    error = answer.get("FunctionError")
    if json:
        failure = {"error": result} if error else {"result": result}
        output.print_json({"function": function.name, **failure, "log": [line.message for line in lines]})
    else:
        for line in lines:
            output.say(line.readable())
        if error:
            raise CliError(f"{function.name} failed: {_described(result)}")
        print(json_format.dumps(result, indent=2, ensure_ascii=False))
    if error or (isinstance(result, dict) and result.get("batchItemFailures")):
        raise typer.Exit(1)


def _event(text: str) -> Any:
    """The event that was given.

    Raises:
        UsageError: it is not JSON.
    """
    given: str | bytes = text
    where = "EVENT"
    if text == "-":
        where, given = "standard input", sys.stdin.buffer.read()
    elif text.startswith("@"):
        where, given = text[1:], Path(text[1:]).read_bytes()
    try:
        return json_format.loads(given)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error} (a file is given as @FILE)") from None


def _wrapped(function: "Function", name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The event that brings a task's arguments to its function.

    Raises:
        UsageError: the function takes other events, or serves several tasks of which none is named.
    """
    from runtime_lib.contract import LAMBDA_RESPONSE_MAX_BYTES, NODE_KEY, Priority  # noqa: PLC0415
    from runtime_lib.envelope import Envelope  # noqa: PLC0415
    from runtime_lib.testing import sqs_event  # noqa: PLC0415

    if function.construct not in _TAKES_ENVELOPES | _TAKES_RECORDS | _TAKES_NODES:
        raise UsageError(
            f"{function.path or function.name} ({function.construct or 'a function of your own'}) takes an event of "
            "its trigger: give it as EVENT, @FILE or - (runtime_lib.testing makes such events)"
        )
    task = name.replace(":", ".")
    if task not in function.tasks:
        if len(function.tasks) != 1:
            raise UsageError(f"{name} serves {', '.join(function.tasks) or 'no task'}: name the task instead")
        [task] = function.tasks
    envelope = Envelope.new(task, args, kwargs, priority=Priority.DEFAULT)
    body = envelope.encode()
    if function.construct in _TAKES_NODES:
        node = {"run": {"id": envelope.id}, "node": task.rpartition(".")[2], "task": task}
        return {NODE_KEY: {**node, "claim": LAMBDA_RESPONSE_MAX_BYTES, "dispatched": json_format.loads(body)}}
    if function.construct in _TAKES_ENVELOPES:
        return json_format.loads(body)
    queue = next(iter(function.routes.values())).partition(":")[2]
    return sqs_event(body, queue=queue)


def _described(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    return ": ".join(filter(None, [error.get("errorType"), error.get("errorMessage")])) or str(error)
