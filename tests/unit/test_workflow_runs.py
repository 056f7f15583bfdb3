"""What the history of an execution tells of the nodes of its workflow."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime_lib.contract import METADATA_KEY
from runtime_lib.task_record import Progress, RecordedError, TaskRecord, TaskStatus
from tasks_cli.errors import CliError
from tasks_cli.workflow_history import ItemErrors, Items, MapRun, NodeRun, NodeState, nodes_of
from tasks_cli.workflow_records import completed
from tasks_cli.workflows import Each, Node, Workflow, find_workflow, synthesized_workflows
from tests.unit.test_cli_listing import write_assembly
from tests.workflow_apps import flat

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)
RAISED = json.dumps({"errorType": "TaskFailed", "errorMessage": "ValueError: no such\n  table", "stackTrace": ["…"]})


def node(name: str, **more: Any) -> Node:
    return Node(name, f"shop.etl.{name}", "Shop/Etl", "lambda", **more)


class History:
    """A history as Step Functions writes it, a second between two events: each follows the one before on its branch."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.add("ExecutionStarted", 0)

    def add(self, kind: str, after: int | None = None, **details: Any) -> int:
        number = len(self.events) + 1
        event = {"id": number, "type": kind, "timestamp": BEGIN + timedelta(seconds=number)}
        event["previousEventId"] = number - 1 if after is None else after
        if details:
            event[f"{kind[0].lower()}{kind[1:]}EventDetails"] = details
        self.events.append(event)
        return number

    def enter(self, name: str, kind: str = "Task", after: int | None = None) -> int:
        number = self.add(f"{kind}StateEntered", after)
        self.events[-1]["stateEnteredEventDetails"] = {"name": name}
        return number

    def leave(self, name: str, kind: str = "Task", after: int | None = None) -> int:
        number = self.add(f"{kind}StateExited", after)
        self.events[-1]["stateExitedEventDetails"] = {"name": name}
        return number

    def fail(self, error: str = "TaskFailed", cause: str = RAISED, after: int | None = None) -> int:
        """An attempt of the task that was entered."""
        self.add("TaskScheduled", after, resourceType="lambda", resource="invoke")
        self.add("TaskStarted", resourceType="lambda", resource="invoke")
        return self.add("TaskFailed", error=error, cause=cause, resourceType="lambda", resource="invoke")

    def run(self, name: str, after: int | None = None) -> int:
        """A task that succeeds."""
        self.enter(name, after=after)
        self.add("TaskScheduled")
        self.add("TaskStarted")
        self.add("TaskSucceeded")
        return self.leave(name)

    def read(self, graph: Node, *, ended: bool = False, **more: Any) -> dict[str, NodeRun]:
        return nodes_of(graph, self.events, run="run", has_ended=ended, **more)

    def states(self, graph: Node, *, ended: bool = False) -> dict[str, str]:
        return {name: told.state.value for name, told in self.read(graph, ended=ended).items()}


def test_a_task_is_told_with_its_times_and_its_attempts() -> None:
    history = History()
    history.enter("load")
    history.fail("TaskRetry")
    history.add("TaskScheduled")
    history.add("TaskStarted")
    history.add("TaskSucceeded")
    history.leave("load")
    told = history.read(node("load"), ended=True)["load"]
    begun = BEGIN.timestamp()
    assert told == NodeRun(NodeState.SUCCEEDED, 2, begun + 2, begun + 9)
    assert told.seconds == 7


def test_a_task_that_waits_for_another_attempt_is_told_with_its_error() -> None:
    history = History()
    history.enter("load")
    history.fail("TaskRetry", json.dumps({"errorType": "TaskRetry", "errorMessage": "too busy"}))
    told = history.read(node("load"))["load"]
    assert (told.state, told.attempts, told.error) == (NodeState.RETRYING, 1, "TaskRetry: too busy")
    history.add("TaskScheduled")
    assert history.read(node("load"))["load"].state is NodeState.RUNNING


def test_a_function_that_is_a_state_itself_is_told_like_one_that_is_invoked() -> None:
    history = History()
    history.enter("load")
    history.add("LambdaFunctionScheduled", resource="arn")
    history.add("LambdaFunctionStarted")
    history.add("LambdaFunctionTimedOut", error="States.Timeout", cause="")
    history.add("LambdaFunctionScheduled", resource="arn")
    told = history.read(node("load"))["load"]
    assert (told.state, told.attempts) == (NodeState.RUNNING, 2)


