"""Workflows that run where they are dispatched: the order of their tasks, what they are given, and how they fail."""

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from runtime_lib import (
    Discard,
    EagerTransport,
    MemoryStore,
    Reject,
    Retry,
    RetryLater,
    TaskContext,
    TaskDefinitionError,
    TaskFailedError,
    TaskHandle,
    TaskStatus,
    current_context,
    delayed,
    dispatch_batch,
    for_each,
    registry,
    task,
    using_store,
    using_transport,
)
from runtime_lib.task_record import RecordedError
from runtime_lib.testing import record_workflows
from runtime_lib.testing.workflows import RecordedWorkflows
from runtime_lib.workflow.node import node_id
from tests.stores import BrokenStore

told: list[Any] = []
local: contextvars.ContextVar[str] = contextvars.ContextVar("local", default="")
_FAILS_AT_ONCE = Retry.never()


@pytest.fixture(autouse=True)
def runs() -> Iterator[RecordedWorkflows]:
    told.clear()
    with using_transport(EagerTransport()), record_workflows() as runs:
        yield runs


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with using_store(MemoryStore()) as store:
        yield store


def nodes(runs: RecordedWorkflows) -> list[str]:
    return [run.node for run in runs.tasks]


# --- What is given ---------------------------------------------------------------------------------------------------


@task
def by_name(a: int, b: int = 0) -> None:
    told.append(("by_name", a, b))


@task
def by_position(found: Any) -> None:
    told.append(("by_position", found))


@task
def without() -> None:
    told.append("without")


@task
def any_names(**found: Any) -> None:
    told.append(("any_names", found["a"]))


@task(run_after=[by_name, by_position, without, any_names])
def gives(result: Any) -> Any:
    return result


@task(run_after=by_position)
def passes_on(result: Any) -> Any:
    return result


def test_a_result_is_passed_by_name_where_it_fits_and_as_the_first_argument_where_not() -> None:
    gives.dispatch({"a": 1})
    assert sorted(map(str, told)) == sorted(
        map(str, [("by_name", 1, 0), ("by_position", {"a": 1}), "without", ("any_names", 1)])
    )


@task(run_after="by_position")
def gives_moment() -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC)


@task(run_after="by_position", on_failure="failed")
def gives_lock() -> Any:
    return threading.Lock()


@task(on_failure="failed")
def gives_lock_to_nobody() -> Any:
    return threading.Lock()


@task
def failed(job_failed: dict[str, Any]) -> None:
    told.append(job_failed)


def test_a_result_goes_through_json_on_its_way_to_the_next_task() -> None:
    gives.dispatch({"a": 1})
    gives_moment.dispatch()
    assert told[-1] == ("by_position", "2030-01-01T00:00:00Z")


@pytest.mark.parametrize("of", [gives_lock, gives_lock_to_nobody])
def test_a_result_that_is_no_json_is_a_failure_of_the_task(runs: RecordedWorkflows, of: Any) -> None:
    with pytest.raises(TypeError, match=r"gives_lock\w* returned a lock, which cannot be sent as JSON to what follows"):
        of.dispatch()
    assert told[0]["error"]["type"] == "TypeError"
    runs.assert_failed(of.name, TypeError)
    runs.assert_not_ran("by_position")


@task
def keeps_lock() -> Any:
    return threading.Lock()


@task(run_before=keeps_lock, run_after=keeps_lock)
def between_locks() -> None: ...


def test_a_result_that_nothing_takes_may_be_anything(runs: RecordedWorkflows) -> None:
    between_locks.dispatch()
    assert [run.status for run in runs.tasks] == ["succeeded"] * 3


@pytest.mark.parametrize("result", [0, None, "", False, []])
def test_a_falsy_result_counts_as_success_and_runs_once(runs: RecordedWorkflows, result: Any) -> None:
    passes_on.dispatch(result)
    runs.assert_result("passes_on", result)
    runs.assert_ran("passes_on", times=1)
    assert told == [("by_position", result)]


# --- Order -----------------------------------------------------------------------------------------------------------

meeting = threading.Barrier(2, timeout=5)


@task
def one() -> str:
    meeting.wait()
    return "one"


@task
async def other() -> str:
    await asyncio.to_thread(meeting.wait)
    return "other"


@task(run_before=["one", "other"], run_after=["last", "also_last"])
def middle(value: int) -> int:
    return value + 1


