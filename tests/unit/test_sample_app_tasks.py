"""What the shop's tasks dispatch and do: recorded, and run eagerly against S3 and SES of moto."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses import ses_backends

from runtime_lib import (
    Discard,
    EagerTransport,
    Priority,
    RecordingTransport,
    Reject,
    RetryLater,
    ScheduledEvent,
    using_transport,
)
from runtime_lib.context import Delivery, TaskContext
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, run
from tests.shop import sample_app

ROW = {
    "order_id": "WB-10001",
    "customer": 'Zoë "Z" <b>',
    "email": "zoe@example.com",
    "item": "Teapot & cup",
    "amount": "12.50",
    "currency": "EUR",
    "newsletter": "no",
}
REFUND = {**ROW, "amount": "-12.50"}


@pytest.fixture(scope="module")
def modules() -> Iterator[SimpleNamespace]:
    names = ("files", "gateway", "intake", "invoices", "ledger", "mail", "monitoring", "receipts")
    names += ("reports", "sales", "storefront")
    with sample_app():
        yield SimpleNamespace(**{name: import_module(f"sample_app.{name}") for name in names})


@pytest.fixture
def shop(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The shop's modules, on an AWS of their own."""
    monkeypatch.setenv("SHOP_BUCKET", "files")
    monkeypatch.setenv("SHOP_SENDER", "shop@example.com")
    with mock_aws():
        modules.gateway._ses.cache_clear()
        modules.files.s3.cache_clear()
        boto3.client("s3").create_bucket(Bucket="files")
        boto3.client("ses").verify_email_identity(EmailAddress="shop@example.com")
        yield modules


def deliver(task: Any, *args: Any, attempt: int = 1, message_id: str | None = None) -> Outcome:
    """Run a task as its queue's handler does."""
    call = task.call(*args)
    envelope: Envelope = call.envelope._replace(id=message_id or call.envelope.id)
    return run(task, envelope, Delivery(attempt=attempt, max_receive_count=50))


def dispatched(outcome_of: Any) -> tuple[Outcome, list[tuple[str, list[Any], Priority]]]:
    """The outcome of a call, and what it dispatched."""
    with using_transport(RecordingTransport()) as recording:
        outcome = outcome_of()
    return outcome, [(call.envelope.task, call.envelope.args, call.envelope.priority) for call in recording.sent]


def accept(shop: SimpleNamespace, row: dict[str, str], **delivery: Any) -> tuple[Outcome, list[Any]]:
    return dispatched(lambda: deliver(shop.intake.accept, row, **delivery))


def mails() -> list[Any]:
    return ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages


def test_an_order_is_confirmed_and_invoiced(shop: SimpleNamespace) -> None:
    outcome, calls = accept(shop, ROW)
    assert isinstance(outcome, Succeeded)
    person = ["zoe@example.com", 'Zoë "Z" <b>']
    assert calls == [
        ("sample_app.mail.confirm", [*person, "WB-10001", "12.50 EUR"], Priority.HIGH),
        (
            "sample_app.invoices.render",
            ["WB-10001", person[1], person[0], "Teapot & cup", "12.50 EUR"],
            Priority.DEFAULT,
        ),
    ]


def test_the_newsletter_is_bulk_mail_and_only_for_those_who_asked_for_it(shop: SimpleNamespace) -> None:
    _, calls = accept(shop, {**ROW, "newsletter": "yes"})
    assert [call for call in calls if "newsletter" in call[0]] == [
        ("sample_app.mail.newsletter", ["zoe@example.com", 'Zoë "Z" <b>'], Priority.BULK)
    ]


def test_a_refund_of_an_order_is_mailed_and_nothing_else(shop: SimpleNamespace) -> None:
    accept(shop, ROW)
    outcome, calls = accept(shop, REFUND)
    assert isinstance(outcome, Succeeded)
    person = ["zoe@example.com", 'Zoë "Z" <b>']
    assert calls == [("sample_app.mail.refund", [*person, "WB-10001", "12.50 EUR"], Priority.HIGH)]


def test_a_refund_waits_for_its_order_and_is_refused_when_it_never_comes(shop: SimpleNamespace) -> None:
    outcome, calls = accept(shop, REFUND, attempt=19)
    assert isinstance(outcome, RetryAfter)
    assert isinstance(outcome.error, RetryLater)
    assert calls == []
    outcome, calls = accept(shop, REFUND, attempt=20)
    assert outcome == DeadLettered(shop.intake.UNKNOWN_ORDER, outcome.error)
    assert calls == []


