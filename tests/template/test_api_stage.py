"""The stage of a TaskApi: its access log, limits and caches, for all methods and for one."""

import json

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigateway as apigateway

from constructs_lib import TaskApi, TaskStore
from tests.api_templates import method, warnings
from tests.apps import (
    add_api,
    add_api_task,
    literal,
    new_stack,
    only,
    resources,
)


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
    assert only(stack, "AWS::Logs::LogGroup", under="ApiAccessLog")["Tags"] == [{"Key": "team", "Value": "shop"}]