@task
def last(value: int, context: TaskContext) -> None:
    told.append(("last", value, context.source, context.parent, context.hops))


@task
def also_last() -> None: ...


def test_what_comes_before_runs_side_by_side_and_what_comes_after_follows(runs: RecordedWorkflows) -> None:
    middle.dispatch(1)
    runs.assert_overlapped("one", "other")
    for before in ("one", "other"):
        runs.assert_order(before, "middle", "last")
    runs.assert_order("middle", "also_last")
    assert told[0][:2] == ("last", 2)


def test_a_dispatch_inside_a_running_event_loop_runs_it_as_well(runs: RecordedWorkflows) -> None:
    async def main() -> None:
        middle.dispatch(1)
        await middle.adispatch(2)

    asyncio.run(main())
    runs.assert_ran("also_last", times=2)


def test_a_plain_call_of_a_def_runs_its_body_alone(runs: RecordedWorkflows) -> None:
    assert middle(1) == 2
    assert nodes(runs) == []


@task(run_before="shared")
def first_user() -> None: ...


@task(run_before="shared")
def second_user() -> None: ...


@task
def shared() -> None: ...


@task(run_before=["first_user", "second_user"], run_after="shared")
def both() -> None: ...


def test_a_task_that_two_others_name_runs_for_each_under_a_name_of_its_own(runs: RecordedWorkflows) -> None:
    both.dispatch()
    assert sorted(nodes(runs)) == ["both", "first_user", "second_user", "shared", "shared (2)", "shared (3)"]
    assert [run.node for run in runs.of("shared")][-1] == "shared (3)"
    assert {runs.of("shared (2)")[0].ended <= runs.of("second_user")[0].started} == {True}  # type: ignore[operator]


@task(run_after=delayed("without", days=300))
def starts_a_wait() -> None: ...


def test_a_wait_is_skipped() -> None:
    starts_a_wait.dispatch()
    assert told == ["without"]


def test_context_variables_and_what_is_in_force_hold_in_every_branch(store: MemoryStore) -> None:
    local.set("outer")
    looking.dispatch()
    assert told == [("outer", True)] * 2


@task
def look() -> None:
    told.append((local.get(), len(_records(looking.name)) > 0))
    without_edges.dispatch()


@task
def without_edges() -> None: ...


@task
def look_too() -> None:
    look()


@task(run_before=[look, look_too])
def looking() -> None: ...


def _records(task_name: str) -> list[Any]:
    from runtime_lib import get_store  # noqa: PLC0415

    records = get_store()._records.values()  # type: ignore[attr-defined]
    return [record for record in records if record.task == task_name]


# --- Failures --------------------------------------------------------------------------------------------------------


@task(retry=Retry(3, first_delay=3_600), on_failure="failed", run_after="without")
def fails(times: int, context: TaskContext) -> None:
    if context.attempt <= times:
        raise ValueError(f"attempt {context.attempt}")


def test_attempts_do_not_wait_and_the_failure_path_is_taken_once(runs: RecordedWorkflows) -> None:
    with pytest.raises(ValueError, match="attempt 3"):
        fails.dispatch(99)  # type: ignore[call-arg]
    assert [run.attempts for run in runs.of("fails")] == [3]
    runs.assert_ran("failed", times=1)
    runs.assert_not_ran("without")
    [job_failed] = told
    assert job_failed == {
        "task": fails.name,
        "node": "fails",
        "run": job_failed["run"],
        "error": {"type": "ValueError", "message": "attempt 3"},
    }


def test_a_task_that_succeeds_at_another_attempt_has_not_failed(runs: RecordedWorkflows) -> None:
    fails.dispatch(2)  # type: ignore[call-arg]
    assert told == ["without"]
    assert runs.of("fails")[0].attempts == 3


@task(retry=_FAILS_AT_ONCE)
def broken() -> None:
    raise ConnectionError("no database")


@task(run_before=["broken", "without"], run_after="by_position", on_failure="failed")
def needs_broken() -> None:
    told.append("never")


def test_what_needs_a_failed_task_is_not_run_and_its_failure_path_is(runs: RecordedWorkflows) -> None:
    with pytest.raises(ConnectionError, match="no database"):
        needs_broken.dispatch()
    runs.assert_skipped("needs_broken")
    runs.assert_not_ran("by_position")
    runs.assert_ran("without")  # beside what failed
    assert [told[-1]["task"], told[-1]["node"]] == [needs_broken.name, "needs_broken"]
    assert told[-1]["error"] == {
        "type": "PrerequisiteFailed",
        "message": f"{broken.name} failed: ConnectionError: no database",
    }


