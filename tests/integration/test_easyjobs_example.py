"""The worker example of easyjobs' page on the local cloud: when its tasks start and end, and what is told of a failure."""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import aws_cdk as cdk
import pytest

from constructs_lib import ManagedAsyncTask, TaskStore, TaskWorkflow
from runtime_lib import TaskFailedError, get_store
from runtime_lib.task_record import TaskStatus
from runtime_lib.workflow.node import node_id
from tasks_cli import deployed
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]
SECONDS = 1.5
"""How long tasks take that run side by side: their functions do not start at the same moment."""


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    for name, database in (("Example", "fine"), ("Broken", "broken")):
        stack = cdk.Stack(app, name)
        options: Any = {
            "code": field(),
            "environment": {**environment, "FIELD_SECONDS": str(SECONDS), "FIELD_DATABASE": database},
            "store": TaskStore(stack, "Store"),
            "memory_size": 512,
        }
        TaskWorkflow(stack, "Etl", modules=["field.etl"], start="field.etl:extract", **options)
        compute = TaskWorkflow(stack, "Compute", modules=["field.etl"], start="field.etl:compute", **options)
        pipeline = ManagedAsyncTask(
            stack, "Pipeline", task="field.etl:pipeline", timeout=cdk.Duration.minutes(2), **options
        )
        compute.grant_dispatch(pipeline.function)
        compute.grant_read(pipeline.function)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("example"), _build)


@pytest.fixture
def etl(app: Field) -> Iterator[Any]:
    """The tasks, with nowhere to go yet."""
    with app.routes():
        yield import_module("field.etl")  # (on the path once the app is built)


def use_routes_of(app: Field, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in deployed.targets(app.cloud, [stack]):
        for variable, value in {**target.routes, **target.store}.items():
            monkeypatch.setenv(variable, value)


def marked(app: Field, since: int = 0) -> list[dict[str, Any]]:
    """The marks from a number on, in the order in which they were left."""
    lines = app.marks_file.read_text().splitlines() if app.marks_file.exists() else []
    return [json.loads(line) for line in lines[since:]]


def moments(marks: list[dict[str, Any]]) -> list[str]:
    """What began and ended, one after the other."""
    return [f"{mark['task']} {mark['kind']}" for mark in marks if mark["kind"] in {"begun", "ended"}]


def states_entered(app: Field, run: str) -> int:
    """How many states an execution entered: what is paid for."""
    states = app.cloud.client("stepfunctions")
    [machine] = [one for one in deployed.targets(app.cloud, ["Example"]) if one.path == "Example/Etl" and one.routes]
    arn = f"arn:aws:states:us-east-1:000000000000:execution:{machine.name}:{run}"
    events = states.get_execution_history(executionArn=arn, maxResults=1000)["events"]
    return sum(event["type"].endswith("StateEntered") for event in events)


def test_tasks_start_and_end_in_the_order_of_the_page(app: Field, etl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_routes_of(app, "Example", monkeypatch)
    before = len(marked(app))
    handle = etl.extract.dispatch(url="http://stats")
    assert handle.result(timeout=60) == {"data": {"a": 1, "b": 2, "c": 3}}
    order = moments(marked(app, before))
    one_by_one = ["extract begun", "extract ended", "transform begun", "transform ended", "load begun", "load ended"]
    assert order[:6] == one_by_one
    assert set(order[6:8]) == {"deploy_environment begun", "prepare_db begun"}
    assert set(order[8:10]) == {"deploy_environment ended", "prepare_db ended"}
    assert order[10:] == [
        "configure_environment begun",
        "configure_environment ended",
        "compute begun",
        "compute ended",
    ]
    assert states_entered(app, handle.id) == 16  # as docs/workflows.md says
    record = get_store().find(node_id(handle.id, "compute"))
    assert record is not None
    assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 1)


def test_a_failure_is_told_once_and_keeps_what_comes_after_from_running(
    app: Field, etl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_routes_of(app, "Broken", monkeypatch)
    before = len(marked(app))
    handle = etl.extract.dispatch(url="http://stats")
    with pytest.raises(TaskFailedError, match=r"field\.etl\.load: the database is broken"):
        handle.result(timeout=60)
    marks = marked(app, before)
    assert moments(marks)[4:] == ["load begun", "load begun"]
    [sent] = [mark for mark in marks if mark["kind"] == "sent"]
    assert sent["address"] == "admin@company.io"
    assert sent["message"] == {
        "task": "field.etl.load",
        "node": "load",
        "run": handle.id,
        "error": {"type": "ConnectionError", "message": "the database is broken"},
    }


def test_the_pipeline_returns_the_result_that_it_awaits(app: Field, etl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_routes_of(app, "Example", monkeypatch)
    before = len(marked(app))
    assert etl.pipeline.dispatch().result(timeout=90) == {"test": "datadata"}
    marks = marked(app, before)
    order = moments(marks)
    assert (order[0], order[-3:]) == ("pipeline begun", ["compute begun", "compute ended", "pipeline ended"])
    assert marks[-1]["result"] == {"test": "datadata"}
