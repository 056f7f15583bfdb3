"""Dispatches for later than a queue can delay them: the schedules that a function may make, and their role."""

from typing import TYPE_CHECKING, Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._names import physical_name
from constructs_lib._queue import dead_letters_of
from constructs_lib._scheduler import SchedulerRole, dead_letter_statements, queue_arn_of
from constructs_lib._validation import acknowledge_wildcard
from runtime_lib import contract

if TYPE_CHECKING:
    from constructs_lib._address import DispatchTarget

__all__ = ["DelayedDispatch"]


class _ScheduleGroup(Construct):
    """The schedules that the functions of a stack make: what one has made, another can cancel."""

    _ID: Final = "TaskSchedules"

    def __init__(self, stack: cdk.Stack) -> None:
        super().__init__(stack, self._ID)
        self.group_name: Final = physical_name(self)
        scheduler.CfnScheduleGroup(self, "Resource", name=self.group_name)

    @classmethod
    def of_stack(cls, scope: Construct) -> "_ScheduleGroup":
        stack = cdk.Stack.of(scope)
        found = stack.node.try_find_child(cls._ID)
        return found if isinstance(found, cls) else cls(stack)


class DelayedDispatch(Construct):
    """What lets one function make schedules.

    Args:
        function: the function.
        dead_letter_queue: where what they cannot deliver goes. Default: the one that the tasks of its stack share.

    Attributes:
        statements: what the function is allowed besides.
    """

    def __init__(self, function: lambda_.Function, dead_letter_queue: sqs.IQueue | sqs.Queue | None) -> None:
        super().__init__(function, "DelayedDispatch")
        # Scheduler writes to standard queues only.
        own = dead_letter_queue if dead_letter_queue is not None and not dead_letter_queue.fifo else None
        letters, _ = dead_letters_of(self, own)
        group = _ScheduleGroup.of_stack(self).group_name
        self._role = SchedulerRole(self, "Role", group=group, statements=dead_letter_statements(self, letters))
        arn = cdk.Stack.of(self).format_arn(service="scheduler", resource="schedule", resource_name=f"{group}/*")
        self.statements: Final = [
            iam.PolicyStatement(actions=["scheduler:CreateSchedule", "scheduler:DeleteSchedule"], resources=[arn]),
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=[self._role.role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
            ),
        ]
        function.add_environment(contract.ENV_SCHEDULES, f"{group} {self._role.role_arn} {queue_arn_of(self, letters)}")
        if function.role:
            reason = "A schedule is named after the message that it sends, and its group is that of the stack."
            acknowledge_wildcard(function.role, arn, reason)

    def add(self, target: "DispatchTarget") -> None:
        """Let the schedules send to ``target``."""
        self._role.add_target(target.address)
