"""Constructs whose tasks run for events, and what the events come from."""

from typing import Any

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib import EventTask, StreamTask
from constructs_lib._validation import acknowledge
from tests.apps import back_office


def add_table(scope: Construct, construct_id: str = "Table", **arguments: Any) -> dynamodb.TableV2:
    """A table with a stream."""
    arguments = {"dynamo_stream": dynamodb.StreamViewType.NEW_AND_OLD_IMAGES, **arguments}
    key = dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING)
    recovery = dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True)
    return dynamodb.TableV2(
        scope, construct_id, partition_key=key, point_in_time_recovery_specification=recovery, **arguments
    )


def add_changes(scope: Construct, construct_id: str = "Changes", **arguments: Any) -> StreamTask:
    """The task that looks at the changes of a table."""
    table = arguments.pop("table", None) or add_table(scope, f"{construct_id}Table")
    arguments = {"task": "back_office.changes:on_change", **arguments}
    return StreamTask(scope, construct_id, code=back_office(), table=table, **arguments)


def add_uploads(scope: Construct, construct_id: str = "Uploads", **arguments: Any) -> EventTask:
    """The task that looks at what is uploaded to a bucket."""
    if "event_pattern" not in arguments and "bucket" not in arguments:
        arguments["bucket"] = s3.Bucket(scope, f"{construct_id}Bucket", enforce_ssl=True)
        acknowledge(arguments["bucket"], "AwsSolutions-S1", "Nobody looks at its access logs.")
    arguments = {"task": "back_office.changes:on_upload", **arguments}
    return EventTask(scope, construct_id, code=back_office(), **arguments)
