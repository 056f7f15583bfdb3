"""`tasks runs …` and `tasks workflow show --run` on the local cloud, with a state machine as a TaskWorkflow makes it."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from runtime_lib.contract import ENV_PAYLOADS, METADATA_KEY, STORE_KEY, Priority
from runtime_lib.envelope import Envelope
from runtime_lib.store import TaskStore
from runtime_lib.task_record import Ending, RecordedError, TaskStatus
from runtime_lib.workflow.node import node_id
from tasks_cli import workflow_runs
from tasks_cli.app import app
from tasks_cli.cloud import Cloud
from tasks_cli.commands import runs
from tasks_cli.errors import CliError
from tasks_cli.local.process import LocalCloud
from tasks_cli.workflows import deployed_workflows, find_workflow
from tests.deployed import wait_for
from tests.workflow_apps import flat

pytestmark = pytest.mark.xdist_group("states")
QUEUE, STORE, BUCKET = "runs-queue", "runs-store", "runs-bucket"
PATH, TASK = "Shop/Etl", "shop.etl.extract"
_numbers = count()


def node(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "task": f"shop.etl.{name}", "on": PATH, "via": "sqs", **more}


GRAPH = node(
    "extract",
    before=[node("prepare")],
    after=[node("resize", each={"max_concurrency": 5, "then": node("publish")})],
    failure=node("notify"),
)


def task(name: str, following: str = "", failed: str = "") -> dict[str, Any]:
    """A task whose message the test takes, to say how it ended."""
    message = {"token.$": "$$.Task.Token", "name": name}
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": {"Fn::Sub": "${Queue}"}, "MessageBody": message},
        "ResultPath": f"$.{name}",
        **({"Next": following} if following else {"End": True}),
        **({"Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": failed}]} if failed else {}),
    }


def noted(name: str, following: str) -> dict[str, Any]:
    """Where a task's failure is noted."""
    said = {
        "task": f"shop.etl.{name}",
        "node": name,
        "error.$": "$.error.Error",
        "cause.$": "$.error.Cause",
    }
    return {"Type": "Pass", "Parameters": said, "ResultPath": "$.failure", "Next": following}


def one(name: str, **states: Any) -> dict[str, Any]:
    return {"StartAt": name, "States": states or {name: task(name)}}


PASS = {"Type": "Pass", "End": True}
ITEM = one(
    "resize",
    **{"resize": task("resize", failed="resize: failed"), "resize: failed": noted("resize", "end"), "end": PASS},
)
STATES = {
    "extract: before": {"Type": "Parallel", "Branches": [one("prepare")], "ResultPath": None, "Next": "extract"},
    "extract": task("extract", "resize: each", "extract: failed"),
    "extract: failed": noted("extract", "extract: on failure"),
    "extract: on failure": {"Type": "Parallel", "Branches": [one("notify")], "ResultPath": None, "Next": ": failed"},
    "resize: each": {
        "Type": "Map",
        "ItemsPath": "$.extract.value",
        "ItemSelector": {"item.$": "$$.Map.Item.Value"},
        "ItemProcessor": ITEM,
        "ResultPath": "$.each",
        "Next": "publish",
    },
    "publish": task("publish", ": done"),
    ": done": {"Type": "Pass", "InputPath": "$.extract", "End": True},
    ": failed": {"Type": "Fail", "Error": "TaskFailed", "CausePath": "States.JsonToString($.failure)"},
}


def machine(path: str, task_name: str, name: str, **more: Any) -> dict[str, Any]:
    described = {
        "construct": "TaskWorkflow",
        "path": path,
        "tasks": {task_name: "DEFAULT"},
        "routes": {"TASK_ROUTE__X": f"states:{name}"},
        "store": {"TASK_STORE": STORE},
        "express": False,
        **more,
        "graph": flat(more.get("graph", GRAPH)),
    }
    definition = {"StartAt": next(iter(STATES)), "States": STATES}
    return {
        "Type": "AWS::StepFunctions::StateMachine",
        "Metadata": {METADATA_KEY: described},
        "Properties": {
            "StateMachineName": name,
            "StateMachineType": "EXPRESS" if more.get("express") else "STANDARD",
            "RoleArn": "arn:aws:iam::000000000000:role/states",
            "Definition": definition,
        },
    }


