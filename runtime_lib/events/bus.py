"""What an EventTask's rule delivers: an event of EventBridge, also one that tells of an object in S3."""

from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.context import Injected, TaskContext
from runtime_lib.errors import ArgumentError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["BusEvent", "S3Object"]

_S3_SOURCE = "aws.s3"


class S3Object(NamedTuple):
    """The object that an event of S3 is about; what the event does not tell (of a deleted object) is None.

    ``key`` is the key itself: unlike the notifications of S3, EventBridge does not encode it.
    """

    bucket: str
    key: str
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None


class BusEvent(Injected):
    """An event of EventBridge, as an EventTask's task gets it for a parameter annotated ``BusEvent``.

    (https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html)
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        """The event as EventBridge delivered it."""

    @classmethod
    def of(cls, context: TaskContext) -> "BusEvent":
        """The event that started the task.

        Raises:
            ArgumentError: something else did.
        """
        event = context.event
        if not isinstance(event, dict) or "detail-type" not in event or "detail" not in event:
            raise ArgumentError(
                f"{context.task} takes a BusEvent, and what started it is no event of EventBridge: serve it by an "
                "EventTask"
            )
        return cls(event)

    def __repr__(self) -> str:
        return f"BusEvent(id={self.id!r}, source={self.source!r}, detail_type={self.detail_type!r})"

    @property
    def id(self) -> str:
        """EventBridge's id of the event; the id of the task's message is made of it."""
        return str(self.raw["id"])

    @property
    def source(self) -> str:
        """Who sent it: ``shop.orders``, or ``aws.s3``."""
        return str(self.raw["source"])

    @property
    def detail_type(self) -> str:
        """Which kind of event it is, in its source's words: ``Order Placed``."""
        return str(self.raw["detail-type"])

    @property
    def detail(self) -> dict[str, Any]:
        """What the source tells."""
        detail: dict[str, Any] = self.raw["detail"]
        return detail

    @property
    def time(self) -> "datetime":
        """When it happened, by its source."""
        from datetime import datetime

        return datetime.fromisoformat(self.raw["time"])

    @property
    def resources(self) -> list[str]:
        """The ARNs that it is about."""
        return list(self.raw.get("resources", ()))

    @property
    def s3(self) -> S3Object:
        """The object that an event of S3 is about.

        Raises:
            ArgumentError: the event is another service's.
        """
        if self.source != _S3_SOURCE or "object" not in self.detail:
            raise ArgumentError(f"the event is {self.detail_type!r} of {self.source!r}, and not about an object in S3")
        bucket, found = self.detail["bucket"], self.detail["object"]
        return S3Object(bucket["name"], found["key"], found.get("size"), found.get("etag"), found.get("version-id"))
