"""What a running task can know of its message."""

import json
from pathlib import Path

import pytest

from runtime_lib import Priority, TaskContext, current_context
from runtime_lib.context import Delivery
from runtime_lib.envelope import Envelope

CHAINED = Envelope.decode((Path(__file__).parent / "golden" / "envelope_of_a_chain.json").read_text())
FIRST = Envelope.decode((Path(__file__).parent / "golden" / "envelope.json").read_text())


def test_a_context_tells_of_the_message_and_its_delivery() -> None:
    context = TaskContext(CHAINED, Delivery(attempt=3, receipt="r"))
    assert (context.id, context.task, context.attempt, context.receipt) == (CHAINED.id, "shop.invoices.render", 3, "r")
    assert (context.priority, context.group, context.hops) == (Priority.DEFAULT, "tenant-7", 2)
    assert context.chain == "b1328174-a21c-43d3-b303-964dfcc76efc"
    assert (context.parent, context.source) == ("76c52f94-2d54-4d5e-8f0c-6c2b7c9d3e21", "shop.orders.accept")
    assert repr(context) == f"TaskContext(task='shop.invoices.render', id='{CHAINED.id}', attempt=3)"


def test_what_a_trigger_does_not_tell_is_none() -> None:
    context = TaskContext(FIRST, Delivery())
    assert (context.receipt, context.parent, context.source, context.group) == (None, None, None, None)
    assert (context.attempt, context.hops, context.chain) == (1, 0, FIRST.id)
    assert context.remaining_seconds() is None


def test_the_time_that_remains_is_counted_to_the_functions_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000.0)
    assert TaskContext(FIRST, Delivery(deadline=1_030.5)).remaining_seconds() == 30.5
    assert TaskContext(FIRST, Delivery(deadline=999)).remaining_seconds() == -1


def test_metadata_is_what_taskhawk_describes() -> None:
    assert json.loads(json.dumps(TaskContext(FIRST, Delivery(receipt="r")).metadata())) == {
        "id": "b1328174-a21c-43d3-b303-964dfcc76efc",
        "priority": "high",
        "receipt": "r",
        "timestamp": 1460868253255,
        "version": "1.0",
    }


def test_headers_of_a_task_are_its_own_to_change() -> None:
    context = TaskContext(FIRST, Delivery())
    context.headers["request_id"] = "other"
    assert context.headers == {"request_id": "1234"}


def test_outside_a_task_there_is_no_context() -> None:
    assert current_context() is None