@task(run_before="needs_broken", on_failure="as_text")
def needs_what_needs_broken() -> None: ...


@task
def as_text(why: str) -> None:
    told.append(why)


def test_a_failure_is_told_along_the_tasks_that_it_keeps_from_running() -> None:
    with pytest.raises(ConnectionError):
        needs_what_needs_broken.dispatch()
    inner = f"{needs_broken.name} failed: PrerequisiteFailed: {broken.name} failed: ConnectionError: no database"
    assert told[-1] == f"{needs_what_needs_broken.name} failed: PrerequisiteFailed: {inner}"


@task(run_after=["breaks", "sleeps"], on_failure="failed")
def two_ways() -> None: ...


@task(retry=_FAILS_AT_ONCE, on_failure="failed")
def breaks() -> None:
    raise KeyError("x")


@task(run_after="without")
def sleeps() -> None:
    time.sleep(0.05)


def test_a_failing_branch_stops_no_other_one_and_is_no_failure_of_the_task_before_it(runs: RecordedWorkflows) -> None:
    with pytest.raises(KeyError):
        two_ways.dispatch()
    runs.assert_result("sleeps", None)
    runs.assert_ran("without")
    assert [one["task"] for one in told if one != "without"] == [breaks.name]


@task(retry=_FAILS_AT_ONCE, on_failure="breaks")
def breaks_twice() -> None:
    raise ValueError("the first")


def test_a_failing_failure_path_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="the first"):
        breaks_twice.dispatch()
    expected = f"what runs on the failure of {breaks_twice.name} has failed itself, which changes nothing"
    assert expected in caplog.messages


@task(run_after=["by_position"], on_failure="failed")
def discards() -> None:
    raise Discard("done already")


@task(run_before="discards", run_after="without")
def needs_discards() -> None: ...


def test_discard_ends_its_path_quietly(runs: RecordedWorkflows) -> None:
    discards.dispatch()
    assert told == []
    assert runs.of("discards")[0].status == "discarded"
    needs_discards.dispatch()
    assert told == ["without"]


@task(retry=Retry.always(), on_failure="failed")
def rejects(how: str) -> None:
    raise Reject("no such customer") if how == "reject" else RetryLater(1)


@pytest.mark.parametrize(("how", "attempts"), [("reject", 1), ("later", 10)])
def test_what_a_task_raises_means_what_it_means_elsewhere(runs: RecordedWorkflows, how: str, attempts: int) -> None:
    with pytest.raises((Reject, RetryLater)):
        rejects.dispatch(how)
    assert runs.of("rejects")[0].attempts == attempts
    assert len(told) == 1


def test_a_policy_that_always_retries_has_backoff() -> None:
    assert Retry.of("always").delay(ValueError(), 5) != 0
    delays = [Retry.of("always")._replace(jitter="none").delay(ValueError(), attempt) for attempt in (1, 2, 3)]
    assert delays == [1, 2, 4]


@task(name="eager_workflows.outer", retry=Retry(3))
def outer() -> None:
    told.append("outer")
    breaks.dispatch()


def test_a_task_that_dispatches_a_failing_workflow_is_not_retried_for_it() -> None:
    with pytest.raises(KeyError):
        outer.dispatch()
    assert told[0] == "outer"
    assert [one["node"] for one in told[1:]] == ["breaks"]


@task(run_after="no_such_task")
def names_nobody() -> None:
    told.append("never")


def test_a_graph_that_cannot_be_is_refused_before_anything_runs(store: MemoryStore) -> None:
    with pytest.raises(TaskDefinitionError, match="names 'no_such_task'"), dispatch_batch():  # noqa: PT012
        without.dispatch()
        names_nobody.dispatch()
    assert told == []
    assert store._records == {}


# --- Lists -----------------------------------------------------------------------------------------------------------

under_way: list[int] = []
most: list[int] = []


@task(run_before="also_last")
def double(number: int) -> int:
    under_way.append(number)
    most.append(len(under_way))
    time.sleep(0.01)
    under_way.remove(number)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


@task
def total(numbers: list[int]) -> None:
    told.append(numbers)


@task(run_after=for_each("double", max_concurrency=3, then="total"))
def spreads(numbers: Any) -> Any:
    return numbers


