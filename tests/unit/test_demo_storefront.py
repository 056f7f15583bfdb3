"""What the demo makes of the answers to its requests, and how it names what is missing."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks_cli.commands import demo
from tasks_cli.demo.books import Books
from tasks_cli.demo.run import Result
from tasks_cli.demo.sales import Sales, WorkflowRun
from tasks_cli.demo.storefront import PlacedOrder

BOOKS = Books(150, 150, chunks=3, first_byte_ms=40, last_byte_ms=260, recorded_ms=290, recorded_rows=150)
RUN = WorkflowRun("r", "succeeded", 1.0, None, {}, None)
SALES = Sales(RUN, RUN, notified=1, picture="sales.svg")


@pytest.mark.parametrize(
    ("status", "shown", "problem"),
    [
        ("succeeded", 200, ""),
        ("failed", 404, ""),
        ("succeeded", 404, "answers 404, and its status is 'succeeded'"),
        ("failed", 200, "answers 200, and its status is 'failed'"),
        ("running", 404, "its status is 'running' after 60 s"),
    ],
)
def test_an_order_is_shown_if_and_only_if_it_was_taken(status: str, shown: int, problem: str) -> None:
    assert PlacedOrder("ZZ-90001", status, "", shown, 1).problem == problem


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, ""),
        ({"accepted": 151}, "150 rows, and 151 orders and refunds are in the ledger"),
        ({"recorded_ms": None, "recorded_rows": None}, "nothing was recorded within 60 s of the response"),
        ({"recorded_rows": 100}, "150 rows, and 100 are on record"),
    ],
)
def test_an_export_has_every_order_and_is_on_record(changed: dict[str, Any], problem: str) -> None:
    assert BOOKS._replace(**changed).problem == problem


def test_an_export_is_told_with_its_times(capsys: pytest.CaptureFixture[str]) -> None:
    demo._print(Result("orders.csv", 1, 1.0, {}, [], 0, 0, 0, [], None, SALES, BOOKS, []))
    assert (
        "The export streamed 150 rows in 3 chunks: first byte after 40 ms, last byte after 260 ms, on record after 290 ms."
    ) in capsys.readouterr().out


def test_rows_are_named_with_their_orders_and_all_else_by_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    problems: list[Any] = [
        SimpleNamespace(row=2, order="", problem="not started"),
        SimpleNamespace(row="GET /orders/ZZ-90001", order="ZZ-90001", problem="answers 404"),
        SimpleNamespace(row="nightly report", order="", problem="did not come"),
    ]
    demo._print(Result("orders.csv", 1, 1.0, {}, [], 0, 0, 0, [], None, SALES, BOOKS, problems))
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "NOT accounted for: 3",
        "  row 2, order '': not started",
        "  GET /orders/ZZ-90001: answers 404",
        "  nightly report: did not come",
    ]
