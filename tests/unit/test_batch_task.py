"""Tasks that take a list: one call for many messages, each of which is settled by itself."""

import asyncio
import json
from typing import Any

import pytest

from runtime_lib import (
    ArgumentError,
    BatchFailures,
    Discard,
    EagerTransport,
    Priority,
    RecordingTransport,
    Reject,
    Retry,
    RetryLater,
    TaskContext,
    TaskDefinitionError,
    after_task,
    batch_task,
    current_context,
    hooks,
    task,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.envelope import Envelope
from runtime_lib.execution import RetryAfter, Succeeded
from runtime_lib.handlers.managed_async_task import handler
from runtime_lib.memory_store import MemoryStore
from runtime_lib.tracking import using_store
from tests.deliveries import Event, TaskQueue, body_of

calls: list[Any] = []
raised: list[BaseException] = []
sent = RecordingTransport()


@batch_task(retry=Retry(3, first_delay=30, jitter="none"))
def index(documents: list[int]) -> None:
    calls.append(documents)
    if raised:
        raise raised[0]


@batch_task(retry=Retry(3, first_delay=30, jitter="none"))
def poisoned(numbers: list[int]) -> None:
    calls.append(numbers)
    if 2 in numbers:
        raise LookupError("2 is bad")


@batch_task
async def aindex(documents: "list[dict[str, int]]", contexts: list[TaskContext] | None = None) -> list[str]:
    await asyncio.sleep(0)
    calls.append((documents, [context.id for context in contexts or ()]))
    return [f"indexed {document['n']}" for document in documents]


@task
def child(name: str) -> None: ...


@batch_task
def dispatches(names: list[str]) -> None:
    with using_transport(sent):
        child.dispatch("x")


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    calls.clear()
    raised.clear()
    sent.sent.clear()


def send(queue: TaskQueue, *items: Any, name: str = "index", **metadata: Any) -> None:
    queue.send(*(body_of(f"{__name__}.{name}", item, metadata=metadata) for item in items))


def failed(event: Event) -> list[Any]:
    items = {record["messageId"]: json.loads(record["body"])["args"][0] for record in event["Records"]}
    return [items[one["itemIdentifier"]] for one in handler(event, None)["batchItemFailures"]]


def reasons(queue: TaskQueue) -> dict[Any, str]:
    return {json.loads(body)["args"][0]: failure["reason"] for body, failure in queue.failures().items()}


# --- One call --------------------------------------------------------------------------------------------------------


def test_messages_of_one_event_are_one_call_in_their_order(queue: TaskQueue) -> None:
    send(queue, 1, 2, 3)
    assert failed(queue.event()) == []
    assert calls == [[1, 2, 3]]


def test_an_async_one_gets_a_context_for_each_item(queue: TaskQueue) -> None:
    send(queue, {"n": 1}, {"n": 2}, name="aindex")
    event = queue.event()
    assert failed(event) == []
    assert calls == [([{"n": 1}, {"n": 2}], [json.loads(record["body"])["id"] for record in event["Records"]])]


def test_tasks_of_one_event_have_a_call_each(queue: TaskQueue) -> None:
    send(queue, 1, 2)
    send(queue, {"n": 1}, {"n": 2}, name="aindex")
    assert failed(queue.event()) == []
    assert sorted(map(len, (calls[0], calls[1][0]))) == [2, 2]


def test_what_does_not_fit_the_item_is_dead_lettered_and_the_others_run(queue: TaskQueue) -> None:
    send(queue, 1, "two", 3)
    assert failed(queue.event()) == []
    assert calls == [[1, 3]]
    assert reasons(queue) == {"two": f"{__name__}.index() argument 'documents' takes int, given str"}


def test_hooks_run_for_each_item(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "after", [])
    seen: list[Any] = []
    after_task(lambda context, outcome: seen.append((context.envelope.args[0], outcome)))
    raised.append(BatchFailures({1: Discard("old")}))
    send(queue, 1, 2)
    assert failed(queue.event()) == []
    assert [(item, type(outcome).__name__) for item, outcome in seen] == [(1, "Succeeded"), (2, "Discarded")]


# --- Outcomes --------------------------------------------------------------------------------------------------------


def test_items_are_settled_one_by_one(queue: TaskQueue) -> None:
    raised.append(BatchFailures({0: LookupError("gone"), 2: RetryLater(5), 3: Reject("no such customer")}))
    send(queue, 1, 2, 3, 4, 5)
    assert failed(queue.event()) == [1, 3]
    assert reasons(queue) == {4: "no such customer"}


def test_any_other_exception_is_that_of_all(queue: TaskQueue) -> None:
    raised.append(LookupError("index is down"))
    send(queue, 1, 2, 3)
    assert failed(queue.event()) == [1, 2, 3]
    assert queue.dead_letters() == []


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), BatchFailures({7: ValueError()})])
def test_nothing_is_lost_whatever_it_raises(error: BaseException, queue: TaskQueue) -> None:
    raised.append(error)
    send(queue, 1, 2)
    assert failed(queue.event()) == [1, 2]


