"""Which orders the shop has accepted: one small object for each in S3, written only where there is none.

A message may be delivered twice, and an export may be sent twice. The conditional write lets exactly one message have
an order, however many try at the same time.
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from botocore.exceptions import ClientError

from sample_app import files

__all__ = ["Entry", "claim", "entries", "has", "pages"]

_FOLDER = "orders/"
_ENTRIES_A_PAGE = 100
_READ_AT_ONCE = 8


class Entry(NamedTuple):
    """An order that the shop has accepted: which, whether it is a purchase or a refund, when, and by which message.

    ``amount`` has no sign: ``12.50``.
    """

    order_id: str
    kind: str
    amount: str
    currency: str
    accepted_at: str
    message_id: str


def claim(key: str, message_id: str, total: str) -> bool:
    """Enter an order over ``12.50 EUR`` for the message with this id; False if another message has it already.

    The message that has it gets True again, so that a task which failed later on can go on where it was.
    """
    name = f"{_FOLDER}{key}"
    try:
        files.s3().put_object(
            Bucket=files.bucket(), Key=name, Body=message_id.encode(), Metadata={"total": total}, IfNoneMatch="*"
        )
    except ClientError as error:
        # Anything else, a conflict of two writes at once among it, is worth another attempt of the task.
        if error.response.get("Error", {}).get("Code") != "PreconditionFailed":
            raise
        return _entry(name).message_id == message_id
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
    for page in listed:
        yield entries(found.get("Key", "") for found in page.get("Contents", []))


def entries(names: Iterable[str]) -> list[Entry]:
    """The entries in objects of these names, in their order."""
    with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
        return [*threads.map(_entry, names)]


def _entry(name: str) -> Entry:
    found = files.s3().get_object(Bucket=files.bucket(), Key=name)
    order_id, _, kind = name.removeprefix(_FOLDER).partition("/")
    amount, _, currency = found["Metadata"]["total"].partition(" ")
    accepted_at = f"{found['LastModified']:%Y-%m-%dT%H:%M:%SZ}"
    return Entry(order_id, kind, amount, currency, accepted_at, found["Body"].read().decode())
