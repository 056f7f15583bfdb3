"""TaskApi and ApiTask: what is deployed, and that it says what it is."""

import json
import re
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Annotations, Match, Template
from cfnlint.api import lint

from constructs_lib import ApiTask, ManagedAsyncTask, TaskApi, TaskStore
from tests.apps import (
    add_api,
    add_api_task,
    add_plain_function,
    allowed,
    back_office,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
)

CERTIFICATE = "arn:aws:acm:us-east-1:000000000000:certificate/0123"
DOMAIN = {"domain_name": "api.example.com", "certificate": CERTIFICATE}


def method(stack: cdk.Stack, verb: str = "GET") -> dict[str, Any]:
    [found] = [each for each in resources(stack, "AWS::ApiGateway::Method") if each["HttpMethod"] == verb]
    return found


def metadata(stack: cdk.Stack, under: str) -> dict[str, Any]:
    functions = Template.from_stack(stack).find_resources("AWS::Lambda::Function")
    [found] = [each for logical_id, each in functions.items() if logical_id.startswith(under)]
    return found["Metadata"]["lambda-task-constructs"]


def warnings(stack: cdk.Stack) -> list[str]:
    found = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    return [slug for each in found for slug in re.findall(r"lambda-task-constructs:([\w-]+)", str(each.entry.data))]


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


# --- Who may call -----------------------------------------------------------------------------------------------------


def test_nobody_may_call_whom_iam_does_not_let() -> None:
    stack = new_stack()
    task = ApiTask(
        stack, "Get", code=back_office(), task="back_office.web:get_order", api=TaskApi(stack, "Api"), path="/"
    )
    caller = iam.Role(stack, "Caller", assumed_by=iam.AccountRootPrincipal())
    task.grant_invoke(caller)
    assert method(stack)["AuthorizationType"] == "AWS_IAM"
    policy = only(stack, "AWS::IAM::Policy")["PolicyDocument"]["Statement"]
    assert [(each["Action"], literal(each["Resource"]).rpartition(":")[2]) for each in policy] == [
        ("execute-api:Invoke", "<ApiCD79AAA0>/prod/GET/")
    ]


def test_a_task_may_say_who_calls_it() -> None:
    stack = new_stack()
    api = add_api(stack, authorization="none")
    add_api_task(stack, "Open", api=api)
    add_api_task(stack, "Closed", api=api, method="PUT", authorization="iam")
    assert method(stack)["AuthorizationType"] == "NONE"
    assert method(stack, "PUT")["AuthorizationType"] == "AWS_IAM"


def test_users_of_a_pool_may_call_with_one_authorizer_for_all_tasks() -> None:
    stack = new_stack()
    api = add_api(stack, authorization=cognito.UserPool(stack, "Users"))
    add_api_task(stack, "One", api=api)
    add_api_task(stack, "Two", api=api, method="PUT", authorization_scopes=["orders/write"])
    assert only(stack, "AWS::ApiGateway::Authorizer")["Type"] == "COGNITO_USER_POOLS"
    assert method(stack)["AuthorizationType"] == "COGNITO_USER_POOLS"
    assert method(stack, "PUT")["AuthorizationScopes"] == ["orders/write"]
    assert metadata(stack, "One")["api"]["authorization"] == "COGNITO_USER_POOLS"


def test_an_imported_pool_will_do() -> None:
    stack = new_stack()
    pool = cognito.UserPool.from_user_pool_id(stack, "Users", "us-east-1_abc")
    add_api_task(stack, api=add_api(stack, authorization=pool))
    assert method(stack)["AuthorizationType"] == "COGNITO_USER_POOLS"


def test_a_function_may_decide_who_calls() -> None:
    stack = new_stack()
    authorizer = apigateway.TokenAuthorizer(stack, "Tokens", handler=add_plain_function(stack))
    add_api_task(stack, api=add_api(stack), authorization=authorizer)
    assert method(stack)["AuthorizationType"] == "CUSTOM"
    assert metadata(stack, "Get")["api"]["authorization"] == "CUSTOM"


def test_api_keys_have_a_plan_with_limits() -> None:
    stack = new_stack()
    api = add_api(stack, api_key_required=True)
    add_api_task(stack, "One", api=api)
    add_api_task(stack, "Two", api=api, method="PUT", api_key_required=False)
    api.add_usage_plan(
        "Partners",
        api_keys=[apigateway.ApiKey(stack, "Partner")],
        throttle=apigateway.ThrottleSettings(rate_limit=10, burst_limit=20),
        quota=apigateway.QuotaSettings(limit=1000, period=apigateway.Period.DAY),
    )
    assert (method(stack)["ApiKeyRequired"], method(stack, "PUT")["ApiKeyRequired"]) == (True, False)
    plan = only(stack, "AWS::ApiGateway::UsagePlan")
    assert plan["Throttle"] == {"RateLimit": 10, "BurstLimit": 20}
    assert plan["Quota"] == {"Limit": 1000, "Period": "DAY"}
    assert plan["ApiStages"][0]["Stage"] == {"Ref": "ApiDeploymentStageprod95EFE650"}
    assert only(stack, "AWS::ApiGateway::UsagePlanKey")
    assert "api-key-without-plan" not in warnings(stack)


