"""The function options that every construct shares, on a ManagedAsyncTask."""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from constructs_lib import BackgroundTaskFunction, FunctionOptions, ManagedAsyncTask, TaskReferenceError
from tests.apps import (
    add_invoice,
    add_mail,
    add_receipts,
    allowed,
    back_office,
    environment,
    new_stack,
    only,
    resources,
    statements,
)

SORTS_LAYERS = {"@aws-cdk/aws-lambda:recognizeLayerVersion": True}


def _function(**options: Any) -> dict[str, Any]:
    stack = new_stack()
    add_invoice(stack, **options)
    return only(stack, "AWS::Lambda::Function")


def test_defaults_are_small_and_current() -> None:
    function = _function()
    assert function["MemorySize"] == 128
    assert function["Timeout"] == 60
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["x86_64"]
    # What Lambda does by itself stays out of the template: 512 MiB of storage, no network, no tracing, no cap.
    assert not function.keys() & {"EphemeralStorage", "VpcConfig", "TracingConfig", "ReservedConcurrentExecutions"}


def test_options_reach_the_function() -> None:
    function = _function(
        architecture=lambda_.Architecture.ARM_64,
        description="Renders invoices",
        environment={"CURRENCY": "EUR"},
        ephemeral_storage_size=cdk.Size.gibibytes(1),
        log_level="DEBUG",
        memory_size=512,
        reserved_concurrent_executions=7,
        runtime=lambda_.Runtime.PYTHON_3_12,
        timeout=cdk.Duration.minutes(2),
        max_concurrency=7,
    )
    assert function["Architectures"] == ["arm64"]
    assert function["Description"] == "Renders invoices"
    assert function["Environment"]["Variables"].items() >= {"CURRENCY": "EUR", "LOG_LEVEL": "DEBUG"}.items()
    assert function["EphemeralStorage"] == {"Size": 1024}
    assert function["MemorySize"] == 512
    assert function["ReservedConcurrentExecutions"] == 7
    assert function["Runtime"] == "python3.12"
    assert function["Timeout"] == 120


