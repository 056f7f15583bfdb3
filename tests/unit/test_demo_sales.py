"""The demo's check of the sales report: what it takes for right, and what it names as wrong."""

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tasks_cli.commands import demo
from tasks_cli.demo.sales import Node, Sales, WorkflowRun, expected_report, is_notification, problems
from tasks_cli.local.inspection import Email
from tests.shop import sample_app

EUROS = {"orders": 2, "sold": 1_500, "refunded": 250, "remaining": 1_250, "median_order": 500}
REPORT = {"orders": 2, "refunds": 1, "without_invoice": [], "currencies": {"EUR": EUROS}}
DONE = Node("succeeded", 0.4, 1, None)
MADE = WorkflowRun(
    "made",
    "succeeded",
    2.0,
    None,
    {
        "extract": DONE,
        "transform": Node("succeeded", 1.2, None, 4),
        "load": DONE,
        "notify": Node("skipped", None, 0, None),
    },
    REPORT,
)
REFUSED = WorkflowRun(
    "refused",
    "failed",
    3.0,
    "load: OSError: no room",
    {**MADE.nodes, "load": Node("failed", 2.4, 3, None), "notify": DONE},
    None,
)
SALES = Sales(MADE, REFUSED, notified=1, picture=".tasks/sales-report.svg")


@pytest.fixture(scope="module")
def orders() -> Iterator[ModuleType]:
    with sample_app():
        yield import_module("sample_app.orders")


def order(orders: ModuleType, order_id: str, amount: str, currency: str = "EUR") -> Any:
    row = {"order_id": order_id, "email": "a@example.com", "amount": amount, "currency": currency}
    return orders.Order.read(row)


def test_the_report_is_expected_by_the_orders_and_not_by_what_the_shop_computes(orders: ModuleType) -> None:
    accepted = [
        order(orders, "WB-10001", "5.00"),
        order(orders, "WB-10002", "10.00"),
        order(orders, "WB-10002", "-2.50"),
        order(orders, "WB-10003", "0.07", "USD"),
    ]
    dollars = {"orders": 1, "sold": 7, "refunded": 0, "remaining": 7, "median_order": 7}
    assert expected_report(accepted, {"WB-10001", "WB-10003"}) == {
        "orders": 3,
        "refunds": 1,
        "without_invoice": ["WB-10002"],
        "currencies": {"EUR": EUROS, "USD": dollars},
    }


def test_one_report_and_one_failure_that_was_told_is_all_there_should_be() -> None:
    assert list(problems(SALES, REPORT)) == []


def changed(run: WorkflowRun, node: str, state: str) -> WorkflowRun:
    return run._replace(nodes={**run.nodes, node: run.nodes[node]._replace(state=state)})


@pytest.mark.parametrize(
    ("sales", "found"),
    [
        (SALES._replace(made=MADE._replace(status="failed", error="no")), "run made has failed: no"),
        (SALES._replace(made=MADE._replace(status="running")), "run made has running: None"),
        (SALES._replace(made=MADE._replace(report=None)), "run made has succeeded, and there is no report"),
        (
            SALES._replace(made=MADE._replace(report={**REPORT, "currencies": {"EUR": {**EUROS, "sold": 1}}})),
            "currencies.EUR.sold is 1, and by the orders 1500",
        ),
        (
            SALES._replace(made=MADE._replace(report={**REPORT, "without_invoice": ["WB-10001"]})),
            "without_invoice is ['WB-10001'], and by the orders []",
        ),
        (
            SALES._replace(made=changed(MADE, "notify", "succeeded")),
            "notify of run made is succeeded, and has to be skipped",
        ),
        (
            SALES._replace(refused=REFUSED._replace(status="succeeded")),
            "run refused has succeeded and made no report, though there was no room for one",
        ),
        (
            SALES._replace(refused=REFUSED._replace(report=REPORT)),
            "run refused has failed and made a report, though there was no room for one",
        ),
        (
            SALES._replace(refused=changed(REFUSED, "notify", "skipped")),
            "notify of run refused is skipped, and has to be succeeded",
        ),
        (
            SALES._replace(notified=2),
            "2 e-mails told the shop that run refused has failed, and it has to be one",
        ),
    ],
)
def test_whatever_is_wrong_is_named(sales: Sales, found: str) -> None:
    assert list(problems(sales, REPORT)) == [found]


def test_a_currency_that_only_one_side_knows_is_named() -> None:
    assert len(list(problems(SALES, {**REPORT, "currencies": {}}))) == len(EUROS)


@pytest.mark.parametrize(
    ("to", "subject", "is_one"),
    [
        ("shop@example.com", "No sales report: 1", True),
        ("shop@example.com", "Your order WB-10001", False),  # the shop may buy from itself
        ("a@example.com", "No sales report: 1", False),
    ],
)
def test_a_notification_is_to_the_shop_and_no_mail_to_a_customer(to: str, subject: str, *, is_one: bool) -> None:
    assert is_notification(Email("shop@example.com", (to,), subject, "", "")) is is_one


def test_both_runs_are_told_with_what_their_tasks_did(capsys: pytest.CaptureFixture[str]) -> None:
    result: Any = SimpleNamespace(sales=SALES)
    demo._print_sales(result)
    assert capsys.readouterr().out.splitlines() == [
        "The sales report succeeded after 2 s, as run made:",
        "  extract 0.4 s, transform 1.2 s for 4 pages, load 0.4 s, notify skipped",
        "  2 orders over 15.00 EUR, of which 2.50 EUR was refunded; the median is 5.00 EUR",
        "Without room for it, it failed after 3 s, as run refused; mails about that: 1",
        "  extract 0.4 s, transform 1.2 s for 4 pages, load failed 2.4 s in 3 attempts, notify 0.4 s",
        "The first run is drawn in .tasks/sales-report.svg",
    ]
