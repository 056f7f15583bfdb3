"""One dispatch: the options that a task is dispatched with, and the message that comes of them."""

import os
from math import ceil
from time import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

from runtime_lib import hooks, transports
from runtime_lib.context import current_context
from runtime_lib.contract import (
    ENV_PAYLOADS,
    ENV_SCHEDULES,
    MESSAGE_MAX_BYTES,
    SQS_GROUP,
    SQS_MAX_DELAY_SECONDS,
    Priority,
)
from runtime_lib.envelope import Envelope
from runtime_lib.errors import PayloadTooLargeError, seconds
from runtime_lib.handle import TaskHandle

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from runtime_lib.context import TaskContext
    from runtime_lib.task import Task

__all__ = ["Call", "Invocation", "checked_priority", "new_call"]

P = ParamSpec("P")
R = TypeVar("R")
_MAX_DELAY_SECONDS = 36_525 * 86_400


class Call(NamedTuple):
    """One task with its arguments, checked and encoded: what a transport sends.

    ``delay`` is in seconds, from now on; ``first_delay`` is what it was when the task that dispatches was first run: a
    retry is nearer to a time that was asked for.
    """

    envelope: Envelope
    body: str
    namespace: str
    delay: int = 0
    first_delay: int = 0

    @property
    def handle(self) -> TaskHandle:
        """What `dispatch` returns for it."""
        return TaskHandle(self.envelope.id, self.envelope.task)