def test_a_task_runs_once_for_each_item_and_the_results_come_together_in_order(runs: RecordedWorkflows) -> None:
    most.clear()
    spreads.dispatch(list(range(10)))
    assert told == [[2 * number for number in range(10)]]
    assert 1 < max(most) <= 3
    assert {run.index for run in runs.of("double")} == {str(number) for number in range(10)}
    runs.assert_ran("also_last", times=10)  # the whole run of each
    for number in range(10):
        [run] = [run for run in runs.of("double") if run.index == str(number)]
        assert (run.args, run.result) == ([number], 2 * number)


def test_an_empty_list_has_no_items_and_no_results(runs: RecordedWorkflows) -> None:
    spreads.dispatch([])
    assert told == [[]]
    runs.assert_not_ran("double")


def test_an_item_that_fails_keeps_no_other_from_running_and_then_nothing_follows(runs: RecordedWorkflows) -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        spreads.dispatch([1, -1, 2, 3])
    assert sorted(run.result for run in runs.of("double") if run.status == "succeeded") == [2, 4, 6]
    runs.assert_not_ran("total")


@pytest.mark.parametrize("result", [{"a": 1}, "text", 7, None])
def test_what_is_spread_has_to_be_a_list(runs: RecordedWorkflows, result: Any) -> None:
    with pytest.raises(
        TypeError, match=f"{spreads.name} returned a {type(result).__name__}, and for_each takes a list"
    ):
        spreads.dispatch(result)
    runs.assert_failed("spreads", TypeError)
    runs.assert_not_ran("double")


@task(run_after=for_each("inner", then="total"))
def rows(row: list[int]) -> list[int]:
    return row


@task
def inner(number: int, context: TaskContext) -> int:
    told.append(context.envelope.metadata["workflow"]["index"])
    return number


@task(run_after=for_each("rows"))
def table() -> list[list[int]]:
    return [[1, 2], [3]]


def test_a_list_of_lists_is_numbered_through(runs: RecordedWorkflows) -> None:
    table.dispatch()
    assert sorted(one for one in told if isinstance(one, str)) == ["0.0", "0.1", "1.0"]
    assert sorted(one for one in told if isinstance(one, list)) == [[1, 2], [3]]


# --- Records ---------------------------------------------------------------------------------------------------------


def test_the_whole_run_has_a_record_and_every_task_has_one_of_its_own(store: MemoryStore) -> None:
    handle = middle.dispatch(1)
    assert handle.result() == 2
    record = handle.record()
    assert (record.task, record.status, record.attempts) == (middle.name, TaskStatus.SUCCEEDED, 1)
    assert record.queued_at is not None
    assert record.queued_at <= record.started_at <= record.finished_at  # type: ignore[operator]
    for name, result in {"one": "one", "other": "other", "middle": 2, "last": None, "also_last": None}.items():
        node = TaskHandle(node_id(handle.id, name), name)
        assert (node.status(), node.result()) == (TaskStatus.SUCCEEDED, result)
    assert len(store._records) == 6


def test_what_a_run_dispatches_knows_the_run_as_in_the_cloud(store: MemoryStore) -> None:
    handle = middle.dispatch(1)
    assert told[0] == ("last", 2, None, handle.id, 0)
    hopping.dispatch()
    source, chain, parent = told[-1]
    assert source == hops_on.name
    assert TaskHandle(parent, "").record().task == hops_on.name
    assert TaskHandle(chain, "").record().task == hopping.name


@task
def hops_on() -> None:
    arrives.dispatch()  # type: ignore[call-arg]


@task
def arrives(context: TaskContext) -> None:
    told.append((context.source, context.chain, context.parent))


@task(run_after=hops_on)
def hopping() -> None: ...


def test_headers_and_options_of_the_dispatch_hold_for_every_task(store: MemoryStore) -> None:
    sees_headers.with_headers(tenant="a").with_group("g").dispatch()  # type: ignore[call-arg]
    assert told == [({"tenant": "a"}, "g")] * 2


@task
def headers_too() -> None:
    context = current_context()
    assert context is not None
    told.append((context.headers, context.group))


@task(run_before=headers_too)
def sees_headers(headers: dict[str, Any], context: TaskContext) -> None:
    told.append((headers, context.group))


