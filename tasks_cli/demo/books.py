"""The books, as the shop's accountant gets them: when the first row came, the last, and the audit that follows them."""

import csv
import io
import json
import time
from typing import Any, NamedTuple

from tasks_cli.cloud import Cloud
from tasks_cli.streaming_check import measure

_ORDERS = "orders/"
_AUDIT = "audit/"
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.02


class Books(NamedTuple):
    """What came of one request for the books. Milliseconds are from the request on."""

    rows: int
    accepted: int
    """The orders and refunds in the ledger."""
    chunks: int
    first_byte_ms: int
    last_byte_ms: int
    recorded_ms: int | None
    """Until the audit was there, which is written after the response; None: it never was."""
    recorded_rows: int | None

    @property
    def problem(self) -> str:
        """What does not fit together; empty if all does."""
        if self.rows != self.accepted:
            return f"{self.rows} rows, and {self.accepted} orders and refunds are in the ledger"
        if self.recorded_rows is None:
            return f"nothing was recorded within {_TIMEOUT_SECONDS:.0f} s of the response"
        return "" if self.recorded_rows == self.rows else f"{self.rows} rows, and {self.recorded_rows} are on record"


def take_books(cloud: Cloud, url: str, bucket: str) -> Books:
    """Ask for the books with a signed request, and wait for the audit that says so.

    Raises:
        CliError: they were not given.
    """
    parts: list[bytes] = []
    started = time.monotonic()
    measured = measure(url, sign=True, take=parts.append)
    audit = _audit(cloud, bucket)
    recorded = time.monotonic() - started
    rows = csv.DictReader(io.StringIO(b"".join(parts).decode()))
    return Books(
        rows=len([*rows]),
        accepted=len(_keys(cloud, bucket, _ORDERS)),
        chunks=measured.chunks,
        first_byte_ms=round(1000 * measured.first_byte),
        last_byte_ms=round(1000 * measured.last_byte),
        recorded_ms=round(1000 * recorded) if audit else None,
        recorded_rows=audit.get("rows"),
    )


def _audit(cloud: Cloud, bucket: str) -> dict[str, Any]:
    """The audit that the work after the response writes; empty if it does not come."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        for key in _keys(cloud, bucket, _AUDIT):
            audit: dict[str, Any] = json.loads(cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
            return audit
        time.sleep(_POLL_SECONDS)
    return {}


def _keys(cloud: Cloud, bucket: str, prefix: str) -> list[str]:
    pages = cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found.get("Key", "") for page in pages for found in page.get("Contents", [])]
