"""What the demo makes of the answers to orders that were placed by HTTP, and how it names what is missing."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks_cli.commands import demo
from tasks_cli.demo.run import Result
from tasks_cli.demo.storefront import PlacedOrder


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


def test_rows_are_named_with_their_orders_and_all_else_by_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    problems: list[Any] = [
        SimpleNamespace(row=2, order="", problem="not started"),
        SimpleNamespace(row="GET /orders/ZZ-90001", order="ZZ-90001", problem="answers 404"),
        SimpleNamespace(row="nightly report", order="", problem="did not come"),
    ]
    demo._print(Result("orders.csv", 1, 1.0, {}, [], 0, 0, 0, [], None, problems))
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "NOT accounted for: 3",
        "  row 2, order '': not started",
        "  GET /orders/ZZ-90001: answers 404",
        "  nightly report: did not come",
    ]
