"""What becomes of the messages of a FIFO queue: each group keeps its order, whatever fails."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from runtime_lib import Retry, clients, contract, process_messages_for_lambda_consumer, queues, task
from runtime_lib.handlers import _fifo_batch
from runtime_lib.handlers.managed_async_task import handler
from tests.deliveries import Event, TaskQueue, body_of

ran: list[str] = []
failing: set[str] = set()


@task(retry=Retry(3, first_delay=30, jitter="none"))
def step(name: str) -> None:
    ran.append(name)
    if name in failing:
        raise LookupError(name)


@task
async def astep(name: str) -> None:
    ran.append(name)


@pytest.fixture(autouse=True)
def _nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    failing.clear()
    monkeypatch.setattr(_fifo_batch, "_waited", {})


@pytest.fixture
def orders(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQueue]:
    """A FIFO queue whose dead letter queue the environment names."""
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs})
    monkeypatch.setattr(queues, "_urls", {})
    queue = TaskQueue(sqs, "orders.fifo")
    monkeypatch.setenv(contract.ENV_DEAD_LETTER_QUEUE, queue.dead_letter_queue)
    yield queue
    queue.delete()


def send(queue: TaskQueue, *names: str, kind: str = "step") -> None:
    """A message for each name, in the group that its first letter names."""
    for name in names:
        queue.send(body_of(f"{__name__}.{kind}", name), group=name[0])


def names_of(event: Event) -> dict[str, str]:
    return {record["messageId"]: json.loads(record["body"])["args"][0] for record in event["Records"]}


def reported(event: Event, context: Any = None) -> list[str]:
    names = names_of(event)
    return [names[one["itemIdentifier"]] for one in handler(event, context)["batchItemFailures"]]


def test_a_group_stops_at_its_first_failure_and_the_others_go_on(orders: TaskQueue) -> None:
    send(orders, "a1", "b1", "a2", "b2", "a3")
    failing.add("a2")
    assert sorted(reported(orders.event())) == ["a2", "a3"]
    assert [name for name in ran if name[0] == "a"] == ["a1", "a2"]
    assert [name for name in ran if name[0] == "b"] == ["b1", "b2"]


def test_async_tasks_keep_the_order_too(orders: TaskQueue) -> None:
    send(orders, "a1", "a2", "a3", kind="astep")
    assert reported(orders.event()) == []
    assert ran == ["a1", "a2", "a3"]


def test_what_waits_behind_a_failure_comes_back_with_it_in_order(orders: TaskQueue) -> None:
    send(orders, "a1", "a2", "a3")
    failing.add("a1")
    while orders.deliver(lambda event: handler(event, None)):
        if ran.count("a1") == 2:
            failing.clear()
    assert ran == ["a1", "a1", "a1", "a2", "a3"]
    assert orders.left() == 0


def test_an_unreadable_message_behind_a_failure_waits_for_its_turn(orders: TaskQueue) -> None:
    send(orders, "a1")
    orders.send("order 7", group="a")
    failing.add("a1")
    assert len(handler(orders.event(), None)["batchItemFailures"]) == 2
    assert orders.dead_letters() == []


def test_what_follows_a_dead_letter_runs(orders: TaskQueue) -> None:
    orders.send("order 7", group="a")
    send(orders, "a1")
    assert handler(orders.event(), None) == {"batchItemFailures": []}
    assert ran == ["a1"]
    [letter] = orders.dead_letters()
    assert letter["Body"] == "order 7"
    assert letter["Attributes"]["MessageGroupId"] == "a"


def test_what_follows_a_dead_letter_that_cannot_be_written_waits(
    orders: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_DEAD_LETTER_QUEUE, "absent.fifo")
    orders.send("order 7", group="a")
    send(orders, "a1")
    assert len(handler(orders.event(), None)["batchItemFailures"]) == 2
    assert ran == []


def test_each_of_several_failing_messages_has_all_of_its_attempts(orders: TaskQueue) -> None:
    send(orders, "a1", "a2", "a3", "a4")
    failing.update({"a1", "a2", "a4"})
    while orders.deliver(lambda event: handler(event, None)):
        pass
    assert ran == ["a1"] * 3 + ["a2"] * 3 + ["a3"] + ["a4"] * 3
    reasons = {json.loads(body)["args"][0]: failure["reason"] for body, failure in orders.failures().items()}
    assert reasons == {name: f"failed at attempt 3: LookupError: {name}" for name in ("a1", "a2", "a4")}


@pytest.mark.parametrize("waits", ["behind another", "for time"])
def test_a_message_that_waited_has_all_of_its_attempts_though_it_comes_alone(orders: TaskQueue, waits: str) -> None:
    send(orders, "a1", "a2")
    failing.update({"a1", "a2"})
    event = orders.event()
    alone = {"Records": event["Records"][1:]}
    if waits == "behind another":
        handler(event, None)
    else:
        handler(alone, SimpleNamespace(get_remaining_time_in_millis=lambda: 400))
    for count, comes_again in ((2, ["a2"]), (3, ["a2"]), (4, [])):
        alone["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(count)
        assert reported(alone) == comes_again
    [failure] = orders.failures().values()
    assert failure["reason"] == "failed at attempt 3: LookupError: a2"


def test_no_more_than_so_many_waits_are_remembered(orders: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fifo_batch, "_MOST_REMEMBERED", 2)
    send(orders, "a1", "a2", "a3", "a4")
    failing.add("a1")
    event = orders.event()
    handler(event, None)
    assert list(_fifo_batch._waited) == [record["messageId"] for record in event["Records"][2:]]


def test_a_message_that_only_waited_is_not_given_up_for_deliveries_of_those_before_it(
    orders: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of a group that kills the process takes the others along at every delivery, and they have not run."""
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "5")
    send(orders, "a1", "a2", "a3")
    assert reported(orders.event(ApproximateReceiveCount=5)) == []
    assert ran == ["a2", "a3"]
    [failure] = orders.failures().values()
    assert failure["reason"] == "4 deliveries ended without a report: timeout, out of memory or killed"


