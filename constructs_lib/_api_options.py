"""The options of an API, spelled once, and who may call it."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, TypedDict

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53

__all__ = ["ApiOptions", "Authorization"]

Authorization: TypeAlias = (
    Literal["iam", "none"]
    | cognito.IUserPool
    | cognito.UserPool
    | apigateway.IAuthorizer
    | apigateway.CognitoUserPoolsAuthorizer
    | apigateway.RequestAuthorizer
    | apigateway.TokenAuthorizer
)
"""Who may call: "iam" are principals that IAM lets, "none" is everybody; else who a user pool or an authorizer lets."""


class ApiOptions(TypedDict, total=False):
    """Options of a `TaskApi`; each may be left out.

    Attributes:
        access_log_group: where the API writes a line of JSON for each request. Default: a group of its own,
            ``/aws/apigateway/<API>``, kept one month.
        api_key_required: whether its tasks ask for an API key, unless they say otherwise; see `TaskApi.add_usage_plan`.
            Default: no.
        authorization: who may call its tasks, unless they say otherwise. Default: "iam".
        base_path: the part of the domain's paths at which the API is. Default: all of it.
        binary_media_types: media types that are passed on as bytes: of a request by its Content-Type, of an answer by
            the first type in the request's Accept. Default: none.
        certificate: the domain's certificate, or its ARN; of the API's region. Default: one that is made, and validated
            by records in ``hosted_zone``.
        cloud_watch_role: whether to make the role by which API Gateway writes logs, for the whole account and region:
            it replaces the one that is there, and stays when the stack goes. False: the account has one. Default: it is
            not made, with a warning.
        cors: which other origins may call from a browser. Default: none.
        default_endpoint: whether it answers at its execute-api address. Default: only without a domain name.
        description: shown in the console. Default: none.
        domain_name: a domain name of yours. Default: none.
        endpoint_access_mode: "STRICT" refuses requests whose TLS name is not the domain's, "BASIC" is for migrations;
            with a TLS 1.3 policy only. Default: "STRICT".
        hosted_zone: the public zone of the domain, or its id, for the domain's record. Default: no record is made.
        method_settings: logging, metrics, throttling and caching by method and path: ``"GET /orders/{id}"``, or
            ``"* /*"`` for all. Default: none.
        mutual_tls: the certificates of the clients that may connect to the domain. Default: any client.
        removal_policy: what becomes of the access log group when it leaves the stack. Default: it is deleted.
        security_policy: the oldest TLS that is spoken, as `apigateway.SecurityPolicy` names it. Default: "TLS_1_2".
        stage_name: the name of the stage, which is part of the execute-api address. Default: "prod".
        tags: tags of everything that the construct makes, besides those of its stack. Default: none.
        throttle: requests per second of all callers together, to each method. Default: the account's.
    """

    access_log_group: logs.ILogGroup | logs.LogGroup
    api_key_required: bool
    authorization: Authorization
    base_path: str
    binary_media_types: Sequence[str]
    certificate: acm.ICertificate | acm.Certificate | str
    cloud_watch_role: bool
    cors: apigateway.CorsOptions
    default_endpoint: bool
    description: str
    domain_name: str
    endpoint_access_mode: Literal["BASIC", "STRICT"]
    hosted_zone: route53.IHostedZone | route53.HostedZone | route53.PublicHostedZone | str
    method_settings: Mapping[str, apigateway.MethodDeploymentOptions]
    mutual_tls: apigateway.MTLSConfig
    removal_policy: cdk.RemovalPolicy
    security_policy: apigateway.SecurityPolicy | str
    stage_name: str
    tags: Mapping[str, str]
    throttle: apigateway.ThrottleSettings