TEMPLATE = {
    "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": QUEUE}},
        "Store": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "TableName": STORE,
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": STORE_KEY, "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": STORE_KEY, "KeyType": "HASH"}],
            },
        },
        "Worker": {
            "Type": "AWS::Lambda::Function",
            "Metadata": {METADATA_KEY: {"construct": "TaskWorkflow", "path": PATH}},
            "Properties": {
                "FunctionName": "Shop-Etl",
                "Runtime": "python3.13",
                "Handler": "index.handler",
                "Role": "arn:aws:iam::000000000000:role/worker",
                "Code": {"ZipFile": "def handler(event, context): ..."},
                "Environment": {"Variables": {ENV_PAYLOADS: BUCKET}},
            },
        },
        "Etl": machine(PATH, TASK, "Shop-Etl"),
        "Fast": machine("Shop/Fast", "shop.fast.go", "Shop-Fast", express=True, graph=node("go", after=[node("end")])),
    }
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with LocalCloud() as cloud:
        cloud.client("cloudformation").create_stack(StackName="Shop", TemplateBody=json.dumps(TEMPLATE))
        wait_for(lambda: _status(cloud) == "CREATE_COMPLETE")
        yield cloud


def _status(cloud: Cloud) -> str:
    [stack] = cloud.client("cloudformation").describe_stacks(StackName="Shop")["Stacks"]
    return stack["StackStatus"]


