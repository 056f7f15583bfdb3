"""The one place for a function: its options, its role, its log group and its checks."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypedDict, Unpack, cast, get_args

import aws_cdk as cdk
import jsii
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import DispatchTarget, Loaded, queue_url_prefix
from constructs_lib._function_routes import FunctionRoutes
from constructs_lib._metadata import served_tasks
from constructs_lib._network import check_network, join_network, network_interfaces
from constructs_lib._queue import queue_name, send_permissions
from constructs_lib._role import TaskRole
from constructs_lib._schedule_options import warn_of_unscheduled
from constructs_lib._tags import add_tags, check_tags
from constructs_lib._validation import (
    ResourceCount,
    acknowledge,
    check_at_synth,
    check_options,
    named_by,
    names,
    refusal,
    require_duration,
    require_number,
)
from constructs_lib.task_code import TaskCode
from runtime_lib import contract

__all__ = [
    "FunctionOptions",
    "LogLevel",
    "TaskFunction",
    "check_function_options",
    "handler_of",
    "loaded_modules",
    "timeout_of",
]

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
# What Lambda calls the levels, below which it drops JSON records.
_APPLICATION_LOG_LEVELS: Final[dict[LogLevel, lambda_.ApplicationLogLevel]] = {
    "DEBUG": lambda_.ApplicationLogLevel.DEBUG,
    "INFO": lambda_.ApplicationLogLevel.INFO,
    "WARNING": lambda_.ApplicationLogLevel.WARN,
    "ERROR": lambda_.ApplicationLogLevel.ERROR,
    "CRITICAL": lambda_.ApplicationLogLevel.FATAL,
}

_DEFAULT_MEMORY_MIB: Final = 128
_DEFAULT_TIMEOUT_SECONDS: Final = 60
_MEMORY_MIB: Final = (128, 10_240)
_STORAGE_MIB: Final = (512, 10_240)
_OLDEST_PYTHON: Final = (3, 11)
# Options with permissions that IAM cannot narrow to a resource.
_WILDCARDS: Final = {
    **dict.fromkeys(
        ("vpc", "subnet_ids"), "EC2 has no resource to name for network interfaces that Lambda is yet to create"
    ),
    "tracing": "AWS X-Ray takes segments for no particular resource",
}
# Variables that constructs set; the others of the contract are for users as well.
_OURS: Final = {value for name, value in vars(contract).items() if name.startswith("ENV_")} - {
    contract.ENV_FOPS_FUNCTION_NAME,
    contract.ENV_LOG_LEVEL,
}
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]+")


class FunctionOptions(TypedDict, total=False):
    """Options that every construct with a function takes; each may be left out.

    Attributes:
        architecture: processor of the function. Default: x86-64.
        description: shown in the Lambda console, at most 256 characters. Default: none.
        environment: further environment variables. Default: none.
        ephemeral_storage_size: size of ``/tmp``, 512 to 10,240 MiB. Default: 512 MiB.
        layers: layers in the order in which Lambda lays them over each other, at most 5. Default: none.
        log_group: where the function logs. Default: a group of its own, ``/aws/lambda/<function>``, kept one month.
        log_level: what is logged at least, by the runtime and by your own loggers. Default: INFO.
        log_retention: how long the log group of its own keeps what is logged. Default: one month.
        managed_policies: policies for the role besides its own. Default: none.
        memory_size: memory in MiB, 128 to 10,240; processor time grows with it. Default: 128.
        policy_statements: statements for the role's own policy. Default: none beyond what the construct needs.
        removal_policy: what becomes of the construct's queues and log group when they leave the stack; what is
            retained keeps its name, which a later deployment cannot take again. Default: they are deleted.
        reserved_concurrent_executions: how many copies may run at once, reserved from the account's. Default: no limit.
        runtime: Python version, 3.11 or newer. Default: Python 3.13, the newest that runtime_lib is
            tested on.
        security_group_ids: the same by ids, with ``subnet_ids``; ``function.connections`` does not know them. Default:
            none.
        security_groups: security groups inside ``vpc``. Default: one of its own that allows outbound traffic.
        subnet_ids: network to run in by the ids of its subnets, where there is no VPC object. Default: none.
        tags: tags of everything that the construct makes, besides those of its stack. Default: none.
        timeout: how long one invocation may take, 1 to 900 seconds. Default: 60 seconds.
        tracing: AWS X-Ray tracing. Default: off.
        vpc: network to run in. Default: none, Lambda's own.
        vpc_subnets: subnets of ``vpc``. Default: the private ones.
    """

    architecture: lambda_.Architecture
    description: str
    environment: Mapping[str, str]
    ephemeral_storage_size: cdk.Size
    layers: Sequence[lambda_.ILayerVersion | lambda_.LayerVersion]
    log_group: logs.ILogGroup | logs.LogGroup
    log_level: LogLevel
    log_retention: logs.RetentionDays
    managed_policies: Sequence[iam.IManagedPolicy | iam.ManagedPolicy]
    memory_size: int
    policy_statements: Sequence[iam.PolicyStatement]
    removal_policy: cdk.RemovalPolicy
    reserved_concurrent_executions: int
    runtime: lambda_.Runtime
    security_group_ids: Sequence[str]
    security_groups: Sequence[ec2.ISecurityGroup | ec2.SecurityGroup]
    subnet_ids: Sequence[str]
    tags: Mapping[str, str]
    timeout: cdk.Duration
    tracing: lambda_.Tracing
    vpc: ec2.IVpc | ec2.Vpc
    vpc_subnets: ec2.SubnetSelection


def timeout_of(options: FunctionOptions) -> cdk.Duration:
    """The function's timeout, which its queues' visibility timeout depends on."""
    return options.get("timeout") or cdk.Duration.seconds(_DEFAULT_TIMEOUT_SECONDS)


def loaded_modules(scope: Construct, code: TaskCode, modules: Sequence[str]) -> Loaded:
    """The modules that a function is to import, which the asset must have.

    Raises:
        ValueError: there is none, or one is not in the asset.
    """
    with named_by(scope):
        code.source.require_modules(modules)
    return Loaded(code.source, names(scope, "modules", modules))


def check_function_options(scope: Construct, options: FunctionOptions) -> None:
    """Refuse what Lambda would refuse at deployment, or accept and not do.

    Raises:
        TypeError: an option is none of `FunctionOptions`.
        ValueError: an option is outside what is allowed.
    """
    check_options(scope, options, FunctionOptions.__annotations__)
    require_number(
        scope,
        "memory_size",
        options.get("memory_size"),
        *_MEMORY_MIB,
        unit=" MiB",
        remedy="Lambda has nothing larger; split the task, or run it in a container",
    )
    storage = options.get("ephemeral_storage_size")
    if storage is not None and not storage.is_unresolved():
        require_number(
            scope,
            "ephemeral_storage_size",
            storage.to_mebibytes(),
            *_STORAGE_MIB,
            unit=" MiB",
            remedy="use S3 or a file system for more",
        )
    require_duration(
        scope,
        "timeout",
        options.get("timeout"),
        1,
        contract.LAMBDA_MAX_TIMEOUT_SECONDS,
        remedy="split the task into shorter ones, or run it in a container with `tasks worker`",
    )
    _check_runtime(scope, options.get("runtime"))
    _check_environment(scope, options)
    if "log_group" in options and "log_retention" in options:
        raise refusal(
            scope,
            "log_retention",
            given="set, and so is log_group",
            allowed="one of the two",
            remedy="set the retention of the log group",
        )
    check_tags(scope, options.get("tags", {}))
    check_network(
        scope,
        options.keys(),
        subnet_ids=options.get("subnet_ids"),
        security_group_ids=options.get("security_group_ids"),
    )
    level = options.get("log_level")
    if level is not None and level not in get_args(LogLevel):
        raise refusal(
            scope, "log_level", given=repr(level), allowed=", ".join(get_args(LogLevel)), remedy="use one of these"
        )


def handler_of(scope: Construct, code: TaskCode, entry: str | None, *, default: str) -> str:
    """The function's handler: the user's own one, which calls the construct's, or the construct's.

    Raises:
        ValueError: ``entry`` is not a function of a module of the asset.
    """
    if entry is None:
        return default
    with named_by(scope):
        return code.source.handler(entry)


def _check_runtime(scope: Construct, runtime: lambda_.Runtime | None) -> None:
    if runtime is None:
        return
    version = re.fullmatch(r"python(\d+)\.(\d+)", runtime.name)
    if not version or (int(version[1]), int(version[2])) < _OLDEST_PYTHON:
        raise refusal(
            scope,
            "runtime",
            given=runtime.name,
            allowed=f"python{_OLDEST_PYTHON[0]}.{_OLDEST_PYTHON[1]} and newer",
            remedy="runtime_lib, which runs the tasks, needs it",
        )


def _check_environment(scope: Construct, options: FunctionOptions) -> None:
    for name in options.get("environment", {}):
        if not _VARIABLE_NAME.fullmatch(name):
            raise refusal(
                scope,
                f"environment[{name!r}]",
                given="no name that Lambda takes",
                allowed="a letter, then at least one letter, digit or underscore",
                remedy="rename the variable",
            )
        if name in _OURS or name.startswith(contract.ENV_ROUTE_PREFIX):
            raise refusal(
                scope,
                f"environment[{name!r}]",
                given="a variable that this construct sets",
                allowed="any other name",
                remedy="use grant_dispatch for routes, and the construct's own arguments for the rest",
            )
        if name == contract.ENV_LOG_LEVEL and "log_level" in options:
            raise refusal(
                scope,
                f"environment[{name!r}]",
                given="set, and so is log_level",
                allowed="one of the two",
                remedy="remove it from environment",
            )


class TaskFunction(lambda_.Function):
    """The function of a construct, allowed to log, to write dead letters, and what ``statements`` say.

    Args:
        target: the construct, whose address is known, and with it where its tasks are recorded.
        construct: which of this library's constructs it is, itself or by inheritance.
        trigger: what starts it, in a few words for people.
        function_name: the name.
        code: the asset.
        handler: the handler in it.
        loaded: the modules that the runtime imports at start.
        dead_letter_queue: where the runtime writes what it gives up; None where whoever invokes is told instead.
        statements: what else it may do.
        task_environment: what else the runtime needs to know.
        described: what else tools may know of it.
        options: what the user chose.
    """

    def __init__(
        self,
        target: DispatchTarget,
        *,
        construct: type[Construct],
        trigger: str,
        function_name: str,
        code: TaskCode,
        handler: str,
        loaded: Loaded,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None,
        statements: Sequence[iam.PolicyStatement] = (),
        task_environment: Mapping[str, str] | None = None,
        described: Mapping[str, object] | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        store, payloads = target.address.store, target.address.payloads
        runtime = options.get("runtime", lambda_.Runtime.PYTHON_3_13)
        architecture = options.get("architecture", lambda_.Architecture.X86_64)
        log_group = options.get("log_group") or logs.LogGroup(
            target,
            "Logs",
            log_group_name=f"/aws/lambda/{function_name}",
            retention=options.get("log_retention", logs.RetentionDays.ONE_MONTH),
            removal_policy=options.get("removal_policy", cdk.RemovalPolicy.DESTROY),
        )
        role = TaskRole(
            target,
            "Role",
            statements=[
                iam.PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group.log_group_arn]
                ),
                *(send_permissions(dead_letter_queue) if dead_letter_queue else []),
                *statements,
                *(store.server_statements(target) if store else []),
                *(payloads.server_statements(target) if payloads else []),
                *([network_interfaces()] if options.keys() & {"vpc", "subnet_ids"} else []),
                *options.get("policy_statements", ()),
            ],
            managed_policies=options.get("managed_policies"),
        )
        level = options.get("log_level")
        super().__init__(
            target,
            "Function",
            function_name=function_name,
            runtime=runtime,
            architecture=architecture,
            code=code.for_stack(target, runtime=runtime, architecture=architecture),
            handler=handler,
            role=cast("iam.IRole", role),
            environment={
                contract.ENV_MODULES: ",".join(loaded.modules),
                contract.ENV_QUEUE_URL_PREFIX: queue_url_prefix(target),
                **({contract.ENV_DEAD_LETTER_QUEUE: queue_name(dead_letter_queue)} if dead_letter_queue else {}),
                **({contract.ENV_TRACKED: "1"} if store else {}),
                **(task_environment or {}),
                **({contract.ENV_LOG_LEVEL: level} if level else {}),
                **options.get("environment", {}),
            },
            description=options.get("description"),
            ephemeral_storage_size=options.get("ephemeral_storage_size"),
            layers=options.get("layers"),
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=_APPLICATION_LOG_LEVELS[level] if level else None,
            log_group=log_group,
            memory_size=options.get("memory_size", _DEFAULT_MEMORY_MIB),
            reserved_concurrent_executions=options.get("reserved_concurrent_executions"),
            security_groups=options.get("security_groups"),
            timeout=timeout_of(options),
            tracing=options.get("tracing"),
            vpc=options.get("vpc"),
            vpc_subnets=options.get("vpc_subnets"),
        )
        self.loaded: Final = loaded
        resource = self.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        if "layers" in options:
            resource.layers = cdk.Lazy.uncached_list(_InGivenOrder(options["layers"], resource.layers or []))
        if "subnet_ids" in options and "security_group_ids" in options:
            join_network(resource, subnet_ids=options["subnet_ids"], security_group_ids=options["security_group_ids"])
        add_tags(target, options.get("tags", {}))
        resource.add_metadata(
            contract.METADATA_KEY,
            served_tasks(target, construct, trigger, loaded, queue_name(dead_letter_queue) if dead_letter_queue else "")
            | dict(described or {}),
        )
        # The L2 function always depends on its role, also where it refers to it.
        resource.add_metadata("cfn-lint", {"config": {"ignore_checks": ["W3005"]}})
        self.is_tracked: Final = store is not None
        """Whether what arrives here is recorded in a store, and its attempts are counted."""
        routes = FunctionRoutes(self, policy=role.policy, loaded=loaded, dead_letter_queue=dead_letter_queue)
        if store:
            routes.use_store(store)
        if payloads:
            routes.use_payloads(payloads)
        check_at_synth(self, lambda: warn_of_unscheduled(target, loaded))
        ResourceCount.watch(cdk.Stack.of(target))
        if "runtime" not in options:
            acknowledge(self, "AwsSolutions-L1", "The newest Python that runtime_lib is tested on.")
        for option in _WILDCARDS.keys() & options.keys():
            acknowledge(role, "AwsSolutions-IAM5[Resource::*]", _WILDCARDS[option])


@jsii.implements(cdk.IListProducer)
class _InGivenOrder:
    """The layers as they were given, then those added later: the L2 function sorts them by path."""

    def __init__(self, layers: Sequence[lambda_.ILayerVersion | lambda_.LayerVersion], sorted_arns: list[str]) -> None:
        self._layers = layers
        self._sorted_arns = sorted_arns

    def produce(self, context: cdk.IResolveContext) -> list[str]:
        given = [layer.layer_version_arn for layer in self._layers]
        known = [context.resolve(arn) for arn in given]
        # The ARN of a layer of the same app is a reference.
        return given + [cdk.Token.as_string(arn) for arn in context.resolve(self._sorted_arns) if arn not in known]
