"""constructs_lib.testing.template_of: equal until the stack itself changes."""

import json
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_apigateway, aws_lambda
from constructs import Construct
from syrupy.assertion import SnapshotAssertion

from constructs_lib import TaskCode
from constructs_lib.testing import template_of


class ShopStack(cdk.Stack):
    """Everything that carries a hash: code, a nested stack's template, a version and its alias, an API's deployment."""

    def __init__(self, scope: Construct, name: str, code: TaskCode) -> None:
        super().__init__(scope, name, description="The shop")
        self.inner = cdk.NestedStack(self, "Nested")
        function = self.function(self, "Resize", code)
        self.function(self.inner, "Mail", code)
        aws_lambda.Alias(self, "Live", alias_name="live", version=function.current_version)
        api = aws_apigateway.RestApi(self, "Api", cloud_watch_role=False)
        api.root.add_method("GET", aws_apigateway.MockIntegration())
        queue = cdk.CfnResource(self, "Queue", type="AWS::SQS::Queue", properties={"QueueName": "Shop-Queue-1A2B"})
        queue.add_metadata("lambda-task-constructs", {"path": queue.node.path})
        cdk.CfnParameter(self, "Size", default="1")

    @staticmethod
    def function(scope: Construct, name: str, code: TaskCode) -> aws_lambda.Function:
        runtime = aws_lambda.Runtime.PYTHON_3_13
        return aws_lambda.Function(scope, name, runtime=runtime, handler="a.b", code=code.for_stack(scope))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return tmp_path / "shop"


def shop(app: Construct) -> ShopStack:
    return ShopStack(app, "Shop", TaskCode.from_package("shop"))


def test_template_is_as_in_the_snapshot(package: Path, snapshot: SnapshotAssertion) -> None:
    stack = shop(cdk.App())
    assert template_of(stack) == snapshot
    assert template_of(stack.inner) == snapshot(name="nested")


def test_template_does_not_depend_on_the_code_the_directory_or_what_cdk_adds(package: Path, tmp_path: Path) -> None:
    plain = shop(cdk.App())
    before, nested = template_of(plain), template_of(plain.inner)
    (package / "new.py").write_text("x = 1\n")
    context = {"aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
    app = cdk.App(outdir=str(tmp_path / "elsewhere"), analytics_reporting=True, context=context)
    added = shop(app)
    assert template_of(added) == before
    assert template_of(added.inner) == nested
    raw = json.loads((tmp_path / "elsewhere" / "Shop.template.json").read_text())
    assert {"CDKMetadata", "BootstrapVersion", "CheckBootstrapVersion"} <= {
        key for section in raw.values() if isinstance(section, dict) for key in section
    }


def test_template_of_a_stack_in_a_stage_has_no_hash_either(package: Path) -> None:
    stack = shop(cdk.Stage(cdk.App(), "Prod"))
    keys = [resource["Properties"]["Code"]["S3Key"] for resource in functions(template_of(stack))]
    assert keys == ["<asset hash>.zip"]


def functions(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [resource for resource in template["Resources"].values() if resource["Type"] == "AWS::Lambda::Function"]


def test_template_keeps_names_and_what_the_user_wrote(package: Path) -> None:
    template = template_of(shop(cdk.App()))
    assert template["Description"] == "The shop"
    assert template["Parameters"] == {"Size": {"Type": "String", "Default": "1"}}
    assert template["Resources"]["Queue"] == {
        "Type": "AWS::SQS::Queue",
        "Properties": {"QueueName": "Shop-Queue-1A2B"},
        "Metadata": {"lambda-task-constructs": {"path": "Shop/Queue"}},
    }
    assert "Rules" not in template


def test_references_to_hashed_ids_still_lead_to_them(package: Path) -> None:
    resources = template_of(shop(cdk.App()))["Resources"]
    [alias] = (resource for resource in resources.values() if resource["Type"] == "AWS::Lambda::Alias")
    [version, attribute] = alias["Properties"]["FunctionVersion"]["Fn::GetAtt"]
    assert attribute == "Version"
    assert version.startswith("ResizeCurrentVersion")
    assert version.endswith("<hash>")
    assert resources[version]["Type"] == "AWS::Lambda::Version"
    [stage] = (resource for resource in resources.values() if resource["Type"] == "AWS::ApiGateway::Stage")
    deployment = stage["Properties"]["DeploymentId"]["Ref"]
    assert deployment.endswith("<hash>")
    assert resources[deployment]["Type"] == "AWS::ApiGateway::Deployment"


def test_template_changes_with_the_stack(package: Path) -> None:
    stack = shop(cdk.App())
    changed = shop(cdk.App())
    cdk.CfnResource(changed, "Other", type="AWS::SQS::Queue")
    assert template_of(changed) != template_of(stack)


def test_value_that_looks_like_a_hash_but_is_none_stays() -> None:
    digest = "0123456789abcdef" * 4
    stack = cdk.Stack(cdk.App(), "Shop")
    cdk.CfnResource(stack, f"Queue{digest[:32]}", type="AWS::SQS::Queue", properties={"QueueName": digest})
    template = template_of(stack)
    assert template["Resources"][f"Queue{digest[:32]}"]["Properties"]["QueueName"] == digest


def test_image_of_a_function_has_no_hash(tmp_path: Path) -> None:
    templates = []
    for content in ("FROM scratch", "FROM other"):
        (tmp_path / "Dockerfile").write_text(content)
        stack = cdk.Stack(cdk.App(), "Shop")
        image = aws_lambda.DockerImageCode.from_image_asset(str(tmp_path))
        aws_lambda.DockerImageFunction(stack, "Image", code=image)
        templates.append(template_of(stack))
    assert templates[0] == templates[1]
    [function] = functions(templates[0])
    assert function["Properties"]["Code"]["ImageUri"]["Fn::Sub"].endswith(":<asset hash>")


def test_template_is_plain_json(package: Path) -> None:
    template = template_of(shop(cdk.App()))
    assert type(template) is dict
    assert json.loads(json.dumps(template)) == template


def test_resources_that_depend_on_each_other_in_a_circle_are_refused() -> None:
    stack = cdk.Stack(cdk.App(), "Shop")
    first = cdk.CfnResource(stack, "First", type="AWS::SQS::Queue")
    second = cdk.CfnResource(stack, "Second", type="AWS::SQS::Queue", properties={"KmsMasterKeyId": first.ref})
    first.add_property_override("KmsMasterKeyId", second.ref)
    with pytest.raises(RuntimeError, match="dependency cycle: First -> Second -> First"):
        template_of(stack)


def test_stack_without_resources_has_an_empty_template() -> None:
    assert template_of(cdk.Stack(cdk.App(), "Empty")) == {}
