"""Events of a bucket's objects: which ones a rule takes, and that the bucket sends them to EventBridge."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import aws_cdk as cdk
import jsii
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib._validation import check_at_synth, refusal, warn

__all__ = ["S3EventKind", "pattern_of", "send_to_event_bridge"]

S3EventKind = Literal[
    "Object Created",
    "Object Deleted",
    "Object Restore Initiated",
    "Object Restore Completed",
    "Object Restore Expired",
    "Object Storage Class Changed",
    "Object Access Tier Changed",
    "Object ACL Updated",
    "Object Tags Added",
    "Object Tags Deleted",
]
"""What happens to objects, as EventBridge calls it: docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html."""


def pattern_of(
    scope: Construct, bucket: s3.IBucket | s3.Bucket, prefix: str, suffix: str, kinds: Sequence[S3EventKind]
) -> events.EventPattern:
    """The events of these kinds of the objects whose keys begin and end so.

    Raises:
        ValueError: there is no kind, or one that S3 does not send.
    """
    if isinstance(kinds, str) or not kinds or not set(kinds) <= {*get_args(S3EventKind)}:
        raise refusal(
            scope,
            "kinds",
            given=repr(kinds),
            allowed=f"some of {', '.join(get_args(S3EventKind))}",
            remedy="list those to run the task for",
        )
    detail: dict[str, Any] = {"bucket": {"name": [bucket.bucket_name]}}
    if prefix and suffix:
        detail["object"] = {"key": [{"wildcard": f"{_literally(prefix)}*{_literally(suffix)}"}]}
    elif prefix or suffix:
        detail["object"] = {"key": [{"prefix": prefix} if prefix else {"suffix": suffix}]}
    return events.EventPattern(source=["aws.s3"], detail_type=[*kinds], detail=detail)


def _literally(text: str) -> str:
    """Text inside a wildcard pattern: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html."""
    return text.replace("\\", "\\\\").replace("*", "\\*")


def send_to_event_bridge(scope: Construct, bucket: s3.IBucket | s3.Bucket) -> None:
    """Have a bucket send what happens to its objects to EventBridge.

    A property of the bucket does it, without the function by which the CDK sets notifications. But that function sets
    all of them, and so does the property: where the bucket has the function, it has to know, and the property is left
    out, which would take the others away when it is added.
    """
    resource = bucket.node.default_child
    if not isinstance(resource, s3.CfnBucket):
        warn(
            scope,
            "bucket-events",
            f"{bucket.node.path} is imported, and its notifications stay as they are: turn on EventBridge where it is "
            "made, or the task never runs",
        )
        return
    property_name = "NotificationConfiguration.EventBridgeConfiguration"
    resource.add_property_override(property_name, cdk.Lazy.uncached_any(_UnlessSetByFunction(bucket)))

    def overwritten() -> list[str]:
        if all("EventBridgeConfiguration" in one for one in _set_by_function(bucket)):
            return []
        error = (
            f"{bucket.node.path} has notifications, which the CDK sets by a function, without those to EventBridge: "
            f"add event_bridge_enabled=True to the bucket, whose events {scope.node.path} runs its task for"
        )
        return [error]

    check_at_synth(scope, overwritten)


@jsii.implements(cdk.IAnyProducer)
class _UnlessSetByFunction:
    """What turns on EventBridge; nothing where a function sets the bucket's notifications."""

    def __init__(self, bucket: s3.IBucket | s3.Bucket) -> None:
        self._bucket = bucket

    def produce(self, context: cdk.IResolveContext) -> dict[str, bool] | None:  # noqa: ARG002  (the interface names it)
        return None if _set_by_function(self._bucket) else {"EventBridgeEnabled": True}


def _set_by_function(bucket: s3.IBucket | s3.Bucket) -> list[dict[str, Any]]:
    """The notifications of the bucket that a custom resource sets."""
    notifications = bucket.node.try_find_child("Notifications")
    if notifications is None:
        return []
    stack = cdk.Stack.of(bucket)
    return [
        stack.resolve(child._cfn_properties)["NotificationConfiguration"]  # noqa: SLF001  (nothing public has them)
        for child in notifications.node.find_all()
        if isinstance(child, cdk.CfnResource) and child.cfn_resource_type == "Custom::S3BucketNotifications"
    ]
