"""The shop's books: streamed page by page, and recorded when they are out."""

import csv
import io
import json
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.shop import sample_app


class Output:
    """What the handler sent, and what was in the bucket when it had finished."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.chunks: list[str] = []
        self.audits_at_the_end: int | None = None

    def start(self, *, headers: dict[str, str]) -> None:
        self.headers = headers

    def write(self, data: str) -> None:
        self.chunks.append(data)

    def finish(self) -> None:
        self.audits_at_the_end = len(audits())


def audits() -> list[Any]:
    s3 = boto3.client("s3")
    keys = [found.get("Key", "") for found in s3.list_objects_v2(Bucket="files", Prefix="audit/").get("Contents", [])]
    return [json.loads(s3.get_object(Bucket="files", Key=key)["Body"].read()) for key in keys]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    monkeypatch.setenv("SHOP_BUCKET", "files")
    with sample_app(), mock_aws():
        modules = {name: import_module(f"sample_app.{name}") for name in ("export", "files", "ledger")}
        modules["files"].s3.cache_clear()
        boto3.client("s3").create_bucket(Bucket="files")
        yield SimpleNamespace(**modules)


def taken(shop: SimpleNamespace, event: dict[str, Any]) -> Output:
    output = Output()
    logger = SimpleNamespace(info=lambda *_: None)
    shop.export.books(event, output, SimpleNamespace(request_id="r-1", logger=logger))
    return output


def test_the_books_have_every_entry_once_in_pages(shop: SimpleNamespace) -> None:
    for number in range(150):
        shop.ledger.claim(f"WB-{10_000 + number}/purchase", f"m-{number}")
    shop.ledger.claim("WB-10000/refund", "m-150")
    output = taken(shop, {})
    assert output.headers["content-type"].startswith("text/csv")
    assert [chunk.count("\n") for chunk in output.chunks] == [1, 100, 51]
    header, *rows = csv.reader(io.StringIO("".join(output.chunks)))
    assert tuple(header) == shop.export.COLUMNS
    assert len({(row[0], row[1]) for row in rows}) == 151
    assert [(*row[:2], row[3]) for row in rows[:2]] == [
        ("WB-10000", "purchase", "m-0"),
        ("WB-10000", "refund", "m-150"),
    ]
    assert all(row[2].endswith("Z") for row in rows)


def test_empty_books_are_a_header(shop: SimpleNamespace) -> None:
    assert "".join(taken(shop, {}).chunks).strip() == ",".join(shop.export.COLUMNS)


@pytest.mark.parametrize(
    ("request_context", "caller"),
    [
        (
            {"authorizer": {"iam": {"userArn": "arn:aws:iam::123456789012:user/Ann"}}},
            "arn:aws:iam::123456789012:user/Ann",
        ),
        ({"http": {"sourceIp": "203.0.113.7"}}, "203.0.113.7"),
    ],
)
def test_who_took_them_is_recorded_after_the_response(
    shop: SimpleNamespace, request_context: dict[str, Any], caller: str
) -> None:
    shop.ledger.claim("WB-10000/purchase", "m")
    output = taken(shop, {"requestContext": request_context})
    assert output.audits_at_the_end == 0
    assert audits() == [{"rows": 1, "taken_by": caller}]
