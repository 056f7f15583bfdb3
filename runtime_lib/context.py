"""What a running task can know of the message it runs for."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.contract import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runtime_lib.envelope import Envelope

__all__ = ["Delivery", "Injected", "TaskContext", "current_context", "running"]

INJECTED_TYPES = {
    "ApiEvent": "runtime_lib.events.api",
    "BusEvent": "runtime_lib.events.bus",
    "DeadLetter": "runtime_lib.dead_letters",
    "ManagedSqsEvent": "runtime_lib.events.sqs",
    "ScheduledEvent": "runtime_lib.events.schedule",
    "StreamRecord": "runtime_lib.events.stream",
    "TaskContext": "runtime_lib.context",
    "UnmanagedSqsEvent": "runtime_lib.events.sqs",
}
"""The modules of the types that the library passes to parameters annotated with them: `Injected`."""


class Delivery(NamedTuple):
    """How a trigger delivered one message; what a trigger does not tell is None.

    ``attempt`` is the message's receive count, an upper bound of the task's attempts. Times are epoch seconds.
    ``eager``: no trigger delivered it, it runs where it was dispatched. ``event``: what the trigger delivered, as it
    was: of a batch the record. ``lambda_context``: the context object of the Lambda invocation. ``awaited``: somebody
    waits for the answer, so whatever becomes of it, it is not delivered again. ``arguments`` makes the arguments, to be
    passed as they are, where the message has none. ``message_id`` and ``group``: SQS's id of the message, and the
    message group that it is in. ``is_invocation``: an asynchronous one, which Lambda retries when it likes. Without
    ``is_counted``, who delivers it counts the task's failures, and ``attempt`` says only how often it came.
    """

    attempt: int = 1
    max_receive_count: int | None = None
    receipt: str | None = None
    queue_url: str | None = None
    source: str | None = None
    sent_at: float | None = None
    first_received_at: float | None = None
    deadline: float | None = None
    eager: bool = False
    event: Any = None
    lambda_context: Any = None
    awaited: bool = False
    arguments: "Callable[[], tuple[list[Any], dict[str, Any]]] | None" = None
    message_id: str | None = None
    group: str | None = None
    is_invocation: bool = False
    is_counted: bool = True


class Injected:
    """A type that the library makes for a parameter annotated with it, from the task's context."""

    __slots__ = ()

    @classmethod
    def of(cls, context: "TaskContext") -> Any:
        """What to pass.

        Raises:
            ArgumentError: the trigger delivered nothing that it could be made of.
        """
        raise NotImplementedError


class TaskContext(Injected):
    """What a task gets for a parameter annotated ``TaskContext``."""

    __slots__ = ("delivery", "envelope", "repeats")

    @classmethod
    def of(cls, context: "TaskContext") -> "TaskContext":
        """The context itself."""
        return context

    def __init__(self, envelope: "Envelope", delivery: Delivery) -> None:
        self.envelope = envelope
        self.delivery = delivery
        self.repeats: dict[str, Iterator[int]] = {}
        """How often the run has dispatched the same for later."""

    def __repr__(self) -> str:
        return f"TaskContext(task={self.task!r}, id={self.id!r}, attempt={self.attempt})"

    @property
    def id(self) -> str:
        """The message's id: one dispatch, however often it is delivered."""
        return self.envelope.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self.envelope.task

    @property
    def attempt(self) -> int:
        """How often the message has been delivered, from 1."""
        return self.delivery.attempt

    @property
    def priority(self) -> Priority:
        """The priority it was dispatched with."""
        return self.envelope.priority

    @property
    def headers(self) -> dict[str, Any]:
        """The headers it was dispatched with."""
        return dict(self.envelope.headers)

    @property
    def receipt(self) -> str | None:
        """The SQS receipt handle, for `extend_visibility_timeout`; None if the message is in no queue."""
        return self.delivery.receipt

    @property
    def chain(self) -> str:
        """The id of the first message of the chain of dispatches that led here; this message's own if it is first."""
        return self.envelope.chain

    @property
    def parent(self) -> str | None:
        """The id of the message whose task dispatched this one; None outside a task."""
        return self.envelope.metadata.get("parent")

    @property
    def source(self) -> str | None:
        """The name of the task that dispatched this one; None outside a task."""
        return self.envelope.metadata.get("source")

    @property
    def group(self) -> str | None:
        """The group it was dispatched with (`with_group`)."""
        return self.envelope.metadata.get("group")

    @property
    def lane(self) -> int:
        """The lane it was dispatched with (`with_lane`); 0 without one."""
        return int(self.envelope.metadata.get("lane", 0))

    @property
    def hops(self) -> int:
        """How many tasks dispatched one another before this one; 0 outside a task."""
        return self.envelope.hops

    @property
    def event(self) -> Any:
        """What the trigger delivered, as it was: of a batch the record; None where nothing but the message came."""
        return self.delivery.event

    @property
    def lambda_context(self) -> Any:
        """The context object of the Lambda invocation; None outside Lambda."""
        return self.delivery.lambda_context

    def remaining_seconds(self) -> float | None:
        """Seconds until the Lambda function's deadline; None outside Lambda."""
        if self.delivery.deadline is None:
            return None
        from time import time

        return self.delivery.deadline - time()

    def metadata(self) -> dict[str, Any]:
        """What a parameter called ``metadata`` gets: id, priority, receipt, timestamp (epoch ms) and version."""
        sent = self.envelope.metadata
        return {
            "id": self.envelope.id,
            "priority": self.priority,
            "receipt": self.delivery.receipt,
            "timestamp": sent["timestamp"],
            "version": sent["version"],
        }


running: ContextVar[TaskContext | None] = ContextVar("runtime_lib.current_context", default=None)
current_context = running.get