@pytest.fixture
def tasks(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command on the local cloud: what it prints, read if it is JSON."""
    monkeypatch.setattr(runs, "choose_cloud", lambda *, aws: cloud)

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return run


class Started:
    """A run of the workflow, whose tasks the test ends."""

    def __init__(self, cloud: Cloud, name: str | None = None) -> None:
        self.cloud = cloud
        self.states = cloud.client("stepfunctions")
        self.envelope = Envelope.new(TASK, [], {}, priority=Priority.DEFAULT)
        found = self.states.list_state_machines()["stateMachines"]
        [arn] = [machine["stateMachineArn"] for machine in found if machine["name"] == "Shop-Etl"]
        self.arn = self.states.start_execution(
            stateMachineArn=arn, name=name or self.envelope.id, input=self.envelope.encode()
        )["executionArn"]

    @property
    def id(self) -> str:
        return self.envelope.id

    def token(self, name: str) -> str:
        """The token of a task's message, once that is there."""
        messages: list[dict[str, str]] = []

        def receive() -> bool:
            sqs = self.cloud.client("sqs")
            for message in sqs.receive_message(QueueUrl=QUEUE, MaxNumberOfMessages=1).get("Messages", []):
                sqs.delete_message(QueueUrl=QUEUE, ReceiptHandle=message["ReceiptHandle"])
                messages.append(json.loads(message["Body"]))
            return bool(messages)

        wait_for(receive)
        assert messages[0]["name"] == name
        return messages[0]["token"]

    def succeed(self, name: str, value: Any = None) -> None:
        self.states.send_task_success(taskToken=self.token(name), output=json.dumps({"value": value}))

    def fail(self, name: str, error: str = "ValueError: no such table") -> None:
        cause = json.dumps({"errorType": "TaskFailed", "errorMessage": error, "stackTrace": []})
        self.states.send_task_failure(taskToken=self.token(name), error="TaskFailed", cause=cause)

    def wait_for_end(self) -> None:
        wait_for(lambda: self.states.describe_execution(executionArn=self.arn)["status"] != "RUNNING")


@contextmanager
def started(cloud: Cloud, name: str | None = None) -> Iterator[Started]:
    """A run that has ended when the block does, so that the next one finds its own messages."""
    run = Started(cloud, name)
    try:
        yield run
    finally:
        if not _has_ended(run):
            run.states.stop_execution(executionArn=run.arn)
        cloud.client("sqs").purge_queue(QueueUrl=QUEUE)


def _has_ended(run: Started) -> bool:
    return run.states.describe_execution(executionArn=run.arn)["status"] != "RUNNING"


def states_of(shown: dict[str, Any]) -> dict[str, str]:
    return {name: told["state"] for name, told in shown["nodes"].items()}


def test_a_run_is_shown_node_by_node_from_its_begin_to_its_end(cloud: Cloud, tasks: Any) -> None:
    with started(cloud) as run:
        token = run.token("prepare")
        assert states_of(tasks("runs", "show", run.id, "--json")) == {
            "prepare": "running",
            "extract": "waiting",
            "resize": "waiting",
            "publish": "waiting",
            "notify": "waiting",
        }
        run.states.send_task_success(taskToken=token, output="null")
        run.succeed("extract", [1, 2, 3])
        run.succeed("resize")
        run.fail("resize")
        token = run.token("resize")

        def shown() -> Any:
            found = tasks("runs", "show", run.id, "--json")
            items = found["nodes"]["resize"]["items"]
            return found if items and items["succeeded"] + items["failed"] == 2 else None

        found = wait_for(shown)
        assert found["nodes"]["resize"]["items"] == {"total": 3, "succeeded": 1, "failed": 1, "running": 1}
        assert found["nodes"]["resize"]["error"] == "ValueError: no such table"
        assert (found["nodes"]["notify"]["state"], found["status"]) == ("skipped", "running")
        run.states.send_task_success(taskToken=token, output="null")
        run.succeed("publish")
        run.wait_for_end()
        text = tasks("runs", "show", run.id)
        assert re.search(rf"^run: +{run.id}$", text, re.MULTILINE)
        assert re.search(r"^status: +succeeded after [\d.]+ s$", text, re.MULTILINE)
        assert re.search(r"✗ resize \[for each item, 5 at once\]  failed, 2 of 3 done, 1 failed, ", text)
        assert tasks("runs", "result", run.id, "--json")["result"] == [1, 2, 3]
        assert json.loads(tasks("runs", "result", run.id)) == [1, 2, 3]


def test_a_run_that_failed_says_what_failed_in_every_command(cloud: Cloud, tasks: Any, tmp_path: Path) -> None:
    with started(cloud) as run:
        run.succeed("prepare")
        run.fail("extract")
        run.succeed("notify")
        run.wait_for_end()
        found = tasks("runs", "show", run.id[:13], "--json")
        error = "extract: ValueError: no such table"
        assert (found["status"], found["error"]) == ("failed", error)
        assert states_of(found) == {
            "prepare": "succeeded",
            "extract": "failed",
            "resize": "skipped",
            "publish": "skipped",
            "notify": "succeeded",
        }
        [listed] = [one for one in tasks("runs", "list", TASK, "--status", "failed", "--json") if one["id"] == run.id]
        assert listed["error"] == error
        assert error in tasks("runs", "list")
        with pytest.raises(CliError, match=f"the run {run.id} has no result: failed: {error}"):
            tasks("runs", "result", run.id)
        with pytest.raises(CliError, match="has ended already: failed"):
            tasks("runs", "cancel", run.id)
        picture = tmp_path / "run.svg"
        tasks("workflow", "show", TASK, "--run", run.id, "--out", str(picture))
        text = " ".join(ElementTree.parse(picture).getroot().itertext())
        assert f"run {run.id}: failed after" in text
        assert "✗ failed" in text
        described = tasks("workflow", "show", PATH, "--run", run.arn, "--json")
        assert described["graph"]["run"]["state"] == "failed"
        assert described["graph"]["before"][0]["run"]["attempts"] == 1
        assert "classDef failed" in tasks("workflow", "show", "Shop-Etl", "--run", run.id, "--format", "mermaid")


def test_a_run_that_is_cancelled_runs_no_further_task(cloud: Cloud, tasks: Any) -> None:
    with started(cloud) as run:
        run.token("prepare")
        assert tasks("runs", "cancel", run.id, "--json")["status"] == "cancelled"
        found = tasks("runs", "show", run.id, "--json")
        assert (found["status"], found["error"]) == ("cancelled", "TaskCancelled: cancelled by `tasks runs cancel`")
        assert set(states_of(found).values()) == {"cancelled", "skipped"}
        with pytest.raises(CliError, match=r"no result: cancelled"):
            tasks("runs", "result", run.id)


def test_a_run_that_a_schedule_started_is_found_by_either_of_its_ids(cloud: Cloud, tasks: Any) -> None:
    with started(cloud, name=f"scheduled-{next(_numbers)}") as run:
        by_name = tasks("runs", "show", "scheduled-", "--json")
        assert by_name == tasks("runs", "show", run.id, "--json")
        assert (by_name["id"], by_name["message_id"]) == ("scheduled-0", run.id)
        with pytest.raises(CliError, match="has not ended"):
            tasks("runs", "result", run.id)


def test_the_store_tells_of_attempts_and_progress_in_a_queue(cloud: Cloud, tasks: Any) -> None:
    with started(cloud) as run:
        token = run.token("prepare")
        store = TaskStore(STORE, client=cloud.client("dynamodb"))
        record = node_id(run.id, "prepare")
        error = RecordedError("ValueError", "too busy")
        for owner in ("first", "second"):
            store.begin(record, "shop.etl.prepare", owner=owner, seconds=60)
            store.end(record, Ending(TaskStatus.RETRYING, error=error), owner=owner)
        told = tasks("runs", "show", run.id, "--json")["nodes"]["prepare"]
        assert (told["state"], told["attempts"], told["error"]) == ("retrying", 2, "ValueError: too busy")
        run.states.send_task_success(taskToken=token, output="null")


def test_an_express_run_is_told_from_its_records(cloud: Cloud, tasks: Any) -> None:
    store = TaskStore(STORE, client=cloud.client("dynamodb"))
    run = Envelope.new("shop.fast.go", [], {}, priority=Priority.DEFAULT).id
    store.add(run, "shop.fast.go")
    store.begin(node_id(run, "go"), "shop.etl.go", owner="one", seconds=60)
    found = tasks("runs", "show", run, "--json")
    assert (found["workflow"], found["status"], found["arn"]) == ("Shop/Fast", "running", None)
    assert states_of(found) == {"go": "running", "end": "waiting"}
    with pytest.raises(CliError, match="Shop/Fast is an Express workflow"):
        tasks("runs", "cancel", run)
    store.begin(run, "shop.fast.go", owner="run", seconds=60)
    store.end(run, Ending(TaskStatus.SUCCEEDED, result='{"a": 1}'), owner="run")
    assert json.loads(tasks("runs", "result", run)) == {"a": 1}
    assert states_of(tasks("runs", "show", run, "--json"))["end"] == "skipped"


def test_a_result_in_the_bucket_is_fetched_from_there(cloud: Cloud) -> None:
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    cloud.client("s3").put_object(Bucket=BUCKET, Key="payloads/one", Body=b"[1, 2]")
    etl = find_workflow(deployed_workflows(cloud, ["Shop"]), PATH)
    run = workflow_runs.Run("id", etl, "succeeded", answer='{"key": "payloads/one"}')
    assert workflow_runs.result_of(cloud, run) == [1, 2]
    with pytest.raises(CliError, match="not in the bucket runs-bucket any more: 'payloads/lost' is missing"):
        workflow_runs.result_of(cloud, run._replace(answer='{"key": "payloads/lost"}'))


def test_the_latest_runs_are_listed_first_and_no_more_than_asked_for(cloud: Cloud, tasks: Any) -> None:
    for _ in range(3):
        with started(cloud):
            time.sleep(0.01)
    found = tasks("runs", "list", PATH, "--limit", "2", "--json")
    assert len(found) == 2
    assert found[0]["started"] >= found[1]["started"]
    assert {one["status"] for one in tasks("runs", "list", "--status", "cancelled", "--json")} == {"cancelled"}


def test_a_run_that_is_not_found_is_refused(cloud: Cloud, tasks: Any) -> None:
    with (
        started(cloud, name="twin-one"),
        pytest.raises(CliError, match=r"no run of .*Shop/Etl, Shop/Fast has an id that"),
    ):
        tasks("runs", "show", "0000")
    with started(cloud, name="twin-two"), pytest.raises(CliError, match="2 runs have ids that begin with 'twin'"):
        tasks("runs", "show", "twin")
    with pytest.raises(CliError, match="is an execution of none of the workflows"):
        tasks("runs", "show", "arn:aws:states:us-east-1:000000000000:execution:Other:one")
