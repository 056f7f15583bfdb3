"""What a StreamTask's table delivers: the change of one item."""

from typing import TYPE_CHECKING, Any, Literal

from runtime_lib.context import Injected, TaskContext
from runtime_lib.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["StreamRecord"]


class StreamRecord(Injected):
    """A change of an item, as a StreamTask's task gets it for a parameter annotated ``StreamRecord``.

    Keys and images have the types that boto3's DynamoDB tables give: str, Decimal for every number, bytes, bool, None,
    list, dict, and sets of str, Decimal or bytes. They are converted when they are asked for.
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html)
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        """The record as the stream delivered it."""

    @classmethod
    def of(cls, context: TaskContext) -> "StreamRecord":
        """The record that the task runs for.

        Raises:
            ArgumentError: something else started the task.
        """
        record = context.event
        if not isinstance(record, dict) or not isinstance(record.get("dynamodb"), dict):
            raise ArgumentError(
                f"{context.task} takes a StreamRecord, and what started it is no record of a DynamoDB stream: serve it "
                "by a StreamTask"
            )
        return cls(record)

    def __repr__(self) -> str:
        return f"StreamRecord({self.event_name}, sequence_number={self.sequence_number!r})"

    @property
    def event_id(self) -> str:
        """The stream's id of the change."""
        return str(self.raw["eventID"])

    @property
    def event_name(self) -> Literal["INSERT", "MODIFY", "REMOVE"]:
        """What happened to the item."""
        name: Literal["INSERT", "MODIFY", "REMOVE"] = self.raw["eventName"]
        return name

    @property
    def sequence_number(self) -> str:
        """The place of the change in its shard."""
        return str(self.raw["dynamodb"]["SequenceNumber"])

    @property
    def changed_at(self) -> "datetime":
        """When it happened, in UTC, to the second."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.raw["dynamodb"]["ApproximateCreationDateTime"], UTC)

    @property
    def table(self) -> str:
        """The name of the table."""
        # arn:aws:dynamodb:<region>:<account>:table/<name>/stream/<time>
        return str(self.raw["eventSourceARN"]).split("/")[1]

    @property
    def keys(self) -> dict[str, Any]:
        """The item's primary key."""
        return _values(self.raw["dynamodb"]["Keys"])

    @property
    def new_image(self) -> dict[str, Any] | None:
        """The item after the change; None if it was removed, or the stream does not tell (its view type)."""
        return self._image("NewImage")

    @property
    def old_image(self) -> dict[str, Any] | None:
        """The item before the change; None if it is new, or the stream does not tell (its view type)."""
        return self._image("OldImage")

    def _image(self, name: str) -> dict[str, Any] | None:
        image = self.raw["dynamodb"].get(name)
        return None if image is None else _values(image)


def _values(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(attribute) for name, attribute in attributes.items()}


def _value(attribute: dict[str, Any]) -> Any:
    """A value of DynamoDB's JSON, ``{"<type>": <value>}``, without loading boto3."""
    [(kind, value)] = attribute.items()
    return _OF_KIND[kind](value)


def _number(digits: str) -> Any:
    from decimal import Decimal

    return Decimal(digits)


def _bytes(encoded: str) -> bytes:
    from base64 import b64decode

    return b64decode(encoded)


_OF_KIND: "dict[str, Callable[[Any], Any]]" = {
    "S": str,
    "N": _number,
    "B": _bytes,
    "BOOL": bool,
    "NULL": lambda _: None,
    "L": lambda values: [_value(value) for value in values],
    "M": _values,
    "SS": set,
    "NS": lambda values: {_number(value) for value in values},
    "BS": lambda values: {_bytes(value) for value in values},
}
