"""Who may call the tasks of a TaskApi, pages of other origins among them."""

import json

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_iam as iam

from constructs_lib import ApiTask, TaskApi
from tests.api_templates import metadata, method, warnings
from tests.apps import (
    add_api,
    add_api_task,
    add_plain_function,
    back_office,
    environment,
    literal,
    new_stack,
    only,
    resources,
)


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
