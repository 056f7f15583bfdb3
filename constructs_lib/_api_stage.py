"""The stage of an API: its access log, and its settings for each method."""

import json
import re
from typing import Any, Final, NamedTuple, cast

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib._api_options import ApiOptions
from constructs_lib._validation import refusal, require_duration

__all__ = ["DEFAULT_STAGE", "EVERY_METHOD", "MethodSettings", "check_stage", "stage_options"]

DEFAULT_STAGE: Final = "prod"
EVERY_METHOD: Final = "* /*"
# https://docs.aws.amazon.com/apigateway/latest/api/API_CreateStage.html
_STAGE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MAX_CACHE_SECONDS: Final = 3600
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-caching.html"""
_CACHING: Final = ("cache_data_encrypted", "cache_ttl", "caching_enabled")
_SETTINGS: Final = (
    *_CACHING,
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
    """Refuse a name that API Gateway does not take, and settings that it does not take or that would not apply.

    Raises:
        ValueError: the name; a key is no method with a path, answers are kept too long, or every method is throttled
            twice.
    """
    name = options.get("stage_name", DEFAULT_STAGE)
    if not cdk.Token.is_unresolved(name) and not _STAGE_NAME.fullmatch(name):
        raise refusal(
            scope,
            "stage_name",
            given=repr(name),
            allowed="1 to 128 letters, digits, - and _",
            remedy="choose such a name: it is part of the API's address",
        )
    settings = options.get("method_settings", {})
    for key, values in settings.items():
        method, _, path = key.partition(" ")
        if not method or not path.startswith("/"):
            raise refusal(
                scope,
                f"method_settings[{key!r}]",
                given="no method with a path",
                allowed=f"a key such as 'GET /orders/{{id}}', or {EVERY_METHOD!r}",
                remedy="write the method, a space and the path, as the ApiTask has them",
            )
        require_duration(
            scope,
            f"method_settings[{key!r}].cache_ttl",
            values.cache_ttl,
            0,
            _MAX_CACHE_SECONDS,
            remedy="keep answers for no longer",
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


class MethodSettings(NamedTuple):
    """What is set for every method, and all that applies to each method with settings of its own, by its key."""

    every: dict[str, Any]
    own: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, options: ApiOptions, *, uncached: str | None) -> "MethodSettings":
        """What the options say; answers of the method ``uncached`` are only kept if its own settings say so.

        Settings of a method take the place of the stage's as a whole, so that these are repeated in them.
        """
        given = options.get("method_settings", {})
        every, throttle = _values(given.get(EVERY_METHOD)), options.get("throttle")
        if throttle:
            every |= {"throttling_rate_limit": throttle.rate_limit, "throttling_burst_limit": throttle.burst_limit}
        own = {key: _values(settings) for key, settings in given.items() if key != EVERY_METHOD}
        if uncached and every.get("caching_enabled"):
            own[uncached] = {"caching_enabled": False, **own.get(uncached, {})}
        # Those of the stage have the answers to GET kept, and no others.
        others = {name: value for name, value in every.items() if name not in _CACHING}
        own = {key: (every if key.startswith("GET ") else others) | settings for key, settings in own.items()}
        for settings in (every, *own.values()):
            if settings.get("caching_enabled"):
                settings.setdefault("cache_data_encrypted", True)
        return cls(every, own)

    def caches(self, key: str) -> bool:
        """Whether answers of a method may be kept."""
        kept: bool = self.own.get(key, {}).get("caching_enabled", self.every.get("caching_enabled", False))
        return kept


def stage_options(
    options: ApiOptions, settings: MethodSettings, access_log: logs.ILogGroup | logs.LogGroup
) -> apigateway.StageOptions:
    """The stage as the CDK describes it."""
    return apigateway.StageOptions(
        stage_name=options.get("stage_name", DEFAULT_STAGE),
        access_log_destination=cast(
            "apigateway.IAccessLogDestination", apigateway.LogGroupLogDestination(cast("Any", access_log))
        ),
        access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG)),
        method_options={
            _stage_key(key): apigateway.MethodDeploymentOptions(**values) for key, values in settings.own.items()
        }
        or None,
        **settings.every,
    )


def _stage_key(key: str) -> str:
    method, _, path = key.partition(" ")
    return f"{path}/{method}" if path != "/" else f"//{method}"


def _values(settings: apigateway.MethodDeploymentOptions | None) -> dict[str, Any]:
    return {name: value for name in _SETTINGS if (value := getattr(settings, name, None)) is not None}
