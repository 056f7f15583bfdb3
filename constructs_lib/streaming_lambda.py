"""StreamingLambda: a function that answers early, streams its answer, and works on after it."""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self, Unpack

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded, physical_name, require_same_environment
from constructs_lib._api_authorization import MethodAuthorization, check_scopes
from constructs_lib._api_options import Authorization
from constructs_lib._api_paths import ApiPath, api_method
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, timeout_of
from constructs_lib._function_url import FunctionUrlSettings, add_function_url, check_function_url
from constructs_lib._validation import check_at_synth, named_by, refusal, require_duration, seconds
from constructs_lib.task_api import TaskApi
from constructs_lib.task_code import TaskCode
from runtime_lib import contract

__all__ = ["StreamingLambda"]


class StreamingLambda(DispatchTarget):
    """A function of yours, decorated with ``@streaming_handler`` or ``@background_handler``.

    Its callers have what it writes when it is written: through a URL of its own, a `TaskApi`, or Lambda's
    ``InvokeWithResponseStream``. It may work on after its answer; the invocation lasts, and is billed, until it ends.

    Args:
        code: the asset that has the function.
        handler: the function as ``module:name``; it is looked for in the source, without importing it.
        function_url: an HTTPS address of its own: True, or `FunctionUrlSettings`. Default: none.
        api: an API in which a method is answered by the function, as a stream. Default: none.
        path: the path in the API, with parameters: ``/orders/{id}``. With ``api`` alone.
        method: an HTTP method, or ANY. Default: GET.
        authorization: who may call the method. Default: whoever the API says.
        authorization_scopes: OAuth scopes of which the token must have one, with a user pool. Default: none.
        api_key_required: whether callers of the method need an API key. Default: what the API says.
        background_timeout: how long work may go on after the answer, less than the function's timeout. What still runs
            then is asked to stop. Default: until shortly before the function's timeout.
        options: see `FunctionOptions`.

    Attributes:
        function: the function.
        function_url: its URL; None without one.
        method: the method in the API; None without one.
        url: where the function answers: its own URL if it has one, else that of the method; None without both.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        handler: str,
        function_url: bool | FunctionUrlSettings = False,
        api: TaskApi | None = None,
        path: str | None = None,
        method: str | None = None,
        authorization: Authorization | None = None,
        authorization_scopes: Sequence[str] | None = None,
        api_key_required: bool | None = None,
        background_timeout: cdk.Duration | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        with named_by(self):
            module = code.source.streaming_handler(handler)
        check_function_options(self, options)
        _check_background_timeout(self, background_timeout, options)
        settings = check_function_url(self, function_url, options.keys())
        _require_route(
            self,
            api,
            {
                "path": path,
                "method": method,
                "authorization": authorization,
                "authorization_scopes": authorization_scopes,
                "api_key_required": api_key_required,
            },
        )
        route = (
            _Route.of(
                self,
                api,
                path,
                method or "GET",
                authorization=authorization,
                authorization_scopes=authorization_scopes,
                api_key_required=api_key_required,
            )
            if api is not None and path is not None
            else None
        )

        name = physical_name(self)
        self.address = Address({}, {})
        self.function: Final = TaskFunction(
            self,
            construct=StreamingLambda,
            trigger=_trigger(settings, route),
            function_name=name,
            code=code,
            handler=contract.STREAMING_LAMBDA_HANDLER,
            loaded=Loaded(code.source, (module,)),
            dead_letter_queue=None,
            task_environment={
                contract.ENV_STREAMING_HANDLER: handler,
                **_limit(background_timeout),
                **({contract.ENV_URL_BUFFERED: "1"} if settings and settings.is_buffered else {}),
                **(route.api.task_environment if route else {}),
            },
            described=route.described if route else None,
            **options,
        )
        self.function_url: Final = add_function_url(self.function, settings) if settings else None
        self.method: Final = route.add_to(self.function, name, timeout_of(options)) if route else None
        own = self.function_url.url if self.function_url else None
        self.url: Final = own or (route.api.url_for_path(route.path.text) if route else None)
        self._auth: Final = settings.auth if settings else None
        check_at_synth(self, self._check_event_sources)

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` invoke the function: ``Invoke``, and ``InvokeWithResponseStream``."""
        return self.function.grant_invoke(grantee)

    def grant_invoke_url(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` call the function's URL, with signed requests.

        Raises:
            ValueError: it has no URL, or everybody may call it.
        """
        if self.function_url is None or self._auth != "iam":
            raise refusal(
                self,
                "grant_invoke_url",
                given="a function without a URL" if self.function_url is None else "a URL that everybody may call",
                allowed="a URL with auth='iam'",
                remedy="give function_url=True"
                if self.function_url is None
                else "nothing needs to be granted; or set auth='iam'",
            )
        return self.function_url.grant_invoke_url(grantee)

    def metric_errors(self, *, period: cdk.Duration | None = None, statistic: str = "Sum") -> cloudwatch.Metric:
        """Invocations of the function that ended in an error. Default: the sum over 5 minutes."""
        return self.function.metric_errors(period=period, statistic=statistic)

    def _check_event_sources(self) -> list[str]:
        everything = self.node.root.node.find_all()
        mine = self.function.function_name
        # An alias and a version are named after themselves.
        names = [mine, self.function.function_arn] + [
            each.ref
            for each in everything
            if isinstance(each, lambda_.CfnAlias | lambda_.CfnVersion) and each.function_name == mine
        ]
        return [
            f"{mapping.node.path}: an event source has {self.node.path} work on a queue or a stream, where its early "
            "answer would delete the messages before the work on them is done: use a ManagedAsyncTask, a QueueTask "
            "or a StreamTask"
            for mapping in everything
            if isinstance(mapping, lambda_.CfnEventSourceMapping) and _names_one_of(mapping, names)
        ]


class _Route(NamedTuple):
    """The method of an API that the function answers."""

    api: TaskApi
    verb: str
    path: ApiPath
    authorization: MethodAuthorization
    scopes: Sequence[str] | None
    api_key: bool

    @classmethod
    def of(
        cls,
        scope: Construct,
        api: TaskApi,
        path: str,
        method: str,
        *,
        authorization: Authorization | None,
        authorization_scopes: Sequence[str] | None,
        api_key_required: bool | None,
    ) -> Self:
        """Claim the method.

        Raises:
            ValueError: the API cannot have it, or not as a stream.
        """
        verb, parsed = api_method(scope, method), ApiPath.parse(scope, path)
        require_same_environment(scope, "api", api.api)
        asks = api.authorization_of(scope, authorization)
        check_scopes(scope, authorization_scopes, asks)
        api.check_streamed(scope, verb, parsed)
        api.claim(scope, verb, parsed)
        return cls(api, verb, parsed, asks, authorization_scopes, api.asks_for_key(api_key_required))

    @property
    def described(self) -> dict[str, object]:
        """What the function's metadata says of it."""
        return self.api.described(self.verb, self.path, "stream", self.authorization, api_key=self.api_key)

    def add_to(self, function: lambda_.Function, name: str, timeout: cdk.Duration) -> apigateway.Method:
        """Have the function answer it, until its timeout, which cannot be told where it is known only at deployment."""
        longest = cdk.Duration.seconds(contract.LAMBDA_MAX_TIMEOUT_SECONDS)
        return self.api.add_method(
            function,
            name,
            self.verb,
            self.path,
            authorization=self.authorization,
            authorization_scopes=self.scopes,
            api_key=self.api_key,
            streams_for=longest if timeout.is_unresolved() else timeout,
        )


def _names_one_of(mapping: lambda_.CfnEventSourceMapping, names: Sequence[str]) -> bool:
    stack = cdk.Stack.of(mapping)
    named = json.dumps(stack.resolve(mapping.function_name))
    return any(json.dumps(stack.resolve(name)) in named for name in names)


def _require_route(scope: Construct, api: TaskApi | None, given: Mapping[str, object]) -> None:
    """Refuse an API without a path, and what only a method of an API has."""
    if api is not None and given["path"] is None:
        raise refusal(
            scope,
            "path",
            given="not set, and api is",
            allowed="a path in the API, such as '/export'",
            remedy="say where the function answers, or remove api=",
        )
    for name, value in given.items():
        if api is None and value is not None:
            raise refusal(
                scope,
                name,
                given=f"{value!r}, and api is not set",
                allowed=f"{name} with api",
                remedy="give the TaskApi, or remove it",
            )


def _check_background_timeout(scope: Construct, given: cdk.Duration | None, options: FunctionOptions) -> None:
    """Refuse work after the answer that the function's timeout would cut off."""
    remedy = "what takes longer is for a ManagedAsyncTask or a BackgroundTaskFunction"
    require_duration(scope, "background_timeout", given, 1, contract.LAMBDA_MAX_TIMEOUT_SECONDS - 1, remedy=remedy)
    after, timeout = seconds(given) if given else None, seconds(timeout_of(options))
    if after is not None and timeout is not None and after >= timeout:
        raise refusal(
            scope,
            "background_timeout",
            given=f"{after:g} seconds, and the function's timeout is {timeout:g} seconds",
            allowed="less than the timeout, which is for the answer and for the work after it",
            remedy="raise timeout=",
        )


def _limit(background_timeout: cdk.Duration | None) -> dict[str, str]:
    if background_timeout is None:
        return {}
    limit = background_timeout.to_seconds(integral=False)
    return {contract.ENV_BACKGROUND_TIMEOUT: cdk.Tokenization.stringify_number(limit)}


def _trigger(settings: FunctionUrlSettings | None, route: _Route | None) -> str:
    """What starts the function, in a few words for people."""
    ways = [*(["function URL"] if settings else []), *([f"{route.verb} {route.path.text}"] if route else [])]
    return ", ".join(ways) or "none"
