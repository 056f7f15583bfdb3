"""What becomes of an event of EventBridge, and of a table's records."""

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from runtime_lib import BusEvent, Discard, Reject, Retry, RetryLater, StreamRecord, TaskContext, TaskError, task
from runtime_lib.contract import ENV_TASK, SQS_MAX_BYTES
from runtime_lib.handlers import event_task, stream_task
from tests.bus_events import NOON, bus_event, stream_record
from tests.deliveries import TaskQueue

ran: list[Any] = []
failing: dict[str, Exception] = {}
"""What the tasks below raise, by the number of the order."""


class Clock:
    """A Lambda context with so many seconds left."""

    function_name = "orders"

    def __init__(self, seconds: float = 60) -> None:
        self.milliseconds = seconds * 1000

    def get_remaining_time_in_millis(self) -> float:
        return self.milliseconds


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()
    failing.clear()
    stream_task._attempts.clear()


def _do(number: str, context: TaskContext) -> None:
    ran.append((number, context.attempt))
    if number in failing:
        raise failing[number]


@task
def on_event(event: BusEvent, context: TaskContext) -> None:
    _do(event.detail["number"], context)
    ran[-1] = context


@task
def on_event_too(context: TaskContext) -> None:
    ran.append(context)


@task
def on_change(record: StreamRecord, context: TaskContext) -> None:
    _do(record.keys["id"], context)


@task(retry=Retry.always())
async def on_change_always(record: StreamRecord, context: TaskContext) -> None:
    _do(record.keys["id"], context)


@task
def needs_more(record: StreamRecord, number: int) -> None:
    ran.append(number)


def serve(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(ENV_TASK, f"{__name__}.{name}")


# --- EventBridge -----------------------------------------------------------------------------------------------------


@pytest.fixture
def on_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, "on_event")


@pytest.mark.usefixtures("on_bus")
def test_an_event_runs_the_task_under_an_id_that_stays_the_same() -> None:
    event = bus_event("Order Placed", {"number": "7"})
    for _ in range(2):
        event_task.handler(event, Clock())
    event_task.handler(bus_event("Order Placed", {"number": "8"}, number=2), Clock())
    first, again, other = ran
    assert first.id == again.id != other.id
    assert UUID(first.id).version == 5
    assert first.event == event
    assert first.task == f"{__name__}.on_event"
    assert 59 < first.remaining_seconds() <= 60


def test_two_tasks_that_get_one_event_have_an_id_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("on_event", "on_event_too"):
        serve(monkeypatch, name)
        event_task.handler(bus_event("Order Placed", {"number": "7"}), Clock())
    assert ran[0].id != ran[1].id


@pytest.mark.usefixtures("on_bus")
def test_a_failing_event_is_raised_so_that_lambda_retries() -> None:
    failing["7"] = LookupError("no such order")
    with pytest.raises(LookupError, match="no such order"):
        event_task.handler(bus_event("Order Placed", {"number": "7"}), Clock())


@pytest.mark.usefixtures("on_bus")
@pytest.mark.parametrize(
    ("error", "reason"),
    [(Reject("no such order"), "no such order"), (RetryLater(5), "RetryLater cannot be raised on an asynchronous")],
)
def test_an_event_that_is_given_up_lies_there_as_it_came(queue: TaskQueue, error: Exception, reason: str) -> None:
    failing["7"] = error
    event = bus_event("Order Placed", {"number": "7"})
    event_task.handler(event, Clock())
    [(body, failure)] = queue.failures().items()
    assert json.loads(body) == event
    assert failure["reason"].startswith(reason)
    assert failure["source"] == "lambda:orders"
    assert failure["first_at"] == NOON


@pytest.mark.usefixtures("on_bus")
def test_a_discarded_event_is_done(queue: TaskQueue) -> None:
    failing["7"] = Discard()
    event_task.handler(bus_event("Order Placed", {"number": "7"}), Clock())
    assert queue.failures() == {}


@pytest.mark.usefixtures("on_bus")
@pytest.mark.parametrize("event", [{"task": "x"}, {"detail-type": "Order Placed", "detail": {}}, [], None])
def test_what_is_no_event_of_eventbridge_is_refused(event: Any) -> None:
    with pytest.raises(TaskError, match="events of EventBridge"):
        event_task.handler(event, Clock())


# --- Streams ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, "on_change")


def record(number: int, *, size: int = 0) -> dict[str, Any]:
    new = {"text": {"S": "x" * size}} if size else None
    return stream_record("INSERT", {"id": {"S": str(number)}}, number=number, new=new)


def deliver(*numbers: int, seconds: float = 60) -> list[str]:
    """Deliver these records, and say from which one on they are to be delivered again."""
    answer = stream_task.handler({"Records": [record(number) for number in numbers]}, Clock(seconds))
    assert answer is not None
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@pytest.mark.usefixtures("on_stream")
def test_records_run_in_their_order() -> None:
    assert deliver(1, 2, 3) == []
    assert ran == [("1", 1), ("2", 1), ("3", 1)]


@pytest.mark.usefixtures("on_stream")
def test_a_batch_stops_at_the_first_failure_and_reports_it() -> None:
    failing["2"] = LookupError()
    assert deliver(1, 2, 3) == ["0002"]
    assert [number for number, _ in ran] == ["1", "2"]


