"""The project of docs/coming-from-easyjobs.md, deployed as it stands there, does what easyjobs' page says."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from runtime_lib import TaskFailedError
from tasks_cli import deployed
from tasks_cli.cloud import Cloud
from tasks_cli.drawing.svg import picture
from tasks_cli.drawing.text import tree
from tasks_cli.local.deployment import deploy
from tasks_cli.local.logs import LogReader
from tasks_cli.local.process import LocalCloud
from tasks_cli.synthesis import synthesize
from tasks_cli.workflow_history import NodeRun
from tasks_cli.workflow_runs import find_run, read_nodes
from tasks_cli.workflows import deployed_workflows, find_workflow
from tests.deployed import wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "coming-from-easyjobs.md").read_text()
FILE = re.compile(r"^`(?P<path>[\w/.]+)`:\n\n```python\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


class Project:
    """The deployed project."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        for found in FILE.finditer(PAGE):
            path = folder / found["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(found["text"])
        self.cloud, self.folder = cloud, folder
        [self.stack] = deploy(cloud, synthesize(f"{sys.executable} app.py", folder)[0])
        self.routes = deployed.routes(deployed.targets(cloud, [self.stack.name]))
        self._logs = LogReader(cloud, [one.name for one in deployed.functions(cloud, [self.stack.name])])
        self._lines: list[str] = []

    def logged(self, text: str) -> list[str]:
        """The lines so far that have this text."""
        self._lines += [line.message for line in self._logs.read()]
        return [line for line in self._lines if text in line]

    def nodes(self, run_id: str) -> dict[str, NodeRun]:
        """What became of each task of a run."""
        workflows = deployed_workflows(self.cloud, [self.stack.name])
        return read_nodes(self.cloud, find_run(self.cloud, workflows, run_id))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Project(cloud, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def company(project: Project) -> Iterator[Any]:
    """The page's package, whose dispatches go to the local cloud."""
    with patch.dict(os.environ, project.routes), patch.dict("runtime_lib.clients._clients", clear=True):
        with patch.object(sys, "path", [*sys.path, str(project.folder)]), patch.dict("runtime_lib.registry._tasks"):
            project.cloud.use_in_this_process()
            import_module("company.etl")
            import_module("company.office")
            yield sys.modules["company"]
        for name in [name for name in sys.modules if name.partition(".")[0] == "company"]:
            del sys.modules[name]


def assert_order(nodes: dict[str, NodeRun], *names: str) -> None:
    """Each of them had ended before the next one started."""
    for first, second in pairwise(names):
        ended, started = nodes[first].finished, nodes[second].started
        assert ended is not None
        assert started is not None
        assert ended <= started, (first, second)


def test_the_pipeline_runs_in_the_order_of_the_page(project: Project, company: Any) -> None:
    handle = company.etl.extract.dispatch(url="http://stats")
    assert handle.result(timeout=60) == {"data": {"a": 1, "b": 2, "c": 3}}
    nodes = project.nodes(handle.id)
    assert_order(nodes, "extract", "transform", "load", "prepare_db", "configure_environment", "compute")
    assert_order(nodes, "load", "deploy_environment", "configure_environment")
    assert nodes["failure_notify"].state == "skipped"
    deploys, prepares = nodes["deploy_environment"], nodes["prepare_db"]
    assert max(deploys.started or 0, prepares.started or 0) < min(deploys.finished or 0, prepares.finished or 0)
    for line in ("get_data: http://stats", "transform finished", "load finished", "prepare_db - completed"):
        wait_for(partial(project.logged, line))


def test_a_failure_is_told_once(project: Project, company: Any) -> None:
    handle = company.etl.extract.dispatch(url="http://refunds")
    with pytest.raises(TaskFailedError, match=r"company\.etl\.load: the table takes no -8"):
        handle.result(timeout=60)
    nodes = project.nodes(handle.id)
    assert (nodes["load"].state, nodes["load"].attempts) == ("failed", 2)
    assert (nodes["failure_notify"].state, nodes["compute"].state) == ("succeeded", "skipped")
    sent = wait_for(lambda: [one for one in project.logged("email sent to admin@company.io") if handle.id in one])
    assert len(sent) == 1
    assert "{'type': 'ValueError', 'message': 'the table takes no -8'}" in sent[0]


def test_a_task_awaits_another_one_and_returns_its_result(project: Project, company: Any) -> None:
    handle = company.etl.pipeline.dispatch()
    assert handle.result(timeout=90) == {"test": "datadata"}
    wait_for(lambda: project.logged("pipeline - result is {'test': 'datadata'} - finished"))


def test_the_schedule_starts_the_workflow_with_its_default_arguments(project: Project, company: Any) -> None:
    schedules = project.cloud.client("scheduler")
    [name] = [one["Name"] for one in schedules.list_schedules()["Schedules"]]
    schedule: Any = schedules.get_schedule(Name=name)
    assert schedule["ScheduleExpression"] == "cron(* * * * ? *)"
    states = project.cloud.client("stepfunctions")
    started = states.start_execution(
        stateMachineArn=schedule["Target"]["Arn"],
        input=schedule["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", "2026-01-01T00:15:00Z"),
    )
    run_id = started["executionArn"].rpartition(":")[2]
    wait_for(lambda: project.nodes(run_id)["compute"].state == "succeeded", seconds=60)


def test_the_managers_tasks_run_on_its_queue_and_fail_into_their_email(project: Project, company: Any) -> None:
    office = company.office
    general = office.general_work.dispatch({"a": 1, "b": 2})
    paid = office.finance_work.dispatch("7", {"hours": 2, "rate": 50})
    unpaid = office.finance_work.dispatch("8", {"hours": 2})
    assert general.result(timeout=60) == 3
    assert paid.result(timeout=60) == {"employee": "7", "pay": 100}
    with pytest.raises(TaskFailedError, match="KeyError"):
        unpaid.result(timeout=60)
    told = wait_for(lambda: project.logged("email sent for company.office.finance_work failed: KeyError: 'rate'"))
    assert len(told) == 1


def test_a_script_runs_in_place_of_the_function(company: Any) -> None:
    result = company.office.basic_blocking.dispatch(1, 2, 3).result(timeout=60)
    assert result == {"result": "I slept for 1 second - blocking with 1 2 3"}


def test_the_pages_show_the_workflow_as_the_command_draws_it(project: Project) -> None:
    found = find_workflow(deployed_workflows(project.cloud, [project.stack.name]), "company.etl.extract")
    shown = re.search(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert shown
    assert shown[1].rstrip() == f"{found}\n{tree(found.graph)}".rstrip()
    # Made by `tasks workflow show company.etl.extract --out workflow.svg` in the page's project.
    assert (DOCS / "workflow.svg").read_text(encoding="utf-8") == picture(found.path, found.graph)
