"""The sales report: the whole workflow, run eagerly against S3 and SES of moto."""

import json
from collections.abc import Iterator
from importlib import import_module
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses import ses_backends

from runtime_lib import EagerTransport, before_task, registry, using_transport
from runtime_lib.testing import RecordedWorkflows, record_workflows
from tests.shop import sample_app

PREPARED = {"list_orders", "list_invoices"}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The shop's modules, on an AWS of their own."""
    monkeypatch.setenv("SHOP_BUCKET", "files")
    monkeypatch.setenv("SHOP_SENDER", "shop@example.com")
    names = ("figures", "files", "gateway", "ledger", "sales")
    with sample_app(), mock_aws():
        modules = SimpleNamespace(**{name: import_module(f"sample_app.{name}") for name in names})
        # Bare names mean tasks of the shop, whatever else other tests have loaded.
        tasks = {name: task for name, task in registry._tasks.items() if name.startswith("sample_app.")}
        monkeypatch.setattr(registry, "_tasks", tasks)
        modules.files.s3.cache_clear()
        modules.gateway._ses.cache_clear()
        boto3.client("s3").create_bucket(Bucket="files")
        boto3.client("ses").verify_email_identity(EmailAddress="shop@example.com")
        yield modules


@pytest.fixture
def runs(shop: SimpleNamespace) -> Iterator[RecordedWorkflows]:
    with using_transport(EagerTransport()), record_workflows() as runs:
        yield runs


def sell(shop: SimpleNamespace, order_id: str, total: str, *, is_invoiced: bool = True) -> None:
    shop.ledger.claim(f"{order_id}/purchase", "m", total)
    if is_invoiced:
        shop.files.s3().put_object(Bucket="files", Key=f"invoices/{order_id}.html")


def reports(shop: SimpleNamespace) -> dict[str, Any]:
    return {key: shop.files.get_json(key) for key in shop.files.names("sales/")}


def mails() -> list[Any]:
    return ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages


def test_the_report_has_what_was_sold_and_refunded_by_currency(shop: SimpleNamespace, runs: RecordedWorkflows) -> None:
    for number, total in enumerate(("19.99 EUR", "0.01 EUR", "100.00 EUR", "7.00 USD")):
        sell(shop, f"WB-1000{number}", total)
    shop.ledger.claim("WB-10002/refund", "m", "100.00 EUR")
    shop.ledger.claim("WB-10009/refund", "m", "1.50 GBP")  # of an order from before the ledger
    handle = shop.sales.extract.dispatch()
    euros = {"orders": 3, "sold": 12_000, "refunded": 10_000, "remaining": 2_000, "median_order": 1_999}
    assert reports(shop) == {
        f"sales/{handle.id}.json": {
            "orders": 4,
            "refunds": 2,
            "without_invoice": [],
            "currencies": {
                "EUR": euros,
                "GBP": {"orders": 0, "sold": 0, "refunded": 150, "remaining": -150, "median_order": None},
                "USD": {"orders": 1, "sold": 700, "refunded": 0, "remaining": 700, "median_order": 700},
            },
        }
    }
    assert mails() == []
    runs.assert_not_ran("notify")


def test_every_task_runs_once_in_order_and_every_page_by_itself(
    shop: SimpleNamespace, runs: RecordedWorkflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.sales, "_ENTRIES_A_PAGE", 2)
    for number in range(5):
        sell(shop, f"WB-1000{number}", f"{number + 1}.00 EUR")
    names, meeting = shop.files.names, Barrier(2, timeout=10)
    with monkeypatch.context() as patch:
        patch.setattr(shop.files, "names", lambda prefix: (meeting.wait(), names(prefix))[1])
        shop.sales.extract.dispatch()
    for name in (*PREPARED, "extract", "compute", "load"):
        runs.assert_ran(name, times=1)
    for name in PREPARED:
        runs.assert_order(name, "extract", "transform", "compute", "load")
    runs.assert_overlapped(*PREPARED)
    runs.assert_result("extract", [{"first": 0, "end": 2}, {"first": 2, "end": 4}, {"first": 4, "end": 5}])
    pages = sorted(runs.of("transform"), key=lambda run: run.index or "")
    assert [run.result["purchase"] for run in pages] == [{"EUR": [100, 200]}, {"EUR": [300, 400]}, {"EUR": [500]}]
    [report] = reports(shop).values()
    assert report["currencies"]["EUR"]["sold"] == 1_500


