"""Schedules as EventBridge Scheduler runs them, where MiniStack does otherwise.

`emulator.py` runs this file by its path: it imports nothing of this project.
"""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo


def run_schedules_as_aws_does() -> None:
    """Heed what MiniStack drops: time zones, placeholders in the input, the retries of an asynchronous invocation.

    Also what its CloudFormation drops of a schedule, and its group, on which AWS asks for permission. A schedule is
    looked at every second.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    from ministack.core import iam_actions  # type: ignore[import-untyped]  # noqa: PLC0415
    from ministack.services import eventbridge, scheduler  # type: ignore[import-untyped]  # noqa: PLC0415
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
        return due if after is None or due > after else None  # (the first at once)
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