def test_keys_without_a_plan_are_warned_about() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, api_key_required=True))
    assert warnings(stack) == ["api-key-without-plan"]


# --- Logs, limits, caching --------------------------------------------------------------------------------------------


def test_access_log_is_json_kept_a_month_without_queries_and_headers() -> None:
    stack = new_stack()
    add_api_task(stack)
    log = only(stack, "AWS::Logs::LogGroup", under="ApiAccessLog")
    assert log == {"LogGroupName": "/aws/apigateway/Shop-Api-4E8988D1", "RetentionInDays": 30}
    setting = only(stack, "AWS::ApiGateway::Stage")["AccessLogSetting"]
    fields = json.loads(setting["Format"])
    assert {"requestId", "status", "path", "method", "ip", "responseLatency"} <= fields.keys()
    assert not any("query" in value or "header" in value for value in fields.values())
    assert literal(setting["DestinationArn"]).startswith("<ApiAccessLog")


def test_role_of_the_account_is_made_only_when_it_is_asked_for() -> None:
    for value, roles in ((True, 1), (False, 0)):
        stack = new_stack()
        add_api_task(stack, api=add_api(stack, cloud_watch_role=value))
        assert len(resources(stack, "AWS::ApiGateway::Account")) == roles
        assert "api-logs-role" not in warnings(stack)
    stack = new_stack()
    add_api_task(stack, api=TaskApi(stack, "Api"))
    assert not resources(stack, "AWS::ApiGateway::Account")
    assert warnings(stack) == ["api-logs-role"]


def test_limits_logging_and_metrics_are_set_for_all_methods_and_for_one() -> None:
    stack = new_stack()
    api = add_api(
        stack,
        throttle=apigateway.ThrottleSettings(rate_limit=100, burst_limit=50),
        method_settings={
            "* /*": apigateway.MethodDeploymentOptions(metrics_enabled=True),
            "GET /orders/{order_id}": apigateway.MethodDeploymentOptions(
                logging_level=apigateway.MethodLoggingLevel.ERROR, throttling_rate_limit=5
            ),
            "GET /": apigateway.MethodDeploymentOptions(metrics_enabled=False),
        },
        stage_name="v1",
    )
    add_api_task(stack, api=api, path="/orders/{order_id}")
    add_api_task(stack, "Root", api=api, path="/", task="back_office.web:echo")
    stage = only(stack, "AWS::ApiGateway::Stage")
    assert stage["StageName"] == "v1"
    found = {(each["HttpMethod"], each["ResourcePath"]): each for each in stage["MethodSettings"]}
    assert found["*", "/*"]["ThrottlingRateLimit"] == 100
    assert found["*", "/*"]["ThrottlingBurstLimit"] == 50
    assert found["*", "/*"]["MetricsEnabled"] is True
    one = found["GET", "/~1orders~1{order_id}"]
    assert (one["LoggingLevel"], one["ThrottlingRateLimit"]) == ("ERROR", 5)
    assert found["GET", "/"]["MetricsEnabled"] is False


def test_answers_are_cached_encrypted_and_by_every_parameter() -> None:
    stack = new_stack()
    caching = apigateway.MethodDeploymentOptions(caching_enabled=True, cache_ttl=cdk.Duration.seconds(60))
    api = add_api(stack, method_settings={"GET /orders/{order_id}": caching})
    add_api_task(stack, api=api, path="/orders/{order_id}")
    add_api_task(stack, "Put", api=api, path="/orders/{order_id}", method="PUT")
    stage = only(stack, "AWS::ApiGateway::Stage")
    assert stage["CacheClusterEnabled"] is True
    assert stage["MethodSettings"][0]["CacheDataEncrypted"] is True
    get = method(stack)
    keys = ["method.request.path.order_id", "method.request.querystring.verbose"]
    assert get["Integration"]["CacheKeyParameters"] == keys
    assert get["RequestParameters"] == dict(zip(keys, (True, False), strict=True))
    assert "CacheKeyParameters" not in method(stack, "PUT")["Integration"]


