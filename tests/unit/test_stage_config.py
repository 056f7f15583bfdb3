"""A configuration file as the constructs use it."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Annotations, Match

from constructs_lib import StageConfig
from tests.apps import (
    add_invoice,
    add_mail,
    add_nightly,
    add_receipts,
    allowed,
    environment,
    new_app,
    new_config,
    new_stack,
    only,
    resources,
)

LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:{}:1"
POLICY = "arn:aws:iam::aws:policy/{}"


def _invoice(data: Any, *, stage: str | None = None, **explicit: Any) -> cdk.Stack:
    stack = new_stack()
    add_invoice(stack, **new_config(data, stack, stage=stage).task("Invoice", **explicit))
    return stack


EVERY_LEVEL = {
    "memory": 128,
    "layers": [LAYER.format("app")],
    "environment_variables": {"APP": "app", "LAST": "app"},
    "stages": {
        "prod": {
            "memory": 256,
            "layers": [LAYER.format("stage")],
            "environment_variables": {"STAGE": "stage", "LAST": "stage"},
        },
        "dev": {"memory": 1024, "layers": [LAYER.format("dev")], "environment_variables": {"DEV": "dev"}},
    },
    "tasks": {
        "Invoice": {
            "memory": 512,
            "layers": [LAYER.format("task")],
            "environment_variables": {"TASK": "task", "LAST": "task"},
            "stages": {
                "prod": {
                    "layers": [LAYER.format("a-task-in-a-stage")],
                    "environment_variables": {"LAST": "task stage"},
                },
            },
        },
        "Other": {"memory": 2048, "layers": [LAYER.format("other")]},
    },
}


def test_levels_add_up_from_the_app_to_a_task_in_its_stage() -> None:
    stack = _invoice(EVERY_LEVEL, stage="prod")
    function = only(stack, "AWS::Lambda::Function")
    assert function["MemorySize"] == 512
    assert function["Layers"] == [LAYER.format(name) for name in ("app", "stage", "task", "a-task-in-a-stage")]
    variables = function["Environment"]["Variables"]
    assert variables.items() >= {"APP": "app", "STAGE": "stage", "TASK": "task", "LAST": "task stage"}.items()
    assert "DEV" not in variables


def test_without_a_stage_only_the_levels_of_app_and_task_apply() -> None:
    function = only(_invoice(EVERY_LEVEL), "AWS::Lambda::Function")
    assert function["MemorySize"] == 512
    assert function["Layers"] == [LAYER.format("app"), LAYER.format("task")]


def test_a_task_that_the_file_does_not_have_gets_what_is_for_all() -> None:
    stack = new_stack()
    options = new_config(EVERY_LEVEL, stack, stage="dev").task("Unlisted")
    assert options["memory_size"] == 1024
    assert options["environment"] == {"APP": "app", "LAST": "app", "DEV": "dev"}


def test_every_option_of_a_task_reaches_its_resource() -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "$QUEUEID"}}
    stack = _invoice(
        {
            "environment_variables": {"BUCKET": {"Fn::ImportValue": "bucket"}, "Ref": "x"},
            "policies": [
                POLICY.format("ReadOnlyAccess"),
                {
                    "Effect": "Allow",
                    "Action": "s3:GetObject",
                    "Resource": {"Fn::Sub": "arn:${AWS::Partition}:s3:::a/*"},
                },
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": ["ses:Send"], "Resource": ["*"]}],
                },
            ],
            "layers": [LAYER.format("zeta"), LAYER.format("alpha"), LAYER.format("zeta")],
            "subnet_ids": ["subnet-1", "subnet-2", "subnet-1"],
            "security_group_ids": ["sg-1"],
            "tags": {"team": "billing"},
            "logging": {"level": "DEBUG", "retention": 7},
            "memory": 512,
            "timeout": 30,
            "ephemeral_storage": 1024,
            "reserved_concurrency": 9,
            "max_concurrency": 7,
            "queue_age_alarm": 600,
            "managed_queue_extras": [topic],
        },
    )
    function = only(stack, "AWS::Lambda::Function")
    variables = function["Environment"]["Variables"]
    assert variables["BUCKET"] == {"Fn::ImportValue": "bucket"}
    assert variables["Ref"] == "x"
    assert function["Layers"] == [LAYER.format("zeta"), LAYER.format("alpha")]
    assert function["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert function["Tags"] == [{"Key": "team", "Value": "billing"}]
    assert function["LoggingConfig"]["ApplicationLogLevel"] == "DEBUG"
    assert (function["MemorySize"], function["Timeout"]) == (512, 30)
    assert function["EphemeralStorage"] == {"Size": 1024}
    assert function["ReservedConcurrentExecutions"] == 9
    assert only(stack, "AWS::IAM::Role")["ManagedPolicyArns"] == [POLICY.format("ReadOnlyAccess")]
    assert allowed(stack, "ses:Send") == {"*"}
    assert len(allowed(stack, "s3:GetObject")) == 1
    assert only(stack, "AWS::Logs::LogGroup")["RetentionInDays"] == 7
    assert only(stack, "AWS::Lambda::EventSourceMapping")["ScalingConfig"] == {"MaximumConcurrency": 7}
    assert only(stack, "AWS::CloudWatch::Alarm", under="InvoiceAgeAlarm")["Threshold"] == 600
    assert only(stack, "AWS::SNS::Topic")["DisplayName"].startswith("InvoiceQueue")


def test_what_cloudformation_computes_may_stand_where_a_string_is_expected() -> None:
    imported = {name: {"Fn::ImportValue": name} for name in ("layer", "policy", "subnet", "group", "tag")}
    data = {
        "layers": [LAYER.format("a"), imported["layer"]],
        "policies": [imported["policy"]],
        "subnet_ids": [imported["subnet"]],
        "security_group_ids": [imported["group"]],
        "tags": {"owner": imported["tag"]},
    }
    stack = _invoice(data)
    function = only(stack, "AWS::Lambda::Function")
    assert function["Layers"] == data["layers"]
    assert function["VpcConfig"] == {"SubnetIds": data["subnet_ids"], "SecurityGroupIds": data["security_group_ids"]}
    assert function["Tags"] == [{"Key": "owner", "Value": imported["tag"]}]
    assert only(stack, "AWS::IAM::Role")["ManagedPolicyArns"] == data["policies"]


def test_what_names_layers_and_policies_adds_nothing_to_the_stack() -> None:
    stack = _invoice({"layers": [LAYER.format("a")], "policies": [POLICY.format("ReadOnlyAccess")]})
    plain = new_stack()
    add_invoice(plain)
    assert [child.node.id for child in stack.node.children] == [child.node.id for child in plain.node.children]


def test_one_file_of_an_app_serves_functions_of_several_stacks() -> None:
    app = new_app()
    options = new_config({"layers": [LAYER.format("a")], "memory": 256}, app)
    first, second = cdk.Stack(app, "First"), cdk.Stack(app, "Second")
    add_invoice(first, **options.task("Invoice"))
    add_mail(second, **options.function("Mail"))
    for stack in (first, second):
        assert only(stack, "AWS::Lambda::Function")["Layers"] == [LAYER.format("a")]


def test_other_constructs_get_the_options_of_their_functions() -> None:
    stack = new_stack()
    data = {"memory": 256, "max_concurrency": 5, "queue_age_alarm": 60, "managed_queue_extras": [{}], "paused": True}
    options = new_config(data, stack).function("Receipts", timeout=cdk.Duration.seconds(5))
    assert options.keys() == {"memory_size", "timeout"}
    add_receipts(stack, **options)
    assert only(stack, "AWS::Lambda::Function")["MemorySize"] == 256


@pytest.mark.parametrize(("stage", "state"), [("dev", "DISABLED"), ("prod", "ENABLED")])
def test_a_schedule_is_paused_in_its_stage(stage: str, state: str) -> None:
    stack = new_stack()
    data = {"memory": 256, "stages": {"dev": {"paused": True}, "prod": {}}}
    add_nightly(stack, **new_config(data, stack, stage=stage).schedule("Nightly"))
    assert only(stack, "AWS::Scheduler::Schedule")["State"] == state
    assert only(stack, "AWS::Lambda::Function")["MemorySize"] == 256


def test_a_schedule_with_a_target_has_no_options_of_a_function() -> None:
    stack = new_stack()
    target = add_invoice(stack)
    options = new_config({"memory": 256, "paused": True}, stack).schedule("Nightly", target=target)
    assert options == {"enabled": False, "target": target}


# --- What the code says ----------------------------------------------------------------------------------------------


def test_what_the_code_says_wins() -> None:
    stack = _invoice({"memory": 128, "timeout": 30, "logging": {"level": "INFO"}}, memory_size=512, log_level="DEBUG")
    function = only(stack, "AWS::Lambda::Function")
    assert (function["MemorySize"], function["Timeout"]) == (512, 30)
    assert function["LoggingConfig"]["ApplicationLogLevel"] == "DEBUG"


def test_variables_and_tags_of_the_code_are_added_and_win_by_name() -> None:
    stack = new_stack()
    data = {"environment_variables": {"A": "file", "B": "file"}, "tags": {"a": "file", "b": "file"}}
    options = new_config(data, stack).task("Invoice", environment={"B": "code", "C": "code"}, tags={"b": "code"})
    assert options["environment"] == {"A": "file", "B": "code", "C": "code"}
    assert options["tags"] == {"a": "file", "b": "code"}


def test_lists_of_the_code_replace_those_of_the_file() -> None:
    stack = new_stack()
    data = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"], "managed_queue_extras": [{"Type": "A::B::C"}]}
    options = new_config(data, stack).task("Invoice", subnet_ids=["subnet-2"], managed_queue_extras=[])
    assert options == {"subnet_ids": ["subnet-2"], "security_group_ids": ["sg-1"], "managed_queue_extras": []}


@pytest.mark.parametrize("given", ["vpc", "vpc_subnets", "security_groups"])
def test_a_network_of_the_code_takes_the_place_of_that_of_the_file(given: str) -> None:
    stack = new_stack()
    objects: dict[str, Any] = {
        "vpc": ec2.Vpc(stack, "Network", max_azs=1, nat_gateways=0),
        "vpc_subnets": ec2.SubnetSelection(),
        "security_groups": [],
    }
    data = {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
    assert new_config(data, stack).task("Invoice", **{given: objects[given]}).keys() == {given}


def test_a_log_group_of_the_code_takes_the_place_of_the_retention_of_the_file() -> None:
    stack = new_stack()
    options = new_config({"logging": {"retention": 7}}, stack).task("Invoice", log_group=logs.LogGroup(stack, "Logs"))
    assert options.keys() == {"log_group"}


def test_a_log_level_of_the_code_wins_however_the_file_spells_it() -> None:
    stack = _invoice({"environment_variables": {"LOG_LEVEL": "INFO", "CURRENCY": "EUR"}}, log_level="DEBUG")
    assert environment(stack).items() >= {"LOG_LEVEL": "DEBUG", "CURRENCY": "EUR"}.items()
    stack = _invoice({"logging": {"level": "INFO"}}, environment={"LOG_LEVEL": "DEBUG"})
    assert environment(stack)["LOG_LEVEL"] == "DEBUG"


# --- The stage -------------------------------------------------------------------------------------------------------


def test_the_stage_is_that_of_the_context_unless_the_code_says_another() -> None:
    app = new_app({"stage": "prod"})
    assert new_config(EVERY_LEVEL, app).stage == "prod"
    assert new_config(EVERY_LEVEL, app, stage="dev").stage == "dev"
    assert new_config(EVERY_LEVEL, new_app()).stage is None
    assert new_config({"stages": {"1": {}}}, new_app({"stage": 1})).stage == "1"


def test_a_stage_that_the_file_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"stages.json: stage is 'prdo', allowed is prod, dev: did you mean prod\?$"):
        new_config(EVERY_LEVEL, new_app({"stage": "prdo"}))
    with pytest.raises(ValueError, match=r"stage is 'canary', allowed is prod, dev: add an empty table stages\.canary"):
        new_config(EVERY_LEVEL, new_app(), stage="canary")


def test_a_file_without_stages_serves_any() -> None:
    assert new_config({"memory": 256}, new_app({"stage": "canary"})).task("Invoice") == {"memory_size": 256}


def test_stages_of_tasks_alone_are_the_stages_of_the_file() -> None:
    data = {"tasks": {"Invoice": {"stages": {"prod": {"memory": 256}}}}}
    assert new_config(data, new_app(), stage="prod").task("Invoice") == {"memory_size": 256}
    with pytest.raises(ValueError, match="stage is 'dev', allowed is prod"):
        new_config(data, new_app(), stage="dev")


def test_environment_for_the_requirements_is_that_of_the_stage_as_far_as_it_is_known() -> None:
    data = {
        "environment_variables": {"A": "app", "LATER": {"Ref": "AWS::Region"}},
        "stages": {"prod": {"environment_variables": {"B": "stage"}}},
        "tasks": {"Invoice": {"environment_variables": {"C": "task"}}},
    }
    assert new_config(data, new_app(), stage="prod").environment == {"A": "app", "B": "stage"}


# --- What nobody asked for -------------------------------------------------------------------------------------------


def test_a_task_of_the_file_that_no_construct_asked_for_is_warned_about_with_the_nearest_name() -> None:
    stack = _invoice({"tasks": {"Invioce": {"memory": 256}, "Zzz": {}}})
    annotations = Annotations.from_stack(stack)
    annotations.has_warning(
        "/Shop", Match.string_like_regexp(".*'Invioce', which no construct asked for: did you mean 'Invoice'")
    )
    annotations.has_warning("/Shop", Match.string_like_regexp(".*'Zzz', which no construct asked for: remove them, or"))


def test_a_task_that_any_stack_asked_for_is_not_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stages.toml"
    file.write_text("[tasks.Invoice]\n[tasks.Mail]\n")
    monkeypatch.chdir(tmp_path)
    app = new_app()
    first, second = cdk.Stack(app, "First"), cdk.Stack(app, "Second")
    add_invoice(first, **StageConfig.from_file(file, first).task("Invoice"))
    add_mail(second, **StageConfig.from_file("stages.toml", second).function("Mail"))
    for stack in (first, second):
        assert Annotations.from_stack(stack).find_warning("*", Match.any_value()) == []


@pytest.mark.parametrize(
    ("own", "path", "asked"),
    [
        ({"queue_age_alarm": 60}, "tasks.Mail.queue_age_alarm", "task()"),
        ({"managed_queue_extras": []}, "tasks.Mail.managed_queue_extras", "task()"),
        ({"stages": {"prod": {"paused": True}}}, "tasks.Mail.stages.prod.paused", "schedule()"),
    ],
)
def test_an_option_of_a_task_that_its_construct_does_not_have_is_refused(own: Any, path: str, asked: str) -> None:
    stack = new_stack()
    add_mail(stack, **new_config({"tasks": {"Mail": own}}, stack).function("Mail"))
    with pytest.raises(
        RuntimeError, match=rf"stages.json: {path} applies to what config\.{asked[:-2]}\(\) is asked for"
    ):
        resources(stack, "AWS::Lambda::Function")


def test_the_same_option_for_all_is_for_those_that_have_it() -> None:
    stack = new_stack()
    add_mail(stack, **new_config({"queue_age_alarm": 60, "tasks": {"Mail": {"memory": 256}}}, stack).function("Mail"))
    assert only(stack, "AWS::Lambda::Function")["MemorySize"] == 256