def test_a_list_with_one_result_for_each_is_the_results(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "after", [])
    results: list[Any] = []
    after_task(lambda _, outcome: results.append(outcome.result))  # type: ignore[union-attr]
    send(queue, {"n": 1}, {"n": 2}, name="aindex")
    assert failed(queue.event()) == []
    assert results == ["indexed 1", "indexed 2"]


def test_one_exception_of_many_items_has_no_longer_a_traceback_than_of_one(queue: TaskQueue) -> None:
    raised.append(Reject("all of them"))
    send(queue, *range(10))
    assert failed(queue.event()) == []
    assert {failure["traceback"].count("in _join") for failure in queue.failures().values()} == {1}


@pytest.mark.parametrize("failures", [{"0": ValueError()}, {-1: ValueError()}, {0: "failed"}, {True: ValueError()}])
def test_failures_are_numbers_and_exceptions(failures: Any) -> None:
    with pytest.raises(TypeError, match="BatchFailures takes a dict of items' numbers, from 0, and their exceptions"):
        BatchFailures(failures)


# --- Isolation -------------------------------------------------------------------------------------------------------


def test_what_came_before_is_alone_in_its_list(queue: TaskQueue) -> None:
    send(queue, 1, 2, 3, 4)
    event = queue.event()
    for record in event["Records"][:2]:
        record["attributes"]["ApproximateReceiveCount"] = "2"
    assert failed(event) == []
    assert calls == [[3, 4], [2], [1]]


def test_a_failing_item_is_dead_lettered_alone_though_the_task_names_none(queue: TaskQueue) -> None:
    """The first call fails for all; from then on, each item fails or succeeds for itself."""
    send(queue, 1, 2, 3, name="poisoned")
    while queue.deliver(lambda event: handler(event, None)):
        pass
    assert calls == [[1, 2, 3], [3], [2], [1], [2]]
    assert reasons(queue) == {2: "failed at attempt 3: LookupError: 2 is bad"}


def test_what_it_dispatches_inherits_only_what_all_messages_agree_on(queue: TaskQueue) -> None:
    send(queue, "a", name="dispatches", group="tenant-1", chain="first", hops=2)
    send(queue, "b", name="dispatches", group="tenant-2", chain="first", hops=3)
    assert failed(queue.event()) == []
    [call] = sent.sent
    metadata = call.envelope.metadata
    assert metadata["chain"] == "first"
    assert "group" not in metadata
    assert metadata["hops"] == 4
    assert metadata["source"] == f"{__name__}.dispatches"
    assert metadata["parent"] not in {json.loads(body)["id"] for body in queue.bodies.values()}


