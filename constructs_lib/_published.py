"""Routes that other applications read from a parameter of AWS Systems Manager.

Its text is fields with commas between: the kind of route, the resources that a sender needs, and the target of each
priority. Fields that are not needed repeat another, since CloudFormation can tell them only by their place. It takes
them where the parameter is read: a sender's policy then names what the receiver has, and neither stack knows the other.
Which kind it is shows at deployment only, so the policy has the actions of both; each applies to resources of its own
service alone.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from constructs_lib._validation import refusal
from runtime_lib.contract import Priority, Route

__all__ = ["Published", "publish", "read_published"]

_PRIORITIES: Final = (Priority.DEFAULT, Priority.HIGH, Priority.LOW, Priority.BULK)
_RESOURCES: Final = len(_PRIORITIES) + 1
"""A queue of each priority, and their key."""


class Published(NamedTuple):
    """What a parameter says, as CloudFormation will read it: nothing of it is known at synthesis."""

    routes: Mapping[Priority, Route]
    resources: Sequence[str]

    @property
    def permission(self) -> iam.PolicyStatement:
        """What a sender must be allowed."""
        return iam.PolicyStatement(
            actions=["kms:Decrypt", "kms:GenerateDataKey", "lambda:InvokeFunction", "sqs:SendMessage"],
            resources=[*self.resources],
        )


def publish(
    scope: Construct,
    parameter_name: str,
    routes: Mapping[Priority, Route],
    statements: Sequence[iam.PolicyStatement],
) -> ssm.StringParameter:
    """A parameter that says these routes, and what their senders must be allowed.

    Raises:
        ValueError: there are no routes, or queues with several keys.
    """
    if not routes:
        raise refusal(
            scope,
            "parameter_name",
            given=f"{parameter_name!r} for a construct that nothing is dispatched to",
            allowed="the route of one that serves dispatched tasks",
            remedy="publish that one's route",
        )
    default = routes[Priority.DEFAULT]
    resources = [resource for statement in statements for resource in statement.resources]
    targets = [routes.get(priority, default).target for priority in _PRIORITIES]
    if len(resources) > _RESOURCES:
        raise refusal(
            scope,
            "parameter_name",
            given=f"{parameter_name!r} for queues with several keys",
            allowed="one key for all queues",
            remedy="encrypt them with one key, or name them in the other application by from_queue_names",
        )
    resources += resources[:1] * (_RESOURCES - len(resources))
    return ssm.StringParameter(
        scope,
        "PublishedRoute",
        parameter_name=parameter_name,
        description=f"How to dispatch to {scope.node.path}",
        string_value=",".join([default.kind, *resources, *targets]),
    )


def read_published(scope: Construct, parameter_name: str) -> Published:
    """What the parameter of this name says when the stack of ``scope`` is deployed."""
    text = ssm.StringParameter.value_for_string_parameter(scope, parameter_name)
    count = 1 + _RESOURCES + len(_PRIORITIES)
    kind, *fields = (cdk.Fn.select(at, cdk.Fn.split(",", text)) for at in range(count))
    targets = zip(_PRIORITIES, fields[_RESOURCES:], strict=True)
    routes = {priority: Route(cast("Literal['sqs', 'lambda']", kind), target) for priority, target in targets}
    return Published(routes, fields[:_RESOURCES])
