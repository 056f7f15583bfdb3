"""Tenants and lanes: where a task goes, and what it hands on to the tasks it dispatches."""

import asyncio
import json
from typing import Any

import pytest

from runtime_lib import EnvelopeError, RecordingTransport, TaskContext, contract, task, using_transport
from runtime_lib.contract import Route, lane_route_variable, task_route_variable
from runtime_lib.envelope import Envelope
from runtime_lib.handlers.managed_async_task import handler
from runtime_lib.transports.routes import find_route
from tests.deliveries import TaskQueue, body_of

sent = RecordingTransport()


@task
def child(of: str) -> None: ...


@task
def parent(name: str) -> None:
    child.dispatch(name)


@task
async def aparent(name: str, pause: float) -> None:
    await asyncio.sleep(pause)
    child.dispatch(name)
    await child.adispatch(name)


@task
def says_otherwise(name: str) -> None:
    child.with_group("other").with_lane(0).dispatch(name)


@task
def tells(context: TaskContext) -> None:
    child.dispatch(f"{context.group} {context.lane}")


def run(queue: TaskQueue, *bodies: str) -> dict[str, list[tuple[str | None, int | None]]]:
    """The groups and lanes of what was dispatched, by the name of the task's run that did it."""
    sent.sent.clear()
    queue.send(*bodies)
    with using_transport(sent):
        assert handler(queue.event(), None) == {"batchItemFailures": []}
    found: dict[str, list[tuple[str | None, int | None]]] = {}
    for call in sent.sent:
        metadata = call.envelope.metadata
        found.setdefault(call.envelope.args[0], []).append((metadata.get("group"), metadata.get("lane")))
    return found


def body(of: Any, *args: Any, **metadata: Any) -> str:
    return body_of(of.name, *args, metadata=metadata)


def test_what_a_task_dispatches_is_in_its_group_and_lane(queue: TaskQueue) -> None:
    assert run(queue, body(parent, "a", group="tenant-7", lane=2)) == {"a": [("tenant-7", 2)]}


def test_unless_it_says_otherwise(queue: TaskQueue) -> None:
    assert run(queue, body(says_otherwise, "a", group="tenant-7", lane=2)) == {"a": [("other", None)]}


def test_nothing_leaks_from_one_record_to_the_next(queue: TaskQueue) -> None:
    found = run(queue, body(parent, "a", group="tenant-7", lane=1), body(parent, "b"), body(parent, "c", group="t"))
    assert found == {"a": [("tenant-7", 1)], "b": [(None, None)], "c": [("t", None)]}


def test_nothing_leaks_between_async_tasks_that_run_side_by_side(queue: TaskQueue) -> None:
    found = run(
        queue,
        body(aparent, "a", 0.03, group="tenant-1", lane=1),
        body(aparent, "b", 0.02),
        body(aparent, "c", 0.01, group="tenant-3"),
        body(aparent, "d", 0.0, lane=2),
    )
    expected = {"a": ("tenant-1", 1), "b": (None, None), "c": ("tenant-3", None), "d": (None, 2)}
    assert found == {name: [both, both] for name, both in expected.items()}


def test_nothing_leaks_into_the_next_event(queue: TaskQueue) -> None:
    run(queue, body(aparent, "a", 0.0, group="tenant-1", lane=1), body(parent, "b", group="tenant-2"))
    assert run(queue, body(aparent, "c", 0.0), body(parent, "d")) == {"c": [(None, None)] * 2, "d": [(None, None)]}


def test_a_task_can_ask_for_both(queue: TaskQueue) -> None:
    assert list(run(queue, body(tells, group="tenant-7", lane=2))) == ["tenant-7 2"]
    assert list(run(queue, body(tells))) == ["None 0"]


# --- Lanes -----------------------------------------------------------------------------------------------------------


def test_a_lane_is_a_queue_of_its_own_and_one_that_is_not_there_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(task_route_variable(child.name), "sqs:child")
    monkeypatch.setenv(lane_route_variable(child.name, 1), "sqs:child-lane-1")
    routes = {lane: find_route(child.with_lane(lane).call("x")) for lane in range(3)}
    assert routes == {0: Route("sqs", "child"), 1: Route("sqs", "child-lane-1"), 2: Route("sqs", "child")}
    assert find_route(child.call("x")) == Route("sqs", "child")


def test_a_lane_is_carried_past_a_task_that_has_none() -> None:
    first = child.with_lane(2).call("x").envelope
    assert first.metadata["lane"] == 2
    assert Envelope.decode(first.encode()).metadata["lane"] == 2


@pytest.mark.parametrize(("lane", "error"), [(-1, ValueError), (True, TypeError), ("1", TypeError), (None, TypeError)])
def test_what_is_no_lane_is_refused(lane: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="a lane is"):
        child.with_lane(lane)


def test_a_message_with_another_kind_of_lane_is_malformed() -> None:
    message = json.loads(body_of(child.name, "x", metadata={"lane": "1"}))
    with pytest.raises(EnvelopeError, match=r"metadata\.lane is a string: expected a whole number"):
        Envelope.decode(json.dumps(message))


def test_route_variables_of_lanes_are_behind_the_tasks_own() -> None:
    assert contract.lane_route_variable("shop.tasks.resize", 2) == "TASK_ROUTE__SHOP_TASKS_RESIZE__LANE_2"
