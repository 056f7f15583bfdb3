"""ApiTask: one task behind one method of a REST API."""

from collections.abc import Sequence
from typing import Final, Literal, Unpack, cast, get_args

import aws_cdk as cdk
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded, physical_name, require_same_environment
from constructs_lib._api_authorization import check_scopes
from constructs_lib._api_options import Authorization
from constructs_lib._api_paths import ApiPath, api_method, check_path_parameters, takes_event
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of, timeout_of
from constructs_lib._task_definition import TaskDefinition
from constructs_lib._validation import named_by, refusal, seconds
from constructs_lib.task_api import TaskApi
from constructs_lib.task_code import TaskCode
from runtime_lib import contract

__all__ = ["ApiTask"]

Respond = Literal["accepted", "result"]


class ApiTask(DispatchTarget):
    """A task that runs when its method of an API is called, or is dispatched then.

    With ``respond="result"`` the function runs the task, and its result is the answer. With ``respond="accepted"`` the
    function dispatches the task to ``target`` and answers 202 with the task's id, and with the address of its status if
    the API has a ``store=``.

    Args:
        code: the asset that has the task.
        task: the task as ``module:name``; it is looked for in the source, without importing it.
        api: the API.
        path: the path in the API, with parameters: ``/orders/{id}``, ``/files/{proxy+}``.
        method: an HTTP method, or ANY. Default: GET.
        respond: "result" or "accepted". Default: "result".
        target: the construct that serves the task, for "accepted": it may be dispatched there. Default: none.
        authorization: who may call. Default: whoever the API says.
        authorization_scopes: OAuth scopes of which the token must have one, with a user pool. Default: none.
        api_key_required: whether callers need an API key. Default: what the API says.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        options: see `FunctionOptions`. The function's timeout is 29 seconds by default, and at most: API Gateway waits
            no longer.

    Attributes:
        function: the function that is called.
        method: the method in the API.
        url: its address.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        task: str,
        api: TaskApi,
        path: str,
        method: str = "GET",
        respond: Respond = "result",
        target: DispatchTarget | None = None,
        authorization: Authorization | None = None,
        authorization_scopes: Sequence[str] | None = None,
        api_key_required: bool | None = None,
        entry: str | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        with named_by(self):
            definition = code.source.task(task)
        handler = handler_of(self, code, entry, default=contract.API_TASK_HANDLER)
        options = {"timeout": cdk.Duration.seconds(contract.API_MAX_TIMEOUT_SECONDS), **options}
        check_function_options(self, options)
        verb, parsed = api_method(self, method), ApiPath.parse(self, path)
        check_path_parameters(self, definition, parsed)
        _check_respond(self, definition, respond, target, api)
        _check_timeout(self, options, respond)
        require_same_environment(self, "api", api.api)
        asks = api.authorization_of(self, authorization)
        check_scopes(self, authorization_scopes, asks)
        api_key = api.asks_for_key(api_key_required)
        api.claim(self, verb, parsed)

        name = physical_name(self)
        self.address = Address({}, {}, task=definition.name)
        self.function: Final = TaskFunction(
            self,
            construct=ApiTask,
            trigger=f"{verb} {path}",
            function_name=name,
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=None,
            task_environment={
                contract.ENV_TASK: definition.name,
                contract.ENV_API_RESPOND: respond,
                **api.task_environment,
            },
            described=api.described(verb, parsed, respond, asks, api_key=api_key),
            **options,
        )
        if target:
            target.grant_dispatch(self.function)
        self.method: Final = api.add_method(
            self.function,
            name,
            verb,
            parsed,
            authorization=asks,
            authorization_scopes=authorization_scopes,
            api_key=api_key,
            query=_query_parameters(definition, parsed),
        )
        api.add_status(code)
        self.url: Final = api.url_for_path(path)
        self._api: Final = api
        self._arn: Final = api.method_arn(verb, parsed)

    @property
    def arn(self) -> str:
        """What IAM calls the method, whatever the path's parameters are."""
        return self._arn

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` call the method, where its authorization is "iam".

        A path's parameter is ``*`` to IAM, which takes slashes too: who may call ``GET /orders/{id}`` may call
        ``GET /orders/{id}/lines``.
        """
        return iam.Grant.add_to_principal(grantee=grantee, actions=["execute-api:Invoke"], resource_arns=[self.arn])

    def metric_requests(self, *, period: cdk.Duration | None = None) -> cloudwatch.Metric:
        """Requests of the method; API Gateway counts them with ``metrics_enabled`` in the API's method_settings."""
        return self.method.metric_count(self._stage, period=period)

    def metric_client_errors(self, *, period: cdk.Duration | None = None) -> cloudwatch.Metric:
        """Answers from 400 to 499; counted as `metric_requests` are."""
        return self.method.metric_client_error(self._stage, period=period)

    def metric_server_errors(self, *, period: cdk.Duration | None = None) -> cloudwatch.Metric:
        """Answers from 500 on; counted as `metric_requests` are."""
        return self.method.metric_server_error(self._stage, period=period)

    def metric_latency(self, *, period: cdk.Duration | None = None, statistic: str = "p99") -> cloudwatch.Metric:
        """Time from a request to its answer, in milliseconds; counted as `metric_requests` are."""
        return self.method.metric_latency(self._stage, period=period, statistic=statistic)

    def metric_errors(self, *, period: cdk.Duration | None = None, statistic: str = "Sum") -> cloudwatch.Metric:
        """Invocations of the function that ended in an error. Default: the sum over 5 minutes."""
        return self.function.metric_errors(period=period, statistic=statistic)

    @property
    def _stage(self) -> apigateway.IStage:
        return cast("apigateway.IStage", self._api.api.deployment_stage)


def _query_parameters(task: TaskDefinition, path: ApiPath) -> list[str]:
    """What of the function's parameters may come from the query."""
    named = (*task.parameters.args, *task.parameters.kwonlyargs)
    return [parameter.arg for parameter in named if parameter.arg not in path.parameters]


def _check_respond(
    scope: Construct, task: TaskDefinition, respond: Respond, target: DispatchTarget | None, api: TaskApi
) -> None:
    if respond not in get_args(Respond):
        allowed = ", ".join(map(repr, get_args(Respond)))
        raise refusal(scope, "respond", given=repr(respond), allowed=allowed, remedy="use one of these")
    if respond == "result":
        if target is not None:
            raise refusal(
                scope,
                "target",
                given=f"{target.node.path}, and respond is 'result'",
                allowed="a target with respond='accepted'",
                remedy="the function runs the task itself: remove one of the two",
            )
        return
    if target is None:
        raise refusal(
            scope,
            "target",
            given="not set, and respond is 'accepted'",
            allowed="the construct that serves the task",
            remedy="give the ManagedAsyncTask of this task, or the server of its namespace",
        )
    if takes_event(task):
        raise refusal(
            scope,
            "respond",
            given=f"'accepted', and {task.name} takes the request",
            allowed="'result' for a task that takes an ApiEvent",
            remedy="there is no request any more when it runs in the background: take typed parameters",
        )
    namespace = task.namespaces[0]
    own, shared = contract.task_route_variable(task.name), contract.namespace_route_variable(namespace)
    if not {own, shared} & target.address.routes.keys():
        raise refusal(
            scope,
            "target",
            given=f"{target.node.path}, which does not serve {task.name!r}",
            allowed=f"a ManagedAsyncTask of it, or a server of namespace {namespace!r}",
            remedy="give the construct to which the task is dispatched",
        )
    store = target.address.store
    if api.store and (store is None or store.environment != api.store.environment):
        raise refusal(
            scope,
            "target",
            given=f"{target.node.path}, which records its tasks {f'in {store.node.path}' if store else 'nowhere'}",
            allowed=f"a construct with the store of {api.node.path}, {api.store.node.path}",
            remedy="give it store= as well: the status that the answer leads to is read there",
        )


def _check_timeout(scope: Construct, options: FunctionOptions, respond: Respond) -> None:
    timeout = seconds(timeout_of(options))
    if timeout is not None and timeout > contract.API_MAX_TIMEOUT_SECONDS:
        raise refusal(
            scope,
            "timeout",
            given=f"{timeout:g} seconds",
            allowed=f"1 to {contract.API_MAX_TIMEOUT_SECONDS} seconds, as long as API Gateway waits",
            remedy="answer 202 and let another construct run the task: respond='accepted', target=…"
            if respond == "result"
            else "this function only dispatches the task: set the timeout of the target",
        )