@pytest.mark.parametrize("row", [ROW, {**ROW, "order_id": " wb-10001"}, {**ROW, "customer": "Someone else"}])
def test_a_second_row_of_an_order_is_discarded(shop: SimpleNamespace, row: dict[str, str]) -> None:
    accept(shop, ROW)
    outcome, calls = accept(shop, row)
    assert (outcome, calls) == (Discarded("WB-10001/purchase has been accepted before"), [])


def test_the_message_that_has_an_order_keeps_it_when_it_is_delivered_again(shop: SimpleNamespace) -> None:
    for attempt in (1, 2):
        outcome, calls = accept(shop, ROW, message_id="the same", attempt=attempt)
        assert isinstance(outcome, Succeeded)
        assert len(calls) == 2


def test_a_bad_row_is_refused_and_does_not_take_the_order(shop: SimpleNamespace) -> None:
    outcome, calls = accept(shop, {**ROW, "amount": "free"})
    assert isinstance(outcome, DeadLettered)
    assert isinstance(outcome.error, Reject)
    assert (outcome.reason, calls) == ("amount is not a number like 12.50", [])
    assert isinstance(accept(shop, ROW)[0], Succeeded)


def test_the_ledger_does_not_hide_errors(shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_BUCKET", "missing")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        shop.ledger.claim("WB-10001/purchase", "id", "12.50 EUR")
    assert isinstance(accept(shop, ROW)[0], RetryAfter)


def test_an_invoice_is_a_page_that_says_what_was_ordered(shop: SimpleNamespace) -> None:
    render = shop.invoices.render
    outcome, calls = dispatched(
        lambda: deliver(render, "WB-10001", 'Zoë "Z" <b>', "z@example.com", "Tea & 茶", "5.00 EUR")
    )
    assert isinstance(outcome, Succeeded)
    assert calls == [
        ("sample_app.receipts.send", ["z@example.com", "WB-10001", "invoices/WB-10001.html"], Priority.DEFAULT)
    ]
    stored = boto3.client("s3").get_object(Bucket="files", Key="invoices/WB-10001.html")
    page = stored["Body"].read().decode()
    assert stored["ContentType"] == "text/html; charset=utf-8"
    assert "Zoë &quot;Z&quot; &lt;b&gt;" in page
    assert "Tea &amp; 茶" in page
    assert "5.00 EUR" in page


def test_everything_runs_eagerly_from_the_row_to_the_receipt(shop: SimpleNamespace) -> None:
    with using_transport(EagerTransport()):
        shop.intake.accept.dispatch({**ROW, "newsletter": "yes"})
        shop.intake.accept.dispatch(REFUND)
    assert [mail.subject for mail in mails()] == [
        "Your order WB-10001",
        "Your receipt for order WB-10001",
        "Welcome to our newsletter",
        "Your refund for order WB-10001",
    ]
    assert {address for mail in mails() for address in mail.destinations["ToAddresses"]} == {"zoe@example.com"}


def test_who_has_no_name_is_greeted_too(shop: SimpleNamespace) -> None:
    shop.mail.confirm("zoe@example.com", "", "WB-10001", "5.00 EUR")
    assert mails()[0].body.startswith("Hello,\n")


@pytest.mark.parametrize(
    ("code", "error", "is_retried"),
    [
        ("Throttling", "GatewayBusyError", True),
        ("ServiceUnavailable", "GatewayBusyError", True),
        ("MessageRejected", "MailRefusedError", False),
        ("InternalFailure", "ClientError", True),
    ],
)
def test_what_the_gateway_refuses_for_good_is_not_tried_again(
    shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, code: str, error: str, is_retried: bool
) -> None:
    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "SendEmail")

    monkeypatch.setattr(shop.gateway, "_ses", lambda: SimpleNamespace(send_email=fail))
    outcome = deliver(shop.mail.confirm, "zoe@example.com", "Zoë", "WB-10001", "5.00 EUR")
    assert isinstance(outcome, RetryAfter if is_retried else DeadLettered)
    assert type(outcome.error).__name__ == error