@pytest.mark.parametrize(("origin", "keys"), [("https://a.example", ["method.request.header.Origin"]), ("*", [])])
def test_cached_answers_are_kept_apart_by_origin_where_they_differ_by_it(origin: str, keys: list[str]) -> None:
    stack = new_stack()
    caching = apigateway.MethodDeploymentOptions(caching_enabled=True)
    cors = apigateway.CorsOptions(allow_origins=[origin])
    add_api_task(stack, api=add_api(stack, method_settings={"* /*": caching}, cors=cors), path="/{order_id}")
    parameters = ["method.request.path.order_id", "method.request.querystring.verbose", *keys]
    assert method(stack)["Integration"]["CacheKeyParameters"] == parameters


def test_settings_of_a_method_come_on_top_of_those_of_all() -> None:
    stack = new_stack()
    every = apigateway.MethodDeploymentOptions(caching_enabled=True, metrics_enabled=True)
    own = apigateway.MethodDeploymentOptions(throttling_rate_limit=5)
    api = add_api(
        stack,
        throttle=apigateway.ThrottleSettings(rate_limit=100, burst_limit=50),
        method_settings={"* /*": every, "GET /": own, "PUT /": own},
    )
    add_api_task(stack, "Get", api=api)
    add_api_task(stack, "Put", api=api, method="PUT")
    found = {each["HttpMethod"]: each for each in only(stack, "AWS::ApiGateway::Stage")["MethodSettings"]}
    for verb in ("GET", "PUT"):
        assert found[verb]["MetricsEnabled"] is True
        assert (found[verb]["ThrottlingRateLimit"], found[verb]["ThrottlingBurstLimit"]) == (5, 50)
    # For all methods it means those that only read.
    assert found["GET"]["CachingEnabled"] is True
    assert "CachingEnabled" not in found["PUT"]


@pytest.mark.parametrize(
    ("own", "cached"),
    [
        ({}, False),
        ({"GET /tasks/{id}": apigateway.MethodDeploymentOptions(metrics_enabled=True)}, False),
        ({"GET /tasks/{id}": apigateway.MethodDeploymentOptions(caching_enabled=True)}, True),
    ],
)
def test_a_status_is_not_cached_along_with_everything(
    own: dict[str, apigateway.MethodDeploymentOptions], *, cached: bool
) -> None:
    stack = new_stack()
    caching = {"* /*": apigateway.MethodDeploymentOptions(caching_enabled=True)}
    add_api_task(stack, api=add_api(stack, store=TaskStore(stack, "Store"), method_settings=caching | own))
    settings = only(stack, "AWS::ApiGateway::Stage")["MethodSettings"]
    [found] = [each for each in settings if each["ResourcePath"] == "/~1tasks~1{id}"]
    assert found["CachingEnabled"] is cached


def test_tags_reach_the_api_and_its_log() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, tags={"team": "shop"}))
    for kind in ("AWS::ApiGateway::RestApi", "AWS::ApiGateway::Stage"):
        assert {"Key": "team", "Value": "shop"} in only(stack, kind)["Tags"]


# --- Domain names -----------------------------------------------------------------------------------------------------


def test_domain_name_speaks_tls_1_2_with_the_certificate_that_is_given() -> None:
    stack = new_stack()
    api = add_api(stack, **DOMAIN)
    task = add_api_task(stack, api=api, path="/orders/{order_id}")
    assert only(stack, "AWS::ApiGateway::DomainName") == {
        "DomainName": "api.example.com",
        "EndpointConfiguration": {"Types": ["REGIONAL"]},
        "RegionalCertificateArn": CERTIFICATE,
        "SecurityPolicy": "TLS_1_2",
    }
    assert api.url == "https://api.example.com/"
    assert task.url == "https://api.example.com/orders/{order_id}"
    assert not resources(stack, "AWS::Route53::RecordSet")


def test_with_a_domain_name_the_api_answers_nowhere_else() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, **DOMAIN))
    assert only(stack, "AWS::ApiGateway::RestApi")["DisableExecuteApiEndpoint"] is True
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, **DOMAIN, default_endpoint=True))
    assert only(stack, "AWS::ApiGateway::RestApi")["DisableExecuteApiEndpoint"] is False


def test_output_is_the_address_that_answers() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, **DOMAIN, base_path="shop"))
    [output] = Template.from_stack(stack).find_outputs("*").values()
    assert output["Value"] == "https://api.example.com/shop/"
    assert only(stack, "AWS::ApiGateway::BasePathMapping")["BasePath"] == "shop"


