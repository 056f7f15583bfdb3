"""Tags of everything that a construct makes."""

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from tests.apps import add_invoice, add_mail, new_stack


def test_everything_that_a_construct_makes_is_tagged_and_nothing_else() -> None:
    stack = new_stack()
    add_mail(stack, tags={"cost-center": "42"})
    add_invoice(stack)
    found = Template.from_stack(stack).to_json()["Resources"]
    tagged = {name for name, resource in found.items() if resource.get("Properties", {}).get("Tags")}
    types = {found[name]["Type"] for name in tagged}
    assert types >= {"AWS::Lambda::Function", "AWS::IAM::Role", "AWS::SQS::Queue", "AWS::Logs::LogGroup"}
    assert {name for name in tagged if not name.startswith("Mail")} == set()
    assert found[min(tagged)]["Properties"]["Tags"] == [{"Key": "cost-center", "Value": "42"}]


def test_tags_known_at_deployment_only_pass() -> None:
    stack = new_stack()
    owner = cdk.CfnParameter(stack, "Owner")
    add_invoice(stack, tags={"owner": owner.value_as_string})
    [queue] = (
        queue
        for queue in Template.from_stack(stack).find_resources("AWS::SQS::Queue").values()
        if "Tags" in queue["Properties"]
    )
    assert queue["Properties"]["Tags"] == [{"Key": "owner", "Value": {"Ref": "Owner"}}]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"": "x"}, "tags[''] is no key that AWS takes, allowed is 1 to 128 letters"),
        ({"aws:owner": "x"}, "tags['aws:owner'] is no key that AWS takes"),
        ({"a&b": "x"}, "tags['a&b'] is no key that AWS takes"),
        ({"k" * 129: "x"}, f"tags['{'k' * 129}'] is no key that AWS takes"),
        ({"team": "a&b"}, "tags['team'] is 'a&b', allowed is at most 256 letters"),
        ({"revision": "1\n"}, "tags['revision'] is '1\\n', allowed is at most 256 letters"),
        ({"team": "v" * 257}, f"tags['team'] is '{'v' * 257}', allowed is at most 256"),
        ({"team": 7}, "tags['team'] is 7, allowed is a string: write '7'"),
        ({"Team": "a", "team": "b"}, "tags['team'] is there, and so is 'Team', allowed is keys that differ in more"),
        ({f"k{n}": "" for n in range(51)}, "len(tags) is 51, allowed is 0 to 50"),
    ],
)
def test_tags_that_aws_would_refuse_are_refused_at_synth(tags: dict[str, Any], message: str) -> None:
    stack = new_stack()
    with pytest.raises(ValueError) as error:
        add_invoice(stack, tags=tags)
    assert str(error.value).startswith(f"Shop/Invoice: {message}")
