"""What EventBridge Scheduler may do and does: the role by which it sends to one construct, and where it sends."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import aws_cdk as cdk
import jsii
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._names import function_arn, queue_arn, state_machine_arn
from constructs_lib._queue import queue_name, send_permissions
from constructs_lib._role import TaskRole
from constructs_lib._validation import refusal
from runtime_lib import contract
from runtime_lib.contract import Priority, Route, is_fifo

if TYPE_CHECKING:
    from constructs_lib._address import Address, DispatchTarget

__all__ = ["ScheduleTarget", "SchedulerRole", "dead_letter_statements", "find_route", "queue_arn_of", "serves"]

_DEFAULT_GROUP: Final = "default"
"""The schedule group that every account has."""
_ARNS: Final = {"lambda": function_arn, "sqs": queue_arn, "states": state_machine_arn}


class SchedulerRole(TaskRole):
    """The role by which the schedules of one group of this account send, and nothing else does.

    AWS takes no narrower condition than the group.
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html)
    """

    _ID: Final = "TaskScheduleRoles"

    def __init__(
        self, scope: Construct, construct_id: str, *, group: str, statements: Sequence[iam.PolicyStatement]
    ) -> None:
        stack = cdk.Stack.of(scope)
        group_arn = stack.format_arn(service="scheduler", resource="schedule-group", resource_name=group)
        conditions = {"StringEquals": {"aws:SourceAccount": stack.account, "aws:SourceArn": group_arn}}
        service = iam.ServicePrincipal("scheduler.amazonaws.com", conditions=conditions)
        super().__init__(scope, construct_id, statements=statements, service=service)

    def add_target(self, address: "Address") -> None:
        """Let the schedules send along every route of ``address``."""
        # What Scheduler sends is recorded when it arrives, and large arguments are in their bucket before.
        self.policy.add_statements(*replace(address, store=None, payloads=None).permissions(self))

    @classmethod
    def of(cls, scope: Construct, target: "DispatchTarget") -> "SchedulerRole":
        """The one role by which the schedules of a stack send to ``target``."""
        stack = cdk.Stack.of(scope)
        found = stack.node.try_find_child(cls._ID)
        roles = found if isinstance(found, Construct) else Construct(stack, cls._ID)
        construct_id = cdk.Names.unique_resource_name(target)
        role = roles.node.try_find_child(construct_id)
        return role if isinstance(role, cls) else cls(roles, construct_id, group=_DEFAULT_GROUP, statements=[])


@jsii.implements(scheduler.IScheduleTarget)
class ScheduleTarget:
    """What a schedule sends where, and what becomes of what cannot be delivered.

    Args:
        scope: the construct that the schedule is of.
        target: the construct that gets it.
        route: which of the routes to there.
        message: the input.
        dead_letter_queue: where what cannot be delivered goes.
        retry_attempts: how often delivery is tried again, None for AWS's 185.
        max_event_age: for how long, None for AWS's 24 hours.
    """

    def __init__(
        self,
        scope: Construct,
        target: "DispatchTarget",
        *,
        route: Route,
        message: str,
        dead_letter_queue: sqs.IQueue | sqs.Queue,
        retry_attempts: int | None,
        max_event_age: cdk.Duration | None,
    ) -> None:
        role = SchedulerRole.of(scope, target)
        role.add_target(replace(target.address, routes={"": route}))
        role.policy.add_statements(*dead_letter_statements(scope, dead_letter_queue))
        retry = scheduler.CfnSchedule.RetryPolicyProperty(
            maximum_retry_attempts=retry_attempts,
            maximum_event_age_in_seconds=max_event_age.to_seconds() if max_event_age else None,
        )
        self._config = scheduler.ScheduleTargetConfig(
            arn=_ARNS[route.kind](scope, route.target),
            role=cast("iam.IRole", role),
            input=scheduler.ScheduleTargetInput.from_text(message),
            dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(
                arn=queue_arn_of(scope, dead_letter_queue)
            ),
            retry_policy=retry if retry_attempts is not None or max_event_age else None,
        )

    def bind(self, _schedule: scheduler.ISchedule) -> scheduler.ScheduleTargetConfig:
        return self._config


def dead_letter_statements(scope: Construct, queue: sqs.IQueue | sqs.Queue) -> list[iam.PolicyStatement]:
    """What a role needs to write to ``queue`` what cannot be delivered."""
    send, *with_key = send_permissions(queue)
    return [iam.PolicyStatement(actions=send.actions, resources=[queue_arn_of(scope, queue)]), *with_key]


def queue_arn_of(scope: Construct, queue: sqs.IQueue | sqs.Queue) -> str:
    """A string where the queue's name is known, so that a queue of another stack ties nothing together."""
    name = queue_name(queue)
    return queue.queue_arn if cdk.Token.is_unresolved(name) else queue_arn(scope, name)


def serves(address: "Address", task: str, namespaces: Sequence[str] | None) -> bool:
    """Whether a task arrives at ``address``; ``namespaces`` are None where they are not known."""
    if address.task is not None:
        return address.task == task
    return namespaces is None or any(contract.namespace_route_variable(name) in address.routes for name in namespaces)


def find_route(
    scope: Construct, target: "DispatchTarget", *, task: str, namespaces: Sequence[str] | None, priority: Priority
) -> Route:
    """The route by which a task arrives at ``target``; ``namespaces`` are None for one deployed elsewhere.

    Raises:
        ValueError: it does not serve the task, or EventBridge Scheduler cannot send there.
    """
    address = target.address
    if not serves(address, task, namespaces) or not address.by_priority:
        served = ", ".join(dict.fromkeys(address.serves.values())) or "nothing that is dispatched"
        of_namespace = f" of namespace {' or '.join(map(repr, namespaces))}" if namespaces else ""
        raise refusal(
            scope,
            "target",
            given=f"{target.node.path}, which serves {served}",
            allowed=f"a construct that serves {task!r}{of_namespace}",
            remedy="give that, or code= to run the task in a function of its own",
        )
    if address.published:
        raise refusal(
            scope,
            "target",
            given=f"{target.node.path}, whose route is known at deployment only",
            allowed="a construct of this app, or one by the name of its queue or function",
            remedy="schedule a task of this app that dispatches the other one",
        )
    route = address.by_priority.get(priority, address.by_priority[Priority.DEFAULT])
    if is_fifo(route.target):
        raise refusal(
            scope,
            "target",
            given=f"{target.node.path}, which has a FIFO queue",
            allowed="a standard queue, or a function",
            remedy="schedule a task that dispatches this one: EventBridge Scheduler gives messages no deduplication id",
        )
    return route
