"""A network that is known by the ids of its subnets and security groups alone."""

from collections.abc import Collection, Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from constructs_lib._validation import names, refusal, require_number

__all__ = ["check_network", "join_network", "network_interfaces"]

# What the function options say with objects, and what they say with ids.
_OBJECTS: Final = ("vpc", "vpc_subnets", "security_groups")
_MOST: Final = {"subnet_ids": 16, "security_group_ids": 5}
_PREFIX: Final = {"subnet_ids": "subnet-", "security_group_ids": "sg-"}


def network_interfaces() -> iam.PolicyStatement:
    """What a function needs to run in a network."""
    return iam.PolicyStatement(
        actions=[
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        ],
        resources=["*"],
    )


def check_network(
    scope: Construct,
    given: Collection[str],
    *,
    subnet_ids: Sequence[str] | None,
    security_group_ids: Sequence[str] | None,
) -> None:
    """Refuse ids that Lambda would refuse, and ids beside objects.

    Args:
        scope: the construct.
        given: names of all options that were given.
        subnet_ids: the subnets' ids, if they were given.
        security_group_ids: the security groups' ids, if they were given.

    Raises:
        ValueError: only one kind of ids is given, an id or their number is wrong, or a VPC is given as well.
    """
    ids = {"subnet_ids": subnet_ids, "security_group_ids": security_group_ids}
    for argument, values in ids.items():
        if values is None:
            continue
        for other in _OBJECTS:
            if other in given:
                raise refusal(
                    scope,
                    argument,
                    given=f"set, and so is {other}",
                    allowed="ids, or objects",
                    remedy="remove one of the two",
                )
        _check_ids(scope, argument, values)
        missing = next((name for name, those in ids.items() if those is None), None)
        if missing:
            raise refusal(
                scope,
                argument,
                given=f"set, and {missing} is not",
                allowed="both",
                remedy=f"give {missing} as well: Lambda needs a subnet and a security group",
            )


def _check_ids(scope: Construct, argument: str, values: Sequence[str]) -> None:
    if isinstance(values, str):
        raise refusal(scope, argument, given=repr(values), allowed="a list of ids", remedy=f"write [{values!r}]")
    if cdk.Token.is_unresolved(values):
        return
    names(scope, argument, values)
    require_number(scope, f"len({argument})", len(values), 1, _MOST[argument], remedy="Lambda takes no more")
    for index, value in enumerate(values):
        if not value.startswith(_PREFIX[argument]) and not cdk.Token.is_unresolved(value):
            raise refusal(
                scope,
                f"{argument}[{index}]",
                given=repr(value),
                allowed=f"an id such as {_PREFIX[argument]}0a1b2c3d",
                remedy="give the id, not the name",
            )


def join_network(
    function: lambda_.CfnFunction, *, subnet_ids: Sequence[str], security_group_ids: Sequence[str]
) -> None:
    """Have a function run in the network of these ids, which the L2 function takes as objects only."""
    function.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
        subnet_ids=list(subnet_ids), security_group_ids=list(security_group_ids)
    )