FAILING = node(
    "load", before=(node("prepare"),), after=(node("publish", after=(node("tell"),)),), failure=node("notify")
)


def test_what_follows_a_task_that_failed_for_good_is_skipped_at_once() -> None:
    history = History()
    history.enter("load: before", "Parallel")
    history.add("ParallelStateStarted")
    history.run("prepare")
    history.add("ParallelStateSucceeded")
    history.leave("load: before", "Parallel")
    history.enter("load")
    history.fail()
    history.leave("load")
    history.enter("load: failed", "Pass")
    history.leave("load: failed", "Pass")
    history.enter("notify")
    told = history.read(FAILING)
    assert {name: one.state.value for name, one in told.items()} == {
        "prepare": "succeeded",
        "load": "failed",
        "publish": "skipped",
        "tell": "skipped",
        "notify": "running",
    }
    assert told["load"].error == "ValueError: no such table"


def test_what_runs_on_failure_is_skipped_as_soon_as_its_task_has_succeeded() -> None:
    history = History()
    history.run("load")
    states = history.states(FAILING)
    assert (states["notify"], states["publish"]) == ("skipped", "waiting")


def test_a_task_whose_prerequisite_failed_never_ran_and_what_runs_on_its_failure_does() -> None:
    history = History()
    history.enter("load: before", "Parallel")
    history.add("ParallelStateStarted")
    history.enter("prepare")
    history.fail()
    history.leave("prepare")
    history.enter("prepare: failed", "Pass")
    history.leave("prepare: failed", "Pass")
    history.add("ParallelStateSucceeded")
    history.leave("load: before", "Parallel")
    history.enter("load: not run", "Pass")
    states = history.states(FAILING)
    assert states == {
        "prepare": "failed",
        "load": "skipped",
        "publish": "skipped",
        "tell": "skipped",
        "notify": "waiting",
    }


def test_branches_that_run_side_by_side_are_told_apart() -> None:
    graph = node("load", before=(node("first"), node("second")))
    history = History()
    history.enter("load: before", "Parallel")
    started = history.add("ParallelStateStarted")
    first = history.enter("first", after=started)
    second = history.enter("second", after=started)
    first = history.add("TaskScheduled", first)
    second = history.add("TaskScheduled", second)
    second = history.add("TaskFailed", second, error="TaskRetry", cause="")
    first = history.add("TaskSucceeded", first)
    history.leave("first", after=first)
    assert history.states(graph) == {"load": "waiting", "first": "succeeded", "second": "retrying"}


def test_what_ran_when_the_run_was_stopped_was_cancelled_and_the_rest_skipped() -> None:
    graph = node("extract", after=(node("load", after=(node("publish"),)),))
    history = History()
    history.run("extract")
    history.enter("load")
    history.add("TaskScheduled")
    assert history.states(graph, ended=True) == {"extract": "succeeded", "load": "cancelled", "publish": "skipped"}
    assert history.read(graph, ended=True)["load"].seconds == 1  # it ended with the run
    history.add("TaskStateAborted")
    assert history.states(graph)["load"] == "cancelled"


def test_a_task_that_discards_itself_was_cancelled() -> None:
    history = History()
    history.enter("load")
    history.fail("TaskDiscarded", "")
    history.leave("load")
    assert history.states(FAILING)["load"] == "cancelled"
    assert history.states(FAILING)["notify"] == "skipped"


def test_a_task_that_starts_later_waits_until_then() -> None:
    graph = node("load", after=(node("remind", wait=1800.0),))
    history = History()
    history.run("load")
    history.enter("remind: wait", "Wait")
    assert history.read(graph)["remind"] == NodeRun(NodeState.WAITING)


RESIZE = node(
    "resize", each=Each(5, node("publish")), before=(node("warm"),), failure=node("report"), after=(node("tag"),)
)
MAPPED = node("scan", after=(RESIZE,))


def mapped(history: History, length: int) -> int:
    history.run("scan")
    history.enter("resize: each", "Map")
    return history.add("MapStateStarted", length=length)


def iterate(history: History, started: int, index: int) -> int:
    return history.add("MapIterationStarted", started, name="resize: each", index=index)