def test_certificate_is_made_and_validated_in_the_zone_and_a_record_leads_to_the_api() -> None:
    stack = new_stack()
    zone = route53.PublicHostedZone(stack, "Zone", zone_name="example.com")
    add_api_task(stack, api=add_api(stack, domain_name="api.example.com", hosted_zone=zone))
    zone_id = stack.resolve(zone.hosted_zone_id)
    certificate = only(stack, "AWS::CertificateManager::Certificate")
    assert certificate["ValidationMethod"] == "DNS"
    assert certificate["DomainValidationOptions"] == [{"DomainName": "api.example.com", "HostedZoneId": zone_id}]
    record = only(stack, "AWS::Route53::RecordSet")
    assert (record["Name"], record["Type"], record["HostedZoneId"]) == ("api.example.com.", "A", zone_id)
    assert "RegionalDomainName" in json.dumps(record["AliasTarget"]["DNSName"])


def test_ids_will_do_for_certificate_and_zone() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, domain_name="api.example.com", hosted_zone="Z0123"))
    assert only(stack, "AWS::Route53::RecordSet")["HostedZoneId"] == "Z0123"
    assert only(stack, "AWS::CertificateManager::Certificate")
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, **DOMAIN, hosted_zone="Z0123"))
    assert not resources(stack, "AWS::CertificateManager::Certificate")


@pytest.mark.parametrize(
    "policy",
    [apigateway.SecurityPolicy.TLS13_1_3_2025_09, "TLS13_1_3_2025_09", "SecurityPolicy_TLS13_1_3_2025_09"],
)
def test_tls_1_3_has_the_access_mode_that_it_needs(policy: Any) -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, **DOMAIN, security_policy=policy))
    domain = only(stack, "AWS::ApiGateway::DomainName")
    assert domain["SecurityPolicy"] == "SecurityPolicy_TLS13_1_3_2025_09"
    assert domain["EndpointAccessMode"] == "STRICT"


def test_access_mode_may_be_chosen() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, security_policy="TLS13_1_2_PQ_2025_09", endpoint_access_mode="BASIC"))
    api = only(stack, "AWS::ApiGateway::RestApi")
    assert api["EndpointAccessMode"] == "BASIC"
    assert api["SecurityPolicy"] == "SecurityPolicy_TLS13_1_2_PQ_2025_09"


def test_address_of_the_api_itself_speaks_tls_1_2_as_well() -> None:
    stack = new_stack()
    add_api_task(stack)
    assert only(stack, "AWS::ApiGateway::RestApi")["SecurityPolicy"] == "TLS_1_2"


def test_tls_1_0_is_spoken_only_when_it_is_asked_for_and_warned_about() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, **DOMAIN, security_policy="TLS_1_0"))
    assert only(stack, "AWS::ApiGateway::DomainName")["SecurityPolicy"] == "TLS_1_0"
    assert warnings(stack) == ["api-tls-1-0"]


def test_clients_may_need_certificates() -> None:
    stack = new_stack()
    bucket = s3.Bucket.from_bucket_name(stack, "Trust", "trust")
    mutual_tls = apigateway.MTLSConfig(bucket=bucket, key="clients.pem")
    add_api_task(stack, api=add_api(stack, **DOMAIN, mutual_tls=mutual_tls))
    domain = only(stack, "AWS::ApiGateway::DomainName")
    assert domain["MutualTlsAuthentication"] == {"TruststoreUri": "s3://trust/clients.pem"}


# --- Browsers ---------------------------------------------------------------------------------------------------------


def test_other_origins_may_call_and_read_answers_and_refusals() -> None:
    stack = new_stack()
    cors = apigateway.CorsOptions(
        allow_origins=["https://shop.example"], allow_credentials=True, expose_headers=["Location"]
    )
    api = add_api(stack, cors=cors)
    add_api_task(stack, "One", api=api, path="/orders/{order_id}")
    add_api_task(stack, "Two", api=api, path="/orders/{order_id}", method="PUT")
    preflight = method(stack, "OPTIONS")
    assert preflight["Integration"]["Type"] == "MOCK"
    assert preflight["AuthorizationType"] == "NONE"
    assert json.loads(environment(stack, under="One")["TASK_API_CORS"]) == {
        "origins": ["https://shop.example"],
        "credentials": True,
        "expose_headers": ["Location"],
    }
    responses = resources(stack, "AWS::ApiGateway::GatewayResponse")
    assert {each["ResponseType"] for each in responses} == {"DEFAULT_4XX", "DEFAULT_5XX"}
    headers = {"Origin": "'https://shop.example'", "Credentials": "'true'"}
    expected = {f"gatewayresponse.header.Access-Control-Allow-{name}": value for name, value in headers.items()}
    assert [each["ResponseParameters"] for each in responses] == [expected, expected]


def test_refusals_allow_no_credentials_unless_answers_do() -> None:
    stack = new_stack()
    add_api_task(stack, api=add_api(stack, cors=apigateway.CorsOptions(allow_origins=["*"])))
    for response in resources(stack, "AWS::ApiGateway::GatewayResponse"):
        assert response["ResponseParameters"] == {"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"}


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
