"""The domain name of a TaskApi: its certificate, its record, and the TLS that it speaks."""

import json
from typing import Any

import pytest
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template

from tests.api_templates import warnings
from tests.apps import (
    add_api,
    add_api_task,
    new_stack,
    only,
    resources,
)

CERTIFICATE = "arn:aws:acm:us-east-1:000000000000:certificate/0123"
DOMAIN = {"domain_name": "api.example.com", "certificate": CERTIFICATE}


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
