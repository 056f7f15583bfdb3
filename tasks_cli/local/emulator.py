"""The process of the local cloud: MiniStack on a socket that its starter has bound.

`tasks_cli.local.process` runs this file by its path, as the leader of a process group of its own. It ends the whole
group, the functions' processes included, when it is told to or when its starter is gone: nothing is left behind even
if the starter was killed. It imports nothing of this project, so that the project need not be installed.
"""

import argparse
import asyncio
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from email.utils import parseaddr
from pathlib import Path
from typing import Any

END_GROUP = 'kill -9 "-$1"; rm -rf -- "$2"'
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open; MiniStack's own setting."""
CHANGES = {
    "emulator_schedules.py": "run_schedules_as_aws_does",
    "emulator_states.py": "run_states_as_step_functions_does",
    "emulator_streaming.py": "pass_answers_on_as_lambda_does",
    "emulator_streams.py": "deliver_streams_as_lambda_does",
    "emulator_tasks.py": "run_tasks_as_step_functions_does",
}
"""Files beside this one, and the function of each that changes MiniStack."""
OUTPUT_SECONDS = 2.0
"""How long the end of an invocation's output is waited for: it is written before the result is sent."""


def end_group(directory: Path) -> None:
    """End every process of this group, this one included, and then remove what they wrote.

    Nothing is asked to stop first: the cloud keeps nothing, and Lambda too ends its environments without warning. A
    process outside the group does it, because functions may write until they have ended.
    """
    command = ["/bin/sh", "-c", END_GROUP, "sh", str(os.getpid()), str(directory)]
    subprocess.Popen(command, env={}, cwd="/", start_new_session=True)


def end_group_with_starter(directory: Path) -> None:
    """End the group once standard input closes, unless something was written to it first.

    It closes when the process that holds its other end is gone; what that one writes before makes this one detached.
    """
    if not os.read(sys.stdin.fileno(), 1):
        end_group(directory)


def serve(socket_descriptor: int, certificate: Path | None, key: Path | None) -> None:
    """Serve MiniStack on the socket until the process ends."""
    # Slow to import: `main` has the signals and the starter watched by now.
    import hypercorn.asyncio  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415
    from ministack.app import app  # type: ignore[import-untyped]  # noqa: PLC0415

    permit_batches_like_single_requests()
    permit_mail_by_its_sender()
    tell_the_path_that_was_asked_for()
    for file, change in CHANGES.items():
        runpy.run_path(str(Path(__file__).with_name(file)))[change]()
    if "TASKS_LOCAL_END" in os.environ:
        keep_the_output_of_invocations_whole(os.environ["TASKS_LOCAL_ANNOUNCEMENT"], os.environ["TASKS_LOCAL_END"])
    config = Config()
    config.bind = [f"fd://{socket_descriptor}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    # Read by now; functions inherit the environment, and the name means something to them.
    config.loglevel = os.environ.pop("LOG_LEVEL")
    if certificate and key:
        config.certfile, config.keyfile = str(certificate), str(key)

    async def run() -> None:
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=asyncio.Event().wait)

    asyncio.run(run())


def permit_batches_like_single_requests() -> None:
    """Ask for sqs:SendMessage where MiniStack asks for sqs:SendMessageBatch, which IAM does not know.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """
    from ministack.core import iam_actions  # type: ignore[import-untyped]  # noqa: PLC0415

    extract = iam_actions.extract_iam_action

    def extract_without_batch(*arguments: Any, **named: Any) -> str | None:
        action: str | None = extract(*arguments, **named)
        return action.removesuffix("Batch") if action and action.startswith("sqs:") else action

    iam_actions.extract_iam_action = extract_without_batch


