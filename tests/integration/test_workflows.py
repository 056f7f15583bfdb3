"""Workflows on the local cloud, as real state machines, with IAM enforced: what runs, how often, and what is told."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import aws_cdk as cdk
import pytest

from constructs_lib import (
    BackgroundTaskFunction,
    ManagedAsyncTask,
    PayloadBucket,
    Schedule,
    ScheduledTask,
    TaskStore,
    TaskWorkflow,
)
from runtime_lib import (
    DispatchError,
    NoRouteError,
    PayloadTooLargeError,
    TaskCancelledError,
    TaskFailedError,
    TaskStatus,
    get_store,
    get_transport,
)
from runtime_lib.store import TaskStore as Records
from runtime_lib.workflow.node import node_id
from tasks_cli import deployed
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack = cdk.Stack(app, "Flows")
    code = field()
    store, payloads = TaskStore(stack, "Store"), PayloadBucket(stack, "Payloads")
    options: Any = {"code": code, "modules": ["field.flows"], "environment": environment}
    crash = TaskWorkflow(
        stack, "Crash", start="field.flows:start", store=store, timeout=cdk.Duration.seconds(4), **options
    )
    TaskWorkflow(stack, "Fork", start="field.flows:fork", **options)
    TaskWorkflow(stack, "House", start="field.flows:house", **options)
    TaskWorkflow(stack, "Numbers", start="field.flows:numbers", store=store, payloads=payloads, **options)
    TaskWorkflow(stack, "Many", start="field.flows:many", store=store, payloads=payloads, **options)
    TaskWorkflow(stack, "Matrix", start="field.flows:matrix", payloads=payloads, **options)
    TaskWorkflow(stack, "Large", start="field.flows:large", payloads=payloads, **options)
    resize = ManagedAsyncTask(
        stack, "Resize", code=code, task="field.flows:resize", environment=environment, max_concurrency=2
    )
    archive = BackgroundTaskFunction(stack, "Archive", namespace="archive", **options)
    TaskWorkflow(stack, "Upload", start="field.flows:upload", served_by=[resize, archive], **options)
    ScheduledTask(
        stack,
        "Soon",
        task="field.flows:start",
        schedule=Schedule.rate(cdk.Duration.minutes(1)),
        args=["scheduled"],
        target=crash,
    )
    few = cdk.Stack(app, "Few")
    TaskWorkflow(few, "Stumbling", start="field.flows:stumbling", **options)
    TaskWorkflow(few, "Numbers", start="field.flows:numbers", **options)
    TaskWorkflow(few, "Express", start="field.flows:start", express=True, store=TaskStore(few, "Store"), **options)
    cdk.CfnOutput(stack, "Table", value=store.table_name)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("flows"), _build)


@pytest.fixture
def flows(app: Field) -> Iterator[Any]:
    """The tasks, with the routes of the stack Flows."""
    routes = deployed.routes(deployed.targets(app.cloud, ["Flows"]))
    [bucket] = [one["Name"] for one in app.cloud.client("s3").list_buckets()["Buckets"] if "payloads" in one["Name"]]
    with app.routes(), patch.dict(os.environ, {**routes, "TASK_PAYLOADS": bucket}):
        from field import flows  # noqa: PLC0415  (on the path once the app is built)

        yield flows


@pytest.fixture
def few(app: Field, flows: Any) -> Iterator[Any]:
    """The tasks, with the routes of the stack Few."""
    with patch.dict(os.environ, deployed.routes(deployed.targets(app.cloud, ["Few"]))):
        yield flows


def _of(app: Field, kind: str, **details: Any) -> list[dict[str, Any]]:
    return [mark for mark in app.marks(kind) if details.items() <= mark.items()]


def _records(app: Field) -> Records:
    [table] = {one.store["TASK_STORE"] for one in deployed.targets(app.cloud, ["Flows"]) if one.store}
    return Records(table, app.cloud.client("dynamodb"))


# --- From a dispatch to its end --------------------------------------------------------------------------------------


def test_what_runs_before_and_after_runs_once_each_in_order_and_the_handle_follows_to_the_end(
    app: Field, flows: Any
) -> None:
    handle = flows.start.with_headers(request_id="7").dispatch("plain")
    assert handle.status() in {TaskStatus.RUNNING, TaskStatus.SUCCEEDED}
    assert handle.result(timeout=30) == "plain"
    assert handle.status() is TaskStatus.SUCCEEDED
    run = handle.id
    [begun] = _of(app, "start", what="plain")
    assert begun["id"] == node_id(run, "start")
    assert begun["chain"] == run
    assert begun["headers"] == {"request_id": "7"}
    assert _of(app, "finish", what="plain") == [{"kind": "finish", "what": "plain", "attempt": 1}]
    assert not handle.cancel()


def test_each_run_is_recorded_with_its_progress(app: Field, flows: Any) -> None:
    handle = flows.start.dispatch("recorded")
    handle.result(timeout=30)
    record = _records(app).find(node_id(handle.id, "fragile"))
    assert record is not None
    assert (record.status, record.attempts, record.result) == (
        TaskStatus.SUCCEEDED,
        1,
        {"what": "recorded", "attempt": 1},
    )
    assert record.progress == (1, 2, "half of it")


# --- Killed, failed, given up ----------------------------------------------------------------------------------------


def test_a_process_killed_in_a_node_is_retried_by_the_engine_and_what_succeeded_does_not_run_again(
    app: Field, flows: Any
) -> None:
    handle = flows.start.dispatch("killed")
    assert handle.result(timeout=60) == "killed"
    fragile = _of(app, "fragile", id=node_id(handle.id, "fragile"))
    assert [one["attempt"] for one in fragile] == [1, 2]
    assert len(_of(app, "start", what="killed")) == 1
    assert _of(app, "finish", what="killed") == [{"kind": "finish", "what": "killed", "attempt": 2}]


def _ask(app: Field, run: str, what: str, times: int) -> list[Any]:
    """What the function of a workflow answers to a run of `fragile` that comes several times at once."""
    [worker] = [one for one in deployed.functions(app.cloud, ["Flows"]) if one.path == "Flows/Crash"]
    message = {
        "run": {"id": run, "headers": {}, "metadata": {"timestamp": 1}},
        "node": "fragile",
        "task": "field.flows.fragile",
        "entered": "once",
        "claim": 1000,
        "result": {"value": what},
    }
    body = json.dumps({"workflow": message})

    def ask(_: int) -> Any:
        return json.load(app.cloud.client("lambda").invoke(FunctionName=worker.name, Payload=body)["Payload"])

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(ask, range(times)))


def test_what_is_on_record_is_handed_on_when_the_engine_asks_once_more(app: Field, flows: Any) -> None:
    """The answer of a function may be lost, and the engine then invokes it again."""
    handle = flows.start.dispatch("asked again")
    handle.result(timeout=30)
    assert _ask(app, handle.id, "asked again", 4) == [{"value": {"what": "asked again", "attempt": 1}}] * 4
    assert len(_of(app, "fragile", id=node_id(handle.id, "fragile"))) == 1


def test_of_racing_duplicates_of_one_node_one_runs_and_the_others_are_asked_to_come_again(app: Field) -> None:
    answers = _ask(app, "a-run-of-its-own", "slow", 4)
    [done] = [answer for answer in answers if "value" in answer]
    assert done == {"value": {"what": "slow", "attempt": 1}}
    assert [answer["errorType"] for answer in answers if answer != done] == ["TaskNotBegun"] * 3
    assert len(_of(app, "fragile", id=node_id("a-run-of-its-own", "fragile"))) == 1


def test_two_racing_duplicates_of_one_envelope_have_one_effect(app: Field, flows: Any) -> None:
    call = flows.start.call("raced")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: get_transport().send([call]), range(8)))
    assert call.handle.result(timeout=30) == "raced"
    get_transport().send([call])
    time.sleep(0.5)
    assert len(_of(app, "start", what="raced")) == 1
    assert len(_of(app, "finish", what="raced")) == 1


def test_a_failure_is_retried_by_the_tasks_policy_and_told_once_and_fails_the_workflow(app: Field, flows: Any) -> None:
    handle = flows.start.dispatch("broken")
    with pytest.raises(TaskFailedError, match=r"field\.flows\.fragile: attempt 3") as caught:
        handle.result(timeout=60)
    assert caught.value.failure is not None
    assert caught.value.failure.type == "ValueError"
    assert [one["attempt"] for one in _of(app, "fragile", id=node_id(handle.id, "fragile"))] == [1, 2, 3]
    told = [one for one in app.marks("tell") if "attempt 3" in one["text"]]
    assert [one["text"] for one in told] == ["field.flows.fragile failed: ValueError: attempt 3"]
    assert not _of(app, "finish", what="broken")


def test_a_rejected_task_is_not_retried_and_a_discarded_one_ends_its_path_quietly(app: Field, flows: Any) -> None:
    rejected, discarded = flows.start.dispatch("rejected"), flows.start.dispatch("discarded")
    with pytest.raises(TaskFailedError, match=r"Reject: .*not this one"):
        rejected.result(timeout=30)
    assert discarded.result(timeout=30) == "discarded"
    for handle in (rejected, discarded):
        assert len(_of(app, "fragile", id=node_id(handle.id, "fragile"))) == 1
    assert not _of(app, "finish", what="discarded")


@pytest.mark.parametrize("stack", ["flows", "few"])
def test_a_first_task_that_discards_itself_has_cancelled_its_workflow(
    app: Field, stack: str, request: pytest.FixtureRequest
) -> None:
    handle = request.getfixturevalue(stack).start.dispatch("nothing")
    with pytest.raises(TaskCancelledError):
        handle.result(timeout=30)
    assert handle.status() is TaskStatus.CANCELLED
    assert not _of(app, "finish", what="nothing")


def test_a_branch_that_fails_lets_the_others_end_and_a_delayed_one_starts_later(app: Field, flows: Any) -> None:
    handle = flows.fork.dispatch(11)
    with pytest.raises(TaskFailedError, match=r"quick_to_fail: cannot do 11"):
        handle.result(timeout=30)
    assert _of(app, "slow_to_end", value=11)
    [forked], [later] = app.marks("fork"), _of(app, "later", value=11)
    assert later["at"] - forked["at"] >= 1


def test_what_fails_before_a_task_keeps_it_from_running_and_is_told_as_its_failure(app: Field, flows: Any) -> None:
    handle = flows.house.dispatch()
    with pytest.raises(TaskFailedError, match="PrerequisiteFailed") as caught:
        handle.result(timeout=30)
    assert "field.flows.broken_ground failed: OSError: no ground" in str(caught.value)
    assert not app.marks("house")
    [told] = [one for one in app.marks("tell") if "ground" in one["text"]]
    assert told["text"].startswith("field.flows.house failed: PrerequisiteFailed: ")


def test_a_cancelled_workflow_begins_no_further_task(app: Field, flows: Any) -> None:
    handle = flows.start.dispatch("slow")
    wait_for(lambda: _of(app, "fragile", id=node_id(handle.id, "fragile")))
    assert handle.cancel()
    assert handle.status() is TaskStatus.CANCELLED
    with pytest.raises(TaskCancelledError):
        handle.result(timeout=5)
    time.sleep(3.5)
    assert not _of(app, "finish", what="slow")


# --- Lists and large results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["few", "flows"])
def test_each_item_runs_once_and_all_results_come_together_in_order(
    app: Field, stack: str, request: pytest.FixtureRequest
) -> None:
    flows = request.getfixturevalue(stack)
    before = len(app.marks("square"))
    handle = flows.numbers.dispatch(7)
    assert handle.result(timeout=60) == list(range(7))
    squares = app.marks("square")[before:]
    assert sorted(one["number"] for one in squares) == list(range(7))
    assert {one["id"] for one in squares} == {node_id(handle.id, "square", str(number)) for number in range(7)}
    assert app.marks("total")[-1] == {"kind": "total", "total": 91, "count": 7}


def test_lists_of_items_are_mapped_and_collected_and_an_item_that_discards_itself_is_none(
    app: Field, flows: Any
) -> None:
    handle = flows.matrix.dispatch([2, -1, 3])
    assert handle.result(timeout=60) == [2, -1, 3]
    assert app.marks("rows")[-1] == {"kind": "rows", "lists": [[0, 1], None, [0, 1, 2]]}
    assert sorted(one["number"] for one in app.marks("cell")) == [0, 0, 1, 1, 2]


def test_an_item_that_fails_lets_the_others_run_and_keeps_the_results_from_going_on(app: Field, few: Any) -> None:
    totals = len(app.marks("total"))
    handle = few.numbers.dispatch(15)
    with pytest.raises(TaskFailedError, match=r"square: thirteen"):
        handle.result(timeout=60)
    assert {number * number for number in range(15) if number != 13} <= {one["squared"] for one in app.marks("keep")}
    assert len(app.marks("total")) == totals


def test_many_items_that_fail_at_length_are_told_by_the_first_of_them(app: Field, few: Any) -> None:
    handle = few.stumbling.dispatch(300)
    with pytest.raises(TaskFailedError, match=r"ValueError: field\.flows\.stumble: 0 x+") as caught:
        handle.result(timeout=120)
    assert caught.value.failure is not None
    assert caught.value.failure.type == "ValueError"


def test_above_the_inline_bounds_each_item_is_an_execution_of_its_own(app: Field, flows: Any) -> None:
    handle = flows.many.dispatch(5)
    assert handle.result(timeout=60) == [0, 1, 2, 3, 4]
    [machine] = [one for one in deployed.targets(app.cloud, ["Flows"]) if one.path == "Flows/Many" and one.routes]
    states = app.cloud.client("stepfunctions")
    arn = f"arn:aws:states:us-east-1:000000000000:execution:{machine.name}:{handle.id}"
    [run] = states.list_map_runs(executionArn=arn)["mapRuns"]
    counts = states.describe_map_run(mapRunArn=run["mapRunArn"])
    assert counts["itemCounts"]["succeeded"] == 5
    assert counts["maxConcurrency"] == 50
    assert app.marks("total")[-1] == {"kind": "total", "total": 30, "count": 5}


def test_a_large_result_goes_by_way_of_the_bucket(app: Field, flows: Any) -> None:
    handle = flows.large.dispatch(150_000)
    assert len(handle.result(timeout=30)) == 150_000
    assert _of(app, "measure", size=150_000)


def test_large_arguments_go_by_way_of_the_bucket_and_are_refused_without_one(app: Field, flows: Any) -> None:
    handle = flows.large.dispatch(3, padding="x" * 300_000)
    assert handle.result(timeout=30) == "xxx"
    with pytest.raises(PayloadTooLargeError, match=r"takes 240,000 to start a workflow"):
        flows.start.dispatch("x" * 250_000)


# --- Served elsewhere ------------------------------------------------------------------------------------------------


def test_tasks_run_where_they_are_served_a_queue_by_its_own_retries_and_a_function_by_invocation(
    app: Field, flows: Any
) -> None:
    handle = flows.upload.dispatch("cat")
    assert handle.result(timeout=60) == {"name": "cat"}
    assert _of(app, "resize", name="cat") == [
        {"kind": "resize", "name": "cat", "attempt": attempt, "receipt": True} for attempt in (1, 2)
    ]
    assert _of(app, "archive", name="cat") == [{"kind": "archive", "name": "cat", "attempt": 1}]
    flows.bystander.dispatch()
    wait_for(lambda: app.marks("bystander"))


def test_a_task_given_up_in_a_queue_is_dead_lettered_and_fails_its_workflow(app: Field, flows: Any) -> None:
    handle = flows.upload.dispatch("broken")
    with pytest.raises(TaskFailedError, match="ValueError") as caught:
        handle.result(timeout=60)
    assert "field.flows.resize: not yet" in str(caught.value)
    assert [one["attempt"] for one in _of(app, "resize", name="broken")] == [1, 2, 3]
    assert [one["text"] for one in app.marks("tell") if "resize" in one["text"]] == [
        "field.flows.resize failed: ValueError: not yet"
    ]


def test_a_task_with_others_around_it_is_not_sent_as_a_bare_message(
    app: Field, flows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_ROUTE__FIELD_FLOWS_START", "sqs:any")
    with pytest.raises(DispatchError, match="TaskWorkflow"):
        flows.start.dispatch("bare")
    monkeypatch.delenv("TASK_ROUTE__FIELD_FLOWS_START")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "web")
    with pytest.raises(NoRouteError, match="TaskWorkflow"):
        flows.start.dispatch("bare")


# --- Started by a schedule, and Express ------------------------------------------------------------------------------


def test_a_schedule_starts_the_workflow(app: Field, flows: Any) -> None:
    [begun] = wait_for(lambda: _of(app, "start", what="scheduled")[:1], seconds=90)
    finished = wait_for(lambda: _of(app, "finish", what="scheduled"))
    assert Counter(one["attempt"] for one in finished).keys() == {1}
    assert begun["id"] != begun["chain"]


def test_an_express_workflow_is_followed_through_its_store(app: Field, few: Any) -> None:
    handle = few.start.dispatch("express")
    assert handle.result(timeout=30) == "express"
    assert handle.status() is TaskStatus.SUCCEEDED
    assert _of(app, "finish", what="express")
    broken = few.start.dispatch("rejected")
    with pytest.raises(TaskFailedError, match=r"field\.flows\.fragile") as caught:
        broken.result(timeout=30)
    assert caught.value.failure is not None
    assert caught.value.failure.type == "Reject"
    cancelled = few.start.call("cancelled express")
    get_store().add(cancelled.envelope.id, cancelled.envelope.task)
    assert cancelled.handle.cancel()
    get_transport().send([cancelled])
    time.sleep(1)
    assert not _of(app, "start", what="cancelled express")