def test_an_order_without_an_invoice_is_named(shop: SimpleNamespace, runs: RecordedWorkflows) -> None:
    sell(shop, "WB-10001", "5.00 EUR")
    sell(shop, "WB-10002", "5.00 EUR", is_invoiced=False)
    shop.ledger.claim("WB-10003/refund", "m", "5.00 EUR")  # which never has one
    shop.sales.extract.dispatch()
    [report] = reports(shop).values()
    assert report["without_invoice"] == ["WB-10002"]
    runs.assert_ran("load")


def test_what_comes_while_it_is_made_is_for_the_next_report(shop: SimpleNamespace, runs: RecordedWorkflows) -> None:
    sell(shop, "WB-10001", "5.00 EUR")

    @before_task
    def order_more(context: Any) -> None:
        if context.task == shop.sales.transform.name:
            sell(shop, "AA-10000", "100.00 EUR")

    first = shop.sales.extract.dispatch().id
    second = shop.sales.extract.dispatch().id
    found = reports(shop)
    assert [found[f"sales/{run}.json"]["currencies"]["EUR"]["sold"] for run in (first, second)] == [500, 10_500]
    runs.assert_ran("load", times=2)


def test_a_shop_without_orders_has_a_report_as_well(shop: SimpleNamespace, runs: RecordedWorkflows) -> None:
    handle = shop.sales.extract.dispatch()
    empty = {"orders": 0, "refunds": 0, "without_invoice": [], "currencies": {}}
    assert reports(shop) == {f"sales/{handle.id}.json": empty}
    runs.assert_not_ran("transform")


def test_a_report_that_cannot_be_stored_is_told_to_the_shop_once(
    shop: SimpleNamespace, runs: RecordedWorkflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_json = shop.files.put_json

    def full(key: str, content: Any) -> None:
        if key.startswith("sales/"):
            raise OSError(f"no room for {key}")
        put_json(key, content)

    monkeypatch.setattr(shop.files, "put_json", full)
    sell(shop, "WB-10001", "5.00 EUR")
    with pytest.raises(OSError, match="no room"):
        shop.sales.extract.dispatch()
    runs.assert_failed("load", OSError)
    assert runs.of("load")[0].attempts == 3
    runs.assert_ran("notify", times=1)
    [mail] = mails()
    run = runs.of("notify")[0].kwargs["job_failed"]["run"]
    assert (mail.source, mail.destinations["ToAddresses"]) == ("shop@example.com", ["shop@example.com"])
    assert mail.subject == f"No sales report: {run}"
    assert mail.body == (
        f"sample_app.sales.load failed: OSError: no room for sales/{run}.json\n\n"
        f"What the other tasks did: tasks runs show {run}\n"
    )
    assert reports(shop) == {}


def test_figures_are_exact_and_of_amounts_that_were_paid(shop: SimpleNamespace) -> None:
    cents = [10**15 + 1, 1, 3, 10**15]
    pages = [{"purchase": {"EUR": [one]}, "refund": {}, "without_invoice": [str(one)]} for one in cents]
    report = shop.figures.compute(pages)
    assert json.loads(json.dumps(report)) == report
    assert (report["currencies"]["EUR"]["sold"], report["currencies"]["EUR"]["median_order"]) == (2 * 10**15 + 5, 3)
    assert report["without_invoice"] == sorted(map(str, cents))
