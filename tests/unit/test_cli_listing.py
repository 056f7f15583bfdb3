"""`tasks list` and `tasks invoke`: what they read, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime_lib.contract import METADATA_KEY
from tasks_cli.app import app
from tasks_cli.cloud import Cloud
from tasks_cli.commands import invoke
from tasks_cli.deployed import Function, find_function
from tasks_cli.errors import CliError, UsageError
from tasks_cli.listing import ListedTask, list_tasks

TASKS = """
from runtime_lib import TaskGroup, task
mail = TaskGroup(name_prefix="mail.", namespace="mail")

@mail.task
def send(): ...

@task
def nightly(): ...

@task
def forgotten(): ...
"""


def function(construct: str, path: str, trigger: str, *tasks: str) -> dict[str, Any]:
    described = {"construct": construct, "path": path, "trigger": trigger, "modules": ["shop.tasks"]}
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {"Code": {"S3Bucket": "b", "S3Key": "abc.zip"}},
        "Metadata": {METADATA_KEY: {**described, "tasks": dict.fromkeys(tasks, "DEFAULT"), "routes": {}}},
    }


def schedule(path: str, message: Any, expression: str = "rate(1 day)") -> dict[str, Any]:
    return {
        "Type": "AWS::Scheduler::Schedule",
        "Properties": {"ScheduleExpression": expression, "Target": {"Input": message}},
        "Metadata": {"aws:cdk:path": f"{path}/Schedule/Resource"},
    }


def write_assembly(folder: Path, resources: dict[str, Any], nested: dict[str, Any] | None = None) -> Path:
    """An assembly for another account than the local cloud's, with the one stack ``Shop``."""
    files = {"n.nested.template.json": {"source": {"path": "n.nested.template.json"}}} if nested else {}
    manifest = {
        "artifacts": {
            "Shop": {
                "type": "aws:cloudformation:stack",
                "environment": "aws://123456789012/eu-central-1",
                "properties": {"templateFile": "shop.json", "stackName": "Shop"},
                "dependencies": ["Shop.assets"],
            },
            "Shop.assets": {"type": "cdk:asset-manifest", "properties": {"file": "assets.json"}},
        }
    }
    for name, content in {
        "manifest.json": manifest,
        "assets.json": {"files": files},
        "shop.json": {"Resources": resources},
        "n.nested.template.json": {"Resources": nested or {}},
    }.items():
        (folder / name).write_text(json.dumps(content))
    package = folder / "asset.abc" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(TASKS)
    return folder


def test_tasks_are_listed_with_every_way_in_which_they_run(tmp_path: Path) -> None:
    message = json.dumps({"schedule": "n", "scheduled_time": "<aws.scheduler.scheduled-time>", "task": "mail.send"})
    resources = {
        "A": function("PriorityTaskQueues", "Shop/Mail", "queues default", "mail.send"),
        "B": schedule("Shop/Weekly", message, "rate(7 days)"),
        "C": schedule("Shop/Other", {"Fn::Join": ["", ["{", {"Ref": "X"}]]}),
        "D": {"Type": "AWS::ApiGateway::RestApi", "Metadata": {METADATA_KEY: {"api": "x"}}},
    }
    nested = {
        "E": function("ScheduledTask", "Shop/Nested/Nightly", "rate(1 day)", "shop.tasks.nightly"),
        "F": schedule("Shop/Nested/Nightly", message.replace("mail.send", "shop.tasks.nightly")),
    }
    source = "shop/tasks.py"
    assert list_tasks(write_assembly(tmp_path, resources, nested)) == [
        ListedTask("mail.send", "queues default", "PriorityTaskQueues", "Shop/Mail", "Shop", f"{source}:6"),
        ListedTask("mail.send", "rate(7 days)", "ScheduledTask", "Shop/Weekly", "Shop", f"{source}:6"),
        ListedTask("shop.tasks.forgotten", source=f"{source}:12"),
        ListedTask("shop.tasks.nightly", "rate(1 day)", "ScheduledTask", "Shop/Nested/Nightly", "Shop", f"{source}:9"),
    ]


def test_sources_are_found_whatever_is_before_an_assets_name_in_its_bucket(tmp_path: Path) -> None:
    served = function("PriorityTaskQueues", "Shop/Mail", "queues default", "mail.send")
    served["Properties"]["Code"]["S3Key"] = {"Fn::Join": ["", ["shop/", {"Ref": "AWS::Region"}, "/abc.zip"]]}
    listed = list_tasks(write_assembly(tmp_path, {"A": served}))
    assert [(one.task, one.source) for one in listed] == [
        ("mail.send", "shop/tasks.py:6"),
        ("shop.tasks.forgotten", "shop/tasks.py:12"),
        ("shop.tasks.nightly", "shop/tasks.py:9"),
    ]


