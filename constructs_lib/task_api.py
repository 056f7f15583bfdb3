"""TaskApi: one REST API that many tasks share."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, Unpack, cast

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib._address import function_arn, physical_name
from constructs_lib._api_authorization import Authorizations, MethodAuthorization
from constructs_lib._api_cors import OtherOrigins, check_cors
from constructs_lib._api_options import ApiOptions, Authorization
from constructs_lib._api_paths import ApiPath, ClaimedPaths
from constructs_lib._api_stage import DEFAULT_STAGE, EVERY_METHOD, MethodSettings, check_stage, stage_options
from constructs_lib._api_status import ApiTaskStatus
from constructs_lib._domain import ApiDomain, Tls, check_domain
from constructs_lib._tags import add_tags, check_tags
from constructs_lib._validation import ResourceCount, acknowledge, check_at_synth, check_options, refusal, warn
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

__all__ = ["TaskApi"]

_STATUS_PARAMETER: Final = "id"
_PLACES: Final = ("domain_name", "base_path")
_ROLE_RULE: Final = (
    "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]"
)
_ACKNOWLEDGED: Final = {
    "AwsSolutions-APIG2": "Each task's function checks its arguments, and answers 400 with every field that is wrong.",
    "AwsSolutions-APIG3": "A web ACL costs money and is for the API's owner to choose: associate one with its stage.",
    "AwsSolutions-APIG6": "The access log has every request; what execution logs add is asked for by method_settings.",
}


class TaskApi(Construct):
    """A REST API in one region whose methods are `ApiTask`s.

    Only principals that IAM lets may call, unless ``authorization=`` says otherwise, for all tasks or for one.

    Args:
        store: where the tasks record what becomes of them that answer 202: the API then has ``GET /tasks/{id}``.
            Default: none, and no such path.
        status_path: another path for it, with the parameter ``{id}``.
        options: see `ApiOptions`.

    Attributes:
        api: the REST API.
        url: where it is, with a slash at its end: at the domain name, if it has one.
        access_log: the log group with a line of JSON for each request.
        domain: the domain name, its certificate and its record; None without one.
        status_function: what answers at ``status_path``; None without a store, or before the first task is added.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        store: StoreAccess | None = None,
        status_path: str = "/tasks/{id}",
        **options: Unpack[ApiOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        check_options(self, options, ApiOptions.__annotations__)
        check_tags(self, options.get("tags", {}))
        check_domain(self, options)
        check_stage(self, options)
        check_cors(self, options)
        tls = Tls.of(self, options)
        self._status_path: Final = _status_path(self, status_path)
        self._options: Final = options
        self._stage_name: Final = options.get("stage_name", DEFAULT_STAGE)
        self._paths: Final = ClaimedPaths()
        self._asks_for_keys = False
        self.store: Final = store
        self.status_function: lambda_.Function | None = None
        if store:
            self._paths.claim(self, "GET", self._status_path)
        # A status that is kept would stay what it was at first.
        self._settings: Final = MethodSettings.of(options, uncached=f"GET {status_path}" if store else None)

        name = physical_name(self)
        self.access_log: Final = options.get("access_log_group") or logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/aws/apigateway/{name}",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=options.get("removal_policy", cdk.RemovalPolicy.DESTROY),
        )
        reachable = options.get("default_endpoint", "domain_name" not in options)
        self.api: Final = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=name,
            description=options.get("description"),
            endpoint_configuration=apigateway.EndpointConfiguration(types=[apigateway.EndpointType.REGIONAL]),
            disable_execute_api_endpoint=not reachable,
            binary_media_types=list(options.get("binary_media_types", ())) or None,
            cloud_watch_role=options.get("cloud_watch_role", False),
            deploy_options=stage_options(options, self._settings, self.access_log),
        )
        tls.apply_to(self.api)
        self.authorizations: Final = Authorizations(self, "Authorizers")
        domain_name = options.get("domain_name")
        self.domain: Final = (
            ApiDomain(self, "Domain", api=self.api, domain_name=domain_name, tls=tls, options=options)
            if domain_name
            else None
        )
        self.url: Final = self.domain.url if self.domain else self.api.url
        # The L2 API's own output has its execute-api address, also where that does not answer.
        endpoint = self.api.node.find_child("Endpoint")
        assert isinstance(endpoint, cdk.CfnOutput)
        endpoint.value = self.url
        self._cors: Final = OtherOrigins(self.api, options["cors"]) if "cors" in options else None
        self._describe()
        add_tags(self, options.get("tags", {}))
        self._acknowledge()
        if "cloud_watch_role" not in options:
            warn(
                self,
                "api-logs-role",
                f"{self.node.path} writes logs, which API Gateway refuses to deploy in an account and region without a "
                "role for its logs: say cloud_watch_role=True to make one for all APIs there, or False if there is one",
            )
        ResourceCount.watch(cdk.Stack.of(self))
        check_at_synth(self, self._check)

    # --- For users ---------------------------------------------------------------------------------------------------

    def add_usage_plan(
        self,
        construct_id: str,
        *,
        api_keys: Sequence[apigateway.IApiKey | apigateway.ApiKey] = (),
        throttle: apigateway.ThrottleSettings | None = None,
        quota: apigateway.QuotaSettings | None = None,
        description: str | None = None,
    ) -> apigateway.UsagePlan:
        """Let the holders of ``api_keys`` call the tasks that ask for one, as often as ``throttle`` and ``quota`` say.

        A key tells callers apart for these limits; who may call is for ``authorization`` to say.
        """
        plan = self.api.add_usage_plan(
            construct_id,
            description=description,
            throttle=throttle,
            quota=quota,
            api_stages=[
                apigateway.UsagePlanPerApiStage(
                    api=cast("apigateway.IRestApi", self.api), stage=self.api.deployment_stage
                )
            ],
        )
        for key in api_keys:
            plan.add_api_key(key)
        return plan

    def url_for_path(self, path: str) -> str:
        """The address of a path of this API."""
        return self.url.removesuffix("/") + path if self.domain else self.api.url_for_path(path)

    def metric_requests(self, *, period: cdk.Duration | None = None) -> cloudwatch.Metric:
        """Requests. Default: their number in 5 minutes."""
        return self.api.metric_count(period=period)

    def metric_client_errors(self, *, period: cdk.Duration | None = None) -> cloudwatch.Metric:
        """Answers from 400 to 499. Default: their number in 5 minutes."""
        return self.api.metric_client_error(period=period)

    def metric_server_errors(self, *, period: cdk.Duration | None = None) -> cloudwatch.Metric:
        """Answers from 500 on. Default: their number in 5 minutes."""
        return self.api.metric_server_error(period=period)

    def metric_latency(self, *, period: cdk.Duration | None = None, statistic: str = "p99") -> cloudwatch.Metric:
        """Time from a request to its answer, in milliseconds. Default: the 99th percentile over 5 minutes."""
        return self.api.metric_latency(period=period, statistic=statistic)

    # --- For ApiTask and StreamingLambda ------------------------------------------------------------------------------

    @property
    def task_environment(self) -> dict[str, str]:
        """What the functions behind this API need to know of it."""
        environment = {contract.ENV_API_STATUS_PATH: self._status_path.text} if self.store else {}
        return environment | (self._cors.task_environment if self._cors else {})

    def claim(self, server: Construct, method: str, path: ApiPath) -> None:
        """Note that ``server`` serves a method of a path.

        Raises:
            ValueError: another construct does, or the API itself.
        """
        if method == "OPTIONS" and self._cors:
            raise refusal(
                server,
                "method",
                given="OPTIONS, which cors= of the API answers",
                allowed="any other method",
                remedy="remove one of the two",
            )
        self._paths.claim(server, method, path)

    def check_streamed(self, server: Construct, method: str, path: ApiPath) -> None:
        """Refuse to keep answers that are streamed.

        Raises:
            ValueError: the settings of the method, or of every method, say so.
        """
        key = f"{method} {path.text}"
        if self._settings.caches(key):
            raise refusal(
                server,
                "path",
                given=f"{key}, whose answers {self.node.path} keeps",
                allowed="a method without a cache: API Gateway keeps no answer that is streamed",
                remedy=f"set caching_enabled=False in method_settings[{key!r}]",
            )

    def authorization_of(self, scope: Construct, given: Authorization | None) -> MethodAuthorization:
        """What a method asks of its callers: what its task says, or this API.

        Raises:
            ValueError: it cannot be asked.
        """
        wanted = self._options.get("authorization", "iam") if given is None else given
        return self.authorizations.authorization(scope, wanted)

    def asks_for_key(self, given: bool | None) -> bool:  # noqa: FBT001  (as the task has it)
        """Whether a method asks for an API key: as its task says, or this API."""
        return self._options.get("api_key_required", False) if given is None else given

    def described(
        self, method: str, path: ApiPath, respond: str, authorization: MethodAuthorization, *, api_key: bool
    ) -> dict[str, object]:
        """What the metadata of a method's function says, as `contract.METADATA_KEY` documents it."""
        return {
            "api": {
                "path": path.text,
                "method": method,
                "respond": respond,
                "api": self.node.path,
                "authorization": authorization.kind,
                "api_key": api_key,
            }
        }

    def add_method(
        self,
        function: lambda_.Function,
        function_name: str,
        method: str,
        path: ApiPath,
        *,
        authorization: MethodAuthorization,
        authorization_scopes: Sequence[str] | None = None,
        api_key: bool = False,
        query: Sequence[str] = (),
        streams_for: cdk.Duration | None = None,
    ) -> apigateway.Method:
        """Have ``function`` answer a method; ``query`` are parameters on which its answers depend.

        With ``streams_for``, clients have an answer as it is written, for so long at most.
        """
        keys: dict[str, bool] = {}
        if self._settings.caches(f"{method} {path.text}"):
            # Without them, one answer would be for every value.
            keys = {f"method.request.path.{name}": True for name in path.parameters}
            keys |= {f"method.request.querystring.{name}": False for name in query}
            if self._cors and self._cors.answers_differ:
                keys["method.request.header.Origin"] = False
        resource = self.api.root.resource_for_path(path.text)
        # By its name: the function may be in another stack, which refers to this API.
        arn = function_arn(function, function_name)
        added = resource.add_method(
            method,
            apigateway.AwsIntegration(
                service="lambda",
                proxy=True,
                path=f"2021-11-15/functions/{arn}/response-streaming-invocations"
                if streams_for
                else f"2015-03-31/functions/{arn}/invocations",
                options=apigateway.IntegrationOptions(
                    cache_key_parameters=[*keys] or None,
                    response_transfer_mode=apigateway.ResponseTransferMode.STREAM if streams_for else None,
                    timeout=streams_for,
                ),
            ),
            api_key_required=api_key,
            authorization_type=authorization.type,
            authorizer=authorization.authorizer,
            authorization_scopes=list(authorization_scopes) if authorization_scopes else None,
            request_parameters=keys or None,
        )
        function.add_permission(
            "Api",
            principal=cast("iam.IPrincipal", iam.ServicePrincipal("apigateway.amazonaws.com")),
            source_arn=self.method_arn(method, path),
        )
        if self._cors:
            self._cors.answer_preflight(resource)
        self._asks_for_keys = self._asks_for_keys or api_key
        if authorization.kind == "NONE":
            acknowledge(added, "AwsSolutions-APIG4", "authorization='none' says that everybody may call.")
        if authorization.kind != "COGNITO_USER_POOLS":
            acknowledge(added, "AwsSolutions-COG4", "authorization= says who may call, if not the users of a pool.")
        return added

    def method_arn(self, method: str, path: ApiPath) -> str:
        """What IAM calls a method of a path, whatever its parameters are."""
        parts = "/".join("*" if part.startswith("{") else part for part in path.parts)
        verb = "*" if method == "ANY" else method
        return cdk.Stack.of(self).format_arn(
            service="execute-api", resource=self.api.rest_api_id, resource_name=f"{self._stage_name}/{verb}/{parts}"
        )

    def add_status(self, code: TaskCode) -> None:
        """Have the store's records read at the status path; once, with the code of the first task."""
        if self.store is None or self.status_function:
            return
        authorization, api_key = self.authorization_of(self, None), self.asks_for_key(None)
        status = ApiTaskStatus(
            self,
            "Status",
            construct=TaskApi,
            trigger=f"GET {self._status_path.text}",
            code=code,
            store=self.store,
            environment=self.task_environment,
            described=self.described("GET", self._status_path, "status", authorization, api_key=api_key),
        )
        self.status_function = status.function
        self.add_method(
            status.function,
            status.function_name,
            "GET",
            self._status_path,
            authorization=authorization,
            api_key=api_key,
        )

    # --- Checks ------------------------------------------------------------------------------------------------------

    def _check(self) -> list[str]:
        if self._asks_for_keys and not self._has_usage_plan():
            warn(
                self,
                "api-key-without-plan",
                f"{self.node.path} has methods that ask for an API key, and its stack has no usage plan: a key opens "
                "them only in a plan of this API: add_usage_plan(…, api_keys=[…])",
            )
        known = self._paths.described()
        unknown = [key for key in self._options.get("method_settings", {}) if key not in {EVERY_METHOD, *known}]
        return [
            f"{self.node.path}: method_settings[{key!r}] is for no method of this API"
            + (f": did you mean {near[0]!r}?" if (near := get_close_matches(key, known, 1)) else "")
            + f"; its methods are {', '.join(known)}"
            for key in unknown
        ]

    def _has_usage_plan(self) -> bool:
        return any(isinstance(each, apigateway.CfnUsagePlan) for each in cdk.Stack.of(self).node.find_all())

    def _describe(self) -> None:
        """Tell tools that read the template where the API is."""
        resource = self.api.node.default_child
        assert isinstance(resource, apigateway.CfnRestApi)
        described = {"construct": TaskApi.__name__, "path": self.node.path, "stage": self._stage_name}
        described |= {name: value for name in _PLACES if isinstance(value := self._options.get(name), str)}
        resource.add_metadata(contract.METADATA_KEY, described)

    def _acknowledge(self) -> None:
        for rule, reason in _ACKNOWLEDGED.items():
            acknowledge(self.api, rule, reason)
        role = self.api.node.try_find_child("CloudWatchRole")
        if role:
            acknowledge(role, _ROLE_RULE, "AWS's own policy for the one role of all APIs that write logs.")


def _status_path(scope: Construct, text: str) -> ApiPath:
    path = ApiPath.parse(scope, text, argument="status_path")
    if path.parameters != (_STATUS_PARAMETER,) or text.endswith("+}"):
        raise refusal(
            scope,
            "status_path",
            given=repr(text),
            allowed="a path with the parameter {id} and no other",
            remedy="the id of the task takes its place",
        )
    return path
