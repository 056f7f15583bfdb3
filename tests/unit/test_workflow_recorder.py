"""What the recorder of eager workflows tells, and how its assertions fail."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime_lib import Discard, EagerTransport, Retry, task, using_transport
from runtime_lib.testing import RecordedWorkflows, record_workflows
from runtime_lib.transports.eager import watchers

meeting = threading.Barrier(2, timeout=5)


@task(run_after="follow")
def begin(number: int) -> dict[str, int]:
    return {"number": number}


@task(run_after=["left", "right"])
def follow(number: int) -> int:
    return number


@task
async def left(number: int) -> None:
    await asyncio.to_thread(meeting.wait)


@task
def right(number: int) -> None:
    meeting.wait()


@task(name="recorder.alone")
def alone(text: str = "", *, context: Any = None) -> str:
    if text == "discard":
        raise Discard("done")
    return text


@task(retry=Retry(2))
def fails() -> None:
    raise ConnectionError("down")


@task(run_before=fails)
def needs_fails() -> None: ...


@pytest.fixture
def runs() -> Iterator[RecordedWorkflows]:
    with using_transport(EagerTransport()), record_workflows() as runs:
        yield runs


def refusal(assertion: Callable[..., None], *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **kwargs)
    return str(caught.value).splitlines()


# --- What is told ----------------------------------------------------------------------------------------------------


def test_every_run_is_told_with_what_it_was_given_and_what_came_of_it(runs: RecordedWorkflows) -> None:
    begin.dispatch(7)
    assert [run.node for run in runs.tasks[:2]] == ["begin", "follow"]
    first, second = runs.tasks[:2]
    assert (first.task, first.index, first.attempts, first.status) == (begin.name, None, 1, "succeeded")
    assert (first.args, first.kwargs, first.result) == ([7], {}, {"number": 7})
    assert (second.args, second.kwargs, second.result) == ([], {"number": 7}, 7)
    assert first.ended is not None
    assert 0 <= first.started <= first.ended <= second.started


def test_a_task_without_others_is_told_as_well_however_it_is_called(runs: RecordedWorkflows) -> None:
    alone.dispatch("a")
    alone.dispatch("discard")
    for name in ("alone", "recorder.alone"):
        assert [run.status for run in runs.of(name)] == ["succeeded", "discarded"]
    assert runs.of("alone")[0].args == ["a"]


def test_failed_and_skipped_runs_are_told(runs: RecordedWorkflows) -> None:
    with pytest.raises(ConnectionError):
        needs_fails.dispatch()
    failed, skipped = runs.tasks
    assert (failed.node, failed.status, failed.attempts, str(failed.error)) == ("fails", "failed", 2, "down")
    assert (skipped.node, skipped.status, skipped.attempts) == ("needs_fails", "skipped", 0)


def test_a_run_that_is_under_way_has_no_end(runs: RecordedWorkflows) -> None:
    looks.dispatch()
    assert seen == [("running", None)]


seen: list[Any] = []
recorders: list[RecordedWorkflows] = []


@task
def looks() -> None:
    with record_workflows() as inner:
        looks_inside.dispatch()
    seen.extend((run.status, run.ended) for run in recorders.pop().of("looks"))
    assert inner.tasks[0].ended is not None


@task
def looks_inside() -> None:
    with record_workflows() as own:
        assert own.tasks == []


@pytest.fixture(autouse=True)
def in_reach(runs: RecordedWorkflows) -> None:
    seen.clear()
    recorders[:] = [runs]


def test_what_threads_dispatch_is_recorded_and_nothing_after_the_block() -> None:
    def work() -> None:
        with using_transport(EagerTransport()):
            for _ in range(20):
                alone.dispatch("a")

    with record_workflows() as runs:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    runs.assert_ran("alone", times=80)
    work()
    runs.assert_ran("alone", times=80)
    assert len(watchers) == 1  # that of the fixture


def test_a_block_that_raises_ends_the_recording() -> None:
    with pytest.raises(ZeroDivisionError), record_workflows():
        raise ZeroDivisionError
    assert len(watchers) == 1


# --- Assertions ------------------------------------------------------------------------------------------------------


def test_what_ran_and_what_did_not(runs: RecordedWorkflows) -> None:
    begin.dispatch(1)
    runs.assert_ran("begin")
    runs.assert_ran(begin.name, times=1)
    runs.assert_not_ran("alone")
    assert refusal(runs.assert_ran, "alone")[0] == "alone ran 0 times"
    assert refusal(runs.assert_ran, "begin", times=2)[0] == "begin ran 1 times, expected 2"
    assert refusal(runs.assert_not_ran, "begin")[0] == "begin ran 1 times, expected not to"


def test_a_name_that_no_task_has_is_told_so_and_never_counts_as_not_run(runs: RecordedWorkflows) -> None:
    said = ["no task is called 'looks_insid': did you mean 'looks_inside'?"]
    for assertion in (runs.assert_not_ran, runs.assert_ran, runs.assert_failed, runs.assert_order):
        names = ("looks_insid",) * (2 if assertion == runs.assert_order else 1)
        assert refusal(assertion, *names) == said


def test_order_is_that_of_ends_and_starts(runs: RecordedWorkflows) -> None:
    begin.dispatch(1)
    runs.assert_order("begin", "follow", "left")
    runs.assert_overlapped("left", "right")
    assert refusal(runs.assert_order, "follow", "begin")[0] == "begin started before follow had ended"
    assert refusal(runs.assert_order, "left", "right")[0] == "right started before left had ended"
    assert refusal(runs.assert_overlapped, "begin", "follow")[0] == "begin and follow did not run at the same time"
    assert refusal(runs.assert_order, "begin", "alone")[0] == "alone ran 0 times"


def test_every_run_of_a_task_counts_in_the_order(runs: RecordedWorkflows) -> None:
    alone.dispatch()
    begin.dispatch(1)
    runs.assert_order("alone", "begin")
    alone.dispatch()
    assert refusal(runs.assert_order, "alone", "begin")[0] == "begin started before alone had ended"


def test_results_are_compared(runs: RecordedWorkflows) -> None:
    begin.dispatch(1)
    runs.assert_result("follow", 1)
    assert refusal(runs.assert_result, "follow", 2)[0] == "follow returned 1, expected 2"
    with pytest.raises(ConnectionError):
        fails.dispatch()
    assert refusal(runs.assert_result, "fails", None)[0] == "fails has failed, expected it to succeed"


def test_failures_are_told_by_their_class(runs: RecordedWorkflows) -> None:
    with pytest.raises(ConnectionError):
        needs_fails.dispatch()
    runs.assert_failed("fails")
    runs.assert_failed("fails", OSError)
    runs.assert_skipped("needs_fails")
    runs.assert_not_ran("needs_fails")
    assert refusal(runs.assert_failed, "fails", KeyError)[0] == (
        "fails failed with ConnectionError('down'), expected KeyError"
    )
    assert refusal(runs.assert_failed, "needs_fails")[0] == "needs_fails ran 0 times"
    assert refusal(runs.assert_skipped, "fails")[0] == "fails was not skipped"
    alone.dispatch()
    assert refusal(runs.assert_failed, "alone")[0] == "alone did not fail"


def test_a_failing_assertion_prints_when_what_ran(runs: RecordedWorkflows) -> None:
    assert refusal(runs.assert_ran, "begin") == ["begin ran 0 times", "no task ran"]
    with pytest.raises(ConnectionError):
        needs_fails.dispatch()
    head, *lines = refusal(runs.assert_ran, "begin")[1:]
    assert head.split() == ["began", "ended", "run"]
    assert [line.split()[2:] for line in lines] == [
        ["fails", "failed", "at", "attempt", "2", "ConnectionError('down')"],
        ["needs_fails", "skipped"],
    ]
