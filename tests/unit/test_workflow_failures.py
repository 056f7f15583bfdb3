"""How runs of workflows failed: what `tasks runs show` tells of it, from executions, histories and the store."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from boto3 import client
from moto import mock_aws

from constructs_lib._manifest import EdgeManifest
from constructs_lib._workflow_definition import definition_of
from runtime_lib import contract
from runtime_lib.contract import STORE_KEY
from runtime_lib.store import TaskStore
from runtime_lib.task_record import Ending, RecordedError, TaskRecord, TaskStatus
from runtime_lib.workflow.node import failed_in, node_id
from tasks_cli import workflow_runs
from tasks_cli.errors import CliError
from tasks_cli.workflow_failures import explained, said
from tasks_cli.workflow_history import ItemErrors, Items, NodeRun, NodeState
from tasks_cli.workflow_runs import Run, find_run, list_runs, read_nodes, result_of
from tasks_cli.workflows import Each, Node, Workflow
from tests.workflow_apps import task_manifest, unfolded

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)
ARN = "arn:aws:states:us-east-1:000000000000:stateMachine:Etl"
STORE = "runs-store"


def node(name: str, **more: Any) -> Node:
    return Node(name, f"shop.etl.{name}", "Shop/Etl", "lambda", **more)


RESIZE = node("resize", each=Each(5, node("publish")), before=(node("warm"),), after=(node("tag"),))
GRAPH = node("scan", before=(node("prepare"),), after=(RESIZE,))


def workflow(graph: Node = GRAPH, **more: Any) -> Workflow:
    given = {"is_express": False, "store": {}, "arn": ARN, **more}
    return Workflow("Shop/Etl", "Etl", "Shop", graph.task, graph, **given)


def failed(name: str, message: str = "ValueError: no such table", **more: Any) -> dict[str, Any]:
    cause = json.dumps({"errorType": "TaskFailed", "errorMessage": message})
    return {"task": f"shop.etl.{name}", "node": name, "error": "TaskFailed", "cause": cause, **more}


def later(name: str, **more: Any) -> dict[str, Any]:
    """What an execution tells of an item that is not among the first."""
    return failed(name, **{"cause": json.dumps({"errorMessage": f"{contract.LATER_ITEM}: see"}), **more})


def not_run(name: str, prerequisite: dict[str, Any]) -> dict[str, Any]:
    return failed(name, error="PrerequisiteFailed", cause="", prerequisite=prerequisite)


def a_run(told: dict[str, Any] | None = None, **more: Any) -> Run:
    told_error = said(told, "run") if told else None
    given = {"error": told_error, "failed": told, "message_id": "run", "arn": f"{ARN}:run", **more}
    return Run("run", given.pop("workflow", workflow()), given.pop("status", "failed"), 0.0, 1.0, **given)


class States:
    """Step Functions, of which executions and their histories are given by the test."""

    def __init__(self, *executions: dict[str, Any]) -> None:
        self.executions = executions
        self.history: list[dict[str, Any]] = []

    class exceptions:  # noqa: N801
        ...

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        [found] = [one for one in self.executions if one["executionArn"] == executionArn]
        return found

    def describe_map_run(self, *, mapRunArn: str) -> dict[str, Any]:  # noqa: N803
        return {"itemCounts": {"total": 4000}}

    def get_paginator(self, operation: str) -> Any:
        states = self

        class Paginator:
            def paginate(self, **given: Any) -> Iterator[dict[str, Any]]:
                if operation == "get_execution_history":
                    yield {"events": states.history}
                elif "mapRunArn" in given:
                    yield {"executions": []}
                else:
                    wanted = given.get("statusFilter")
                    hidden = {"output", "cause", "input"}
                    listed = [one for one in states.executions if wanted in {None, one["status"]}]
                    yield {"executions": [{key: one[key] for key in one.keys() - hidden} for one in listed]}

        return Paginator()


class Cloud:
    """A cloud of those, and of a table of its own."""

    def __init__(self, states: States, dynamodb: Any = None) -> None:
        self._clients = {"stepfunctions": states, "dynamodb": dynamodb}

    def client(self, name: str) -> Any:
        return self._clients[name]


def execution(name: str, status: str = "SUCCEEDED", second: int = 0, **more: Any) -> dict[str, Any]:
    arn = f"{ARN.replace(':stateMachine:', ':execution:')}:{name}"
    times = {"startDate": BEGIN.replace(second=second), "stopDate": BEGIN.replace(second=second + 1)}
    return {"name": name, "executionArn": arn, "status": status, "input": json.dumps({"id": name}), **times, **more}


def cloud_of(*executions: dict[str, Any]) -> Any:
    return Cloud(States(*executions))


# --- What an execution tells -----------------------------------------------------------------------------------------


def test_what_could_not_run_says_what_failed_before_it() -> None:
    told = not_run("scan", not_run("prepare", failed("lock", "OSError: no disk")))
    [run] = list_runs(
        cloud_of(execution("one", "FAILED", error="TaskFailed", cause=json.dumps(told))),
        [workflow()],
        status=None,
        limit=5,
    )
    assert run.failed == told
    assert run.error is not None
    assert run.error.startswith("scan: PrerequisiteFailed: shop.etl.prepare failed: PrerequisiteFailed: ")
    assert run.error.endswith("shop.etl.lock failed: OSError: no disk")


@pytest.mark.parametrize("cause", ["", "no JSON", "[1]", '{"errorMessage": "x"}'])
def test_a_cause_that_is_none_of_a_workflow_is_none(cause: str) -> None:
    assert failed_in(cause) is None


def test_a_run_whose_first_task_discarded_itself_is_cancelled() -> None:
    discarded = execution("gone", second=3, output='{"value": null, "discarded": true}')
    done = execution("done", second=2, output='{"value": null}')
    stopped = execution("stopped", "ABORTED", second=1)
    cloud = cloud_of(discarded, done, stopped)
    found = find_run(cloud, [workflow()], "gone")
    assert (found.status, found.error) == ("cancelled", "scan discarded itself")
    with pytest.raises(CliError, match="no result: cancelled: scan discarded itself"):
        result_of(cloud, found)

    def listed(status: str | None, limit: int = 9) -> list[str]:
        return [run.id for run in list_runs(cloud, [workflow()], status=status, limit=limit)]

    assert [run.status for run in list_runs(cloud, [workflow()], status=None, limit=9)] == [
        "cancelled",
        "succeeded",
        "cancelled",
    ]
    assert listed("succeeded") == listed("succeeded", 1) == ["done"]
    assert listed("cancelled") == ["gone", "stopped"]
    assert listed("cancelled", 1) == ["gone"]


# --- Items whose failure an execution does not tell ------------------------------------------------------------------


def told_of(name: str, *errors: ItemErrors) -> dict[str, NodeRun]:
    told = {one.name: NodeRun(NodeState.SUCCEEDED) for one in GRAPH.walk()}
    return {**told, name: NodeRun(NodeState.FAILED, items=Items(70, 68, 2, 0), item_errors=errors)}


def test_the_text_by_which_a_later_item_is_known_is_the_definitions() -> None:
    tasks = [task_manifest("first", run_after=[EdgeManifest("each", 0.0, 5)]), task_manifest("each")]
    assert contract.LATER_ITEM in json.dumps(definition_of(unfolded(tasks), bucket=True))


def test_a_run_says_how_a_later_item_failed_if_its_history_does() -> None:
    told = told_of("tag", ItemErrors("KeyError: 'size'", 2, ("55", "57")))
    assert explained(a_run(later("tag")), told).error == "tag: KeyError: 'size'"
    around = explained(a_run(not_run("scan", later("tag"))), told).error
    assert around == "scan: PrerequisiteFailed: shop.etl.tag failed: KeyError: 'size'"


def test_a_later_item_whose_prerequisite_failed_says_how_that_did() -> None:
    told = told_of("warm", ItemErrors("OSError: cold", 1, ("55",)))
    found = explained(a_run(later("resize", error="PrerequisiteFailed")), told)
    assert found.error == "resize: PrerequisiteFailed: shop.etl.warm failed: OSError: cold"


def test_what_an_execution_tells_stays_as_it_is() -> None:
    run = a_run(failed("tag"))
    assert explained(run, told_of("tag", ItemErrors("KeyError: 'size'", 1, ("55",)))) is run
    assert explained(a_run(), told_of("tag")).error is None


def test_a_later_item_that_nothing_tells_of_says_where_to_look() -> None:
    error = explained(a_run(later("tag")), {one.name: NodeRun(NodeState.SUCCEEDED) for one in GRAPH.walk()}).error
    assert error is not None
    assert "whose history was not read; the log of the function has it" in error


# --- Items in the store ----------------------------------------------------------------------------------------------


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    with mock_aws():
        found = client("dynamodb", region_name="us-east-1")
        found.create_table(
            TableName=STORE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": STORE_KEY, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": STORE_KEY, "KeyType": "HASH"}],
        )
        yield found


def record(dynamodb: Any, name: str, number: int, error: str = "") -> None:
    store = TaskStore(STORE, client=dynamodb)
    key = node_id("run", name, str(number))
    store.begin(key, f"shop.etl.{name}", owner="one", seconds=60)
    ending = Ending(TaskStatus.SUCCEEDED, result="null")
    if error:
        ending = Ending(TaskStatus.FAILED, error=RecordedError("ValueError", error))
    store.end(key, ending, owner="one")


SPREAD = [
    {"id": 1, "type": "MapStateEntered", "stateEnteredEventDetails": {"name": "resize: each apart"}},
    {"id": 2, "type": "MapStateStarted", "previousEventId": 1, "mapStateStartedEventDetails": {"length": 0}},
    {"id": 3, "type": "MapRunStarted", "previousEventId": 2, "mapRunStartedEventDetails": {"mapRunArn": "map"}},
]


def test_how_an_item_failed_whose_history_was_not_read_is_told_by_its_record(dynamodb: Any) -> None:
    for number in range(60):
        record(dynamodb, "resize", number, "no such table" if number == 55 else "")
    states = States()
    states.history = [{**event, "timestamp": BEGIN} for event in SPREAD]
    stored = workflow(store={"TASK_STORE": STORE})
    run = a_run(later("resize"), workflow=stored)
    cloud: Any = Cloud(states, dynamodb)
    told = read_nodes(cloud, run)
    assert told["resize"].item_errors == (ItemErrors("ValueError: no such table", 1, ("55",)),)
    assert explained(run, told).error == "resize: ValueError: no such table"
    assert read_nodes(cloud, a_run(failed("resize"), workflow=stored))["resize"].item_errors == ()


def test_the_items_of_an_express_run_are_told_by_their_records(dynamodb: Any) -> None:
    for number in range(60):
        record(dynamodb, "warm", number)
        record(dynamodb, "resize", number, "no such table" if number in {52, 55} else "")
    express = workflow(is_express=True, store={"TASK_STORE": STORE}, arn="")
    whole = TaskRecord("run", "shop.etl.scan", TaskStatus.FAILED)
    run = a_run(later("resize"), workflow=express, arn="", record=whole)
    cloud: Any = Cloud(States(), dynamodb)
    told = read_nodes(cloud, run)
    assert (told["warm"].state, told["warm"].items) == ("succeeded", Items(None, 60, 0, 0))
    assert (told["resize"].state, told["resize"].items) == ("failed", Items(None, 58, 2, 0))
    assert told["resize"].item_errors == (ItemErrors("ValueError: no such table", 2, ("52", "55")),)
    assert (told["tag"].state, told["publish"].state) == ("skipped", "skipped")
    assert explained(run, told).error == "resize: ValueError: no such table"


def test_a_list_of_which_only_items_were_read_that_succeeded_has_failed_if_its_run_says_so() -> None:
    told = {"resize": NodeRun(NodeState.SUCCEEDED, items=Items(4000, 200, 0, 0))}
    workflow_runs._tell_failure(told, failed("resize"), a_run())
    assert (told["resize"].state, told["resize"].error) == ("failed", "ValueError: no such table")
