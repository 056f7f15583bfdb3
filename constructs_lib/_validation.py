"""Checks of what the CDK accepts and AWS refuses or mistreats, made before any resource exists.

Values that CloudFormation knows only at deployment (tokens) pass: they cannot be compared.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import aws_cdk as cdk
import jsii
from constructs import Construct, IConstruct, IValidation

from constructs_lib._task_definition import TaskReferenceError
from runtime_lib import contract

__all__ = [
    "ResourceCount",
    "acknowledge",
    "acknowledge_wildcard",
    "check_at_synth",
    "check_options",
    "named_by",
    "names",
    "refusal",
    "rendered",
    "require_duration",
    "require_number",
    "seconds",
    "warn",
]

# A stack holds 500 resources; above this, the next task or two do not fit.
_MANY_RESOURCES: Final = 450
# What a pseudo parameter becomes, in its shortest form: a size computed from it is never above the real one.
_SHORTEST = {
    "AWS::AccountId": "0" * 12,
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::URLSuffix": "amazonaws.com",
}


def refusal(scope: IConstruct, argument: str, *, given: object, allowed: str, remedy: str) -> ValueError:
    """The one form of an error about an argument: where, which, what was given, what is allowed, what to do."""
    return ValueError(f"{scope.node.path}: {argument} is {given}, allowed is {allowed}: {remedy}")


def warn(scope: IConstruct, slug: str, message: str) -> None:
    """Warn about what works but is risky, under an id that users can acknowledge."""
    cdk.Annotations.of(scope).add_warning_v2(f"{contract.METADATA_KEY}:{slug}", message)


def acknowledge(scope: IConstruct, rule: str, reason: str) -> None:
    """Say why a rule of a validation plugin such as cdk-nag does not apply to ``scope``."""
    cdk.Validations.of(scope).acknowledge(cdk.Acknowledgment(id=rule, reason=reason))


def acknowledge_wildcard(role: IConstruct, arn: str, reason: str) -> None:
    """Say why a role may do what it may on every resource whose ARN begins as ``arn`` does."""
    resolved = cdk.Stack.of(role).resolve(arn)
    parts = resolved["Fn::Join"][1] if isinstance(resolved, dict) else [resolved]
    shown = "".join(f"<{part['Ref']}>" if isinstance(part, dict) else part for part in parts)
    acknowledge(role, f"AwsSolutions-IAM5[Resource::{shown}]", reason)


def seconds(duration: cdk.Duration) -> float | None:
    """A duration in seconds, None while it is a token."""
    return None if duration.is_unresolved() else duration.to_seconds(integral=False)


def require_number(
    scope: IConstruct, argument: str, value: float | None, low: int, high: int, *, unit: str = "", remedy: str
) -> None:
    """Refuse a number outside ``low``..``high``; None is the service's default.

    Raises:
        ValueError: the number is outside.
    """
    # Asking whether a number is a token costs a call into node: only when it looks wrong.
    if value is None or low <= value <= high or cdk.Token.is_unresolved(value):
        return
    raise refusal(scope, argument, given=f"{value:g}{unit}", allowed=f"{low:,} to {high:,}{unit}", remedy=remedy)


def require_duration(
    scope: IConstruct, argument: str, value: cdk.Duration | None, low: int, high: int, *, remedy: str
) -> None:
    """Refuse a duration outside ``low``..``high`` seconds; None is the service's default.

    Raises:
        ValueError: the duration is outside, or a bare number.
    """
    if isinstance(value, int | float):
        raise refusal(scope, argument, given=value, allowed="a Duration", remedy=f"write Duration.seconds({value})")
    if value is not None:
        require_number(scope, argument, seconds(value), low, high, unit=" seconds", remedy=remedy)


def names(scope: IConstruct, argument: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """One or several names as a tuple.

    Raises:
        ValueError: there is none, one is empty, or one stands there twice.
    """
    given = (value,) if isinstance(value, str) else tuple(value)
    if not given or not all(given) or len(set(given)) < len(given):
        raise refusal(
            scope,
            argument,
            given=repr(value),
            allowed="one name, or several different ones",
            remedy="remove the empty or repeated names",
        )
    return given


def check_options(scope: IConstruct, options: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse options that do not exist, and None, which would hide a value that could not be found.

    Raises:
        TypeError: an option is none of the known ones.
        ValueError: an option is None.
    """
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"{scope.node.path}: unexpected argument {name!r}; the options are {', '.join(known)}")
        if value is None:
            raise refusal(scope, name, given="None", allowed="a value", remedy="leave it out for its default")


@contextmanager
def named_by(scope: IConstruct) -> Iterator[None]:
    """Put the construct's path before errors about the task, module or handler that it names."""
    try:
        yield
    except TaskReferenceError as error:
        raise TaskReferenceError(f"{scope.node.path}: {error}") from None


def rendered(value: object) -> str:
    """A resolved template value as text, without what only CloudFormation knows."""
    match value:
        case str():
            return value
        case {"Ref": str(name)}:
            return _SHORTEST.get(name, "")
        case {"Fn::Join": [str(separator), [*parts]]}:
            return separator.join(map(rendered, parts))
        case Mapping():
            return ""
        case _:
            return str(value)


def check_at_synth(construct: Construct, check: Callable[[], list[str]]) -> None:
    """Have ``check`` called when the whole app is known; what it returns fails the synthesis."""
    construct.node.add_validation(_Check(check))


@jsii.implements(IValidation)
class _Check:
    def __init__(self, check: Callable[[], list[str]]) -> None:
        self._check = check

    def validate(self) -> list[str]:
        try:
            return self._check()
        except TaskReferenceError as error:
            return [str(error)]


class ResourceCount(Construct):
    """Warns once in a stack that grows towards CloudFormation's limit."""

    _ID: Final = "TaskResourceCount"

    def __init__(self, stack: cdk.Stack) -> None:
        super().__init__(stack, self._ID)
        self._stack = stack
        check_at_synth(self, self._count)

    @classmethod
    def watch(cls, stack: cdk.Stack) -> None:
        """Count the resources of ``stack`` at synthesis."""
        if stack.node.try_find_child(cls._ID) is None:
            cls(stack)

    def _count(self) -> list[str]:
        resources = [
            construct
            for construct in self._stack.node.find_all()
            if isinstance(construct, cdk.CfnResource) and construct.stack is self._stack
        ]
        if len(resources) > _MANY_RESOURCES:
            warn(
                self._stack,
                "stack-resources",
                f"{self._stack.node.path} has {len(resources)} resources, and CloudFormation takes 500: put the next "
                "tasks into another stack, or a nested one; grants work across them",
            )
        return []
