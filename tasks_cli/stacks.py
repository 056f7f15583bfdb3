"""Reads the stacks of a cloud: their state, their resources and those of their nested stacks."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from tasks_cli.cloud import Cloud

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

_NESTED = "AWS::CloudFormation::Stack"


class Resource(NamedTuple):
    """A resource of a deployed stack."""

    stack: str
    """Name of its stack; the identifier, if that is a nested one."""
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
    # The emulator does not tell a nested stack's parent.
    nested = {
        resource.physical_id
        for stack in stacks
        for resource in resources(cloud, stack["StackName"])
        if resource.kind == _NESTED
    }
    return sorted(
        (stack for stack in stacks if stack.get("StackId") not in nested), key=lambda stack: stack["StackName"]
    )


def outputs(stack: "StackTypeDef") -> dict[str, str]:
    """The outputs of a stack by their key."""
    return {output.get("OutputKey", ""): output.get("OutputValue", "") for output in stack.get("Outputs", [])}


def resources(cloud: Cloud, name: str) -> Iterator[Resource]:
    """The resources of a stack, each nested stack followed by its own."""
    client = cloud.client("cloudformation")
    template: Any = client.get_template(StackName=name)["TemplateBody"]
    described = (json.loads(template) if isinstance(template, str) else template).get("Resources", {})
    for page in client.get_paginator("list_stack_resources").paginate(StackName=name):
        for summary in page["StackResourceSummaries"]:
            resource = Resource(
                stack=name,
                logical_id=summary["LogicalResourceId"],
                kind=summary["ResourceType"],
                physical_id=summary.get("PhysicalResourceId", ""),
                metadata=described.get(summary["LogicalResourceId"], {}).get("Metadata", {}),
            )
            yield resource
            if resource.kind == _NESTED:
                yield from resources(cloud, resource.physical_id)
