"""Options of a configuration file as the constructs take them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from constructs import IConstruct

from constructs_lib._stage_options import RETENTION_DAYS, is_intrinsic
from runtime_lib import contract

__all__ = ["Imports", "api_options", "function_options", "on_top", "queue_options"]

_FUNCTION_NUMBERS: Final = {"memory": "memory_size", "reserved_concurrency": "reserved_concurrent_executions"}
_API_TEXTS: Final = {
    "domain_name": "domain_name",
    "tls_version": "security_policy",
    "certificate_arn": "certificate",
}
_METHOD_SETTINGS: Final = {
    "CacheDataEncrypted": "cache_data_encrypted",
    "CachingEnabled": "caching_enabled",
    "DataTraceEnabled": "data_trace_enabled",
    "MetricsEnabled": "metrics_enabled",
    "ThrottlingBurstLimit": "throttling_burst_limit",
    "ThrottlingRateLimit": "throttling_rate_limit",
}
# What the code gives takes the place of these as well: they are other words for the same.
_TAKEN_OVER: Final = {
    "vpc": ("subnet_ids", "security_group_ids"),
    "vpc_subnets": ("subnet_ids", "security_group_ids"),
    "security_groups": ("subnet_ids", "security_group_ids"),
    "log_group": ("log_retention",),
}


class Imports:
    """What a file names by ARN or id, as the objects that the CDK takes.

    They are in a stack of their own that is never synthesized: nothing is made of them, and they serve every stack.
    """

    def __init__(self, scope: IConstruct) -> None:
        stage = cdk.Stage.of(scope)
        self._outdir = stage.outdir if stage else None
        self._stack: cdk.Stack | None = None
        self._made = 0

    def layer(self, arn: str) -> lambda_.ILayerVersion:
        """A layer by the ARN of its version."""
        return lambda_.LayerVersion.from_layer_version_arn(*self._place(), arn)

    def policy(self, arn: str) -> iam.IManagedPolicy:
        """A managed policy by its ARN."""
        return iam.ManagedPolicy.from_managed_policy_arn(*self._place(), arn)

    def zone(self, zone_id: str, name: str) -> route53.IHostedZone:
        """A hosted zone by its id and name."""
        scope, construct_id = self._place()
        return route53.HostedZone.from_hosted_zone_attributes(
            scope, construct_id, hosted_zone_id=zone_id, zone_name=name
        )

    def _place(self) -> tuple[cdk.Stack, str]:
        if self._stack is None:
            self._stack = cdk.Stack(cdk.App(outdir=self._outdir, auto_synth=False), "Imports")
        self._made += 1
        return self._stack, f"Import{self._made}"


def on_top(options: Mapping[str, Any], explicit: Mapping[str, Any]) -> dict[str, Any]:
    """What the code says over what the file says: tables by their entries, anything else as a whole."""
    replaced = {other for name in explicit for other in _TAKEN_OVER.get(name, ())}
    if contract.ENV_LOG_LEVEL in (explicit.get("environment") or {}):
        replaced.add("log_level")
    result = {name: value for name, value in options.items() if name not in replaced}
    if "log_level" in explicit:
        variables = result.get("environment", {}).items()
        result["environment"] = {name: value for name, value in variables if name != contract.ENV_LOG_LEVEL}
    for name, value in explicit.items():
        of_file = result.get(name)
        result[name] = {**of_file, **value} if isinstance(of_file, Mapping) and isinstance(value, Mapping) else value
    return result


def function_options(values: Mapping[str, Any], imports: Imports) -> dict[str, Any]:
    """`FunctionOptions`."""
    options: dict[str, Any] = {new: values[name] for name, new in _FUNCTION_NUMBERS.items() if name in values}
    if "environment_variables" in values:
        options["environment"] = _entries(values["environment_variables"])
    if "tags" in values:
        options["tags"] = _entries(values["tags"])
    for name in ("subnet_ids", "security_group_ids"):
        if values.get(name):
            options[name] = _tokens(_once(values[name]))
    if values.get("layers"):
        options["layers"] = [imports.layer(arn) for arn in _tokens(_once(values["layers"]))]
    if "timeout" in values:
        options["timeout"] = cdk.Duration.seconds(values["timeout"])
    if "ephemeral_storage" in values:
        options["ephemeral_storage_size"] = cdk.Size.mebibytes(values["ephemeral_storage"])
    logging = values.get("logging", {})
    if "level" in logging:
        options["log_level"] = logging["level"]
    if "retention" in logging:
        options["log_retention"] = logs.RetentionDays[RETENTION_DAYS[logging["retention"]]]
    return options | _policies(values.get("policies", []), imports)


def _policies(policies: list[Any], imports: Imports) -> dict[str, Any]:
    arns: list[Any] = []
    statements: list[iam.PolicyStatement] = []
    for policy in policies:
        if isinstance(policy, str) or is_intrinsic(policy):
            arns.append(policy)
            continue
        given = policy.get("Statement", policy)
        statements += map(iam.PolicyStatement.from_json, _tokens(given if isinstance(given, list) else [given]))
    options: dict[str, Any] = {}
    if arns:
        options["managed_policies"] = [imports.policy(arn) for arn in _tokens(_once(arns))]
    if statements:
        options["policy_statements"] = statements
    return options


def queue_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a ManagedAsyncTask takes besides `FunctionOptions`."""
    options = {name: values[name] for name in ("max_concurrency", "managed_queue_extras") if name in values}
    if "queue_age_alarm" in values:
        options["queue_age_alarm"] = cdk.Duration.seconds(values["queue_age_alarm"])
    return options


def api_options(values: Mapping[str, Any], imports: Imports) -> dict[str, Any]:
    """`ApiOptions`."""
    options = {new: values[name] for name, new in _API_TEXTS.items() if name in values}
    if "tags" in values:
        options["tags"] = _entries(values["tags"])
    if "hosted_zone_id" in values:
        zone_id, name = values["hosted_zone_id"], values.get("hosted_zone_name")
        options["hosted_zone"] = imports.zone(zone_id, name) if name else zone_id
    settings: dict[str, dict[str, Any]] = {}
    for setting in values.get("method_settings", []):
        # CloudFormation writes the slashes behind the first one as ~1.
        path = "/" + setting["ResourcePath"].replace("~1", "/").lstrip("/")
        settings.setdefault(f"{setting['HttpMethod']} {path}", {}).update(_method_setting(setting))
    if settings:
        options["method_settings"] = {
            key: apigateway.MethodDeploymentOptions(**setting) for key, setting in settings.items()
        }
    return options


def _method_setting(setting: Mapping[str, Any]) -> dict[str, Any]:
    values = {new: setting[name] for name, new in _METHOD_SETTINGS.items() if name in setting}
    if "CacheTtlInSeconds" in setting:
        values["cache_ttl"] = cdk.Duration.seconds(setting["CacheTtlInSeconds"])
    if "LoggingLevel" in setting:
        values["logging_level"] = apigateway.MethodLoggingLevel[setting["LoggingLevel"]]
    return values


def _once(values: Iterable[Any]) -> list[Any]:
    """Each value where it stands first: what several levels name is meant once."""
    return [*{json.dumps(value): value for value in values}.values()]


def _entries(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of names that are the user's, such as Ref."""
    return {name: _tokens(value) for name, value in table.items()}


def _tokens(value: Any) -> Any:
    """``value`` with what CloudFormation computes as the CDK's tokens."""
    if is_intrinsic(value):
        return cdk.Token.as_string(value)
    match value:
        case Mapping():
            return _entries(value)
        case list():
            return [_tokens(inner) for inner in value]
        case _:
            return value
