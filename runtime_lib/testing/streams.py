"""What the stream of a DynamoDB table delivers."""

import time
from base64 import b64encode
from collections.abc import Mapping
from numbers import Number
from typing import Any
from uuid import uuid4

from runtime_lib.testing._names import ACCOUNT, REGION

__all__ = ["stream_event", "stream_record"]

Event = dict[str, Any]


def stream_event(*records: Event) -> Event:
    """The event of a DynamoDB table's stream: a batch of what `stream_record` makes."""
    return {"Records": list(records)}


def stream_record(
    keys: Mapping[str, Any],
    *,
    new: Mapping[str, Any] | None = None,
    old: Mapping[str, Any] | None = None,
    table: str = "Orders",
) -> Event:
    """The change of one item: made if there is only ``new``, removed if there is only ``old`` or neither.

    (https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html)

    Args:
        keys: the item's primary key, in Python's values; numbers as int or Decimal.
        new: the item after the change, its keys included.
        old: the item before it.
        table: the table's name.

    Raises:
        TypeError: DynamoDB has no such value.
    """
    images = {"NewImage": new, "OldImage": old}
    name = "REMOVE" if new is None else "MODIFY" if old is not None else "INSERT"
    return {
        "eventID": uuid4().hex,
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": {
            "ApproximateCreationDateTime": int(time.time()),
            "Keys": _attributes(keys),
            **{image: _attributes(item) for image, item in images.items() if item is not None},
            "SequenceNumber": str(time.time_ns()),
            "SizeBytes": 100,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/2030-01-01T00:00:00.000",
    }


def _attributes(item: Mapping[str, Any]) -> Event:
    return {name: _attribute(value) for name, value in item.items()}


def _attribute(value: Any) -> Event:
    """A value in DynamoDB's JSON, ``{"<type>": <value>}``."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case bytes():
            return {"B": b64encode(value).decode()}
        case Mapping():
            return {"M": _attributes(value)}
        case list() | tuple():
            return {"L": [_attribute(one) for one in value]}
        case set() | frozenset():
            members = [_attribute(one) for one in value]
            match [*{kind for member in members for kind in member}]:
                case [("S" | "N" | "B") as kind]:
                    return {f"{kind}S": [member[kind] for member in members]}
        case Number():
            return {"N": str(value)}
    raise TypeError(
        "DynamoDB has text, numbers, bytes, bool, None, lists, mappings, and sets of text, of numbers or of bytes that "
        f"are not empty, given {value!r}"
    )
