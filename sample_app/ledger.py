"""Which orders the shop has accepted: one small object for each in S3, written only where there is none.

A message may be delivered twice, and an export may be sent twice. The conditional write lets exactly one message have
an order, however many try at the same time.
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from sample_app import files

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectTypeDef

__all__ = ["Entry", "claim", "has", "pages"]

_FOLDER = "orders/"
_ENTRIES_A_PAGE = 100
_READ_AT_ONCE = 8


class Entry(NamedTuple):
    """An order that the shop has accepted: which, whether it is a purchase or a refund, when, and by which message."""

    order_id: str
    kind: str
    accepted_at: str
    message_id: str


def claim(key: str, message_id: str) -> bool:
    """Enter an order for the message with this id; False if another message has it already.

    The message that has it gets True again, so that a task which failed later on can go on where it was.
    """
    name = f"{_FOLDER}{key}"
    try:
        files.s3().put_object(Bucket=files.bucket(), Key=name, Body=message_id.encode(), IfNoneMatch="*")
    except ClientError as error:
        # Anything else, a conflict of two writes at once among it, is worth another attempt of the task.
        if error.response.get("Error", {}).get("Code") != "PreconditionFailed":
            raise
        return _owner(name) == message_id
    return True


def has(key: str) -> bool:
    """Whether an order has been entered."""
    return files.exists(f"{_FOLDER}{key}")


def pages() -> Iterator[list[Entry]]:
    """All entries, by their orders' ids, a hundred at a time: each page is read when it is asked for."""
    listed = (
        files.s3()
        .get_paginator("list_objects_v2")
        .paginate(Bucket=files.bucket(), Prefix=_FOLDER, PaginationConfig={"PageSize": _ENTRIES_A_PAGE})
    )
    with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
        for page in listed:
            yield [*threads.map(_entry, page.get("Contents", []))]


def _entry(found: "ObjectTypeDef") -> Entry:
    name = found.get("Key", "")
    order_id, _, kind = name.removeprefix(_FOLDER).partition("/")
    return Entry(order_id, kind, f"{found.get('LastModified'):%Y-%m-%dT%H:%M:%SZ}", _owner(name))


def _owner(name: str) -> str:
    """The id of the message that has an order."""
    return files.s3().get_object(Bucket=files.bucket(), Key=name)["Body"].read().decode()
