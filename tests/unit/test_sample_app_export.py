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

from runtime_lib import StreamingContext
from runtime_lib.testing import MockLambdaContext, RecordedResponse, function_url_event
from tests.shop import sample_app


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


def taken(shop: SimpleNamespace, event: dict[str, Any]) -> RecordedResponse:
    output = RecordedResponse()
    shop.export.books(event, output, StreamingContext(MockLambdaContext(), "sample_app.export"))
    return output


def test_the_books_have_every_entry_once_in_pages(shop: SimpleNamespace) -> None:
    for number in range(150):
        shop.ledger.claim(f"WB-{10_000 + number}/purchase", f"m-{number}", f"{number}.50 EUR")
    shop.ledger.claim("WB-10000/refund", "m-150", "0.25 USD")
    output = taken(shop, {})
    assert output.head.headers["content-type"].startswith("text/csv")
    assert [chunk.count(b"\n") for chunk in output.chunks] == [1, 100, 51]
    header, *rows = csv.reader(io.StringIO(output.body.decode()))
    assert tuple(header) == shop.export.COLUMNS
    assert len({(row[0], row[1]) for row in rows}) == 151
    assert [(*row[:4], row[5]) for row in rows[:2]] == [
        ("WB-10000", "purchase", "0.50", "EUR", "m-0"),
        ("WB-10000", "refund", "0.25", "USD", "m-150"),
    ]
    assert all(row[4].endswith("Z") for row in rows)


def test_empty_books_are_a_header(shop: SimpleNamespace) -> None:
    assert taken(shop, {}).body.decode().strip() == ",".join(shop.export.COLUMNS)


@pytest.mark.parametrize(("caller", "taken_by"), [("arn:aws:iam::123456789012:user/Ann",) * 2, (None, "203.0.113.7")])
def test_who_took_them_is_recorded_after_the_response(
    shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caller: str | None, taken_by: str
) -> None:
    finish, recorded = RecordedResponse.finish, []

    def finish_and_look(output: RecordedResponse) -> None:
        recorded.extend(audits())
        finish(output)

    monkeypatch.setattr(RecordedResponse, "finish", finish_and_look)
    shop.ledger.claim("WB-10000/purchase", "m", "5.00 EUR")
    assert taken(shop, function_url_event(caller=caller)).state == "finished"
    assert recorded == []
    assert audits() == [{"rows": 1, "taken_by": taken_by}]
