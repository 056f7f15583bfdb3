"""Tasks that start later than a queue can delay them: each is a schedule that runs once, and then deletes itself."""

import json
import os
import time
from collections.abc import Sequence
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

from runtime_lib.clients import client as shared_client
from runtime_lib.contract import (
    ENV_PAYLOADS,
    ENV_SCHEDULES,
    SCHEDULER_MAX_INPUT_BYTES,
    SCHEDULER_PLACEHOLDER,
    SQS_MAX_DELAY_SECONDS,
    Route,
    is_fifo,
)
from runtime_lib.envelope import Envelope, derived_id
from runtime_lib.errors import DispatchError, FailedMessage, PayloadTooLargeError
from runtime_lib.queues import queue_name
from runtime_lib.transports import refuse_workflows

if TYPE_CHECKING:
    from runtime_lib.context import TaskContext
    from runtime_lib.task import Call

__all__ = ["OneShotTransport", "cancel", "repeatable"]

_PARALLEL = 8
_SECONDS_AHEAD = 60
"""The least: EventBridge Scheduler starts within a minute, and refuses a time that has passed when it looks."""


class OneShotTransport:
    """Makes a schedule for each task, named after the message's id, that sends the message to ``route``.

    Raises:
        DispatchError: this process has no schedules, or the route leads to a FIFO queue.
    """

    def __init__(self, route: Route, example: "Call", client: Any | None = None) -> None:
        task, delay = example.envelope.task, example.delay
        if is_fifo(route.target):
            raise DispatchError(
                f"{task} cannot be delayed by {delay:,} s: {queue_name(route.target)} is a FIFO queue, and a schedule "
                "sends no deduplication id; serve the task by a standard queue"
            )
        configured = _configured()
        if configured is None:
            raise DispatchError(
                f"{task} cannot be delayed by {delay:,} s: SQS delays a message by {SQS_MAX_DELAY_SECONDS} s at most, "
                f"and {ENV_SCHEDULES} names no schedules here. Call grant_dispatch(function, delayed=True) on the "
                f"construct that serves {task!r}"
            )
        self._group, self._role, self._dead_letter_queue = configured
        self._route = route
        self._client = client or shared_client("scheduler")

    def send(self, calls: "Sequence[Call]") -> None:
        """Make their schedules, several at a time; one that is there already stays as it is.

        Raises:
            PayloadTooLargeError: one is too large for a schedule, and its server has no payload bucket; none is made.
            DispatchError: AWS did not take some of them: ``failed`` says which and why.
        """
        calls = self._fitting(calls)
        if len(calls) == 1:
            failures = [self._create(calls[0])]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_PARALLEL) as threads:
                failures = list(threads.map(self._create, calls))
        failed = [failure for failure in failures if failure]
        if failed:
            raise DispatchError(
                f"{len(failed)} of {len(calls)} schedules were not made: {failed[0].code}: {failed[0].message}",
                failed=failed,
            )

    def _fitting(self, calls: "Sequence[Call]") -> "Sequence[Call]":
        if self._route.kind != "states":
            refuse_workflows(calls)
        large = [call for call in calls if len(_input(call)) > SCHEDULER_MAX_INPUT_BYTES]
        if not large:
            return calls
        if self._route.payloads and os.environ.get(ENV_PAYLOADS):
            from runtime_lib.payloads import checked_in

            return checked_in(calls, limit=SCHEDULER_MAX_INPUT_BYTES)
        raise PayloadTooLargeError(
            f"{large[0].envelope.task}() with these arguments makes a message of {len(_input(large[0])):,} bytes, and "
            f"EventBridge Scheduler, which delays it, takes {SCHEDULER_MAX_INPUT_BYTES:,}: give the construct that "
            "serves the task payloads=PayloadBucket(…), or store the data in S3 and send its key"
        )

    def _create(self, call: "Call") -> FailedMessage | None:
        try:
            self._client.create_schedule(
                Name=call.envelope.id,
                GroupName=self._group,
                ScheduleExpression=f"at({_moment(call)})",
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target=self._target(call),
            )
        except self._client.exceptions.ConflictException:
            return None  # made by an earlier attempt of the task that dispatches, or of this request
        except Exception as error:  # noqa: BLE001  (botocore's errors share no base class; all mean: not made)
            return FailedMessage(call.envelope.id, type(error).__name__, str(error))
        return None

    def _target(self, call: "Call") -> dict[str, Any]:
        # (no group of the queue's: Scheduler knows those of FIFO queues alone)
        return {
            "Arn": self._arn(),
            "RoleArn": self._role,
            "Input": _input(call),
            "DeadLetterConfig": {"Arn": self._dead_letter_queue},
        }

    def _arn(self) -> str:
        """Of the queue or function, in the account of the role and the region of the client."""
        _, partition, _, _, account, _ = self._role.split(":", 5)
        region, target = self._client.meta.region_name, self._route.target
        if self._route.kind == "states":
            return target if ":" in target else f"arn:{partition}:states:{region}:{account}:stateMachine:{target}"
        if self._route.kind == "lambda":
            return f"arn:{partition}:lambda:{region}:{account}:function:{target}"
        return f"arn:{partition}:sqs:{region}:{account}:{queue_name(target)}"


def cancel(task_id: str) -> bool:
    """Delete the schedule of a task that has not started; False: it has, or never had one, or none is made here."""
    configured = _configured()
    if configured is None:
        return False
    client = shared_client("scheduler")
    try:
        client.delete_schedule(Name=task_id, GroupName=configured[0])
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def repeatable(envelope: Envelope, context: "TaskContext", asked_for: str) -> Envelope:
    """The envelope with an id that the next attempt of the running task gives it as well, if it dispatches the same.

    ``asked_for`` says when it is to start; the first such dispatch of a run has another id than the second.
    """
    metadata = envelope.metadata
    what = (envelope.task, envelope.args, envelope.kwargs, metadata["priority"], metadata.get("group"), asked_for)
    key = json.dumps(what)
    number = next(context.repeats.setdefault(key, count()))
    return envelope._replace(id=derived_id("later", context.id, key, str(number)))


def _configured() -> tuple[str, str, str] | None:
    """The group of the schedules, the role with which they send, and the queue of what they cannot deliver."""
    text = os.environ.get(ENV_SCHEDULES)
    if not text:
        return None
    parts = text.split()
    if len(parts) != 3:  # noqa: PLR2004  (those three)
        raise DispatchError(
            f"{ENV_SCHEDULES} is {text!r}: expected a schedule group, a role's ARN and a queue's ARN, as "
            "grant_dispatch sets it"
        )
    return parts[0], parts[1], parts[2]


def _input(call: "Call") -> str:
    """The message; what only looks like one of Scheduler's placeholders stays what it is."""
    return call.body.replace(SCHEDULER_PLACEHOLDER, f"\\u003c{SCHEDULER_PLACEHOLDER[1:]}")


def _moment(call: "Call") -> str:
    from datetime import UTC, datetime

    start = max(call.envelope.metadata["timestamp"] / 1000 + call.delay, time.time() + _SECONDS_AHEAD)
    return datetime.fromtimestamp(ceil(start), UTC).strftime("%Y-%m-%dT%H:%M:%S")