def test_a_task_that_runs_for_each_item_tells_how_far_it_has_come() -> None:
    history = History()
    started = mapped(history, 5)
    for index in range(3):
        history.run("warm", iterate(history, started, index))
        last = history.run("resize")
        last = history.run("tag", last)
        history.add("MapIterationSucceeded", last, name="resize: each", index=index)
    last = history.enter("resize", after=iterate(history, started, 3))
    history.fail()
    history.leave("resize")
    history.enter("resize: failed", "Pass")
    history.leave("resize: failed", "Pass")
    last = history.run("report")
    last = history.enter("resize", after=iterate(history, started, 4))
    told = history.read(MAPPED)
    assert told["resize"].items == Items(total=5, succeeded=3, failed=1, running=1)
    assert (told["resize"].state, told["resize"].error) == (NodeState.RUNNING, "ValueError: no such table")
    assert (told["warm"].state, told["warm"].items) == (NodeState.RUNNING, Items(None, 3, 0, 0))
    assert told["report"].items == Items(None, 1, 0, 0)
    assert told["publish"].state is NodeState.WAITING
    last = history.add("TaskScheduled", last)
    last = history.add("TaskSucceeded", last)
    last = history.leave("resize", after=last)
    last = history.add("MapIterationSucceeded", last, name="resize: each", index=4)
    last = history.add("MapStateSucceeded", last)
    history.leave("resize: each", "Map", after=last)
    states = history.states(MAPPED)
    assert states == {
        "scan": "succeeded",
        "warm": "succeeded",
        "resize": "failed",
        "tag": "succeeded",
        "report": "succeeded",
        "publish": "skipped",
    }


def test_how_items_failed_is_told_with_their_numbers() -> None:
    history = History()
    started = mapped(history, 70)
    for index in range(70):
        history.enter("resize", after=iterate(history, started, index))
        if index in {3, 55, 60}:
            history.fail(cause=json.dumps({"errorMessage": f"ValueError: {'late' if index > 50 else 'early'}"}))
            history.leave("resize")
            history.enter("resize: failed", "Pass")
            last = history.leave("resize: failed", "Pass")
        else:
            last = history.leave("resize")
        history.add("MapIterationSucceeded", last, name="resize: each", index=index)
    told = history.read(MAPPED)["resize"]
    assert told.item_errors == (
        ItemErrors("ValueError: early", 1, ("3",)),
        ItemErrors("ValueError: late", 2, ("55", "60")),
    )
    assert told.items == Items(70, 67, 3, 0)


def test_an_item_that_failed_once_and_then_succeeded_is_not_among_those_that_failed() -> None:
    history = History()
    started = mapped(history, 1)
    history.enter("resize", after=iterate(history, started, 0))
    history.fail("TaskRetry")
    history.add("TaskScheduled")
    history.add("TaskSucceeded")
    history.leave("resize")
    assert history.read(MAPPED)["resize"].item_errors == ()


def test_items_of_a_list_in_a_list_have_the_numbers_of_both() -> None:
    graph = node("scan", after=(node("album", each=Each(2, None), after=(node("image", each=Each(2, None)),)),))
    history = History()
    history.run("scan")
    history.enter("album: each", "Map")
    started = history.add("MapStateStarted", length=2)
    last = history.run("album", history.add("MapIterationStarted", started, name="album: each", index=1))
    history.enter("image: each", "Map", after=last)
    inner = history.add("MapStateStarted", length=3)
    history.enter("image", after=history.add("MapIterationStarted", inner, name="image: each", index=2))
    history.fail()
    history.leave("image")
    assert history.read(graph)["image"].item_errors == (ItemErrors("ValueError: no such table", 1, ("1.2",)),)


def test_what_would_run_for_the_items_of_an_empty_list_is_skipped() -> None:
    history = History()
    mapped(history, 0)
    history.add("MapStateSucceeded")
    history.leave("resize: each", "Map")
    states = history.states(MAPPED)
    assert (states["resize"], states["warm"], states["publish"]) == ("skipped", "skipped", "waiting")