def permit_mail_by_its_sender() -> None:
    """Ask for ses:SendEmail on the sender's identity, with ses:FromAddress, where MiniStack asks for it on ``*``.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonses.html
    """
    from ministack.core import iam_actions  # noqa: PLC0415

    extract, context = iam_actions.extract_resource_arn, iam_actions.request_tag_context

    def sender(parameters: dict[str, Any]) -> str:
        [source] = parameters.get("Source", [""])
        return parseaddr(source)[1]

    def extract_with_sender(*arguments: Any) -> str:
        service, *_, parameters, region, account = arguments
        arn: str = extract(*arguments)
        if service == "ses" and arn == "*" and sender(parameters):
            return f"arn:aws:ses:{region}:{account}:identity/{sender(parameters)}"
        return arn

    def context_with_sender(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = context(service, action, body, parameters)
        return found | ({"ses:FromAddress": sender(parameters)} if action == "ses:SendEmail" else {})

    iam_actions.extract_resource_arn, iam_actions.request_tag_context = extract_with_sender, context_with_sender


def tell_the_path_that_was_asked_for() -> None:
    """Have a function behind an API know the domain and the path of its request, from which it makes addresses.

    MiniStack tells no domain, and of every request the path that it has at the API's own address. A proxy in front
    says in ``X-Forwarded-Prefix`` where it has the API.
    """
    from ministack import app as gateway  # type: ignore[import-untyped]  # noqa: PLC0415
    from ministack.services import apigateway_v1  # type: ignore[import-untyped]  # noqa: PLC0415

    asked: ContextVar[tuple[str, str]] = ContextVar("asked")
    handle, build = gateway._handle_execute_api_request, apigateway_v1._build_lambda_event_v1  # noqa: SLF001

    async def handle_as_asked(host: str, path: str, *arguments: Any, **named: Any) -> Any:
        asked.set((host, path))
        return await handle(host, path, *arguments, **named)

    def build_as_asked(*arguments: Any, **named: Any) -> dict[str, Any]:
        event: dict[str, Any] = build(*arguments, **named)
        host, path = asked.get()
        prefix = event["headers"].get("x-forwarded-prefix")
        if prefix is not None:
            path = prefix.rstrip("/") + event["path"]
        elif apigateway_v1.find_domain_scope(host.partition(":")[0]):
            event["path"] = path
        event["requestContext"] |= {"domainName": host.partition(":")[0], "path": path}
        return event

    gateway._handle_execute_api_request = handle_as_asked  # noqa: SLF001
    apigateway_v1._build_lambda_event_v1 = build_as_asked  # noqa: SLF001


def keep_the_output_of_invocations_whole(announcement: str, end: str) -> None:
    """Take all output up to ``end`` for an invocation's, from functions that have made an ``announcement`` of it.

    MiniStack takes what comes until nothing comes for 5 ms. On a busy machine, the last lines of an invocation would
    be found in the next one's output, or nowhere if none follows.
    """
    from ministack.core.lambda_runtime import ProvidedWorker  # type: ignore[import-untyped]  # noqa: PLC0415

    worker_class: Any = ProvidedWorker
    drain, drain_bounded = worker_class._drain_stderr, worker_class._drain_stderr_bounded  # noqa: SLF001

    def without_marks(lines: list[str]) -> str:
        return "\n".join(line.removesuffix(end) for line in lines if line not in {announcement, end})

    def drain_now(worker: Any) -> str:
        return without_marks(drain(worker).split("\n"))

    def drain_to_end(worker: Any, **bounds: float) -> str:
        lines: list[str] = []
        if not getattr(worker, "says_end", False):
            lines = drain_bounded(worker, **bounds).split("\n")
            worker.says_end = announcement in lines
        deadline = time.monotonic() + OUTPUT_SECONDS
        while worker.says_end and not (lines and lines[-1].endswith(end)):
            try:
                lines.append(worker._stderr_queue.get(timeout=max(0, deadline - time.monotonic())))  # noqa: SLF001
            except queue.Empty:
                break
        return without_marks(lines)

    worker_class._drain_stderr, worker_class._drain_stderr_bounded = drain_now, drain_to_end  # noqa: SLF001


def main() -> None:
    """Serve what the arguments say, until the process is ended."""
    parser = argparse.ArgumentParser(description="Serve the local cloud. Started by `tasks local up` and by tests.")
    parser.add_argument("--socket", type=int, required=True, help="inherited descriptor of a bound TCP socket")
    parser.add_argument("--directory", type=Path, required=True, help="removed, with all in it, at the end")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end_group(options.directory))
    threading.Thread(target=end_group_with_starter, args=(options.directory,), daemon=True).start()
    serve(options.socket, options.certificate, options.key)


if __name__ == "__main__":
    main()