def test_of_one_message_it_inherits_all(queue: TaskQueue) -> None:
    send(queue, "a", name="dispatches", group="tenant-1")
    event = queue.event()
    assert failed(event) == []
    [call] = sent.sent
    assert call.envelope.metadata["group"] == "tenant-1"
    assert call.envelope.metadata["parent"] == json.loads(event["Records"][0]["body"])["id"]
    assert current_context() is None


async def impatient(context: TaskContext, call_next: Any) -> Any:
    """Lets an item come late, and waits no longer for the call than it says."""
    _, late, patience = context.envelope.args[0]
    await asyncio.sleep(late)
    async with asyncio.timeout(patience):
        return await call_next(*context.envelope.args)


@batch_task(middleware=[impatient])
async def slow(items: list[list[Any]]) -> None:
    calls.append([name for name, *_ in items])
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("late", "called"), [(0.05, ["b"]), (0, ["a", "b"])], ids=["before the call", "during the call"]
)
def test_an_item_that_middleware_gives_up_holds_up_no_other_one(late: float, called: list[str]) -> None:
    items = [["a", 0, 0.01], ["b", late, 5]]
    messages = [(Envelope.new(slow.name, [item], {}, priority=Priority.DEFAULT), Delivery()) for item in items]
    first, second = asyncio.run(asyncio.wait_for(slow.run_together(messages), 5))
    assert isinstance(first, RetryAfter)
    assert isinstance(first.error, TimeoutError)
    assert isinstance(second, Succeeded)
    assert calls == [called]


def test_in_a_task_store_each_item_has_a_record_of_its_own(queue: TaskQueue) -> None:
    store = MemoryStore()
    raised.append(BatchFailures({1: Reject("no such customer")}))
    send(queue, 1, 2, 3)
    event = queue.event()
    ids = [json.loads(record["body"])["id"] for record in event["Records"]]
    with using_store(store):
        assert failed(event) == []
        assert [record.status for one in ids if (record := store.find(one))] == ["succeeded", "failed", "succeeded"]
        raised.clear()
        for record in event["Records"]:
            record["messageId"] += " sent back"
        assert failed(event) == []
    assert calls == [[1, 2, 3], [2]], "what has succeeded is not run again"


# --- Elsewhere -------------------------------------------------------------------------------------------------------


def test_it_is_dispatched_item_by_item() -> None:
    with using_transport(sent):
        index.dispatch(7)
        index.dispatch(documents=8)
        with pytest.raises(ArgumentError, match="argument 'documents' takes int, given list"):
            index.dispatch([7])  # type: ignore[arg-type]
    assert [(call.envelope.args, call.envelope.kwargs) for call in sent.sent] == [([7], {}), ([], {"documents": 8})]


def test_called_directly_it_takes_the_whole_list() -> None:
    index([1, 2])
    assert calls == [[1, 2]]


def test_dispatched_eagerly_it_is_a_list_of_one() -> None:
    with using_transport(EagerTransport()):
        index.dispatch(7)
        index.dispatch(documents=8)
        raised.append(BatchFailures({0: Reject("no")}))
        with pytest.raises(Reject, match="no"):
            index.dispatch(9)
    assert calls == [[7], [8], [9]]


def _none() -> None: ...
def _plain(document: int) -> None: ...
def _two(ids: list[int], names: list[str]) -> None: ...
def _variadic(ids: list[int], *more: int) -> None: ...
def _default(ids: list[int] = []) -> None: ...  # noqa: B006
def _written(ids: "Sequence[int]") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (_none, "a batch task takes one list, without a default, .* given none"),
        (_plain, "parameter 'document' of a batch task is annotated list"),
        (_two, "given ids, names: dispatch several values as one dict or dataclass"),
        (_variadic, "parameter 'more' of a batch task is annotated list"),
        (_default, "a batch task takes one list, without a default"),
        (_written, "parameter 'ids' of a batch task is annotated list"),
    ],
)
def test_a_function_that_takes_no_one_list_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match=problem):
        batch_task(function)


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="@task has no option 'size'"):
        batch_task(size=3)  # type: ignore[call-overload]
