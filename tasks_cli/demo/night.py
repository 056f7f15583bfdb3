"""The night comes early: the schedule of the nightly report is moved to now, and its report awaited."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tasks_cli.cloud import Cloud

_REPORTS = "reports/"
_SECONDS_AHEAD = 2
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.2


class Report(NamedTuple):
    """The report in S3, and what it counts."""

    key: str
    counts: dict[str, int]


def run_schedule(cloud: Cloud, schedule: str, bucket: str) -> Report | None:
    """Let a deployed schedule start its task in two seconds; its report, or None if none came within a minute.

    All but the time is left as it was deployed: the target, the role, the input.
    """
    scheduler = cloud.client("scheduler")
    deployed: dict[str, Any] = scheduler.get_schedule(Name=schedule)
    soon = datetime.now(UTC) + timedelta(seconds=_SECONDS_AHEAD)
    scheduler.update_schedule(
        Name=schedule,
        ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})",
        ScheduleExpressionTimezone="UTC",
        FlexibleTimeWindow=deployed["FlexibleTimeWindow"],
        Target=deployed["Target"],
    )
    s3 = cloud.client("s3")
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for found in s3.list_objects_v2(Bucket=bucket, Prefix=_REPORTS).get("Contents", []):
            key = found.get("Key", "")
            return Report(key, json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
        time.sleep(_POLL_SECONDS)
    return None