class Invocation(Generic[P, R]):
    """A task with options for its dispatch; immutable, each ``with_…`` returns a new one: keep and reuse it."""

    __slots__ = ("_at", "_delay", "_group", "_headers", "_lane", "_priority", "_task")

    def __init__(
        self,
        task: "Task[P, R]",
        *,
        headers: dict[str, Any] | None = None,
        priority: Priority | None = None,
        delay: int = 0,
        at: "datetime | None" = None,
        group: str | None = None,
        lane: int | None = None,
    ) -> None:
        self._task = task
        self._headers = headers or {}
        self._priority = priority or task.priority
        self._delay = delay
        self._at = at
        self._group = group
        self._lane = lane

    def _with(self, **changed: Any) -> "Invocation[P, R]":
        kept = {
            "headers": self._headers,
            "priority": self._priority,
            "delay": self._delay,
            "at": self._at,
            "group": self._group,
            "lane": self._lane,
        }
        return Invocation(self._task, **{**kept, **changed})

    def with_headers(self, /, **headers: Any) -> "Invocation[P, R]":
        """Send JSON values beside the arguments; added to those of earlier calls in the chain."""
        return self._with(headers={**self._headers, **headers})

    def with_priority(self, priority: Priority) -> "Invocation[P, R]":
        """Dispatch with another priority than the task's own."""
        return self._with(priority=checked_priority(priority))

    def with_delay(
        self, delay: "float | timedelta" = 0, *, seconds: float = 0, minutes: float = 0
    ) -> "Invocation[P, R]":
        """Let the task start later: after ``delay`` (seconds or a timedelta), or ``seconds`` and ``minutes``.

        Above 15 minutes it waits in a schedule of its own, and starts within a minute after its time: that takes
        ``grant_dispatch(function, delayed=True)``.

        Raises:
            ValueError: negative, or longer than a century.
        """
        total = _seconds(delay) + _seconds(seconds) + 60 * _seconds(minutes)
        if total > _MAX_DELAY_SECONDS:
            raise ValueError(f"a delay is a century at most, given {total:g} seconds")
        return self._with(delay=ceil(total), at=None)

    def at(self, moment: "datetime") -> "Invocation[P, R]":
        """Let the task start at a time, or now if that has passed. As `with_delay`, which it replaces.

        Raises:
            ValueError: it has no time zone.
        """
        if not hasattr(moment, "timestamp"):
            raise TypeError(f"a task starts at a datetime with a time zone, given {moment!r}")
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone: give it tzinfo=UTC or tzinfo=ZoneInfo('Europe/Berlin')")
        return self._with(at=moment, delay=0)

    def with_group(self, group: str) -> "Invocation[P, R]":
        """Dispatch on behalf of a tenant: SQS serves groups fairly, so that one's backlog does not delay the others.

        In a FIFO queue it is what keeps its order: the tasks of one group run one after the other. What the task
        dispatches is in the same group, unless it says otherwise.

        (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html)

        Raises:
            ValueError: not 1 to 128 ASCII letters, digits and punctuation, as SQS takes them.
        """
        if not isinstance(group, str):
            raise TypeError(f"a group is a str, given {group!r}")
        if not SQS_GROUP.fullmatch(group):
            raise ValueError(f"a group is 1 to 128 ASCII letters, digits and punctuation, given {group!r}")
        return self._with(group=group)

    def with_lane(self, lane: int) -> "Invocation[P, R]":
        """Dispatch to one of the task's queues of its own: 0 is the first, and where it goes that has no such lane.

        What the task dispatches goes to the same lane, unless it says otherwise.

        Raises:
            ValueError: negative.
        """
        if type(lane) is not int:
            raise TypeError(f"a lane is an int, given {lane!r}")
        if lane < 0:
            raise ValueError(f"a lane is 0 or more, given {lane}")
        return self._with(lane=lane)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The task with these arguments, for `dispatch_many`.

        Raises:
            ArgumentError: (a TypeError) the arguments do not fit the signature or cannot be sent.
            PayloadTooLargeError: (a ValueError) with the size and the limit.
        """
        task = self._task
        wire_args, wire_kwargs = task.signature.to_wire(args, kwargs)
        return new_call(
            task.name,
            wire_args,
            wire_kwargs,
            namespace=task.namespaces[0],
            priority=self._priority,
            headers=hooks.headers_for(task, self._headers),
            delay=self._delay,
            at=self._at,
            group=self._group,
            lane=self._lane,
            schema=task.schema_version,
        )

    def dispatch(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """Run the task in the background.

        Raises:
            ArgumentError: (a TypeError) the arguments do not fit the signature or cannot be sent.
            DispatchError: the message is not with AWS; says why.
        """
        call = self.call(*args, **kwargs)
        transports.send([call])
        return call.handle

    fire_and_forget = dispatch

    async def adispatch(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """`dispatch` without blocking the event loop: it sends in a thread."""
        from asyncio import to_thread

        call = self.call(*args, **kwargs)
        await to_thread(transports.send, [call])
        return call.handle


def new_call(
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    *,
    namespace: str,
    priority: Priority,
    headers: dict[str, Any] | None = None,
    delay: int = 0,
    at: "datetime | None" = None,
    group: str | None = None,
    lane: int | None = None,
    schema: int | None = None,
) -> Call:
    """A message for the task of this name, with arguments that can be sent.

    Raises:
        PayloadTooLargeError: it is larger than a message may be, and this process has no payload bucket.
    """
    envelope = Envelope.new(
        name, args, kwargs, priority=priority, headers=headers, group=group, lane=lane, schema=schema
    )
    context = current_context()
    if context and (at or delay > SQS_MAX_DELAY_SECONDS or (delay and ENV_SCHEDULES in os.environ)):
        from runtime_lib.one_shot import repeatable

        envelope = repeatable(envelope, context, at.isoformat() if at else str(delay))
    first_delay = delay
    if at:
        now = time()
        delay = _until(at, now)
        first_delay = _until(at, min(now, _available_at(context))) if context else delay
    body = envelope.encode()
    if len(body) > MESSAGE_MAX_BYTES and not os.environ.get(ENV_PAYLOADS):
        raise PayloadTooLargeError.of(name, len(body))
    return Call(envelope, body, namespace, delay, first_delay)


def _until(moment: "datetime", now: float) -> int:
    return max(0, ceil(moment.timestamp() - now))


def _available_at(context: "TaskContext") -> float:
    """When the running task could run first, in epoch seconds: the same at each of its attempts."""
    delivery = context.delivery
    return delivery.first_received_at or delivery.sent_at or context.envelope.metadata["timestamp"] / 1000


def checked_priority(priority: Any) -> Priority:
    """The priority.

    Raises:
        TypeError: it is something else; says which there are.
    """
    if not isinstance(priority, Priority):
        allowed = ", ".join(f"Priority.{member.name}" for member in Priority)
        raise TypeError(f"a priority is one of {allowed}, given {priority!r}")
    return priority


_seconds = seconds  # `with_delay` has a parameter called seconds
