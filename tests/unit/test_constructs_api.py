"""What TaskApi and ApiTask refuse, before anything of theirs exists."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_s3 as s3

from constructs_lib import ManagedAsyncTask, TaskReferenceError, TaskStore
from tests.apps import add_api, add_api_task, add_receipts, back_office, new_app, new_stack

CERTIFICATE = "arn:aws:acm:us-east-1:000000000000:certificate/0123"
DOMAIN = {"domain_name": "api.example.com", "certificate": CERTIFICATE}
TLS13 = "TLS13_1_3_2025_09"


def refused(*, api: dict[str, Any] | None = None, **arguments: Any) -> str:
    stack = new_stack(env=cdk.Environment(account="000000000000", region="us-east-1"))
    with pytest.raises((TypeError, ValueError)) as error:
        add_api_task(stack, api=add_api(stack, **(api or {})), **arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "orders"}, "Shop/Get: path is 'orders', allowed is a path such as '/orders/{id}' or '/{proxy+}'"),
        ({"path": "/orders/"}, "leave out the slash at its end"),
        ({"path": "/a//b"}, "double ones"),
        ({"path": "/{order_id}/{order_id}"}, "give each parameter a name of its own"),
        ({"path": "/{order_id+}/x"}, "put it last"),
        ({"path": "/order s"}, "a part has letters, digits"),
        ({"path": "/x{order_id}"}, "a part has letters, digits"),
        ({"path": "/{order-id}"}, "named as in Python"),
        ({"method": "FETCH"}, "Shop/Get: method is 'FETCH', allowed is ANY, DELETE, GET"),
        ({"respond": "later"}, "Shop/Get: respond is 'later', allowed is 'accepted', 'result'"),
        ({"respond": "accepted"}, "Shop/Get: target is not set, and respond is 'accepted', allowed is the construct"),
        ({"authorization": "open"}, "Shop/Get: authorization is 'open', allowed is 'iam', 'none', a user pool"),
        ({"authorization": object()}, "Shop/Get: authorization is object"),
        ({"authorization_scopes": ["a"]}, "authorization_scopes is ['a'], and authorization is AWS_IAM"),
        ({"timeout": cdk.Duration.seconds(30)}, "timeout is 30 seconds, allowed is 1 to 29 seconds"),
        ({"timeout": cdk.Duration.seconds(30)}, "respond='accepted', target=…"),
        ({"memory_size": 1}, "memory_size is 1 MiB"),
        ({"colour": "red"}, "Shop/Get: unexpected argument 'colour'"),
    ],
)
def test_arguments_of_a_task_are_checked(arguments: dict[str, Any], message: str) -> None:
    assert message in refused(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "red"}, "Shop/Api: unexpected argument 'colour'; the options are access_log_group"),
        ({"domain_name": None}, "Shop/Api: domain_name is None"),
        ({"base_path": "v1"}, "Shop/Api: base_path is set, and domain_name is not, allowed is both, or neither"),
        ({"certificate": CERTIFICATE}, "certificate is set, and domain_name is not"),
        ({"hosted_zone": "Z1"}, "hosted_zone is set, and domain_name is not"),
        ({"default_endpoint": False}, "default_endpoint is False, and there is no domain_name"),
        ({"domain_name": "api.example.com"}, "certificate is not set, and hosted_zone is not either"),
        ({**DOMAIN, "domain_name": "https://api.example.com"}, "leave out the scheme, a port and a path"),
        ({**DOMAIN, "domain_name": "API.example.com"}, "a host name in lower case"),
        ({**DOMAIN, "base_path": "v1/shop"}, "base_path is 'v1/shop', allowed is one part of a path"),
        ({**DOMAIN, "base_path": "/v1"}, "leave out slashes"),
        ({**DOMAIN, "certificate": "0123"}, "certificate is '0123', allowed is a certificate of AWS Certificate"),
        ({**DOMAIN, "certificate": CERTIFICATE.replace("us-east", "eu-west")}, "certificate is in eu-west-1"),
        ({"security_policy": "TLS_1_3"}, "security_policy is 'TLS_1_3', allowed is TLS_1_0, TLS_1_2, TLS13_1_3"),
        ({"security_policy": "old"}, "these are the policies of regional endpoints"),
        ({"security_policy": "TLS12"}, "did you mean TLS_1_2?"),
        (
            {"security_policy": apigateway.SecurityPolicy.TLS13_2025_EDGE},
            "did you mean TLS13_1_3_2025_09?",
        ),
        ({"endpoint_access_mode": "STRICT"}, "allowed is nothing with security_policy TLS_1_2"),
        ({"security_policy": TLS13, "endpoint_access_mode": "LOOSE"}, "'LOOSE', allowed is STRICT, BASIC"),
        ({"status_path": "/tasks"}, "status_path is '/tasks', allowed is a path with the parameter {id} and no other"),
        ({"status_path": "/tasks/{id+}"}, "status_path is '/tasks/{id+}'"),
        ({"tags": {"aws:x": "y"}}, "tags['aws:x']"),
        (
            {"cors": apigateway.CorsOptions(allow_origins=["*"], allow_credentials=True)},
            "cors is credentials for every origin",
        ),
        (
            {"cors": apigateway.CorsOptions(allow_origins=["*"]), "binary_media_types": ["*/*"]},
            "binary_media_types is '*/*', and cors is set",
        ),
        ({"stage_name": "v1/beta"}, "Shop/Api: stage_name is 'v1/beta', allowed is 1 to 128 letters, digits, - and _"),
        (
            {"method_settings": {"GET /": apigateway.MethodDeploymentOptions(cache_ttl=cdk.Duration.hours(2))}},
            "Shop/Api: method_settings['GET /'].cache_ttl is 7200 seconds, allowed is 0 to 3,600 seconds",
        ),
        ({"method_settings": {"/orders/GET": apigateway.MethodDeploymentOptions()}}, "write the method, a space"),
        (
            {
                "throttle": apigateway.ThrottleSettings(rate_limit=1),
                "method_settings": {"* /*": apigateway.MethodDeploymentOptions(throttling_rate_limit=2)},
            },
            "throttle is set, and so is the throttling of method_settings['* /*']",
        ),
    ],
)
def test_options_of_an_api_are_checked(options: dict[str, Any], message: str) -> None:
    assert message in refused(api=options)


def test_mutual_tls_is_refused_with_tls_1_3() -> None:
    stack = new_stack()
    mutual_tls = apigateway.MTLSConfig(bucket=s3.Bucket(stack, "Trust"), key="clients.pem")
    with pytest.raises(ValueError, match="mutual_tls is set, and security_policy is TLS13_1_3_2025_09"):
        add_api(stack, **DOMAIN, security_policy=TLS13, mutual_tls=mutual_tls)


def test_zone_of_another_domain_is_refused() -> None:
    stack = new_stack()
    zone = route53.PublicHostedZone(stack, "Zone", zone_name="example.org")
    with pytest.raises(ValueError, match=r"hosted_zone is the zone of example.org, allowed is the zone of api.example"):
        add_api(stack, domain_name="api.example.com", hosted_zone=zone)


def test_a_domain_known_at_deployment_only_is_taken() -> None:
    stack = new_stack()
    name = cdk.CfnParameter(stack, "Name").value_as_string
    zone = route53.PublicHostedZone(stack, "Zone", zone_name="example.org")
    add_api_task(stack, api=add_api(stack, domain_name=name, hosted_zone=zone))
    stack.node.root.synth()


def test_two_tasks_of_one_method_and_path_are_refused_with_both_constructs() -> None:
    stack = new_stack()
    api = add_api(stack)
    add_api_task(stack, "One", api=api, path="/orders/{order_id}")
    add_api_task(stack, "Any", api=api, path="/orders/{order_id}", method="ANY")
    with pytest.raises(ValueError, match=r"^Shop/Two and Shop/One both serve GET /orders/{order_id}: give one another"):
        add_api_task(stack, "Two", api=api, path="/orders/{order_id}", method="get")


def test_path_of_the_status_is_taken() -> None:
    stack = new_stack()
    api = add_api(stack, store=TaskStore(stack, "Store"))
    with pytest.raises(ValueError, match=r"^Shop/Get and Shop/Api both serve GET /tasks/{id}"):
        add_api_task(stack, task="back_office.web:echo", api=api, path="/tasks/{id}")


def test_two_parameters_at_one_place_are_refused() -> None:
    stack = new_stack()
    api = add_api(stack)
    add_api_task(stack, "One", api=api, path="/orders/{order_id}")
    with pytest.raises(
        ValueError, match=r"with {other} where Shop/One has {order_id}, allowed is one parameter after '/or"
    ):
        add_api_task(stack, "Two", task="back_office.web:echo", api=api, path="/orders/{other}/lines")


def test_path_parameters_are_those_of_the_function() -> None:
    message = refused(path="/orders/{id}")
    assert "path is '/orders/{id}' with {id}, which back_office.web.get_order does not take" in message
    assert "web.py:13: order_id, verbose" in message


@pytest.mark.parametrize("task", ["echo", "fall_back", "anything"])
def test_who_takes_the_event_or_any_name_takes_every_path(task: str) -> None:
    add_api_task(new_stack(), task=f"back_office.web:{task}", path="/orders/{id}")


def test_task_is_looked_for_in_the_source() -> None:
    with pytest.raises(TaskReferenceError, match=r"^Shop/Get: 'back_office.web:get_oder'.*did you mean 'get_order'"):
        add_api_task(new_stack(), task="back_office.web:get_oder")


def test_preflight_is_answered_by_one_only() -> None:
    cors = apigateway.CorsOptions(allow_origins=["*"])
    message = refused(api={"cors": cors}, method="OPTIONS")
    assert "method is OPTIONS, which cors= of the API answers" in message


def test_target_has_to_serve_the_task() -> None:
    stack = new_stack()
    with pytest.raises(
        ValueError, match=r"target is Shop/Receipts, which does not serve 'back_office.web.place_order'"
    ):
        add_api_task(
            stack, task="back_office.web:place_order", respond="accepted", target=add_receipts(stack), method="POST"
        )


def test_result_has_no_target() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match="target is Shop/Receipts, and respond is 'result'"):
        add_api_task(stack, target=add_receipts(stack))


def test_what_takes_the_request_cannot_run_later() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=r"respond is 'accepted', and back_office.web.echo takes the request"):
        add_api_task(stack, task="back_office.web:echo", respond="accepted", target=add_receipts(stack))


def test_status_needs_the_store_of_the_target() -> None:
    stack = new_stack()
    api = add_api(stack, store=TaskStore(stack, "Store"))
    target = ManagedAsyncTask(stack, "Orders", code=back_office(), task="back_office.web:place_order")
    with pytest.raises(
        ValueError, match="target is Shop/Orders, which records its tasks nowhere, allowed is a constru"
    ):
        add_api_task(stack, task="back_office.web:place_order", api=api, respond="accepted", target=target)


def test_settings_of_no_method_fail_the_synthesis() -> None:
    stack = new_stack()
    settings = {"GET /order": apigateway.MethodDeploymentOptions(metrics_enabled=True)}
    add_api_task(stack, api=add_api(stack, method_settings=settings), path="/orders", task="back_office.web:echo")
    with pytest.raises(RuntimeError, match=r"method_settings\['GET /order'\] is for no method .*mean 'GET /orders'"):
        stack.node.root.synth()


def test_api_of_another_region_is_refused() -> None:
    app = new_app()
    here = cdk.Stack(app, "Here", env=cdk.Environment(account="000000000000", region="us-east-1"))
    there = cdk.Stack(app, "There", env=cdk.Environment(account="000000000000", region="eu-west-1"))
    with pytest.raises(ValueError, match="There/Get: api is Here/Api/Api in region us-east-1"):
        add_api_task(there, api=add_api(here))
