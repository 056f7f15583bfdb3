"""How the local cloud reads a cloud assembly, and puts its functions on the real runtime client."""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tasks_cli.local import function_runtime, repairs
from tasks_cli.local.assembly import AssemblyError, Asset, read_stacks


def write_assembly(folder: Path, artifacts: dict[str, Any], **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"version": "55.0.0", "artifacts": artifacts}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def stack(name: str, *dependencies: str, environment: str = "aws://unknown-account/unknown-region") -> dict[str, Any]:
    return {
        "type": "aws:cloudformation:stack",
        "environment": environment,
        "properties": {"templateFile": f"{name}.json", "stackName": name},
        "dependencies": list(dependencies),
    }


def test_stacks_come_after_those_they_depend_on_and_stages_are_read(tmp_path: Path) -> None:
    stage = {"type": "cdk:cloud-assembly", "properties": {"directoryName": "stage"}}
    write_assembly(tmp_path, {"A": stack("A", "B"), "B": stack("B", "C"), "C": stack("C"), "Stage": stage})
    write_assembly(tmp_path / "stage", {"D": stack("Stage-D")})
    names = [one.name for one in read_stacks(tmp_path)]
    assert sorted(names) == ["A", "B", "C", "Stage-D"]
    assert names.index("C") < names.index("B") < names.index("A")


def test_assets_go_where_the_template_looks_for_them(tmp_path: Path) -> None:
    source = {"path": "asset.1", "packaging": "zip"}
    destination = {"bucketName": "assets-${AWS::AccountId}-${AWS::Region}", "objectKey": "1.zip"}
    manifest = {"files": {"1": {"source": source, "destinations": {"here": destination}}}}
    artifacts = {
        "A": stack("A", "A.assets"),
        "A.assets": {"type": "cdk:asset-manifest", "properties": {"file": "assets.json"}},
    }
    write_assembly(tmp_path, artifacts, assets=manifest)
    (asset,) = read_stacks(tmp_path)[0].assets
    assert asset == Asset(tmp_path / "asset.1", True, "assets-000000000000-us-east-1", "1.zip")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"dockerImages": {"1": {"source": {"directory": "image"}}}}, "runs no container images"),
        (
            {"files": {"1": {"source": {"executable": ["make"], "packaging": "zip"}, "destinations": {}}}},
            "cannot run the command that makes an asset: ['make']",
        ),
    ],
)
def test_what_the_local_cloud_cannot_hold_is_refused(tmp_path: Path, manifest: Any, message: str) -> None:
    artifacts = {
        "A": stack("A", "A.assets"),
        "A.assets": {"type": "cdk:asset-manifest", "properties": {"file": "assets.json"}},
    }
    write_assembly(tmp_path, artifacts, assets=manifest)
    with pytest.raises(AssemblyError) as caught:
        read_stacks(tmp_path)
    assert message in str(caught.value)


def test_another_region_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_assembly(tmp_path, {"A": stack("A", environment="aws://000000000000/eu-west-1")})
    with pytest.raises(AssemblyError, match=r"account 000000000000 and region eu-west-1.*CDK_DEFAULT_REGION"):
        read_stacks(tmp_path)


def test_a_folder_without_an_assembly_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"holds no synthesized CDK app.*tasks synth"):
        read_stacks(tmp_path)


def test_equal_folders_give_equal_zip_files_with_their_modes(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        folder = tmp_path / name
        (folder / "package").mkdir(parents=True)
        for file in sorted(["run", "package/größe.py"], reverse=name == "second"):
            (folder / file).write_text("content")
        (folder / "run").chmod(0o755)
        contents.append(Asset(folder, True, "bucket", "key").content({"bootstrap": b"#!/bin/sh\n"}))
    assert contents[0] == contents[1]
    with zipfile.ZipFile(BytesIO(contents[0])) as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes == {"package/größe.py": 0o644, "run": 0o755, "bootstrap": 0o755}


def function(**properties: Any) -> dict[str, Any]:
    defaults = {"Runtime": "python3.13", "Handler": "shop.handler", "Code": {"S3Bucket": "b", "S3Key": "1.zip"}}
    return {"Type": "AWS::Lambda::Function", "Properties": defaults | properties}


def test_a_python_function_becomes_a_custom_runtime_with_a_new_asset() -> None:
    template = {"Resources": {"F": function(), "G": function()}}
    keys = function_runtime.use_runtime_client(template)
    properties = template["Resources"]["F"]["Properties"]
    assert properties["Runtime"] == "provided.al2023"
    assert keys == {"1.zip": properties["Code"]["S3Key"]}
    assert keys["1.zip"] != "1.zip"
    assert keys["1.zip"].endswith(".zip")


@pytest.mark.parametrize(
    "properties",
    [
        {"Runtime": "nodejs22.x"},
        {"Code": {"ZipFile": "def handler(event, context): ..."}},
        {"Runtime": None, "Code": {"ImageUri": "image"}, "PackageType": "Image"},
        {"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]},
    ],
)
def test_other_functions_stay_as_they_are(properties: dict[str, Any]) -> None:
    template = {"Resources": {"F": function(**properties)}}
    before = json.dumps(template)
    assert function_runtime.use_runtime_client(template) == {}
    assert json.dumps(template) == before


@pytest.mark.parametrize(("settings", "level"), [({}, "INFO"), ({"ApplicationLogLevel": "WARN"}, "WARN")])
def test_the_log_format_and_level_reach_the_runtime_client(settings: dict[str, str], level: str) -> None:
    template = {"Resources": {"F": function(LoggingConfig={"LogFormat": "JSON", **settings})}}
    function_runtime.use_runtime_client(template)
    variables = template["Resources"]["F"]["Properties"]["Environment"]["Variables"]
    assert variables == {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level}


def test_a_conditional_function_is_repaired_on_its_condition() -> None:
    template: dict[str, Any] = {"Resources": {"F": function() | {"Condition": "IsProduction"}, "Q": {"Type": "Other"}}}
    repairs.ask(template)
    (output,) = template["Outputs"].values()
    assert output["Condition"] == "IsProduction"
