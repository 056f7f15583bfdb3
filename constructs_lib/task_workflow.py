"""TaskWorkflow: tasks that run before and after one another, as executions of Step Functions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Unpack, cast

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded, physical_name
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, loaded_modules, timeout_of
from constructs_lib._function_routes import FunctionRoutes, allow
from constructs_lib._manifest import read_manifest
from constructs_lib._names import execution_arn, queue_url_prefix, state_machine_arn
from constructs_lib._role import TaskRole
from constructs_lib._server import TaskServer
from constructs_lib._validation import acknowledge, acknowledge_wildcard, named_by, refusal
from constructs_lib._workflow_checks import check_definition, check_express, check_runs, check_timeout
from constructs_lib._workflow_definition import definition_of
from constructs_lib._workflow_graph import Run, unfold
from constructs_lib._workflow_servers import Servers, report_permission, run_permissions
from constructs_lib._workflow_states import INTEGRATIONS
from constructs_lib.payload_bucket import PayloadAccess
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract
from runtime_lib.contract import Route

__all__ = ["TaskWorkflow"]

_LOG_GROUP_PREFIX: Final = "/aws/vendedlogs/states/"
"""With another one, the policy by which log groups are written to grows with each state machine of an account."""


class TaskWorkflow(DispatchTarget):
    """The graph of tasks that a task's ``run_before``, ``run_after`` and ``on_failure`` lead to, as one state machine.

    Dispatching ``start``, anywhere, starts an execution; `handle.status()`, `result()` and `cancel()` follow it. Each
    task runs on a function of the workflow's own, or where it is served already.

    Args:
        code: the asset that has the tasks.
        modules: the modules to import, so that their tasks are known: when the app is synthesized, to read the graph,
            and by the workflow's function at its start.
        start: the first task as ``module:name``.
        served_by: constructs that serve some of the tasks: a BackgroundTaskFunction, whose function is invoked, or one
            with queues, so that its cap on concurrency holds. Default: all run on the workflow's own function.
        express: whether executions are those of an Express workflow: for up to five minutes, cheaper by the thousand,
            and not to be looked at, so that it takes a ``store``; without queues. Default: no.
        store: where the run of each task is recorded: one that has succeeded does not run again, whatever is delivered
            twice. Default: nowhere.
        payloads: where results and arguments go that are too large for a state. Default: they are refused.
        execution_timeout: how long an execution may take, up to a year. Default: a year; an Express one five minutes.
        queue_timeout: how long a task may wait in the queue of a construct that serves it, and run, before it counts as
            failed; up to a year. Default: a day.
        trace_executions: whether AWS X-Ray traces executions. Default: yes.
        options: of the workflow's own function, see `FunctionOptions`; ``log_retention`` and ``removal_policy`` are for
            the log of executions as well.

    Attributes:
        state_machine: the state machine.
        graph: the runs of its tasks.
        function: the workflow's own function, None if all tasks are served elsewhere.
        alarms: those of executions that failed, and of those that took too long. Add an action to each to hear of it.
        log_group: the log of its executions, which holds no arguments and no results.

    Raises:
        ValueError: an argument is refused, or the graph cannot be run; the message says which, and what to do.
    """

    function: lambda_.Function | None

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        modules: Sequence[str],
        start: str,
        served_by: Sequence[TaskServer] = (),
        express: bool = False,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        execution_timeout: cdk.Duration | None = None,
        queue_timeout: cdk.Duration | None = None,
        trace_executions: bool = True,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        with named_by(self):
            definition = code.source.task(start)
        loaded = loaded_modules(self, code, modules)
        check_function_options(self, options)
        check_timeout(self, "execution_timeout", execution_timeout)
        check_timeout(self, "queue_timeout", queue_timeout)
        if express:
            check_express(self, store, execution_timeout)

        name = self._name = physical_name(self)
        servers = Servers(
            self,
            served_by,
            own=name,
            timeout=timeout_of(options),
            queue_timeout=queue_timeout or cdk.Duration.days(1),
        )
        imported = [*loaded.modules, *servers.modules(), definition.module]
        self.graph: Final = self._unfold(code, imported, definition.name, servers)
        self.also_serves = frozenset(servers.own_tasks)
        check_runs(self, self.graph, loaded, express=express, bucket=payloads is not None)
        # An Express execution cannot be looked at: its sender records that it is queued.
        self.address = replace(
            Address.of_task(
                definition.name, Route("states", name), store=store if express else None, payloads=payloads
            ),
            loaded=loaded,
        )
        self._payloads = payloads
        worker = _Worker(self, "Worker", definition.name, store=store, payloads=payloads)
        self.function = None
        if servers.own_tasks:
            self.function = TaskFunction(
                worker,
                construct=TaskWorkflow,
                trigger=f"in workflow {self.node.path}",
                function_name=name,
                code=code,
                handler=contract.TASK_WORKFLOW_HANDLER,
                loaded=loaded,
                dead_letter_queue=None,
                described={
                    "path": self.node.path,
                    "tasks": dict.fromkeys(servers.own_tasks, contract.DEFAULT_NAMESPACE),
                },
                **options,
            )
            self._let_answer(self.function, store, payloads)
        self._used = tuple(servers.used.values())
        for server in self._used:
            self._let_report(server, payloads)
        self.log_group: Final = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"{_LOG_GROUP_PREFIX}{name}",
            retention=options.get("log_retention", logs.RetentionDays.ONE_MONTH),
            removal_policy=options.get("removal_policy", cdk.RemovalPolicy.DESTROY),
        )
        self.state_machine: Final = self._state_machine(
            store if express else None, timeout=execution_timeout, tracing=trace_executions
        )
        self._describe(loaded, definition.name, store, express=express)
        self.alarms: Final = (
            self._alarm("Failed", self.metric_failed(), "failed"),
            self._alarm("TimedOut", self.state_machine.metric_timed_out(), "took longer than they may"),
        )

    # --- What may be done with it ------------------------------------------------------------------------------------

    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` follow executions: ``handle.status()``, ``record()``, ``result()``, and ``await handle``.

        A `lambda_.Function` gets the permission and the route. Any other principal gets the permission; set
        `dispatch_environment` where it runs. Of an Express workflow, the executions of which cannot be looked at, it
        gets the permission of its store.

        Raises:
            ValueError: ``grantee`` is in another account or region, or cannot be given a permission.
        """
        if self.address.store:
            self.address.store.grant_read(grantee)
        else:
            self._allow_executions(grantee, "states:DescribeExecution")
            if self._payloads:
                self._payloads.grant_read(grantee)
        if isinstance(grantee, lambda_.Function):
            FunctionRoutes.of(grantee).add(self)

    def grant_cancel(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` stop executions, and follow them: ``handle.cancel()``. As `grant_read`."""
        if self.address.store:
            self.address.store.grant_write(grantee)
        else:
            self._allow_executions(grantee, "states:StopExecution")
        self.grant_read(grantee)

    def grant_report(self, grantee: iam.IGrantable) -> None:
        """Let a worker of your own report the end of tasks that it takes from a queue of ``served_by``."""
        allow(self, grantee, lambda scope: [report_permission(scope, self._name)])

    def metric_failed(self, *, period: cdk.Duration | None = None, statistic: str = "Sum") -> cloudwatch.Metric:
        """Executions that failed. Default: the sum over 5 minutes."""
        return self.state_machine.metric_failed(period=period, statistic=statistic)

    def _allow_executions(self, grantee: iam.IGrantable, action: str) -> None:
        allow(
            self,
            grantee,
            lambda scope: [iam.PolicyStatement(actions=[action], resources=[execution_arn(scope, self._name)])],
        )

    # --- Its parts ---------------------------------------------------------------------------------------------------

    def _unfold(self, code: TaskCode, modules: Sequence[str], start: str, servers: Servers) -> Run:
        with named_by(self):
            tasks = read_manifest(code.source, modules, start)
        return unfold(tasks, start, servers.place)

    def _let_answer(
        self, function: lambda_.Function, store: StoreAccess | None, payloads: PayloadAccess | None
    ) -> None:
        """Let a function that runs tasks hand large results on, and results of runs that come once more."""
        if payloads:
            FunctionRoutes.of(function).use_payloads(payloads)
            statements = [*payloads.sender_statements(self), *payloads.server_statements(self)]
            allow(self, function, lambda _: statements)
        if store:
            store.grant_read(function)

    def _let_report(self, server: TaskServer, payloads: PayloadAccess | None) -> None:
        if server.address.payloads and not payloads:
            raise refusal(
                self,
                "payloads",
                given=f"none, and {server.node.path} has {server.address.payloads.bucket_name}",
                allowed="the same bucket for all that run its tasks: large results go from one to another there",
                remedy="give that one to the workflow as well",
            )
        self._let_answer(server.function, server.address.store, payloads)
        if any(route.kind == "sqs" for route in server.address.by_priority.values()):
            self.grant_report(server.function)

    def _state_machine(
        self, table: StoreAccess | None, *, timeout: cdk.Duration | None, tracing: bool
    ) -> sfn.StateMachine:
        definition = definition_of(
            self.graph, bucket=self._payloads is not None, table=table.table_name if table else None
        )
        if timeout:
            definition["TimeoutSeconds"] = round(timeout.to_seconds())
        text = json.dumps(definition, separators=(",", ":"), ensure_ascii=False)
        partition = cdk.Stack.of(self).partition
        substitutions = {
            **{name: f"arn:{partition}:states:::{action}" for name, action in INTEGRATIONS.items()},
            "QueueUrlPrefix": queue_url_prefix(self),
            **({"PayloadBucket": self._payloads.bucket_name} if self._payloads else {}),
        }
        check_definition(self, text, self.graph.described())
        substitutions = {name: value for name, value in substitutions.items() if f"${{{name}}}" in text}
        return sfn.StateMachine(
            self,
            "StateMachine",
            state_machine_name=self._name,
            state_machine_type=sfn.StateMachineType.EXPRESS if table else sfn.StateMachineType.STANDARD,
            definition_body=sfn.DefinitionBody.from_string(text),
            definition_substitutions=substitutions,
            role=cast("iam.IRole", self._role(text, table)),
            logs=sfn.LogOptions(
                destination=cast("logs.ILogGroup", self.log_group), include_execution_data=False, level=sfn.LogLevel.ALL
            ),
            tracing_enabled=tracing,
        )

    def _role(self, definition: str, table: StoreAccess | None) -> TaskRole:
        """What the state machine may do: start the tasks, and with long lists executions of its own."""
        machine = state_machine_arn(self, self._name)
        conditions = {
            "StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account},
            # The executions of items of a list say the state machine with a label behind it.
            "ArnLike": {"aws:SourceArn": [machine, f"{machine}/*"]},
        }
        role = TaskRole(
            self,
            "Role",
            statements=[
                *run_permissions(self, self.graph, self._used),
                *(table.server_statements(self) if table else []),
            ],
            service=iam.ServicePrincipal("states.amazonaws.com", conditions=conditions),
        )
        if self._payloads and '"DISTRIBUTED"' in definition:
            executions, items = execution_arn(self, self._name), execution_arn(self, f"{self._name}/*")
            role.policy.add_statements(
                iam.PolicyStatement(actions=["states:StartExecution"], resources=[machine]),
                iam.PolicyStatement(
                    actions=["states:DescribeExecution", "states:StopExecution"], resources=[executions, items]
                ),
                iam.PolicyStatement(actions=["states:RedriveExecution"], resources=[items]),
                *self._payloads.server_statements(self),
            )
            self._payloads.acknowledge_keys(cast("iam.IRole", role))
            for arn in (executions, items):
                acknowledge_wildcard(role, arn, "Each item is an execution of its own.")
        acknowledge(
            role,
            "AwsSolutions-IAM5[Resource::*]",
            "The delivery of logs, and X-Ray, have no resources that IAM could name.",
        )
        return role

    def _describe(self, loaded: Loaded, start: str, store: StoreAccess | None, *, express: bool) -> None:
        """What tools may know of the state machine: see `contract.METADATA_KEY`."""
        resource = self.state_machine.node.default_child
        assert isinstance(resource, sfn.CfnStateMachine)
        described: dict[str, Any] = {
            "construct": TaskWorkflow.__name__,
            "path": self.node.path,
            "trigger": "dispatch",
            "modules": list(loaded.modules),
            "tasks": {start: contract.DEFAULT_NAMESPACE},
            "routes": self.routes,
            "dead_letter_queue": "",
            "express": express,
            "graph": self.graph.described(),
        }
        if store:
            described["store"] = store.environment
        resource.add_metadata(contract.METADATA_KEY, described)
        # The L2 state machine always depends on its role, also where it refers to it.
        resource.add_metadata("cfn-lint", {"config": {"ignore_checks": ["W3005"]}})

    def _alarm(self, construct_id: str, metric: cloudwatch.Metric, what: str) -> cloudwatch.Alarm:
        return metric.create_alarm(
            self,
            f"{construct_id}Alarm",
            alarm_description=f"Executions of {self._name} {what}: see `tasks runs list`",
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            threshold=1,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


class _Worker(DispatchTarget):
    """What the workflow's own function belongs to: Step Functions invokes it, and nothing is dispatched there."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        task: str,
        *,
        store: StoreAccess | None,
        payloads: PayloadAccess | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.address = replace(Address.of_trigger(task, store=store), payloads=payloads)
