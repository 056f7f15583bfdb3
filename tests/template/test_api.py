"""TaskApi and ApiTask: what is deployed, and that it says what it is."""

import json
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from aws_cdk.assertions import Template
from cfnlint.api import lint

from constructs_lib import ApiTask, ManagedAsyncTask, TaskApi, TaskStore
from tests.api_templates import metadata, method
from tests.apps import (
    add_api,
    add_api_task,
    allowed,
    back_office,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
)


def place(stack: cdk.Stack, api: TaskApi, *, store: TaskStore | None = None, **arguments: Any) -> ApiTask:
    options: dict[str, Any] = {"store": store} if store else {}
    orders = ManagedAsyncTask(stack, "Orders", code=back_office(), task="back_office.web:place_order", **options)
    arguments = {"method": "POST", "path": "/orders", "respond": "accepted", "target": orders, **arguments}
    return add_api_task(stack, "Place", api=api, task="back_office.web:place_order", **arguments)


# --- One API, many tasks ----------------------------------------------------------------------------------------------


def test_many_tasks_share_one_api_and_one_deployment() -> None:
    stack = new_stack()
    api = add_api(stack)
    add_api_task(stack, "One", api=api, path="/orders/{order_id}")
    add_api_task(stack, "Two", api=api, path="/orders/{order_id}", method="delete")
    counts = {kind: len(resources(stack, f"AWS::ApiGateway::{kind}")) for kind in ("RestApi", "Deployment", "Stage")}
    assert counts == {"RestApi": 1, "Deployment": 1, "Stage": 1}
    assert [each["PathPart"] for each in resources(stack, "AWS::ApiGateway::Resource")] == ["orders", "{order_id}"]
    assert {each["HttpMethod"] for each in resources(stack, "AWS::ApiGateway::Method")} == {"GET", "DELETE"}


