"""CloudFormation resources beside the queue of a task, such as alarms, and the alarm that comes ready made."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._validation import refusal, require_duration

__all__ = ["age_alarm", "check_age_alarm", "check_queue_extras", "queue_extras"]

_PLACEHOLDER: Final = re.compile(r"\$(?:(QUEUEID)|EXTRA(\d+))")
# How long SQS keeps a message where the queue says nothing.
_RETENTION_SECONDS: Final = 345_600
_TYPE: Final = re.compile(r"[A-Za-z0-9]+(::[A-Za-z0-9@_-]+)+")
_ATTRIBUTES: Final = (
    "Type",
    "Properties",
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "UpdatePolicy",
    "UpdateReplacePolicy",
)


def check_queue_extras(scope: Construct, extras: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what is no resource, and references to extras that are not there.

    Raises:
        ValueError: an extra has no type, an attribute that CloudFormation does not know, refers to an extra that is not
            there, or would take the place of the queue's policy.
    """
    for index, extra in enumerate(extras):
        where = f"managed_queue_extras[{index}]"
        resource_type = extra.get("Type") if isinstance(extra, Mapping) else None
        if not isinstance(resource_type, str) or not _TYPE.fullmatch(resource_type):
            raise refusal(
                scope,
                where,
                given=f"of Type {resource_type!r}",
                allowed="a complete CloudFormation resource",
                remedy="give it a Type, such as AWS::CloudWatch::Alarm, and Properties",
            )
        if resource_type == "AWS::SQS::QueuePolicy":
            raise refusal(
                scope,
                where,
                given="a queue policy",
                allowed="any other resource",
                remedy="SQS keeps one policy for a queue: use queue.add_to_resource_policy()",
            )
        for attribute in extra:
            if attribute not in _ATTRIBUTES:
                nearest = get_close_matches(str(attribute), _ATTRIBUTES, 1)
                raise refusal(
                    scope,
                    f"{where}[{attribute!r}]",
                    given="no attribute of a resource",
                    allowed=", ".join(_ATTRIBUTES),
                    remedy=f"did you mean {nearest[0]}?" if nearest else "put it into Properties",
                )
        _check_references(scope, where, extra, len(extras))


def _check_references(scope: Construct, where: str, extra: Mapping[str, Any], count: int) -> None:
    placeholders = (found for text in _strings(extra) for found in _PLACEHOLDER.finditer(text))
    for found in placeholders:
        if found[2] and int(found[2]) >= count:
            raise refusal(
                scope,
                where,
                given=f"referring to {found[0]}",
                allowed=f"$EXTRA0 to $EXTRA{count - 1}",
                remedy="extras count from 0, in the order in which they are given",
            )


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for key, inner in value.items():
                yield from _strings(key)
                yield from _strings(inner)
        case Sequence():
            for inner in value:
                yield from _strings(inner)


def queue_extras(
    scope: Construct, queue: sqs.Queue, extras: Sequence[Mapping[str, Any]]
) -> tuple[cdk.CfnResource, ...]:
    """The extras as resources, ``$QUEUEID`` and ``$EXTRA<n>`` in them replaced by logical ids."""
    resource = queue.node.default_child
    assert isinstance(resource, cdk.CfnResource)
    made = tuple(cdk.CfnResource(scope, f"QueueExtra{index}", type=extra["Type"]) for index, extra in enumerate(extras))

    def logical_id(found: re.Match[str]) -> str:
        return (made[int(found[2])] if found[2] else resource).logical_id

    for one, extra in zip(made, extras, strict=True):
        for attribute, value in extra.items():
            if attribute != "Type":
                one.add_override(attribute, _replaced(value, logical_id))
    return made


def _replaced(value: Any, replacement: Callable[[re.Match[str]], str]) -> Any:
    """``value`` with the placeholders replaced in all of its strings, those that are keys among them."""
    match value:
        case str():
            return _PLACEHOLDER.sub(replacement, value)
        case Mapping():
            return {_replaced(key, replacement): _replaced(inner, replacement) for key, inner in value.items()}
        case Sequence():
            return [_replaced(inner, replacement) for inner in value]
        case _:
            return value


def check_age_alarm(scope: Construct, age: cdk.Duration | None) -> None:
    """Refuse an age that no message of a task's queue reaches.

    Raises:
        ValueError: it is not a positive duration, or longer than messages are kept.
    """
    require_duration(
        scope, "queue_age_alarm", age, 1, _RETENTION_SECONDS, remedy="SQS deletes a message after four days"
    )


def age_alarm(
    scope: Construct, queue: sqs.Queue, age: cdk.Duration, *, construct_id: str = "AgeAlarm"
) -> cloudwatch.Alarm:
    """An alarm when the oldest message of ``queue`` is of this age."""
    return queue.metric_approximate_age_of_oldest_message(
        period=cdk.Duration.minutes(1), statistic="Maximum"
    ).create_alarm(
        scope,
        construct_id,
        alarm_description=f"Tasks of {scope.node.path} wait longer than they should",
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        threshold=age.to_seconds(),
        evaluation_periods=1,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
    )
