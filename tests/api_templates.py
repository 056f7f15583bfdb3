"""What a template has of an API: its methods, what its functions say of themselves, and the warnings about it."""

import re
from typing import Any

import aws_cdk as cdk
from aws_cdk.assertions import Annotations, Match, Template

from tests.apps import resources


def method(stack: cdk.Stack, verb: str = "GET") -> dict[str, Any]:
    [found] = [each for each in resources(stack, "AWS::ApiGateway::Method") if each["HttpMethod"] == verb]
    return found


def metadata(stack: cdk.Stack, under: str) -> dict[str, Any]:
    functions = Template.from_stack(stack).find_resources("AWS::Lambda::Function")
    [found] = [each for logical_id, each in functions.items() if logical_id.startswith(under)]
    return found["Metadata"]["lambda-task-constructs"]


def warnings(stack: cdk.Stack) -> list[str]:
    found = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    return [slug for each in found for slug in re.findall(r"lambda-task-constructs:([\w-]+)", str(each.entry.data))]