def test_monitoring_tells_the_start_the_dispatches_and_the_end(
    shop: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    transport = shop.monitoring._ReportingTransport(RecordingTransport())
    with using_transport(transport), caplog.at_level(logging.INFO, "sample_app.monitoring"):
        deliver(shop.intake.accept, ROW, message_id="m")
        deliver(shop.intake.accept, ROW, attempt=2)
    records: list[Any] = [record for record in caplog.records if record.name == "sample_app.monitoring"]
    assert [(record.event, record.task.rpartition(".")[2]) for record in records] == [
        ("start", "accept"),
        ("dispatch", "confirm"),
        ("dispatch", "render"),
        ("end", "accept"),
        ("start", "accept"),
        ("end", "accept"),
    ]
    assert {record.chain for record in records[:4]} == {"m"}
    assert 0 <= records[0].waited_ms < 60_000
    assert [record.outcome for record in records if record.event == "end"] == ["Succeeded", "Discarded"]
    assert "zoe@example.com" not in json.dumps([vars(record) for record in records], default=str)


def placed(shop: SimpleNamespace, **changed: str) -> tuple[Outcome, list[Any]]:
    order = {**ROW, **changed}
    del order["newsletter"]
    call = shop.storefront.place.call(**order, newsletter=True)
    return dispatched(lambda: run(shop.storefront.place, call.envelope, Delivery()))


def test_an_order_that_is_placed_goes_the_way_of_an_export(shop: SimpleNamespace) -> None:
    outcome, calls = placed(shop, order_id="wb-10001")
    assert outcome == Succeeded({"order_id": "WB-10001", "total": "12.50 EUR"})
    row = {**ROW, "order_id": "wb-10001", "newsletter": "yes"}
    assert calls == [("sample_app.intake.accept", [row], Priority.DEFAULT)]


def test_an_order_that_breaks_a_rule_is_refused_where_it_is_placed(shop: SimpleNamespace) -> None:
    outcome, calls = placed(shop, currency="BTC")
    assert isinstance(outcome, DeadLettered)
    assert (outcome.reason, calls) == ("currency is not one we take", [])


def test_nobody_makes_a_refund_by_placing_an_order(shop: SimpleNamespace) -> None:
    outcome, calls = placed(shop, amount="-12.50")
    assert isinstance(outcome, DeadLettered)
    assert (outcome.reason, calls) == ("amount is negative: refunds are the shop's to make", [])


def test_an_order_is_shown_once_it_is_accepted(shop: SimpleNamespace) -> None:
    def shown(order_id: str) -> tuple[int, Any]:
        response = shop.storefront.show(order_id)
        return response.status, response.body

    assert shown("WB-10001") == (404, {"message": "there is no order WB-10001"})
    accept(shop, ROW)
    assert shown("WB-10001") == (200, {"order_id": "WB-10001", "refunded": False, "invoice": False})
    with using_transport(EagerTransport()):
        shop.invoices.render.dispatch("WB-10001", "", "zoe@example.com", "Tea", "5.00 EUR")
        accept(shop, REFUND)
    assert shown("WB-10001") == (200, {"order_id": "WB-10001", "refunded": True, "invoice": True})
    assert shown("WB-1000")[0] == 404


def test_the_nightly_report_counts_what_is_in_the_bucket(shop: SimpleNamespace) -> None:
    for row in (ROW, {**ROW, "order_id": "WB-10002"}, REFUND):
        accept(shop, row)
    night = ScheduledEvent("Report", datetime(2026, 3, 1, 1, tzinfo=UTC))
    assert shop.reports.nightly(night) == {"orders": 2, "refunds": 1, "invoices": 0}
    stored = boto3.client("s3").get_object(Bucket="files", Key="reports/2026-03-01T0100.json")
    assert json.loads(stored["Body"].read()) == {"orders": 2, "refunds": 1, "invoices": 0}


@pytest.fixture
def faults(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    told = {"busy_percent": 100, "lost_invoice": "WB-10001", "lost_report": "rehearsal"}
    monkeypatch.setenv("SHOP_FAULTS", json.dumps(told))
    with sample_app():
        yield import_module("sample_app.faults")


def test_faults_hit_the_first_attempt_of_a_mail_and_the_invoice_that_is_named(
    faults: Any, modules: SimpleNamespace
) -> None:
    def context(task: Any, *args: Any, attempt: int = 1) -> TaskContext:
        return TaskContext(task.call(*args).envelope, Delivery(attempt=attempt))

    mail = (modules.mail.newsletter, "zoe@example.com", "Zoë")
    with pytest.raises(faults.GatewayBusyError):
        faults.be_busy(context(*mail))
    faults.be_busy(context(*mail, attempt=2))
    with pytest.raises(Discard):
        faults.lose_invoice(context(modules.invoices.render, "WB-10001", "", "", "", ""))
    faults.lose_invoice(context(modules.invoices.render, "WB-10002", "", "", "", ""))


def test_faults_hit_every_attempt_to_store_the_report_that_is_named(faults: Any, modules: SimpleNamespace) -> None:
    def context(task: Any, report: str, attempt: int = 1) -> TaskContext:
        return TaskContext(task.with_headers(report=report).call({}).envelope, Delivery(attempt=attempt))

    for attempt in (1, 2, 3):
        with pytest.raises(OSError, match="no room for the report"):
            faults.refuse_report(context(modules.sales.load, "rehearsal", attempt))
    faults.refuse_report(context(modules.sales.load, "another"))
    faults.refuse_report(context(modules.sales.notify, "rehearsal"))
    faults.refuse_report(TaskContext(modules.sales.load.call({}).envelope, Delivery()))