@pytest.mark.parametrize(
    ("options", "logging"),
    [
        ({}, {"LogFormat": "JSON"}),
        ({"log_level": "DEBUG"}, {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"}),
        ({"log_level": "WARNING"}, {"LogFormat": "JSON", "ApplicationLogLevel": "WARN"}),
        ({"log_level": "CRITICAL"}, {"LogFormat": "JSON", "ApplicationLogLevel": "FATAL"}),
    ],
)
def test_functions_log_json_at_their_level(options: dict[str, Any], logging: dict[str, str]) -> None:
    assert _function(**options)["LoggingConfig"].items() >= logging.items()


def test_every_function_option_is_a_keyword_of_the_construct_with_its_own_doc() -> None:
    doc = FunctionOptions.__doc__ or ""
    assert [name for name in FunctionOptions.__annotations__ if f"{name}: " not in doc] == []


def test_layers_keep_the_order_in_which_they_were_given() -> None:
    stack = new_stack(context=SORTS_LAYERS)
    arns = [f"arn:aws:lambda:us-east-1:123456789012:layer:{name}:1" for name in ("zeta", "alpha", "later")]
    layers = [
        lambda_.LayerVersion.from_layer_version_arn(stack, name, arn)
        for name, arn in zip(["Z", "A", "L"], arns, strict=True)
    ]
    task = add_invoice(stack, layers=layers[:2])
    task.function.add_layers(layers[2])
    assert only(stack, "AWS::Lambda::Function")["Layers"] == arns


def test_layers_of_the_app_and_those_known_at_deployment_only_pass() -> None:
    stack = new_stack()
    code = lambda_.Code.from_asset(str(Path(__file__).parents[1] / "fixtures"))
    made, added = (lambda_.LayerVersion(stack, name, code=code) for name in ("Made", "Added"))
    imported = lambda_.LayerVersion.from_layer_version_arn(stack, "Imported", cdk.Fn.import_value("layer"))
    add_invoice(stack, layers=[made, imported]).function.add_layers(added)
    ids = [stack.resolve(layer.layer_version_arn) for layer in (made, added)]
    assert only(stack, "AWS::Lambda::Function")["Layers"] == [ids[0], {"Fn::ImportValue": "layer"}, ids[1]]


def test_without_layers_the_template_has_none() -> None:
    assert "Layers" not in _function()


def test_log_group_is_its_own_kept_one_month_and_the_only_one_it_may_write_to() -> None:
    stack = new_stack()
    add_invoice(stack)
    assert only(stack, "AWS::Logs::LogGroup")["RetentionInDays"] == 30
    assert only(stack, "AWS::Lambda::Function")["LoggingConfig"]["LogGroup"] == {"Ref": "InvoiceLogsE278B2D9"}
    assert allowed(stack, "logs:PutLogEvents") == {"<InvoiceLogsE278B2D9>"}
    assert "ManagedPolicyArns" not in only(stack, "AWS::IAM::Role")


def test_a_log_group_of_yours_takes_the_place_of_its_own() -> None:
    stack = new_stack()
    group = logs.LogGroup(stack, "Shared")
    add_invoice(stack, log_group=group)
    assert len(resources(stack, "AWS::Logs::LogGroup")) == 1
    assert only(stack, "AWS::Lambda::Function")["LoggingConfig"]["LogGroup"] == stack.resolve(group.log_group_name)
    assert allowed(stack, "logs:PutLogEvents") == {f"<{stack.get_logical_id(group.node.default_child)}>"}


def test_its_own_log_group_keeps_logs_as_long_as_asked() -> None:
    stack = new_stack()
    add_invoice(stack, log_retention=logs.RetentionDays.ONE_WEEK)
    assert only(stack, "AWS::Logs::LogGroup")["RetentionInDays"] == 7


def test_retention_of_a_log_group_of_yours_is_refused() -> None:
    stack = new_stack()
    group = logs.LogGroup(stack, "Shared")
    with pytest.raises(ValueError, match="Shop/Invoice: log_retention is set, and so is log_group, allowed is one of"):
        add_invoice(stack, log_group=group, log_retention=logs.RetentionDays.ONE_WEEK)


def test_policies_of_yours_are_added_to_the_role() -> None:
    stack = new_stack()
    add_invoice(
        stack,
        policy_statements=[iam.PolicyStatement(actions=["ses:SendEmail"], resources=["arn:aws:ses:::identity/x"])],
        managed_policies=[iam.ManagedPolicy.from_managed_policy_arn(stack, "Audit", "arn:aws:iam::aws:policy/Audit")],
    )
    assert allowed(stack, "ses:SendEmail") == {"arn:aws:ses:::identity/x"}
    assert only(stack, "AWS::IAM::Role")["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/Audit"]


def test_a_grant_of_your_own_on_the_function_is_kept() -> None:
    stack = new_stack()
    task = add_invoice(stack)
    s3.Bucket(stack, "Files").grant_read(task.function)
    [policy] = resources(stack, "AWS::IAM::Policy")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert "s3:GetObject*" in statement["Action"]
    assert policy["Roles"] == [{"Ref": "InvoiceRole5670321A"}]


def test_in_a_network_the_function_may_make_its_interfaces() -> None:
    stack = new_stack()
    vpc = ec2.Vpc(stack, "Network", max_azs=2, nat_gateways=0)
    group = ec2.SecurityGroup(stack, "Group", vpc=vpc)
    add_invoice(
        stack,
        vpc=vpc,
        vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
        security_groups=[group],
    )
    network = only(stack, "AWS::Lambda::Function")["VpcConfig"]
    assert len(network["SubnetIds"]) == 2
    assert network["SecurityGroupIds"] == [stack.resolve(group.security_group_id)]
    assert allowed(stack, "ec2:CreateNetworkInterface", under="Invoice") == {"*"}


def test_outside_a_network_the_function_may_not_touch_interfaces() -> None:
    stack = new_stack()
    add_invoice(stack)
    assert not [statement for statement in statements(stack) if "ec2:" in str(statement["Action"])]


def test_removal_policy_covers_queue_and_logs() -> None:
    stack = new_stack()
    add_invoice(stack, removal_policy=cdk.RemovalPolicy.RETAIN)
    template = cdk.assertions.Template.from_stack(stack)
    for resource_type in ("AWS::Logs::LogGroup", "AWS::SQS::Queue"):
        template.has_resource(resource_type, {"DeletionPolicy": "Retain"})


def test_entry_of_yours_is_the_handler() -> None:
    assert _function(entry="back_office.entry:handler")["Handler"] == "back_office.entry.handler"


def test_entry_that_does_not_exist_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TaskReferenceError, match=r"^Shop/Invoice: .*handlr.*handler"):
        _function(entry="back_office.entry:handlr")


def test_metadata_of_a_subclass_names_the_construct_that_it_is() -> None:
    class Invoice(ManagedAsyncTask):
        pass

    stack = new_stack()
    Invoice(stack, "Invoice", code=back_office(), task="back_office.invoices:render")
    [function] = cdk.assertions.Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
    assert function["Metadata"]["lambda-task-constructs"]["construct"] == "ManagedAsyncTask"


def test_metadata_tells_tools_what_the_function_serves() -> None:
    stack = new_stack()
    add_invoice(stack)
    [function] = cdk.assertions.Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
    assert function["Metadata"]["lambda-task-constructs"] == {
        "construct": "ManagedAsyncTask",
        "path": "Shop/Invoice",
        "trigger": "queue",
        "modules": ["back_office.invoices"],
        "tasks": {"back_office.invoices.render": "DEFAULT"},
        "routes": {"TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER": "sqs:Shop-Invoice-F424F54B"},
        "dead_letter_queue": "Shop-TaskDeadLetters-6649E4FA",
    }


@pytest.mark.parametrize(
    ("add", "trigger"),
    [
        (add_receipts, "asynchronous invocation"),
        (add_invoice, "queue"),
        (add_mail, "queues default, high, low, bulk"),
    ],
)
def test_metadata_tells_people_what_starts_the_function(add: Any, trigger: str) -> None:
    stack = new_stack()
    add(stack)
    [function] = cdk.assertions.Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
    assert function["Metadata"]["lambda-task-constructs"]["trigger"] == trigger


@pytest.mark.parametrize(
    ("namespace", "modules", "served"),
    [
        # The first of a task's namespaces that is served is the one to dispatch it to.
        (["campaigns", "mail"], ["back_office.mail"], {"confirm": "mail", "newsletter": "mail"}),
        ("campaigns", ["back_office.mail", "back_office.receipts"], {"newsletter": "campaigns"}),
    ],
)
def test_metadata_names_the_tasks_of_the_served_namespaces(
    namespace: Any, modules: list[str], served: dict[str, str]
) -> None:
    stack = new_stack()
    BackgroundTaskFunction(stack, "Mail", code=back_office(), modules=modules, namespace=namespace)
    [function] = cdk.assertions.Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
    expected = {f"back_office.mail.{name}": found for name, found in served.items()}
    assert function["Metadata"]["lambda-task-constructs"]["tasks"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_size": 127}, "memory_size is 127 MiB, allowed is 128 to 10,240 MiB"),
        ({"memory_size": 10_241}, "memory_size is 10241 MiB, allowed is 128 to 10,240 MiB"),
        (
            {"ephemeral_storage_size": cdk.Size.mebibytes(511)},
            "ephemeral_storage_size is 511 MiB, allowed is 512 to 10,240 MiB",
        ),
        ({"timeout": cdk.Duration.seconds(5000)}, "timeout is 5000 seconds, allowed is 1 to 900 seconds: split"),
        ({"timeout": 60}, "timeout is 60, allowed is a Duration: write Duration.seconds(60)"),
        ({"vpc": None}, "vpc is None, allowed is a value: leave it out for its default"),
        ({"timeout": cdk.Duration.seconds(0)}, "timeout is 0 seconds, allowed is 1 to 900 seconds"),
        ({"runtime": lambda_.Runtime.PYTHON_3_10}, "runtime is python3.10, allowed is python3.11 and newer"),
        ({"runtime": lambda_.Runtime.NODEJS_22_X}, "runtime is nodejs22.x, allowed is python3.11 and newer"),
        ({"environment": {"X": "1"}}, "environment['X'] is no name that Lambda takes, allowed is a letter, then"),
        ({"environment": {"NO-DASH": "1"}}, "environment['NO-DASH'] is no name that Lambda takes"),
        ({"environment": {"_HANDLER": "x.y"}}, "environment['_HANDLER'] is no name that Lambda takes"),
        ({"environment": {"TASK_MODULES": "x"}}, "environment['TASK_MODULES'] is a variable that this construct sets"),
        ({"environment": {"TASK_ROUTE__A": "x"}}, "environment['TASK_ROUTE__A'] is a variable that this construct"),
        ({"environment": {"LOG_LEVEL": "INFO"}, "log_level": "INFO"}, "environment['LOG_LEVEL'] is set, and so is"),
        ({"log_level": "LOUD"}, "log_level is 'LOUD', allowed is DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ],
)
def test_what_lambda_would_refuse_is_refused_at_synth(options: dict[str, Any], message: str) -> None:
    stack = new_stack()
    with pytest.raises(ValueError) as error:
        add_invoice(stack, **options)
    assert str(error.value).startswith(f"Shop/Invoice: {message}")


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Shop/Invoice: unexpected argument 'memory'; the options are .*memory_size"):
        _function(memory=512)


def test_variables_that_lambda_sets_are_refused() -> None:
    with pytest.raises(RuntimeError, match="AWS_REGION environment variable is reserved"):
        _function(environment={"AWS_REGION": "eu-west-1"})


def test_nothing_is_made_before_the_arguments_are_checked() -> None:
    stack = new_stack()
    with pytest.raises(ValueError):
        add_invoice(stack, memory_size=1)
    assert [child.node.path for child in stack.node.find_all()] == ["Shop", "Shop/Invoice"]


def test_values_known_at_deployment_only_pass() -> None:
    stack = new_stack()
    memory = cdk.CfnParameter(stack, "Memory", type="Number")
    timeout = cdk.CfnParameter(stack, "Timeout", type="Number")
    add_invoice(
        stack,
        memory_size=memory.value_as_number,
        timeout=cdk.Duration.seconds(timeout.value_as_number),
        visibility_timeout=cdk.Duration.minutes(30),
        ephemeral_storage_size=cdk.Size.mebibytes(memory.value_as_number),
        environment={"MEMORY": memory.value_as_string},
    )
    function = only(stack, "AWS::Lambda::Function")
    assert function["MemorySize"] == {"Ref": "Memory"}
    assert function["Timeout"] == {"Ref": "Timeout"}


def test_environment_above_the_limit_is_refused_with_the_sum() -> None:
    stack = new_stack()
    add_invoice(stack, environment={"LARGE": "x" * 4_000})
    with pytest.raises(
        RuntimeError, match=r"environment of Shop/Invoice/Function is 4,\d\d\d bytes.* allowed is 4,096"
    ):
        environment(stack)


def test_environment_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    def variables(**options: Any) -> dict[str, Any]:
        stack = new_stack(env=cdk.Environment(account="123456789012", region="us-east-1"))
        add_invoice(stack, **options)
        return environment(stack)

    url_prefix = "https://sqs.us-east-1.amazonaws.com/123456789012/"
    size = sum(len(name) + len(value if isinstance(value, str) else url_prefix) for name, value in variables().items())
    room = 4_096 - size - len("FILL")
    assert variables(environment={"FILL": "x" * room})["FILL"]
    with pytest.raises(RuntimeError, match="is 4,097 bytes"):
        variables(environment={"FILL": "x" * (room + 1)})