def test_items_of_a_distributed_map_are_told_from_histories_of_their_own() -> None:
    done, failed = History(), History()
    done.run("warm (spread)")
    done.run("resize (spread)")
    failed.run("warm (spread)")
    failed.enter("resize (spread)")
    failed.fail()
    failed.leave("resize (spread)")
    failed.enter("resize (spread): failed", "Pass")
    failed.leave("resize (spread): failed", "Pass")
    history = History()
    history.run("scan")
    history.enter("resize: each apart", "Map")
    history.add("MapStateStarted", length=0)
    history.add("MapRunStarted", mapRunArn="arn")
    map_runs = {"arn": MapRun(4000, [done.events, failed.events])}
    told = history.read(MAPPED, map_runs=map_runs)
    assert told["resize"].items == Items(total=4000, succeeded=1, failed=1, running=0)
    assert told["resize"].item_errors == (ItemErrors("ValueError: no such table", 1, ()),)
    assert told["resize"].state is NodeState.RUNNING
    history.add("MapRunFailed", error="States.ExceedToleratedFailureThreshold", cause="")
    assert history.read(MAPPED, ended=True, map_runs=map_runs)["resize"].state is NodeState.FAILED


def test_an_item_that_fails_without_being_caught_keeps_its_own_error() -> None:
    history = History()
    started = mapped(history, 1)
    history.enter("resize", after=iterate(history, started, 0))
    last = history.fail()
    last = history.add("MapIterationFailed", last, name="resize: each", index=0)
    history.add("MapStateFailed", last, error="States.TaskFailed", cause="")
    told = history.read(MAPPED, ended=True)["resize"]
    assert (told.state, told.error) == (NodeState.FAILED, "ValueError: no such table")


def test_what_other_items_may_still_reach_is_not_skipped() -> None:
    history = History()
    started = mapped(history, 2)
    history.enter("resize", after=iterate(history, started, 0))
    history.fail()
    history.leave("resize")
    history.enter("resize: failed", "Pass")
    states = history.states(MAPPED)
    assert (states["resize"], states["tag"], states["publish"]) == ("running", "waiting", "waiting")


def test_a_map_that_is_aborted_is_the_one_that_was_not_left() -> None:
    graph = node("album", each=Each(2, None), after=(node("image", each=Each(2, None)),))
    history = History()
    history.enter("album: each", "Map")
    started = history.add("MapStateStarted", length=2)
    history.run("album", history.add("MapIterationStarted", started, name="album: each", index=0))
    history.enter("image: each", "Map")
    history.add("MapStateStarted", length=0)
    history.add("MapStateSucceeded")
    history.leave("image: each", "Map")
    assert history.states(graph)["album"] == "running"
    history.add("MapStateAborted")
    assert history.states(graph)["album"] == "succeeded"


def test_a_map_in_a_map_counts_the_items_of_all_its_lists() -> None:
    graph = node("scan", after=(node("album", each=Each(2, None), after=(node("image", each=Each(2, None)),)),))
    history = History()
    history.run("scan")
    history.enter("album: each", "Map")
    started = history.add("MapStateStarted", length=2)
    for index in range(2):
        last = history.run("album", history.add("MapIterationStarted", started, name="album: each", index=index))
        history.enter("image: each", "Map", after=last)
        inner = history.add("MapStateStarted", length=3)
        for number in range(3):
            last = history.run("image", history.add("MapIterationStarted", inner, name="image: each", index=number))
            last = history.add("MapIterationSucceeded", last, name="image: each", index=number)
        last = history.add("MapStateSucceeded", last)
        last = history.leave("image: each", "Map", after=last)
        last = history.add("MapIterationSucceeded", last, name="album: each", index=index)
    told = history.read(graph)
    assert told["album"].items == Items(2, 2, 0, 0)
    assert told["image"].items == Items(6, 6, 0, 0)


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (Progress(40, 100, "orders"), "40/100 orders"),
        (Progress(40, 100), "40/100"),
        (None, None),
    ],
)
def test_a_record_tells_of_attempts_and_of_progress(progress: Progress | None, told: str | None) -> None:
    record = TaskRecord("id", "shop.etl.load", TaskStatus.RUNNING, 3, started_at=5.0, progress=progress)
    found = completed(NodeRun(NodeState.RUNNING, 1, 1.0), record)
    assert found == NodeRun(NodeState.RUNNING, 3, 1.0, progress=told)


def test_a_task_whose_message_is_in_its_queue_waits() -> None:
    record = TaskRecord("id", "shop.etl.load", TaskStatus.QUEUED, queued_at=1.0)
    assert completed(NodeRun(NodeState.RUNNING, 1, 1.0), record).state is NodeState.WAITING


