"""What is invoked, sent by a schedule, or put on a bus."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from runtime_lib.testing._names import ACCOUNT, REGION

if TYPE_CHECKING:
    from datetime import datetime

    from runtime_lib.task import Call

__all__ = ["bus_event", "invocation_event", "s3_event", "scheduled_event"]

Event = dict[str, Any]


def invocation_event(call: "Call") -> Event:
    """The event of a BackgroundTaskFunction or a PureTask: ``invocation_event(send_email.call("a@b.c", "Hi"))``."""
    event: Event = json.loads(call.body)
    return event


def scheduled_event(
    call: "Call", *, schedule: str = "Shop-Nightly-1A2B3C4D", scheduled_time: "datetime | None" = None
) -> Event:
    """What a ScheduledTask's schedule sends for one run, planned for ``scheduled_time`` (by default, now)."""
    return {
        "schedule": schedule,
        "scheduled_time": _utc(scheduled_time),
        "task": call.envelope.task,
        "args": call.envelope.args,
        "kwargs": call.envelope.kwargs,
        "priority": call.envelope.priority.value,
    }


def bus_event(
    detail: Mapping[str, Any],
    *,
    source: str,
    detail_type: str,
    resources: Sequence[str] = (),
    happened_at: "datetime | None" = None,
) -> Event:
    """An event of EventBridge, as an EventTask's function gets it; it happened now unless ``happened_at`` says when.

    (https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html)
    """
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": _utc(happened_at),
        "region": REGION,
        "resources": list(resources),
        "detail": dict(detail),
    }


def s3_event(bucket: str, key: str, *, size: int = 0, detail_type: str = "Object Created") -> Event:
    """What S3 tells EventBridge of an object, as an EventTask's function gets it.

    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html)
    """
    found: Event = {"key": key, "sequencer": "00617F08299329D189"}
    if detail_type == "Object Created":
        found |= {"size": size, "etag": "d41d8cd98f00b204e9800998ecf8427e"}
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": found,
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": ACCOUNT,
        "source-ip-address": "203.0.113.7",
    }
    return bus_event(detail, source="aws.s3", detail_type=detail_type, resources=[f"arn:aws:s3:::{bucket}"])


def _utc(moment: "datetime | None") -> str:
    """Seconds in UTC, as AWS writes them: ``2030-01-31T09:00:00Z``."""
    if moment is not None:
        from datetime import UTC

        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
