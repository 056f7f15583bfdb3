"""The demo's check: what it takes for accounted for, and what it names as not."""

from collections.abc import Callable, Iterator
from html import escape
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tasks_cli.demo.observation import Message
from tasks_cli.local.inspection import Email
from tests.shop import sample_app

ROW = {
    "order_id": "WB-10001",
    "customer": "Zoë & Co.",
    "email": "zoe@example.com",
    "item": "Teapot",
    "amount": "12.50",
    "currency": "EUR",
    "newsletter": "yes",
}
REFUND = {**ROW, "amount": "-12.50"}
INVOICE = f"Invoice WB-10001 for {escape(ROW['customer'])}: Teapot, 12.50 EUR"


@pytest.fixture(scope="module")
def audit() -> Iterator[ModuleType]:
    with sample_app():
        yield import_module("tasks_cli.demo.audit")


def mail(subject: str, text: str = "Zoë & Co.: WB-10001, 12.50 EUR", html: str = "") -> Email:
    return Email("shop@example.com", ("zoe@example.com",), subject, text, html)


def arrived(**changed: Any) -> SimpleNamespace:
    """All that a purchase, its newsletter and its refund lead to; each part can be replaced."""
    mails = {
        "confirmation": mail("Your order WB-10001"),
        "receipt": mail("Your receipt for order WB-10001", html=INVOICE),
        "newsletter": mail("Welcome to our newsletter"),
        "refund": mail("Your refund for order WB-10001"),
    } | changed
    invoices = mails.pop("invoices", {"WB-10001": INVOICE})
    return SimpleNamespace(mails=[one for one in mails.values() if one], invoices=invoices)


@pytest.fixture
def check(audit: ModuleType) -> Callable[..., Any]:
    """Hold rows, each with the outcome of its intake, against what arrived."""

    def check(*rows: tuple[dict[str, str], str | None], what: SimpleNamespace | None = None, **children: Any) -> Any:
        what = what or arrived()
        chains: dict[str, list[Message]] = {}
        for number, (_, outcome) in enumerate(rows, 2):
            name, _, reason = (outcome or "").partition(": ")
            intake = Message(str(number), "accept", str(number), outcome=name or None, reason=reason or None)
            chains[str(number)] = [intake]
        for number, child in children.items():
            chains[number.removeprefix("of_")].append(child)
        inputs = [audit.Row(number, row, str(number)) for number, (row, _) in enumerate(rows, 2)]
        return audit.Audit(inputs, chains, audit.Arrivals(what.mails, what.invoices))

    return check


def test_a_purchase_and_its_refund_are_accounted_for(check: Callable[..., Any]) -> None:
    result = check((REFUND, "Succeeded"), (ROW, "Succeeded"))
    assert (result.problems, result.outcomes) == ([], {"accepted": 1, "refunded": 1})


def test_refused_rows_are_accounted_for_by_their_dead_letter(check: Callable[..., Any]) -> None:
    bad = {**ROW, "amount": "free"}
    result = check((bad, "DeadLettered: amount is not a number like 12.50"))
    assert (result.problems, result.outcomes) == ([], {"refused": 1})
    for outcome in ("DeadLettered: amount is zero", "Succeeded", "Discarded", None):
        [problem] = check((bad, outcome)).problems
        assert problem[:2] == (2, "WB-10001")
        assert problem.problem.startswith("should be refused because amount is not a number like 12.50, but accept ")


def test_a_refund_without_an_order_has_to_be_refused(check: Callable[..., Any]) -> None:
    assert check((REFUND, "DeadLettered: refund of an order that we do not have")).outcomes == {"refused": 1}
    assert check((REFUND, "Succeeded")).problems


