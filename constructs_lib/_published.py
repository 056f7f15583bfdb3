"""Routes that other applications read from a parameter of AWS Systems Manager.

Its text is ``<kind>,<actions>,<resources>,<default>,<high>,<low>,<bulk>``: what kind of route it is, what a sender must
be allowed to do and with what, each separated by spaces, and the target of each priority. CloudFormation splits it
where it is read: a sender's policy then names what the receiver has, and neither stack knows the other. An action
applies to resources of its own service only, so one statement with all of them allows no more than one for each.
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


class Published(NamedTuple):
    """What a parameter says, as CloudFormation will read it: nothing of it is known at synthesis."""

    routes: Mapping[Priority, Route]
    actions: Sequence[str]
    resources: Sequence[str]


def publish(
    scope: Construct,
    parameter_name: str,
    routes: Mapping[Priority, Route],
    statements: Sequence[iam.PolicyStatement],
) -> ssm.StringParameter:
    """A parameter that says these routes, and what their senders must be allowed.

    Raises:
        ValueError: there are no routes.
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
    actions = [action for statement in statements for action in statement.actions]
    resources = [resource for statement in statements for resource in statement.resources]
    targets = [routes.get(priority, default).target for priority in _PRIORITIES]
    return ssm.StringParameter(
        scope,
        "PublishedRoute",
        parameter_name=parameter_name,
        description=f"How to dispatch to {scope.node.path}",
        string_value=",".join([default.kind, " ".join(actions), " ".join(resources), *targets]),
    )


def read_published(scope: Construct, parameter_name: str) -> Published:
    """What the parameter of this name says when the stack of ``scope`` is deployed."""
    text = ssm.StringParameter.value_for_string_parameter(scope, parameter_name)
    kind, actions, resources, *targets = (cdk.Fn.select(at, cdk.Fn.split(",", text)) for at in range(7))
    routes = {
        priority: Route(cast("Literal['sqs', 'lambda']", kind), target)
        for priority, target in zip(_PRIORITIES, targets, strict=True)
    }
    return Published(routes, cdk.Fn.split(" ", actions), cdk.Fn.split(" ", resources))
