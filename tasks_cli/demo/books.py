"""The books, as the shop's accountant gets them: when the first row came, the last, and the audit that follows them."""

import csv
import io
import json
import time
from http import HTTPStatus
from typing import Any, NamedTuple

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from tasks_cli.cloud import LOCAL_REGION, Cloud

_ORDERS = "orders/"
_AUDIT = "audit/"
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.02


class Books(NamedTuple):
    """What came of one request for the books. Milliseconds are from the request on."""

    status: int
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
        if self.status != HTTPStatus.OK:
            return f"answered {self.status}"
        if self.rows != self.accepted:
            return f"{self.rows} rows, and {self.accepted} orders and refunds are in the ledger"
        if self.recorded_rows is None:
            return f"nothing was recorded within {_TIMEOUT_SECONDS:.0f} s of the response"
        return "" if self.recorded_rows == self.rows else f"{self.rows} rows, and {self.recorded_rows} are on record"


def take_books(cloud: Cloud, url: str, bucket: str) -> Books:
    """Ask for the books with a signed request, and wait for the audit that says so."""
    path = url.removeprefix(str(cloud.url))
    connection = cloud.connection(timeout=_TIMEOUT_SECONDS)
    started = time.monotonic()
    arrived: list[tuple[float, bytes]] = []
    try:
        connection.request("GET", path, headers=_signature(url))
        response = connection.getresponse()
        while chunk := response.read1():
            arrived.append((time.monotonic() - started, chunk))
    finally:
        connection.close()
    rows = list(csv.reader(io.StringIO(b"".join(chunk for _, chunk in arrived).decode())))
    audit = _audit(cloud, bucket)
    recorded = time.monotonic() - started
    times = [round(1000 * at) for at, _ in arrived] or [0]
    return Books(
        status=response.status,
        rows=len(rows[1:]),
        accepted=len(_keys(cloud, bucket, _ORDERS)),
        chunks=len(arrived),
        first_byte_ms=times[0],
        last_byte_ms=times[-1],
        recorded_ms=round(1000 * recorded) if audit else None,
        recorded_rows=audit.get("rows"),
    )


def _signature(url: str) -> dict[str, str]:
    """The headers by which a function URL knows who asks: this process's own AWS credentials."""
    credentials = boto3.Session().get_credentials()
    assert credentials, "the local cloud's are in the environment"
    request = AWSRequest("GET", url)
    SigV4Auth(credentials, "lambda", LOCAL_REGION).add_auth(request)
    return dict(request.headers)


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