def test_one_that_can_wait_no_longer_is_dead_lettered_with_that_reason(
    orders: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "5")
    send(orders, "a1", "a2")
    failing.add("a1")
    event = orders.event()
    event["Records"][1]["attributes"]["ApproximateReceiveCount"] = "5"
    assert reported(event) == ["a1"]
    [failure] = orders.failures().values()
    assert failure["reason"] == (
        "it has not run: those before it in its message group used up the queue's max_receive_count"
    )


def test_groups_whose_first_message_came_before_run_last(orders: TaskQueue) -> None:
    send(orders, "a1", "b1", "a2", "c1")
    event = orders.event()
    for record in event["Records"]:
        if names_of(event)[record["messageId"]][0] == "a":
            record["attributes"]["ApproximateReceiveCount"] = "2"
    assert reported(event) == []
    assert ran == ["b1", "c1", "a1", "a2"]


def test_nothing_of_a_group_starts_when_the_function_is_about_to_time_out(orders: TaskQueue) -> None:
    send(orders, "a1", "b1", "a2")
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 400)
    assert sorted(reported(orders.event(), context)) == ["a1", "a2", "b1"]
    assert ran == []


def test_what_is_held_back_is_visible_behind_the_one_that_is_not(orders: TaskQueue) -> None:
    send(orders, "a1", "a2", "b1")
    failing.add("a1")
    assert reported(orders.event()) == ["a1", "a2"]
    assert orders.event()["Records"] == []  # a1 is in flight for another 30 seconds, and keeps its group from coming


def test_a_handler_of_ones_own_keeps_the_order_too(orders: TaskQueue) -> None:
    send(orders, "a1", "a2", "a3")
    failing.add("a2")
    response = process_messages_for_lambda_consumer(orders.event(), return_failures=True)
    assert response
    assert len(response["batchItemFailures"]) == 2
    assert ran == ["a1", "a2"]
