"""Reads the stacks of a cloud: their state, their resources and those of their nested stacks."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from tasks_cli.cloud import Cloud

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


class Resource(NamedTuple):
    """A resource of a deployed stack."""

    logical_id: str
    kind: str
    physical_id: str
    metadata: dict[str, Any]
    """What its template says under ``Metadata``."""


def describe(cloud: Cloud, name: str) -> "StackTypeDef | None":
    """The stack, or None if there is none of this name or it is deleted."""
    try:
        stack = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def top_level(cloud: Cloud) -> "list[StackTypeDef]":
    """Every stack that is nobody's nested stack, by name."""
    pages = cloud.client("cloudformation").get_paginator("describe_stacks").paginate()
    stacks = [stack for page in pages for stack in page["Stacks"]]
    return sorted((stack for stack in stacks if not stack.get("ParentId")), key=lambda stack: stack["StackName"])


def outputs(stack: "StackTypeDef") -> dict[str, str]:
    """The outputs of a stack by their key."""
    return {output.get("OutputKey", ""): output.get("OutputValue", "") for output in stack.get("Outputs", [])}


def with_nested(cloud: Cloud, name: str) -> Iterator[str]:
    """The name of a stack, then the identifiers of its nested stacks at any depth."""
    yield name
    for resource in resources(cloud, name):
        if resource.kind == "AWS::CloudFormation::Stack":
            yield from with_nested(cloud, resource.physical_id)


def resources(cloud: Cloud, name: str) -> list[Resource]:
    """The resources of one stack, without those of nested stacks."""
    client = cloud.client("cloudformation")
    template = client.get_template(StackName=name)["TemplateBody"]
    parsed = json.loads(template) if isinstance(template, str) else template
    pages = client.get_paginator("list_stack_resources").paginate(StackName=name)
    return [
        Resource(
            logical_id=summary["LogicalResourceId"],
            kind=summary["ResourceType"],
            physical_id=summary.get("PhysicalResourceId", ""),
            metadata=parsed["Resources"].get(summary["LogicalResourceId"], {}).get("Metadata", {}),
        )
        for page in pages
        for summary in page["StackResourceSummaries"]
    ]
