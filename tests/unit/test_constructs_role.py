"""What fits into the role of a function."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from tests.apps import add_invoice, new_stack

ENV = cdk.Environment(account="123456789012", region="us-east-1")


def _statement(size: int) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=["s3:GetObject"], resources=[f"arn:aws:s3:::{'x' * size}"])


def _roles(stack: cdk.Stack) -> dict[str, Any]:
    return dict(Template.from_stack(stack).find_resources("AWS::IAM::Role"))


def test_statements_that_do_not_fit_into_a_role_are_refused_with_the_sum() -> None:
    stack = new_stack(env=ENV)
    add_invoice(stack, policy_statements=[_statement(10_240)])
    with pytest.raises(
        RuntimeError, match=r"inline policies of Shop/Invoice/Role are 1\d,\d{3} characters, allowed is 10,240: grant"
    ):
        _roles(stack)


def test_statements_that_fit_pass() -> None:
    stack = new_stack(env=ENV)
    add_invoice(stack, policy_statements=[_statement(9_000)])
    assert len(_roles(stack)) == 1


def test_grants_of_other_libraries_count_as_well() -> None:
    stack = new_stack(env=ENV)
    task = add_invoice(stack, policy_statements=[_statement(5_000)])
    task.function.add_to_role_policy(_statement(5_000))
    with pytest.raises(RuntimeError, match=r"inline policies of Shop/Invoice/Role are 1\d,\d{3} characters"):
        _roles(stack)


def test_what_is_known_at_deployment_only_does_not_count() -> None:
    stack = new_stack()
    unknown = [cdk.CfnParameter(stack, f"P{number}").value_as_string for number in range(200)]
    add_invoice(stack, policy_statements=[iam.PolicyStatement(actions=["s3:GetObject"], resources=unknown)])
    assert len(_roles(stack)) == 1
