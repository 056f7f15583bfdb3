"""What a construct's resources are called, and where they are: strings made once from its path."""

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._validation import refusal
from runtime_lib import contract

__all__ = [
    "execution_arn",
    "function_arn",
    "physical_name",
    "queue_arn",
    "queue_url_prefix",
    "require_same",
    "require_same_environment",
    "state_machine_arn",
]


def physical_name(construct: Construct, suffix: str = "") -> str:
    """The name of a construct's queue or function: its path, shortened, with a hash of the whole path.

    The path starts with the stack's name, so that one app deployed under two stack names does not collide.
    """
    length = contract.PHYSICAL_NAME_MAX_LENGTH - len(suffix)
    return cdk.Names.unique_resource_name(construct, max_length=length, separator="-") + suffix


def queue_arn(scope: Construct, name: str) -> str:
    """ARN of a queue in the account and region of ``scope``."""
    return cdk.Stack.of(scope).format_arn(service="sqs", resource=name)


def function_arn(scope: Construct, name: str) -> str:
    """ARN of a function in the account and region of ``scope``."""
    return cdk.Stack.of(scope).format_arn(
        service="lambda", resource="function", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )


def state_machine_arn(scope: Construct, name: str) -> str:
    """ARN of a state machine in the account and region of ``scope``."""
    return cdk.Stack.of(scope).format_arn(
        service="states", resource="stateMachine", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )


def execution_arn(scope: Construct, name: str) -> str:
    """ARN of every execution of a state machine in the account and region of ``scope``."""
    return cdk.Stack.of(scope).format_arn(
        service="states", resource="execution", resource_name=f"{name}:*", arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )


def queue_url_prefix(scope: Construct) -> str:
    """What a queue's name is appended to for its URL, in the account and region of ``scope``."""
    stack = cdk.Stack.of(scope)
    return f"https://sqs.{stack.region}.{stack.url_suffix}/{stack.account}/"


def require_same_environment(scope: Construct, argument: str, resource: cdk.IResource) -> None:
    """Refuse a resource of another account or region, which routes and dead letters do not reach.

    Raises:
        ValueError: the account or region is known and another one than that of ``scope``.
    """
    require_same(scope, argument, resource.node.path, account=resource.env.account, region=resource.env.region)


def require_same(scope: Construct, argument: str, described: str, **theirs: str | None) -> None:
    stack = cdk.Stack.of(scope)
    for what, value in theirs.items():
        own = stack.account if what == "account" else stack.region
        if value is None or value == own or cdk.Token.is_unresolved(value) or cdk.Token.is_unresolved(own):
            continue
        raise refusal(
            scope,
            argument,
            given=f"{described} in {what} {value}",
            allowed=f"{what} {own}",
            remedy=f"routes, events, dead letters and records do not cross {what}s: give that one a stack of its own",
        )
