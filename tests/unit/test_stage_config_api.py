"""What a configuration file says of the API."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigateway as apigateway

from tests.apps import add_api, add_api_task, new_app, new_config, new_stack, only, resources

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b"
ENV = cdk.Environment(account="123456789012", region="us-east-1")


def _api(data: Any, *, stage: str | None = None, **explicit: Any) -> cdk.Stack:
    stack = new_stack(env=ENV)
    api = add_api(stack, **new_config(data, stack, stage=stage).api(**explicit))
    add_api_task(stack, api=api)
    return stack


def test_domain_tls_and_certificate_reach_the_api() -> None:
    data = {
        "certificate_arn": CERTIFICATE,
        "stages": {"prod": {"domain_name": "api.example.com", "tls_version": "TLS_1_2", "tags": {"team": "billing"}}},
    }
    stack = _api(data, stage="prod")
    domain = only(stack, "AWS::ApiGateway::DomainName")
    assert domain["DomainName"] == "api.example.com"
    assert domain["RegionalCertificateArn"] == CERTIFICATE
    assert domain["SecurityPolicy"] == "TLS_1_2"
    assert only(stack, "AWS::ApiGateway::RestApi")["Tags"] == [{"Key": "team", "Value": "billing"}]
    assert resources(stack, "AWS::Route53::RecordSet") == []


@pytest.mark.parametrize("zone", [{}, {"hosted_zone_name": "example.com"}])
def test_a_certificate_is_made_in_the_hosted_zone(zone: Any) -> None:
    data = {"domain_name": "api.example.com", "hosted_zone_id": "Z1", "auto_create_acm_certificate": True, **zone}
    stack = _api(data)
    certificate = only(stack, "AWS::CertificateManager::Certificate")
    assert certificate["DomainValidationOptions"] == [{"DomainName": "api.example.com", "HostedZoneId": "Z1"}]
    assert only(stack, "AWS::Route53::RecordSet")["HostedZoneId"] == "Z1"
    assert only(stack, "AWS::Route53::RecordSet")["Name"] == "api.example.com."


def test_a_certificate_of_a_stage_takes_the_place_of_an_automatic_one() -> None:
    data = {
        "domain_name": "api.example.com",
        "hosted_zone_id": "Z1",
        "auto_create_acm_certificate": True,
        "stages": {"prod": {"certificate_arn": CERTIFICATE}},
    }
    stack = _api(data, stage="prod")
    assert only(stack, "AWS::ApiGateway::DomainName")["RegionalCertificateArn"] == CERTIFICATE
    assert resources(stack, "AWS::CertificateManager::Certificate") == []


def test_a_stage_without_a_domain_needs_no_certificate() -> None:
    data = {"certificate_arn": CERTIFICATE, "hosted_zone_id": "Z1", "tls_version": "TLS_1_2", "stages": {"dev": {}}}
    stack = _api(data, stage="dev")
    assert resources(stack, "AWS::ApiGateway::DomainName") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"auto_create_acm_certificate": False},
            "auto_create_acm_certificate is false, and api.example.com has no cert",
        ),
        (
            {"auto_create_acm_certificate": True},
            "auto_create_acm_certificate is true, and api.example.com has no hosted",
        ),
        ({"hosted_zone_name": "example.com"}, "hosted_zone_name needs hosted_zone_id"),
    ],
)
def test_a_certificate_from_nowhere_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"stages.json: {message}"):
        new_config({"domain_name": "api.example.com", **options}, new_app()).api()


def test_method_settings_of_all_levels_reach_their_methods() -> None:
    data = {
        "method_settings": [
            {"HttpMethod": "*", "ResourcePath": "/*", "MetricsEnabled": True, "LoggingLevel": "ERROR"},
            {"HttpMethod": "GET", "ResourcePath": "/~1orders~1{id}", "CacheTtlInSeconds": 60, "CachingEnabled": True},
        ],
        "stages": {
            "prod": {
                "method_settings": [{"HttpMethod": "GET", "ResourcePath": "/orders/{id}", "ThrottlingRateLimit": 10.5}]
            }
        },
    }
    settings = new_config(data, new_app(), stage="prod").api()["method_settings"]
    assert settings.keys() == {"* /*", "GET /orders/{id}"}
    every, orders = settings["* /*"], settings["GET /orders/{id}"]
    assert every.metrics_enabled is True
    assert every.logging_level == apigateway.MethodLoggingLevel.ERROR
    assert orders.cache_ttl is not None
    assert (orders.caching_enabled, orders.cache_ttl.to_seconds(), orders.throttling_rate_limit) == (True, 60, 10.5)


def test_a_method_setting_reaches_the_stage_of_the_api() -> None:
    data = {"method_settings": [{"HttpMethod": "*", "ResourcePath": "/*", "ThrottlingBurstLimit": 5}]}
    [setting] = only(_api(data), "AWS::ApiGateway::Stage")["MethodSettings"]
    assert setting.items() >= {"HttpMethod": "*", "ResourcePath": "/*", "ThrottlingBurstLimit": 5}.items()


def test_what_the_code_says_of_the_api_wins() -> None:
    data = {
        "domain_name": "api.example.com",
        "certificate_arn": CERTIFICATE,
        "auto_create_acm_certificate": False,
        "tls_version": "TLS_1_0",
        "tags": {"a": "file", "b": "file"},
        "method_settings": [
            {"HttpMethod": "*", "ResourcePath": "/*", "ThrottlingBurstLimit": 5},
            {"HttpMethod": "GET", "ResourcePath": "/a", "ThrottlingBurstLimit": 5},
        ],
    }
    mine = apigateway.MethodDeploymentOptions(throttling_burst_limit=7)
    options = new_config(data, new_app()).api(
        domain_name="orders.example.com",
        security_policy="TLS_1_2",
        tags={"b": "code"},
        method_settings={"GET /a": mine},
        stage_name="v1",
    )
    assert options["domain_name"] == "orders.example.com"
    assert options["certificate"] == CERTIFICATE
    assert options["security_policy"] == "TLS_1_2"
    assert options["tags"] == {"a": "file", "b": "code"}
    assert options["method_settings"]["GET /a"] is mine
    assert options["method_settings"].keys() == {"* /*", "GET /a"}
    assert options["stage_name"] == "v1"


def test_a_certificate_of_the_code_needs_no_other() -> None:
    data = {"domain_name": "api.example.com", "auto_create_acm_certificate": False}
    assert new_config(data, new_app()).api(certificate=CERTIFICATE)["certificate"] == CERTIFICATE