def test_stages_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    write_assembly(tmp_path / "stage", {"A": function("ManagedAsyncTask", "S/Shop/Send", "queue", "mail.send")})
    stage = {"type": "cdk:cloud-assembly", "properties": {"directoryName": "stage"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": {"Stage": stage}}))
    assert [(one.task, one.path) for one in list_tasks(tmp_path) if one.path] == [("mail.send", "S/Shop/Send")]


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_assembly(tmp_path, {"A": function("ManagedAsyncTask", "Shop/Send", "queue", "mail.send")})
    (folder / "asset.abc" / "shop" / "tasks.py").write_text("def (:")
    with pytest.raises(CliError, match=r"tasks\.py:1 cannot be parsed"):
        list_tasks(folder)


# --- tasks invoke ----------------------------------------------------------------------------------------------------


def deployed(name: str, construct: str, *tasks: str, route: str = "sqs:q", variable: str = "R") -> Function:
    return Function(
        name=name,
        stack="Shop",
        construct=construct,
        path=f"Shop/{name}",
        trigger="",
        modules=(),
        tasks=dict.fromkeys(tasks, "DEFAULT"),
        routes={variable: route},
        store={},
        dead_letter_queue="",
    )


FUNCTIONS = [
    deployed("Mail", "PriorityTaskQueues", "mail.send", "mail.refund"),
    deployed("Refund", "ManagedAsyncTask", "mail.refund", variable="TASK_ROUTE__MAIL_REFUND"),
    deployed("Show", "ApiTask", "shop.show"),
    deployed("List", "ApiTask", "shop.show"),
]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("mail.send", "Mail"),
        ("mail:send", "Mail"),
        ("mail.refund", "Refund"),
        ("Shop/Mail", "Mail"),
        ("Mail", "Mail"),
        ("Show", "Show"),
    ],
)
def test_a_function_is_found_by_its_task_its_path_or_its_name(name: str, function: str) -> None:
    assert find_function(FUNCTIONS, name).name == function


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mail.sned", "did you mean 'mail.send'"),
        ("mail:sned", "did you mean 'mail.send'"),
        ("Shop/Mial", "did you mean 'Shop/Mail'"),
        ("zzz", "there are Shop/List, Shop/Mail"),
        ("shop.show", "several constructs serve 'shop.show': name one of them instead, Shop/List or Shop/Show"),
    ],
)
def test_a_function_that_is_not_found_is_answered_with_what_there_is(name: str, message: str) -> None:
    with pytest.raises(CliError, match=message):
        find_function(FUNCTIONS, name)


def test_arguments_are_wrapped_as_the_functions_trigger_brings_them() -> None:
    [record] = invoke._wrapped(FUNCTIONS[1], "Shop/Refund", [7], {"fast": True})["Records"]
    envelope = json.loads(record["body"])
    assert (envelope["task"], envelope["args"], envelope["kwargs"]) == ("mail.refund", [7], {"fast": True})
    assert record["eventSourceARN"].endswith(":q")
    background = deployed("Back", "BackgroundTaskFunction", "a", "b", route="lambda:Back")
    assert invoke._wrapped(background, "b", [], {})["task"] == "b"
    with pytest.raises(UsageError, match="Back serves a, b: name the task instead"):
        invoke._wrapped(background, "Back", [], {})
    with pytest.raises(UsageError, match=r"Shop/Show \(ApiTask\) takes an event of its trigger"):
        invoke._wrapped(FUNCTIONS[2], "shop.show", [], {})


def test_events_are_read_from_arguments_files_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "event.json").write_text('{"a": "ä"}', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert invoke._event("[1]") == [1]
    assert invoke._event("@event.json") == {"a": "ä"}
    with pytest.raises(UsageError, match="EVENT is not JSON"):
        invoke._event("event.json")
    (tmp_path / "event.json").write_text("{")
    with pytest.raises(UsageError, match=r"event\.json is not JSON"):
        invoke._event("@event.json")
    for given in (b"\xff", b'["\xe4"]'):  # no UTF-8
        (tmp_path / "event.json").write_bytes(given)
        with pytest.raises(UsageError, match=r"event\.json is not JSON"):
            invoke._event("@event.json")


def test_an_event_and_arguments_are_not_given_together() -> None:
    result = CliRunner().invoke(app, ["invoke", "mail.send", "{}", "--arg", "1"])
    assert isinstance(result.exception, UsageError)
    assert "not both" in str(result.exception)


def test_an_invocation_waits_as_long_as_a_function_may_run_and_is_made_once() -> None:
    cloud = Cloud(url="http://127.0.0.1:1")
    config = cloud.patient_lambda_client().meta.config
    assert config.read_timeout > 900
    assert config.retries == {"total_max_attempts": 1, "mode": "legacy"}
    assert cloud.patient_lambda_client() is cloud.patient_lambda_client()
    cloud.close()