def test_the_record_of_a_failed_run_says_what_failed_first(store: MemoryStore) -> None:
    with pytest.raises(ConnectionError):
        needs_broken.dispatch()
    whole, *_ = (record for record in store._records.values() if record.task == needs_broken.name)
    assert whole.status is TaskStatus.FAILED
    assert whole.error is not None
    assert (whole.error.type, whole.error.message) == ("ConnectionError", "no database")
    with pytest.raises(TaskFailedError):
        TaskHandle(whole.id, whole.task).result()
    assert store.find(node_id(whole.id, "needs_broken")) is None
    assert store.find(node_id(whole.id, "broken")).status is TaskStatus.FAILED  # type: ignore[union-attr]


def test_a_run_is_recorded_as_running_while_it_runs_and_as_cancelled_where_it_discards_itself(
    store: MemoryStore,
) -> None:
    handle = looks_up.dispatch()
    assert told == [(TaskStatus.RUNNING, looks_up.name)]
    assert handle.status() is TaskStatus.SUCCEEDED
    discarded = discards.dispatch().record()
    assert (discarded.status, discarded.error) == (TaskStatus.CANCELLED, RecordedError("Discard", "done already"))


@task
def while_it_runs(context: TaskContext) -> None:
    assert context.parent is not None
    record = TaskHandle(context.parent, "").record()
    told.append((record.status, record.task))


@task(run_before=while_it_runs)
def looks_up() -> None: ...


def test_a_workflow_whose_record_cannot_begin_does_not_run() -> None:
    with using_store(BrokenStore("begin")), pytest.raises(Exception, match="the task store Records failed"):
        middle.dispatch(1)
    assert told == []


# --- The example of easyjobs' page -----------------------------------------------------------------------------------


@pytest.fixture
def etl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "fixtures"))
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("FIELD_SECONDS", "0.1")
    etl = import_module("field.etl")
    for one in vars(etl).values():
        if hasattr(one, "signature"):
            registry.register(one)
    return etl


def marked(tmp_path: Path, kind: str, **of: Any) -> list[dict[str, Any]]:
    found = map(json.loads, (tmp_path / "marks").read_text().splitlines())
    return [one for one in found if one["kind"] == kind and of.items() <= one.items()]


def test_the_example_runs_in_the_order_of_its_page(etl: Any, runs: RecordedWorkflows) -> None:
    etl.extract.dispatch(url="http://stats")
    runs.assert_order("extract", "transform", "load", "deploy_environment", "configure_environment", "compute")
    runs.assert_order("load", "prepare_db", "configure_environment")
    runs.assert_overlapped("deploy_environment", "prepare_db")
    runs.assert_result("load", {"data": {"a": 3, "b": 4, "c": 5}})
    runs.assert_result("compute", {"a": 6, "b": 8, "c": 10})
    runs.assert_not_ran("failure_notify")


def test_the_example_tells_its_failure_once(
    etl: Any, runs: RecordedWorkflows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELD_DATABASE", "broken")
    with pytest.raises(ConnectionError):
        etl.extract.dispatch(url="http://stats")
    runs.assert_not_ran("compute")
    runs.assert_ran("failure_notify", times=1)
    assert runs.of("load")[0].attempts == 2
    [sent] = marked(tmp_path, "sent")
    assert sent["address"] == "admin@company.io"
    assert sent["message"]["error"] == {"type": "ConnectionError", "message": "the database is broken"}


def test_the_failure_of_a_task_without_a_failure_path_is_told_nobody(etl: Any, runs: RecordedWorkflows) -> None:
    with pytest.raises(ValueError, match="none"):
        etl.extract.dispatch(url="http://stats/broken")
    runs.assert_failed("transform", ValueError)
    assert nodes(runs) == ["extract", "transform"]


def test_the_pipeline_of_the_example_returns_what_it_awaited(
    etl: Any, runs: RecordedWorkflows, store: MemoryStore, tmp_path: Path
) -> None:
    assert etl.pipeline.dispatch().result() == {"test": "datadata"}
    runs.assert_order("configure_environment", "compute")
    runs.assert_overlapped("pipeline", "compute")
    [pipeline], [compute] = (marked(tmp_path, "begun", task=name) for name in ("pipeline", "compute"))
    assert pipeline["process"] != compute["process"]


def test_before_tasks_of_the_example_are_honoured_where_it_is_dispatched_itself(
    etl: Any, runs: RecordedWorkflows
) -> None:
    etl.compute.dispatch(data={"a": 1})
    runs.assert_order("prepare_db", "configure_environment", "compute")
