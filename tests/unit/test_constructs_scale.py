"""Many tasks, in any partition of AWS."""

import re
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

import constructs_lib
from constructs_lib import ManagedAsyncTask, TaskCode
from tests.apps import environment, new_app

TASKS = 130


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskCode:
    """A package with many tasks."""
    package = tmp_path / "many"
    package.mkdir()
    (package / "__init__.py").touch()
    tasks = "".join(f"@task\ndef task_{number}() -> None: ...\n" for number in range(TASKS))
    (package / "tasks.py").write_text(f"from runtime_lib import task\n{tasks}")
    monkeypatch.syspath_prepend(tmp_path)
    return TaskCode.from_package("many")


def test_more_tasks_than_a_stack_holds_are_in_two_and_dispatch_to_one_another(code: TaskCode) -> None:
    app = new_app()
    stacks = [cdk.Stack(app, name) for name in ("One", "Two")]
    tasks = [
        ManagedAsyncTask(stacks[number % 2], f"Task{number}", code=code, task=f"many.tasks:task_{number}")
        for number in range(TASKS)
    ]
    for task, following in zip(tasks, [*tasks[1:], tasks[0]], strict=True):
        following.grant_dispatch(task.function)
    for stack in stacks:
        assert len(Template.from_stack(stack).to_json()["Resources"]) < 450
    assert environment(stacks[1], under="Task129")["TASK_ROUTE__MANY_TASKS_TASK_0"].startswith("sqs:One-Task0-")


def test_nothing_names_a_partition() -> None:
    sources = list(Path(constructs_lib.__file__).parent.glob("*.py"))
    assert sources
    # In messages for people an ARN may stand as an example.
    assert [path.name for path in sources if re.search(r"f?\"arn:aws:", path.read_text())] == []
