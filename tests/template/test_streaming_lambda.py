"""StreamingLambda: how it is reached, what it may cost, and what is refused."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match, Template

from constructs_lib import FunctionUrlSettings, TaskReferenceError
from runtime_lib import contract
from tests.apps import (
    add_api,
    add_invoice,
    add_plain_function,
    allowed,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
)
from tests.streaming_apps import add_export

SECONDS = cdk.Duration.seconds


def _warnings(stack: cdk.Stack) -> list[str]:
    found = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    return [entry.entry.data for entry in found]


def test_the_function_runs_the_handler_and_nothing_else_is_made() -> None:
    stack = new_stack()
    export = add_export(stack)
    types = sorted(resource["Type"] for resource in Template.from_stack(stack).to_json()["Resources"].values())
    assert types == ["AWS::IAM::Role", "AWS::Lambda::Function", "AWS::Logs::LogGroup"]
    assert only(stack, "AWS::Lambda::Function")["Handler"] == contract.STREAMING_LAMBDA_HANDLER
    assert environment(stack)[contract.ENV_STREAMING_HANDLER] == "back_office.exports:export"
    assert (export.url, export.function_url, export.method) == (None, None, None)
    assert contract.ENV_BACKGROUND_TIMEOUT not in environment(stack)


@pytest.mark.parametrize("name", ["export", "greet", "log_lines", "again"])
def test_every_shape_of_handler_is_found(name: str) -> None:
    add_export(new_stack(), handler=f"back_office.exports:{name}")


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("back_office.exports:plain", "no function with @streaming_handler or @background_handler on top"),
        ("back_office.exports:exprt", "did you mean 'export'"),
        ("back_office.exprts:export", "back_office.exprts"),
        ("back_office.invoices:render", "no function with @streaming_handler"),
        ("export", "write 'module:name'"),
    ],
)
def test_a_handler_that_is_none_is_refused(handler: str, message: str) -> None:
    with pytest.raises(TaskReferenceError, match=f"^Shop/Export: .*{message}"):
        add_export(new_stack(), handler=handler)


def test_the_function_may_dispatch_what_is_to_be_repeated() -> None:
    stack = new_stack()
    invoice, export = add_invoice(stack), add_export(stack)
    invoice.grant_dispatch(export.function)
    assert invoice.routes.items() <= environment(stack, under="Export").items()
    assert allowed(stack, "sqs:SendMessage", under="Export")


def test_nothing_is_dispatched_to_it() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=r"^Shop/Export: it serves no task"):
        add_export(stack).grant_dispatch(add_plain_function(stack))


# --- Function URLs ---------------------------------------------------------------------------------------------------


def test_a_function_url_streams_and_asks_for_a_signature() -> None:
    stack = new_stack()
    export = add_export(stack, function_url=True)
    url = only(stack, "AWS::Lambda::Url")
    assert (url["AuthType"], url["InvokeMode"], "Cors" in url) == ("AWS_IAM", "RESPONSE_STREAM", False)
    assert resources(stack, "AWS::Lambda::Permission") == []
    assert export.function_url is not None
    assert export.url == export.function_url.url
    assert contract.ENV_URL_BUFFERED not in environment(stack)
    assert _warnings(stack) == []


def test_a_grant_lets_one_role_call_the_url() -> None:
    stack = new_stack()
    export, caller = add_export(stack, function_url=True), add_plain_function(stack)
    export.grant_invoke_url(caller)
    statements = only(stack, "AWS::IAM::Policy", under="Plain")["PolicyDocument"]["Statement"]
    assert [(each["Action"], each["Condition"]) for each in statements] == [
        ("lambda:InvokeFunctionUrl", {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}),
        ("lambda:InvokeFunction", {"Bool": {"lambda:InvokedViaFunctionUrl": True}}),
    ]


@pytest.mark.parametrize(
    ("function_url", "message"),
    [(False, "a function without a URL"), (FunctionUrlSettings(auth="none"), "a URL that everybody may call")],
)
def test_a_grant_for_a_url_that_asks_for_none_is_refused(function_url: Any, message: str) -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=f"Shop/Export: .*{message}"):
        add_export(stack, function_url=function_url).grant_invoke_url(add_plain_function(stack))


def test_a_url_for_everybody_is_warned_of() -> None:
    stack = new_stack()
    add_export(stack, function_url=FunctionUrlSettings(auth="none"), reserved_concurrent_executions=3)
    assert only(stack, "AWS::Lambda::Url")["AuthType"] == "NONE"
    assert {each["Action"]: each["Principal"] for each in resources(stack, "AWS::Lambda::Permission")} == {
        "lambda:InvokeFunctionUrl": "*",
        "lambda:InvokeFunction": "*",
    }
    assert only(stack, "AWS::Lambda::Function")["ReservedConcurrentExecutions"] == 3
    [warning] = _warnings(stack)
    assert "everybody may call" in warning
    assert "lambda-task-constructs:function-url-open" in warning


def test_a_streaming_url_in_a_vpc_is_warned_of_and_a_buffered_one_is_not() -> None:
    for mode, expected in (("RESPONSE_STREAM", 1), ("BUFFERED", 0)):
        stack = new_stack()
        vpc = ec2.Vpc(stack, "Network", max_azs=1, nat_gateways=0)
        subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        add_export(stack, function_url=FunctionUrlSettings(invoke_mode=mode), vpc=vpc, vpc_subnets=subnets)
        assert sum("lambda-task-constructs:function-url-vpc" in each for each in _warnings(stack)) == expected


def test_a_buffered_url_is_told_to_the_function() -> None:
    stack = new_stack()
    add_export(stack, function_url=FunctionUrlSettings(invoke_mode="BUFFERED"))
    assert only(stack, "AWS::Lambda::Url")["InvokeMode"] == "BUFFERED"
    assert environment(stack)[contract.ENV_URL_BUFFERED] == "1"


def test_other_origins_are_passed_to_the_url() -> None:
    stack = new_stack()
    cors = lambda_.FunctionUrlCorsOptions(allowed_origins=["https://page.example"], allow_credentials=True)
    add_export(stack, function_url=FunctionUrlSettings(cors=cors))
    assert only(stack, "AWS::Lambda::Url")["Cors"] == {
        "AllowCredentials": True,
        "AllowMethods": ["*"],
        "AllowOrigins": ["https://page.example"],
    }


@pytest.mark.parametrize(
    ("function_url", "message"),
    [
        (FunctionUrlSettings(auth="NONE"), "function_url.auth is 'NONE', allowed is 'iam' or 'none'"),
        (FunctionUrlSettings(invoke_mode="STREAM"), "function_url.invoke_mode is 'STREAM'"),
        ("https://example.com", "allowed is True, False or FunctionUrlSettings"),
        (FunctionUrlSettings(cors={"allowed_origins": ["*"]}), "function_url.cors is {.*write FunctionUrlCorsOptions"),  # type: ignore[arg-type]
        (
            FunctionUrlSettings(
                cors=lambda_.FunctionUrlCorsOptions(allowed_origins=["*"], allow_credentials=True),
            ),
            "function_url.cors is credentials for every origin",
        ),
    ],
)
def test_a_url_that_lambda_would_not_take_is_refused(function_url: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^Shop/Export: .*{message}"):
        add_export(new_stack(), function_url=function_url)


# --- APIs ------------------------------------------------------------------------------------------------------------


def test_a_method_of_an_api_streams_as_long_as_the_function_runs() -> None:
    stack = new_stack()
    api = add_api(stack)
    export = add_export(stack, api=api, path="/export/{year}", timeout=cdk.Duration.minutes(10))
    method = only(stack, "AWS::ApiGateway::Method")
    integration = method["Integration"]
    assert (method["HttpMethod"], method["AuthorizationType"]) == ("GET", "AWS_IAM")
    assert (integration["ResponseTransferMode"], integration["TimeoutInMillis"]) == ("STREAM", 600_000)
    assert literal(integration["Uri"]).endswith("/response-streaming-invocations")
    assert ":lambda:path/2021-11-15/functions/arn:" in literal(integration["Uri"])
    permission = only(stack, "AWS::Lambda::Permission")
    assert literal(permission["SourceArn"]).endswith("/prod/GET/export/*")
    assert export.method is not None
    assert literal(stack.resolve(export.url)).endswith("/export/{year}")


def test_a_timeout_that_is_known_at_deployment_ends_the_stream_by_itself() -> None:
    stack = new_stack()
    timeout = cdk.CfnParameter(stack, "Seconds", type="Number").value_as_number
    add_export(stack, api=add_api(stack), path="/export", timeout=SECONDS(timeout))
    assert only(stack, "AWS::ApiGateway::Method")["Integration"]["TimeoutInMillis"] == 900_000


def test_the_metadata_tells_that_the_method_streams() -> None:
    stack = new_stack()
    add_export(stack, api=add_api(stack), path="/export", method="post", authorization="none", api_key_required=True)
    [function] = Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
    described = function["Metadata"][contract.METADATA_KEY]
    assert (described["construct"], described["trigger"]) == ("StreamingLambda", "POST /export")
    assert described["api"] == {
        "path": "/export",
        "method": "POST",
        "respond": "stream",
        "api": "Shop/Api",
        "authorization": "NONE",
        "api_key": True,
    }


def test_a_url_and_a_method_together_answer_at_the_url_of_the_function() -> None:
    stack = new_stack()
    export = add_export(stack, api=add_api(stack), path="/export", function_url=True)
    assert export.function_url is not None
    assert export.url == export.function_url.url
    assert export.method is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "/export"}, "path is '/export', and api is not set"),
        ({"method": "POST"}, "method is 'POST', and api is not set"),
        ({"authorization": "none"}, "authorization is 'none', and api is not set"),
        ({"api_key_required": True}, "api_key_required is True, and api is not set"),
    ],
)
def test_what_only_a_method_has_is_refused_without_an_api(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^Shop/Export: {message}"):
        add_export(new_stack(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"), [({}, "path is not set, and api is"), ({"path": ""}, "path is ''")], ids=["none", "empty"]
)
def test_an_api_without_a_path_is_refused(arguments: dict[str, Any], message: str) -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=f"^Shop/Export: {message}"):
        add_export(stack, api=add_api(stack), **arguments)


def test_a_method_that_is_taken_is_refused() -> None:
    stack = new_stack()
    api = add_api(stack)
    add_export(stack, api=api, path="/export")
    with pytest.raises(ValueError, match="Shop/Other and Shop/Export both serve GET /export"):
        add_export(stack, "Other", api=api, path="/export")


def test_a_method_whose_answers_the_api_keeps_is_refused() -> None:
    stack = new_stack()
    kept = apigateway.MethodDeploymentOptions(caching_enabled=True)
    api = add_api(stack, method_settings={"GET /export": kept})
    with pytest.raises(ValueError, match=r"GET /export, whose answers Shop/Api keeps.*caching_enabled=False"):
        add_export(stack, api=api, path="/export")


# --- Work after the answer -------------------------------------------------------------------------------------------


def test_the_background_timeout_is_told_to_the_function() -> None:
    stack = new_stack()
    add_export(stack, timeout=SECONDS(30), background_timeout=SECONDS(20))
    assert environment(stack)[contract.ENV_BACKGROUND_TIMEOUT] == "20"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": SECONDS(20), "background_timeout": SECONDS(20)}, "20 seconds, and the function's timeout is 20"),
        ({"background_timeout": SECONDS(60)}, "60 seconds, and the function's timeout is 60 seconds"),
        ({"background_timeout": SECONDS(0)}, "background_timeout is 0 seconds, allowed is 1 to 899 seconds"),
        ({"background_timeout": 20}, "background_timeout is 20, allowed is a Duration"),
    ],
)
def test_work_that_the_timeout_would_cut_off_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^Shop/Export: .*{message}"):
        add_export(new_stack(), **arguments)


def _sqs_source(stack: cdk.Stack, function: lambda_.Function) -> None:
    function.add_event_source(sources.SqsEventSource(sqs.Queue(stack, "Orders")))


def _mapping(stack: cdk.Stack, function: lambda_.Function) -> None:
    queue = sqs.Queue(stack, "Orders")
    lambda_.EventSourceMapping(stack, "Mapping", target=function, event_source_arn=queue.queue_arn)


def _alias(stack: cdk.Stack, function: lambda_.Function) -> None:
    alias = lambda_.Alias(stack, "Live", alias_name="live", version=function.current_version)
    alias.add_event_source(sources.SqsEventSource(sqs.Queue(stack, "Orders")))


def _arn(stack: cdk.Stack, function: lambda_.Function) -> None:
    queue = sqs.Queue(stack, "Orders")
    lambda_.CfnEventSourceMapping(
        stack, "Mapping", function_name=function.function_arn, event_source_arn=queue.queue_arn
    )


def _version(stack: cdk.Stack, function: lambda_.Function) -> None:
    queue, arn = sqs.Queue(stack, "Orders"), function.current_version.function_arn
    lambda_.CfnEventSourceMapping(stack, "Mapping", function_name=arn, event_source_arn=queue.queue_arn)


def _other_stack(stack: cdk.Stack, function: lambda_.Function) -> None:
    other = cdk.Stack(cdk.App.of(stack), "Other")
    lambda_.EventSourceMapping(other, "Mapping", target=function, event_source_arn=sqs.Queue(other, "Orders").queue_arn)


@pytest.mark.parametrize("add", [_sqs_source, _mapping, _alias, _arn, _version, _other_stack])
def test_an_event_source_of_a_queue_is_refused_with_the_reason(add: Any) -> None:
    stack = new_stack()
    add(stack, add_export(stack).function)
    with pytest.raises(RuntimeError, match="early answer would delete the messages before the work on them is done"):
        stack.node.root.synth()


def test_event_sources_of_other_functions_are_left_alone() -> None:
    app = new_app()
    stack = cdk.Stack(app, "Shop")
    add_export(stack)
    _sqs_source(stack, add_plain_function(stack))
    app.synth()
