"""The stage of an API: its access log, and its settings for each method."""

import json
from typing import Any, Final, cast

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib._api_options import ApiOptions
from constructs_lib._validation import refusal

__all__ = ["DEFAULT_STAGE", "EVERY_METHOD", "caches", "check_stage", "stage_options"]

DEFAULT_STAGE: Final = "prod"
EVERY_METHOD: Final = "* /*"
_SETTINGS: Final = (
    "cache_data_encrypted",
    "cache_ttl",
    "caching_enabled",
    "data_trace_enabled",
    "logging_level",
    "metrics_enabled",
    "throttling_burst_limit",
    "throttling_rate_limit",
)
# No query and no headers: they may be secrets.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
_ACCESS_LOG: Final = {
    "requestId": "$context.requestId",
    "extendedRequestId": "$context.extendedRequestId",
    "requestTime": "$context.requestTimeEpoch",
    "ip": "$context.identity.sourceIp",
    "caller": "$context.identity.caller",
    "apiKeyId": "$context.identity.apiKeyId",
    "principalId": "$context.authorizer.principalId",
    "method": "$context.httpMethod",
    "resource": "$context.resourcePath",
    "path": "$context.path",
    "status": "$context.status",
    "responseType": "$context.error.responseType",
    "responseLength": "$context.responseLength",
    "responseLatency": "$context.responseLatency",
    "integrationLatency": "$context.integrationLatency",
    "tlsVersion": "$context.tlsVersion",
}


def check_stage(scope: Construct, options: ApiOptions) -> None:
    """Refuse settings that would not apply.

    Raises:
        ValueError: a key is no method with a path, or every method is throttled twice.
    """
    settings = options.get("method_settings", {})
    for key in settings:
        method, _, path = key.partition(" ")
        if not method or not path.startswith("/"):
            raise refusal(
                scope,
                f"method_settings[{key!r}]",
                given="no method with a path",
                allowed=f"a key such as 'GET /orders/{{id}}', or {EVERY_METHOD!r}",
                remedy="write the method, a space and the path, as the ApiTask has them",
            )
    every = settings.get(EVERY_METHOD)
    if every and "throttle" in options and (every.throttling_rate_limit, every.throttling_burst_limit) != (None, None):
        raise refusal(
            scope,
            "throttle",
            given=f"set, and so is the throttling of method_settings[{EVERY_METHOD!r}]",
            allowed="one of the two",
            remedy="remove one of them",
        )


def caches(options: ApiOptions, key: str) -> bool:
    """Whether the answers of a method are kept."""
    settings = options.get("method_settings", {})
    found = settings.get(key) or settings.get(EVERY_METHOD)
    return bool(found and found.caching_enabled)


def stage_options(options: ApiOptions, access_log: logs.ILogGroup | logs.LogGroup) -> apigateway.StageOptions:
    """The stage as the CDK describes it."""
    settings = dict(options.get("method_settings", {}))
    every = _values(settings.pop(EVERY_METHOD, None))
    throttle = options.get("throttle")
    if throttle:
        every |= {"throttling_rate_limit": throttle.rate_limit, "throttling_burst_limit": throttle.burst_limit}
    return apigateway.StageOptions(
        stage_name=options.get("stage_name", DEFAULT_STAGE),
        access_log_destination=cast(
            "apigateway.IAccessLogDestination", apigateway.LogGroupLogDestination(cast("logs.ILogGroup", access_log))
        ),
        access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG)),
        method_options={
            _stage_key(key): apigateway.MethodDeploymentOptions(**_values(given)) for key, given in settings.items()
        }
        or None,
        **every,
    )


def _stage_key(key: str) -> str:
    method, _, path = key.partition(" ")
    return f"{path}/{method}" if path != "/" else f"//{method}"


def _values(settings: apigateway.MethodDeploymentOptions | None) -> dict[str, Any]:
    if settings is None:
        return {}
    values = {name: getattr(settings, name) for name in _SETTINGS}
    if values["caching_enabled"] and values["cache_data_encrypted"] is None:
        values["cache_data_encrypted"] = True
    return values
