"""A function in a network that is known by ids alone."""

import json
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk.assertions import Template
from cfnlint.api import lint

from tests.apps import add_invoice, add_mail, add_receipts, allowed, new_stack, only

SUBNETS = ["subnet-0a1b2c3d", "subnet-0c2d3e4f"]
GROUPS = ["sg-0a1b2c3d", "sg-0c2d3e4f"]


@pytest.mark.parametrize("add", [add_invoice, add_mail, add_receipts])
def test_function_joins_the_network_of_these_ids_and_may_make_its_interfaces(add: Any) -> None:
    stack = new_stack()
    add(stack, subnet_ids=SUBNETS, security_group_ids=GROUPS)
    assert only(stack, "AWS::Lambda::Function")["VpcConfig"] == {"SubnetIds": SUBNETS, "SecurityGroupIds": GROUPS}
    assert allowed(stack, "ec2:CreateNetworkInterface") == {"*"}


def test_ids_known_at_deployment_only_pass() -> None:
    stack = new_stack()
    subnets = cdk.CfnParameter(stack, "Subnets", type="List<AWS::EC2::Subnet::Id>")
    group = cdk.CfnParameter(stack, "Group")
    add_invoice(stack, subnet_ids=subnets.value_as_list, security_group_ids=[group.value_as_string])
    network = only(stack, "AWS::Lambda::Function")["VpcConfig"]
    assert network == {"SubnetIds": {"Ref": "Subnets"}, "SecurityGroupIds": [{"Ref": "Group"}]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subnet_ids": SUBNETS}, "subnet_ids is set, and security_group_ids is not, allowed is both: give"),
        ({"security_group_ids": GROUPS}, "security_group_ids is set, and subnet_ids is not, allowed is both: give"),
        ({"subnet_ids": []}, "subnet_ids is [], allowed is one name, or several different ones"),
        ({"subnet_ids": ["subnet-1"] * 2}, "subnet_ids is ['subnet-1', 'subnet-1'], allowed is one name, or several"),
        ({"subnet_ids": "subnet-1"}, "subnet_ids is 'subnet-1', allowed is a list of ids: write ['subnet-1']"),
        ({"subnet_ids": ["private"]}, "subnet_ids[0] is 'private', allowed is an id such as subnet-0a1b2c3d: give"),
        ({"subnet_ids": SUBNETS, "security_group_ids": ["x"]}, "security_group_ids[0] is 'x', allowed is an id such"),
        ({"subnet_ids": [f"subnet-{n}" for n in range(17)]}, "len(subnet_ids) is 17, allowed is 1 to 16: Lambda"),
        (
            {"subnet_ids": SUBNETS, "security_group_ids": [f"sg-{n}" for n in range(6)]},
            "len(security_group_ids) is 6, allowed is 1 to 5: Lambda",
        ),
    ],
)
def test_ids_that_lambda_would_refuse_are_refused_at_synth(options: dict[str, Any], message: str) -> None:
    stack = new_stack()
    with pytest.raises(ValueError) as error:
        add_invoice(stack, **options)
    assert str(error.value).startswith(f"Shop/Invoice: {message}")


@pytest.mark.parametrize("other", ["vpc", "vpc_subnets", "security_groups"])
@pytest.mark.parametrize("argument", ["subnet_ids", "security_group_ids"])
def test_ids_beside_objects_are_refused(argument: str, other: str) -> None:
    stack = new_stack()
    vpc = ec2.Vpc(stack, "Network", max_azs=1, nat_gateways=0)
    objects = {"vpc": vpc, "vpc_subnets": ec2.SubnetSelection(), "security_groups": []}
    with pytest.raises(ValueError, match=f"Shop/Invoice: {argument} is set, and so is {other}, allowed is ids, or"):
        add_invoice(stack, **{argument: ["subnet-1"], other: objects[other]})


def test_cdk_nag_and_cfn_lint_find_nothing() -> None:
    stack = new_stack()
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    for add in (add_invoice, add_mail, add_receipts):
        add(stack, subnet_ids=SUBNETS, security_group_ids=GROUPS, tags={"team": "billing"})
    stack.node.root.synth()
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []
