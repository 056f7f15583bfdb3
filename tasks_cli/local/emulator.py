"""The process of the local cloud: MiniStack on a socket that its starter has bound.

`tasks_cli.local.process` runs this file by its path, as the leader of a process group of its own. It ends the whole
group, the functions' processes included, when it is told to or when its starter is gone: nothing is left behind even
if the starter was killed. It imports nothing of this project, so that the project need not be installed.
"""

import argparse
import asyncio
import json
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

END_GROUP = 'kill -9 "-$1"; rm -rf -- "$2"'
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open; MiniStack's own setting."""
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
    run_schedules_as_aws_does()
    runpy.run_path(str(Path(__file__).with_name("emulator_streams.py")))["deliver_streams_as_lambda_does"]()
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
    from ministack import app as gateway  # noqa: PLC0415
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


def run_schedules_as_aws_does() -> None:
    """Heed what MiniStack drops: time zones, placeholders in the input, the retries of an asynchronous invocation.

    Also what its CloudFormation drops of a schedule, and its group, on which AWS asks for permission. A schedule is
    looked at every second.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    from ministack.core import iam_actions  # noqa: PLC0415
    from ministack.services import eventbridge, scheduler  # noqa: PLC0415
    from ministack.services.cloudformation import provisioners  # type: ignore[import-untyped]  # noqa: PLC0415

    def tick() -> None:
        now = time.time()
        for key, schedule in list(scheduler._schedules._data.items()):  # noqa: SLF001
            start, end = (scheduler._to_epoch(schedule.get(name)) or 0 for name in ("StartDate", "EndDate"))  # noqa: SLF001
            after = scheduler._schedule_last_fired.get(key)  # noqa: SLF001
            due = due_time(schedule, max(schedule["CreationDate"], start), after, now)
            if due is None or schedule["State"] != "ENABLED" or due < start or (end and due > end):
                continue
            scheduler._schedule_last_fired[key] = due  # noqa: SLF001
            if schedule["ScheduleExpression"].startswith("at(") and schedule["ActionAfterCompletion"] == "DELETE":
                del scheduler._schedules._data[key], scheduler._schedule_last_fired[key]  # noqa: SLF001
            deliver(key, schedule, due)

    def deliver(key: tuple[str, str, str], schedule: dict[str, Any], due: float) -> None:
        account, region, _ = key
        scheduler.set_request_account_id(account)
        scheduler.set_request_region(region)
        event: dict[str, Any] = {
            "EventId": str(uuid.uuid4()),
            "Source": "aws.scheduler",
            "DetailType": "Scheduled Event",
        }
        event |= {"Detail": "{}", "Time": due, "Resources": [schedule["Arn"]], "Account": account, "Region": region}
        eventbridge._invoke_target(with_attributes(schedule, due), event, schedule)  # noqa: SLF001

    create, update = (
        provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"][name]  # noqa: SLF001
        for name in ("create", "update")
    )

    def keep(properties: dict[str, Any], made: Any) -> Any:
        schedule = scheduler._schedules[f"{properties.get('GroupName', 'default')}/{made[0]}"]  # noqa: SLF001
        names = ("ScheduleExpressionTimezone", "StartDate", "EndDate")
        schedule.update({name: properties.get(name) for name in names})
        return made

    extract = iam_actions.extract_resource_arn

    def extract_with_group(*arguments: Any) -> str:
        service, _, _, _, body, parameters, *_ = arguments
        arn: str = extract(*arguments)
        if service != "scheduler":
            return arn
        [group] = parameters.get("groupName") or [json.loads(body or "{}").get("GroupName", "default")]
        return arn.replace(":schedule/default/", f":schedule/{group}/")

    provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"] |= {  # noqa: SLF001
        "create": lambda logical_id, properties, stack: keep(properties, create(logical_id, properties, stack)),
        "update": lambda physical_id, old, properties, stack: keep(
            properties, update(physical_id, old, properties, stack)
        ),
    }
    iam_actions.extract_resource_arn = extract_with_group
    eventbridge._dispatch_to_lambda = invoke_asynchronously  # noqa: SLF001
    scheduler._tick_schedules = tick  # noqa: SLF001
    scheduler._SCHEDULE_TICK_INTERVAL = 1  # noqa: SLF001


def due_time(schedule: dict[str, Any], begun: float, after: float | None, now: float) -> float | None:
    """When a schedule that ran for the time ``after`` last, None if it never did, is due by ``now``."""
    from ministack.services import eventbridge  # noqa: PLC0415

    expression = schedule["ScheduleExpression"]
    zone = ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")
    if expression.startswith("at("):
        due = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=zone).timestamp()
        return due if after is None and due <= now else None
    interval = eventbridge._parse_rate_seconds(expression)  # noqa: SLF001
    if interval:
        due = begun + (now - begun) // interval * interval
        return due if due > (begun if after is None else after) else None
    fields = eventbridge._parse_cron_fields(expression)  # noqa: SLF001
    local = datetime.fromtimestamp(begun if after is None else after, zone).replace(tzinfo=UTC)
    while fields and (local := eventbridge._cron_next_fire(fields, local)):  # noqa: SLF001
        due = local.replace(tzinfo=zone).timestamp()
        if datetime.fromtimestamp(due, zone).replace(tzinfo=UTC) == local:  # (the clocks may skip it)
            return due if due <= now else None
    return None


def with_attributes(schedule: dict[str, Any], due: float) -> dict[str, Any]:
    """A schedule's target, its input with what it may ask for."""
    target: dict[str, Any] = schedule["Target"]
    attributes = {
        "schedule-arn": schedule["Arn"],
        "scheduled-time": datetime.fromtimestamp(int(due), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "execution-id": str(uuid.uuid4()),
        "attempt-number": "1",
    }
    text = target.get("Input", "{}")
    for name, value in attributes.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    return {**target, "Input": text}


def invoke_asynchronously(arn: str, payload: str) -> None:
    """Invoke a function as EventBridge does: with Lambda's retries, and its queue for what fails."""
    from ministack.services import lambda_svc  # noqa: PLC0415

    function, config, _ = lambda_svc._get_func_record_for_ref(arn)  # noqa: SLF001
    if function and config:
        record = lambda_svc._execution_record_for_config(function, config)  # noqa: SLF001
        lambda_svc.invoke_async_with_retry(record, json.loads(payload))


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