@pytest.mark.parametrize("first", ["Succeeded", "Discarded"])
def test_one_of_several_rows_has_the_order_whichever_it_is(check: Callable[..., Any], first: str) -> None:
    other = {"Succeeded": "Discarded", "Discarded": "Succeeded"}[first]
    result = check((ROW, first), ({**ROW, "order_id": " wb-10001"}, other))
    assert (result.problems, result.outcomes) == ([], {"accepted": 1, "duplicate": 1})


def test_two_rows_that_both_have_the_order_are_a_problem(check: Callable[..., Any]) -> None:
    [problem] = check((ROW, "Succeeded"), (ROW, "Succeeded")).problems
    assert problem == (3, "WB-10001", "accepted although row 2 has the order")


def test_a_duplicate_of_nothing_is_a_problem(check: Callable[..., Any]) -> None:
    [problem] = check((ROW, "Discarded")).problems
    assert problem.problem == "accept ended as Discarded"


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [(None, "accept has not started"), ("DeadLettered: no disk", "accept ended as DeadLettered: no disk")],
)
def test_a_good_row_that_is_not_accepted_is_a_problem(
    check: Callable[..., Any], outcome: str | None, problem: str
) -> None:
    assert [one.problem for one in check((ROW, outcome)).problems] == [problem]


@pytest.mark.parametrize("outcome", [None, "DeadLettered", "Discarded"])
def test_a_task_of_an_order_that_did_not_succeed_is_a_problem(check: Callable[..., Any], outcome: str | None) -> None:
    child = Message("child", "render", "2", starts=1, outcome=outcome)
    [problem] = check((ROW, "Succeeded"), of_2=child).problems
    assert problem.problem == ("render has not ended" if outcome is None else f"render ended as {outcome}")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"confirmation": None}, "no mail 'Your order WB-10001' to zoe@example.com"),
        ({"receipt": None}, "no mail 'Your receipt for order WB-10001' to zoe@example.com"),
        ({"newsletter": None}, "no mail 'Welcome to our newsletter' to zoe@example.com"),
        ({"confirmation": mail("Your order WB-10001", "Zoë & Co.: 9.99 EUR")}, "lacks '12.50 EUR'"),
        ({"receipt": mail("Your receipt for order WB-10001", html="other")}, "has another invoice than S3"),
        ({"invoices": {"WB-10001": INVOICE.replace("Teapot", "Cup")}}, "invoice lacks 'Teapot'"),
        ({"invoices": {}}, "no invoice in S3"),
    ],
)
def test_what_is_missing_or_other_than_ordered_is_a_problem(
    check: Callable[..., Any], changed: dict[str, Any], problem: str
) -> None:
    result = check((ROW, "Succeeded"), what=arrived(**changed))
    assert any(problem in one.problem for one in result.problems)
    assert {(one.row, one.order) for one in result.problems} == {(2, "WB-10001")}
    assert not result.outcomes


def test_a_refund_that_is_not_told_is_a_problem(check: Callable[..., Any]) -> None:
    result = check((ROW, "Succeeded"), (REFUND, "Succeeded"), what=arrived(refund=None))
    assert [(one.row, one.problem) for one in result.problems] == [
        (3, "no mail 'Your refund for order WB-10001' to zoe@example.com")
    ]


def test_one_mail_does_not_account_for_two_orders(check: Callable[..., Any]) -> None:
    invoices = {"WB-10001": INVOICE, "WB-10002": INVOICE.replace("10001", "10002")}
    second = {**ROW, "order_id": "WB-10002"}
    result = check((ROW, "Succeeded"), (second, "Succeeded"), what=arrived(invoices=invoices))
    assert (3, "WB-10002", "no mail 'Welcome to our newsletter' to zoe@example.com") in result.problems


def test_mails_that_no_order_explains_are_counted(audit: ModuleType) -> None:
    arrivals = audit.Arrivals([mail("Hi"), mail("Hi"), mail("Ho")], {})
    assert arrivals.left_over == 3
    assert arrivals.take("zoe@example.com", "Hi")
    assert arrivals.left_over == 2
