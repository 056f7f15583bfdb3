"""The sample's template: what each task may do and whom it reaches, and what cfn-lint and cdk-nag say about it."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk.assertions import Template
from cfnlint.api import lint

from runtime_lib.contract import METADATA_KEY
from tasks_cli.workflows import Node
from tests.apps import allowed, environment, new_app, only, resources, statements
from tests.shop import sample_app

SENDER = "shop@example.com"
SQS, LAMBDA = "sqs:SendMessage", "lambda:InvokeFunction"


def back_office(app: cdk.App) -> Any:
    app.node.set_context("stage", app.node.try_get_context("stage") or "test")
    with sample_app():
        return import_module("sample_app.stack").BackOffice(app, "Shop", sender=SENDER)


@pytest.fixture(scope="module")
def stack() -> cdk.Stack:
    return back_office(new_app())


def routes(stack: cdk.Stack, under: str) -> set[str]:
    return {name.removeprefix("TASK_ROUTE__") for name in environment(stack, under=under) if "ROUTE" in name}


def test_each_function_reaches_whom_it_dispatches_to_and_nobody_else(stack: cdk.Stack) -> None:
    assert routes(stack, "Intake") == {"MAIL", "MAIL__HIGH", "MAIL__BULK", "SAMPLE_APP_INVOICES_RENDER"}
    assert routes(stack, "Invoice") == {"RECEIPTS"}
    assert routes(stack, "Receipts") == routes(stack, "Mail") == set()
    assert routes(stack, "WebPlaceOrder") == {"SAMPLE_APP_STOREFRONT_PLACE"}
    assert routes(stack, "WebPlaceFunction") == {"SAMPLE_APP_INTAKE_ACCEPT"}
    assert routes(stack, "WebShowOrder") == routes(stack, "WebApiStatus") == routes(stack, "Report") == set()
    letters = {
        function: environment(stack, under=function)["TASK_DEAD_LETTER_QUEUE"] for function in ("Intake", "Mail")
    }
    sent_to = {arn.rpartition(":")[2] for arn in allowed(stack, SQS, under="Intake")}
    mail = {
        route.removeprefix("sqs:") for name, route in environment(stack, under="Intake").items() if "__MAIL" in name
    }
    assert mail < sent_to
    assert letters["Mail"] not in sent_to
    assert allowed(stack, LAMBDA, under="Intake") == allowed(stack, LAMBDA, under="Mail") == set()
    assert len(allowed(stack, LAMBDA, under="Invoice")) == 1


def test_functions_reach_only_their_own_part_of_the_bucket(stack: cdk.Stack) -> None:
    def objects(action: str, function: str) -> set[str]:
        return {arn.partition("/")[2] for arn in allowed(stack, action, under=function)}

    assert objects("s3:PutObject", "Invoice") == {"invoices/*"}
    assert objects("s3:GetObject", "Invoice") == set()
    assert objects("s3:GetObject", "Receipts") == {"invoices/*"}
    assert objects("s3:PutObject", "Receipts") == set()
    assert objects("s3:PutObject", "Intake") == objects("s3:GetObject", "Intake") == {"orders/*"}
    assert objects("s3:PutObject", "Report") == {"reports/*"}
    assert objects("s3:GetObject", "Export") == {"orders/*"}
    assert objects("s3:PutObject", "Export") == {"audit/*"}
    assert objects("s3:GetObject", "SalesWorker") == {"orders/*", "sales-lists/*"}
    assert objects("s3:PutObject", "SalesWorker") == {"sales/*", "sales-lists/*"}
    assert objects("s3:GetObject", "Report") == objects("s3:PutObject", "WebShowOrder") == set()
    for function in ("Mail", "WebPlaceRole", "WebPlaceOrder", "WebApiStatus"):
        assert not [one for one in statements(stack, under=function) if "s3" in json.dumps(one["Action"])]


def test_records_of_tasks_are_read_by_the_status_alone(stack: cdk.Stack) -> None:
    assert allowed(stack, "dynamodb:GetItem", under="WebApiStatus")
    for function in ("WebPlaceOrder", "WebPlaceRole", "WebShowOrder", "Intake"):
        assert allowed(stack, "dynamodb:GetItem", under=function) == set()
    assert allowed(stack, "dynamodb:UpdateItem", under="WebApiStatus") == set()


def test_what_the_sales_report_records_is_not_in_the_table_that_everybody_may_ask(stack: cdk.Stack) -> None:
    actions = ("dynamodb:GetItem", "dynamodb:UpdateItem")
    [own] = {table for action in actions for table in allowed(stack, action, under="SalesWorker")}
    assert own not in allowed(stack, "dynamodb:GetItem", under="WebApiStatus")


@pytest.mark.parametrize(("schedule", "minute"), [("Report", 0), ("SalesNightly", 30)])
def test_the_reports_are_made_after_two_in_the_shops_own_time(stack: cdk.Stack, schedule: str, minute: int) -> None:
    found = only(stack, "AWS::Scheduler::Schedule", under=schedule)
    assert found["ScheduleExpression"] == f"cron({minute} 2 * * ? *)"
    assert (found["ScheduleExpressionTimezone"], found["State"]) == ("Europe/Berlin", "ENABLED")


def test_the_sales_report_is_made_by_a_workflow_that_its_schedule_starts_and_nobody_else(stack: cdk.Stack) -> None:
    machine = only(stack, "AWS::StepFunctions::StateMachine")["StateMachineName"]
    worker = only(stack, "AWS::Lambda::Function", under="SalesWorker")["FunctionName"]
    target = json.dumps(only(stack, "AWS::Scheduler::Schedule", under="SalesNightly")["Target"])
    assert machine in target
    assert {arn.rpartition(":")[2] for arn in allowed(stack, LAMBDA, under="SalesRole")} == {worker}
    roles = Template.from_stack(stack).find_resources("AWS::IAM::Role").items()
    [starter] = [name for name, role in roles if "states:StartExecution" in json.dumps(role["Properties"])]
    assert starter in target


def test_the_workflow_runs_what_its_tasks_say(stack: cdk.Stack) -> None:
    [machine] = Template.from_stack(stack).find_resources("AWS::StepFunctions::StateMachine").values()
    extract = Node.read(machine["Metadata"][METADATA_KEY]["graph"])
    [transform] = extract.after
    assert transform.each
    compute = transform.each.then
    assert compute
    [load] = compute.after
    assert load.failure
    names = [node.name for node in (*extract.before, extract, transform, compute, load, load.failure)]
    assert names == ["list_orders", "list_invoices", "extract", "transform", "compute", "load", "notify"]
    assert compute.subprocess


def test_the_books_are_streamed_to_principals_of_iam(stack: cdk.Stack) -> None:
    url = only(stack, "AWS::Lambda::Url")
    assert (url["AuthType"], url["InvokeMode"]) == ("AWS_IAM", "RESPONSE_STREAM")
    assert environment(stack, under="Export")["TASK_STREAMING_HANDLER"] == "sample_app.export:books"
    assert routes(stack, "Export") == set()
    assert not [one for one in resources(stack, "AWS::Lambda::Permission") if "FunctionUrl" in one["Action"]]


def test_what_the_file_says_of_all_tasks_holds_for_every_function(stack: cdk.Stack) -> None:
    for function in resources(stack, "AWS::Lambda::Function"):
        assert {"Key": "app", "Value": "shop"} in function["Tags"]
    logs = Template.from_stack(stack).find_resources("AWS::Logs::LogGroup").items()
    assert {log["Properties"]["RetentionInDays"] for name, log in logs if not name.startswith("WebApi")} == {3}


def test_in_production_the_api_has_a_domain_and_more_hands(stack: cdk.Stack) -> None:
    production = back_office(new_app({"stage": "production"}))
    assert not resources(stack, "AWS::ApiGateway::DomainName")
    domain = only(production, "AWS::ApiGateway::DomainName")
    assert (domain["DomainName"], domain["SecurityPolicy"]) == ("api.shop.example.com", "TLS_1_2")

    def intake_at_once(stage: cdk.Stack) -> int:
        [mapping] = resources(stage, "AWS::Lambda::EventSourceMapping", under="IntakeFunction")
        return int(mapping["ScalingConfig"]["MaximumConcurrency"])

    assert (intake_at_once(stack), intake_at_once(production)) == (2, 20)
    assert lint(json.dumps(Template.from_stack(production).to_json()), regions=["us-east-1"]) == []


@pytest.mark.parametrize(
    ("function", "may_mail"),
    [("Mail", True), ("Receipts", True), ("SalesWorker", True), ("Invoice", False), ("Intake", False)],
)
def test_mail_is_sent_by_who_has_to_and_from_the_shops_address_only(
    stack: cdk.Stack, function: str, may_mail: bool
) -> None:
    found = [one for one in statements(stack, under=function) if "ses" in json.dumps(one["Action"])]
    assert [one["Action"] for one in found] == (["ses:SendEmail"] if may_mail else [])
    for statement in found:
        assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": SENDER}}
        assert "*" not in json.dumps(statement["Resource"])


def test_invoices_are_kept_private_encrypted_and_after_the_stack(stack: cdk.Stack) -> None:
    bucket = only(stack, "AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "AES256" in json.dumps(bucket["BucketEncryption"])
    assert "aws:SecureTransport" in json.dumps(only(stack, "AWS::S3::BucketPolicy"))
    [resource] = Template.from_stack(stack).find_resources("AWS::S3::Bucket").values()
    assert resource["DeletionPolicy"] == "Retain"


def test_concurrency_is_capped_where_somebody_would_suffer(stack: cdk.Stack) -> None:
    [invoice] = resources(stack, "AWS::Lambda::EventSourceMapping", under="InvoiceFunction")
    assert (invoice["BatchSize"], invoice["ScalingConfig"]) == (1, {"MaximumConcurrency": 2})
    mail = {
        name: properties["ScalingConfig"]["MaximumConcurrency"]
        for name in ("High", "Default", "Bulk")
        for properties in resources(stack, "AWS::Lambda::EventSourceMapping", under=f"MailFunction{name}")
    }
    assert mail == {"High": 4, "Default": 2, "Bulk": 2}


def test_what_only_the_cdk_needs_is_not_in_the_asset(stack: cdk.Stack) -> None:
    Template.from_stack(stack)
    names = {path.name for path in Path(stack.node.root.outdir).glob("asset.*/sample_app/*")}
    assert {"intake.py", "mail.py", "monitoring.py", "faults.py", "sales.py", "figures.py"} <= names
    assert not names & {"app.py", "stack.py", "web.py", "bucket.py", "stages.toml", "orders.csv"}


def test_cfn_lint_is_clean(stack: cdk.Stack) -> None:
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []


def test_cdk_nag_finds_nothing() -> None:
    app = new_app()
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks())
    back_office(app)
    app.synth()


def test_it_has_no_warnings(stack: cdk.Stack) -> None:
    assert cdk.assertions.Annotations.from_stack(stack).find_warning("*", cdk.assertions.Match.any_value()) == []