def test_a_record_has_the_error_of_a_task_that_retries_in_its_queue() -> None:
    error = RecordedError("ValueError", "no such\ntable", "Traceback …")
    record = TaskRecord("id", "shop.etl.load", TaskStatus.RETRYING, 2, started_at=2.0, error=error)
    found = completed(NodeRun(NodeState.RUNNING, 1, 1.0), record)
    assert (found.state, found.attempts, found.error) == (NodeState.RETRYING, 2, "ValueError: no such table")


# --- Workflows -------------------------------------------------------------------------------------------------------

DESCRIBED = {
    "name": "extract",
    "task": "shop.etl.extract",
    "on": "Shop/Etl",
    "via": "lambda",
    "after": [
        {
            "name": "resize",
            "task": "shop.etl.resize",
            "on": "Shop/Images",
            "via": "sqs",
            "subprocess": True,
            "wait": 1800,
            "before": [{"name": "warm", "task": "shop.etl.warm", "on": "Shop/Etl", "via": "lambda"}],
            "each": {
                "max_concurrency": 40,
                "then": {"name": "publish", "task": "shop.etl.publish", "on": "Shop/Etl", "via": "lambda"},
            },
        }
    ],
    "failure": {"name": "notify", "task": "shop.etl.notify", "on": "Shop/Etl", "via": "lambda"},
}


def machine(path: str, task: str, graph: Any = DESCRIBED, **more: Any) -> dict[str, Any]:
    described = {
        "construct": "TaskWorkflow",
        "path": path,
        "trigger": "dispatch",
        "modules": ["shop.etl"],
        "tasks": {task: "DEFAULT"},
        "routes": {"TASK_ROUTE__X": f"states:{path.replace('/', '-')}-1A2B"},
        "express": False,
        "dead_letter_queue": "",
        "graph": flat(graph),
        **more,
    }
    return {"Type": "AWS::StepFunctions::StateMachine", "Properties": {}, "Metadata": {METADATA_KEY: described}}


def test_workflows_are_found_in_an_assembly_by_task_path_or_machine(tmp_path: Any) -> None:
    store = {"TASK_STORE": "Shop-Store-5E6F"}
    folder = write_assembly(
        tmp_path,
        {"Etl": machine("Shop/Etl", "shop.etl.extract")},
        {"Fast": machine("Shop/Fast", "shop.fast.go", express=True, store=store)},
    )
    etl, fast = synthesized_workflows(folder)
    assert [one.name for one in etl.graph.walk()] == ["extract", "warm", "resize", "publish", "notify"]
    [resize] = etl.graph.after
    assert (resize.subprocess, resize.wait, resize.via, resize.each and resize.each.max_concurrency) == (
        True,
        1800,
        "sqs",
        40,
    )
    assert (fast.is_express, fast.store, fast.stack) == (True, store, "Shop")
    for name in ("shop.etl.extract", "shop.etl:extract", "extract", "Shop/Etl", "Shop-Etl-1A2B"):
        assert find_workflow([etl, fast], name) is etl


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("shop.etl.extrct", "did you mean 'shop.etl.extract'"),
        ("Shop/Elt", "did you mean 'Shop/Etl'"),
        ("shop.etl.publish", "it runs in Shop/Etl (shop.etl.extract)"),
        ("publish", "it runs in Shop/Etl (shop.etl.extract)"),
        ("extrct", "did you mean 'extract'"),
        ("shop.twice.go", "name one of them instead, Shop/One or Shop/Two"),
        ("go", "name one of them instead, Shop/One or Shop/Two"),
        ("order", "start with a task 'order': name one of them, shop.mail.order or shop.web.order"),
        ("nothing", "there are Shop/Etl (shop.etl.extract)"),
    ],
)
def test_a_workflow_that_is_not_found_is_refused_with_what_is_near(name: str, hint: str) -> None:
    graph = Node.read(flat(DESCRIBED))
    known = [
        Workflow(path, f"{path}-1", "Shop", task, graph, is_express=False, store={})
        for path, task in (
            ("Shop/Etl", "shop.etl.extract"),
            ("Shop/One", "shop.twice.go"),
            ("Shop/Two", "shop.twice.go"),
            ("Shop/Mail", "shop.mail.order"),
            ("Shop/Web", "shop.web.order"),
        )
    ]
    with pytest.raises(CliError) as refused:
        find_workflow(known, name)
    assert hint in str(refused.value)


def test_an_app_without_workflows_says_so() -> None:
    with pytest.raises(CliError, match="there are no workflows: a TaskWorkflow makes one"):
        find_workflow([], "shop.etl.extract")