@pytest.mark.usefixtures("on_stream")
def test_a_record_that_is_exhausted_is_dead_lettered_with_its_reason_and_the_next_ones_run(queue: TaskQueue) -> None:
    failing["2"] = LookupError("no such order")
    assert deliver(1, 2, 3) == ["0002"]
    assert deliver(2, 3, 4) == ["0002"]
    assert deliver(2, 3, 4) == []
    assert ran == [("1", 1), ("2", 1), ("2", 2), ("2", 3), ("3", 1), ("4", 1)]
    [(body, failure)] = queue.failures().items()
    assert json.loads(body) == record(2)
    assert failure["reason"] == "failed at attempt 3: LookupError: no such order"
    assert (failure["source"], failure["attempts"], failure["first_at"]) == ("lambda:orders", 3, NOON)


def test_a_task_that_always_retries_does_not_hold_its_shard_for_ever(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, "on_change_always")
    failing["1"] = LookupError()
    deliveries = [deliver(1, 2) for _ in range(10)]
    assert deliveries == [*[["0001"]] * 9, []]
    assert ran[-1] == ("2", 1)
    assert len(queue.failures()) == 1


@pytest.mark.usefixtures("on_stream")
def test_a_dead_letter_that_cannot_be_written_keeps_its_record_in_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    failing["2"] = Reject("no such order")
    monkeypatch.delenv("TASK_DEAD_LETTER_QUEUE", raising=False)
    for _ in range(3):
        assert deliver(1, 2, 3) == ["0002"]
    assert [attempt for number, attempt in ran if number == "2"] == [1, 1, 1]


@pytest.mark.usefixtures("on_stream")
def test_rejected_and_discarded_records_do_not_stop_a_batch(queue: TaskQueue) -> None:
    failing.update({"1": Reject("no such order"), "2": Discard()})
    assert deliver(1, 2, 3) == []
    assert [failure["reason"] for failure in queue.failures().values()] == ["no such order"]


def test_a_task_whose_arguments_no_record_has_is_dead_lettered(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, "needs_more")
    assert deliver(1) == []
    [failure] = queue.failures().values()
    assert "missing 1 required positional argument: 'number'" in failure["reason"]


@pytest.mark.usefixtures("on_stream")
def test_what_does_not_start_before_the_deadline_is_delivered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(time=lambda: 1_000.0, monotonic=iter([0, 2, 2, 4]).__next__)
    monkeypatch.setattr(stream_task, "time", now)
    monkeypatch.setattr("runtime_lib.handlers._async_invocation.time", now)
    assert deliver(1, 2, 3, seconds=2.4) == ["0002"]
    assert ran == [("1", 1)]


@pytest.mark.usefixtures("on_stream")
def test_the_first_record_starts_however_little_time_there_is() -> None:
    assert deliver(1, 2, seconds=0.1) == ["0002"]
    assert ran == [("1", 1)]


@pytest.mark.usefixtures("on_stream")
def test_a_record_has_an_id_that_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    run = stream_task.run_message
    monkeypatch.setattr(
        stream_task, "run_message", lambda message, delivery: ids.append(message.envelope.id) or run(message, delivery)
    )
    failing["2"] = LookupError()
    deliver(1, 2)
    deliver(2)
    first, second, again = ids
    assert first != second == again
    assert UUID(again).version == 5


@pytest.mark.usefixtures("on_stream")
def test_a_dead_letter_sent_again_runs_and_is_retried_by_lambda(queue: TaskQueue) -> None:
    assert stream_task.handler(record(2), Clock()) is None
    failing["2"] = LookupError("no such order")
    with pytest.raises(LookupError):
        stream_task.handler(record(2), Clock())
    failing["2"] = Reject("still not there")
    stream_task.handler(record(2), Clock())
    [(body, failure)] = queue.failures().items()
    assert (json.loads(body), failure["reason"]) == (record(2), "still not there")


@pytest.mark.usefixtures("on_stream")
def test_an_item_too_large_for_a_message_is_dead_lettered_by_its_keys(
    queue: TaskQueue,
) -> None:
    failing["2"] = Reject("no such order")
    answer = stream_task.handler({"Records": [record(2, size=SQS_MAX_BYTES), record(3)]}, Clock())
    assert answer == {"batchItemFailures": []}
    [(body, failure)] = queue.failures().items()
    assert json.loads(body) == record(2)
    assert failure["reason"] == "no such order (the item is too large for a message: only its keys are here)"
    assert failure["source"] is None, "it must not be sent again without its images"


@pytest.mark.usefixtures("on_stream")
def test_attempts_of_abandoned_records_are_forgotten() -> None:
    for number in range(200):
        failing[str(number)] = LookupError()
        deliver(number)
    assert len(stream_task._attempts) == 100


@pytest.mark.usefixtures("on_stream")
@pytest.mark.parametrize("event", [{"task": "x"}, [], None])
def test_what_is_no_event_of_a_stream_is_refused(event: Any) -> None:
    with pytest.raises(TaskError, match="works on a table's stream"):
        stream_task.handler(event, Clock())