def test_api_is_regional() -> None:
    stack = new_stack()
    add_api_task(stack)
    assert only(stack, "AWS::ApiGateway::RestApi")["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


def test_a_task_is_five_resources_besides_its_path() -> None:
    stack = new_stack()
    api = add_api(stack)
    add_api_task(stack, "One", api=api, path="/")
    before = len(Template.from_stack(stack).to_json()["Resources"])
    stack = new_stack()
    api = add_api(stack)
    add_api_task(stack, "One", api=api, path="/")
    add_api_task(stack, "Two", api=api, path="/", method="POST")
    assert len(Template.from_stack(stack).to_json()["Resources"]) - before == 5


def test_only_this_method_may_invoke_the_function_and_not_the_console() -> None:
    stack = new_stack()
    add_api_task(stack, path="/orders/{order_id}")
    permission = only(stack, "AWS::Lambda::Permission")
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert literal(permission["SourceArn"]).endswith("/prod/GET/orders/*")


def test_any_method_and_the_rest_of_a_path() -> None:
    stack = new_stack()
    add_api_task(stack, task="back_office.web:echo", path="/files/{proxy+}", method="any")
    assert method(stack, "ANY")
    assert resources(stack, "AWS::ApiGateway::Resource")[1]["PathPart"] == "{proxy+}"
    assert literal(only(stack, "AWS::Lambda::Permission")["SourceArn"]).endswith("/prod/*/files/*")


def test_a_new_method_makes_a_new_deployment_of_the_same_stage() -> None:
    deployments = []
    for verbs in (["GET"], ["GET", "PUT"], ["GET", "PUT"]):
        stack = new_stack()
        api = add_api(stack)
        for verb in verbs:
            add_api_task(stack, verb, api=api, method=verb)
        [deployment] = Template.from_stack(stack).find_resources("AWS::ApiGateway::Deployment")
        assert only(stack, "AWS::ApiGateway::Stage")["DeploymentId"] == {"Ref": deployment}
        deployments.append(deployment)
    assert deployments[0] != deployments[1] == deployments[2]


def test_function_knows_its_task_and_has_no_dead_letters() -> None:
    stack = new_stack()
    add_api_task(stack)
    variables = environment(stack)
    assert variables["TASK_NAME"] == "back_office.web.get_order"
    assert variables["TASK_MODULES"] == "back_office.web"
    assert variables["TASK_API_RESPOND"] == "result"
    assert not {"TASK_DEAD_LETTER_QUEUE", "TASK_API_STATUS_PATH", "TASK_API_CORS"} & variables.keys()
    assert not allowed(stack, "sqs:SendMessage")


def test_function_waits_no_longer_than_the_api() -> None:
    stack = new_stack()
    add_api_task(stack)
    assert only(stack, "AWS::Lambda::Function")["Timeout"] == 29


def test_metadata_says_what_is_served_where() -> None:
    stack = new_stack()
    add_api_task(stack, path="/orders/{order_id}", authorization="none", api_key_required=True)
    described = metadata(stack, "Get")
    assert described["construct"] == "ApiTask"
    assert described["trigger"] == "GET /orders/{order_id}"
    assert described["tasks"] == {"back_office.web.get_order": "DEFAULT"}
    assert described["routes"] == {}
    assert described["api"] == {
        "path": "/orders/{order_id}",
        "method": "GET",
        "respond": "result",
        "api": "Shop/Api",
        "authorization": "NONE",
        "api_key": True,
    }


def test_urls_and_arns_are_told() -> None:
    stack = new_stack()
    task = add_api_task(stack, path="/orders/{order_id}")
    assert literal(stack.resolve(task.url)).endswith("/<ApiDeploymentStageprod95EFE650>/orders/{order_id}")
    assert literal(stack.resolve(task.arn)).endswith("<ApiCD79AAA0>/prod/GET/orders/*")


def test_metrics_are_those_of_the_api_and_of_the_method() -> None:
    stack = new_stack()
    api = add_api(stack)
    task = add_api_task(stack, api=api, path="/orders/{order_id}")
    found = [api.metric_requests(), api.metric_client_errors(), api.metric_server_errors(), api.metric_latency()]
    assert [each.metric_name for each in found] == ["Count", "4XXError", "5XXError", "Latency"]
    found = [task.metric_requests(), task.metric_client_errors(), task.metric_server_errors(), task.metric_latency()]
    assert [each.metric_name for each in found] == ["Count", "4XXError", "5XXError", "Latency"]
    assert found[0].dimensions["Resource"] == "/orders/{order_id}"
    assert task.metric_errors().namespace == "AWS/Lambda"


# --- Other stacks -----------------------------------------------------------------------------------------------------


def test_tasks_in_other_stacks_refer_to_the_api_and_never_the_other_way() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    api = add_api(here, store=TaskStore(here, "Store"))
    add_api_task(here, "Own", api=api, path="/own", task="back_office.web:echo")
    add_api_task(there, "Other", api=api, path="/other", task="back_office.web:echo")
    nested = cdk.NestedStack(here, "Part")
    add_api_task(nested, "Nested", api=api, path="/nested", task="back_office.web:echo")
    for stack in (here, there, nested):
        assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []
    assert "Fn::ImportValue" not in json.dumps(Template.from_stack(here).to_json())
    assert len(resources(here, "AWS::ApiGateway::Method")) == 4
    assert resources(there, "AWS::Lambda::Permission")
    assert resources(nested, "AWS::Lambda::Permission")


def test_api_task_and_target_may_be_in_three_stacks_and_dispatch_to_each_other() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    part = cdk.NestedStack(there, "Part")
    store = TaskStore(here, "Store")
    api = add_api(here, store=store)
    accepted = place(part, api, store=store)
    other = ManagedAsyncTask(here, "Invoice", code=back_office(), task="back_office.invoices:render", store=store)
    other.grant_dispatch(accepted.function)
    for stack in (here, there, part):
        assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []
    assert "Fn::ImportValue" not in json.dumps(Template.from_stack(here).to_json())


# --- 202 --------------------------------------------------------------------------------------------------------------


def test_accepted_dispatches_to_the_target_and_needs_no_other_grant() -> None:
    stack = new_stack()
    place(stack, add_api(stack))
    assert environment(stack, under="Place")["TASK_API_RESPOND"] == "accepted"
    assert "TASK_ROUTE__BACK_OFFICE_WEB_PLACE_ORDER" in environment(stack, under="Place")
    [queue] = allowed(stack, "sqs:SendMessage", under="Place")
    assert queue.endswith(":Shop-Orders-A8B1F509")
    assert metadata(stack, "Place")["api"]["respond"] == "accepted"


def test_status_is_read_from_the_store_by_one_function_that_may_do_nothing_else() -> None:
    stack = new_stack()
    store = TaskStore(stack, "Store")
    api = add_api(stack, store=store)
    place(stack, api, store=store)
    add_api_task(stack, "Get", api=api, path="/orders/{order_id}")
    assert len(resources(stack, "AWS::Lambda::Function", under="ApiStatus")) == 1
    variables = environment(stack, under="ApiStatus")
    assert variables["TASK_STORE"] == store.table_name
    assert only(stack, "AWS::Lambda::Function", under="ApiStatus")["Timeout"] == 29
    assert environment(stack, under="Place")["TASK_API_STATUS_PATH"] == "/tasks/{id}"
    assert allowed(stack, "dynamodb:GetItem", under="ApiStatus")
    assert not allowed(stack, "dynamodb:PutItem", under="ApiStatus")
    assert metadata(stack, "ApiStatus")["api"]["respond"] == "status"
    assert metadata(stack, "ApiStatus")["tasks"] == {}
    paths = {each["PathPart"] for each in resources(stack, "AWS::ApiGateway::Resource")}
    assert paths == {"orders", "{order_id}", "tasks", "{id}"}


def test_status_may_be_at_another_path() -> None:
    stack = new_stack()
    store = TaskStore(stack, "Store")
    place(stack, add_api(stack, store=store, status_path="/jobs/{id}"), store=store)
    assert environment(stack, under="Place")["TASK_API_STATUS_PATH"] == "/jobs/{id}"


def test_without_a_store_there_is_no_status() -> None:
    stack = new_stack()
    place(stack, add_api(stack))
    assert "TASK_API_STATUS_PATH" not in environment(stack, under="Place")
    assert not resources(stack, "AWS::Lambda::Function", under="ApiStatus")


# --- Standards --------------------------------------------------------------------------------------------------------


def _defaults(stack: cdk.Stack) -> None:
    add_api_task(stack)


def _everything(stack: cdk.Stack) -> None:
    store = TaskStore(stack, "Store")
    zone = route53.PublicHostedZone.from_hosted_zone_attributes(
        stack, "Zone", hosted_zone_id="Z0123", zone_name="example.com"
    )
    api = add_api(
        stack,
        store=store,
        domain_name="api.example.com",
        hosted_zone=zone,
        base_path="shop",
        security_policy="TLS13_1_3_2025_09",
        cors=apigateway.CorsOptions(allow_origins=["https://a.example", "https://b.example"]),
        cloud_watch_role=True,
        throttle=apigateway.ThrottleSettings(rate_limit=100, burst_limit=50),
        method_settings={
            "GET /orders/{order_id}": apigateway.MethodDeploymentOptions(
                caching_enabled=True, logging_level=apigateway.MethodLoggingLevel.ERROR
            )
        },
        tags={"team": "shop"},
    )
    place(stack, api, store=store, authorization="none")
    add_api_task(stack, api=api, path="/orders/{order_id}")
    api.add_usage_plan("Partners", api_keys=[apigateway.ApiKey(stack, "Partner")])


@pytest.mark.parametrize("make", [_defaults, _everything])
def test_cfn_lint_is_clean(make: Callable[[cdk.Stack], None]) -> None:
    stack = new_stack()
    make(stack)
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []


@pytest.mark.parametrize("make", [_defaults, _everything])
def test_cdk_nag_finds_nothing(make: Callable[[cdk.Stack], None]) -> None:
    stack = new_stack()
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    make(stack)
    stack.node.root.synth()


def test_objects_of_the_cdk_are_there_to_be_changed() -> None:
    stack = new_stack()
    api = add_api(stack, domain_name="api.example.com", certificate=acm.Certificate(stack, "C", domain_name="a.b"))
    task = add_api_task(stack, api=api)
    assert isinstance(api.api, apigateway.RestApi)
    assert isinstance(task.function, lambda_.Function)
    assert api.status_function is None
    with_store = add_api(stack, "WithStore", store=TaskStore(stack, "Store"))
    assert with_store.status_function is None
    add_api_task(stack, "Other", api=with_store)
    assert isinstance(with_store.status_function, lambda_.Function)
    assert isinstance(task.method, apigateway.Method)
    assert api.domain
    assert isinstance(api.domain.domain, apigateway.DomainName)
