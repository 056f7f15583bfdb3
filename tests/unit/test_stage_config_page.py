"""The examples and the table of docs/stage-config.md."""

import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions

from constructs_lib import StageConfig
from constructs_lib._stage_file import StageFile
from constructs_lib._stage_options import OPTIONS, Kind
from tests.apps import add_api, add_api_task, add_invoice, add_nightly, add_receipts, new_app, only

PAGE = (Path(__file__).parents[2] / "docs/stage-config.md").read_text()


def _example(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def _shop(tmp_path: Path, stage: str) -> cdk.Stack:
    """The stack of the page, with other tasks."""
    file = tmp_path / "stages.toml"
    file.write_text(_example("toml"))
    app = new_app({"stage": stage})
    config = StageConfig.from_file(file, app)
    stack = cdk.Stack(app, f"Shop-{config.stage}")
    add_invoice(stack, "Resize", **config.task("Resize"))
    add_receipts(stack, "Receipts", **config.function("Receipts", timeout=cdk.Duration.minutes(2)))
    add_nightly(stack, "Nightly", **config.schedule("Nightly"))
    add_api_task(stack, api=add_api(stack, **config.api()))
    return stack


def test_the_stages_of_the_example_differ_as_the_page_says(tmp_path: Path) -> None:
    dev, prod = _shop(tmp_path, "dev"), _shop(tmp_path, "prod")
    layer = "arn:aws:lambda:eu-central-1:123456789012:layer:{}"
    for stack, network in ((dev, False), (prod, True)):
        resize = only(stack, "AWS::Lambda::Function", under="Resize")
        assert resize["MemorySize"] == 1024
        assert resize["Layers"] == [layer.format("monitoring:7"), layer.format("images:3")]
        assert ("VpcConfig" in resize) is network
        receipts = only(stack, "AWS::Lambda::Function", under="Receipts")
        assert (receipts["MemorySize"], receipts["Timeout"]) == (256, 120)
    assert only(dev, "AWS::Scheduler::Schedule")["State"] == "DISABLED"
    assert only(prod, "AWS::Scheduler::Schedule")["State"] == "ENABLED"
    assert only(dev, "AWS::Logs::LogGroup", under="ResizeLogs")["RetentionInDays"] == 3
    assert only(prod, "AWS::Lambda::EventSourceMapping")["ScalingConfig"] == {"MaximumConcurrency": 50}
    assertions.Template.from_stack(dev).resource_count_is("AWS::ApiGateway::DomainName", 0)
    assert only(prod, "AWS::ApiGateway::DomainName")["DomainName"] == "api.example.com"
    assertions.Template.from_stack(prod).resource_count_is("AWS::CertificateManager::Certificate", 1)


def test_the_resources_of_the_example_are_beside_the_queue(tmp_path: Path) -> None:
    file = tmp_path / "stages.json"
    file.write_text(_example("json"))
    stack = cdk.Stack(new_app(), "Shop")
    add_invoice(stack, **StageConfig.from_file(file, stack).task("Invoice"))
    alarm = only(stack, "AWS::CloudWatch::Alarm", under="InvoiceQueueExtra")
    assert [*assertions.Template.from_stack(stack).find_resources("AWS::SNS::Topic")] == [
        alarm["AlarmActions"][0]["Ref"]
    ]


def test_the_table_has_every_option_with_its_level() -> None:
    rows = re.findall(r"^\| (`.*?) \| (any|app, stage) \|", PAGE, re.MULTILINE)
    listed = {option: level for names, level in rows for option in re.findall(r"`(\w+)`", names)}
    assert listed == {name: "app, stage" if option.kind is Kind.API else "any" for name, option in OPTIONS.items()}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("tasks.Resize.stages.prod.layers = [{l}, {l}, 7]".format(l="'arn:aws:lambda:a:123456789012:layer:b:1'"), 0),
        ("stages.prod.memroy = 1", 1),
        ("tasks.Resize.domain_name = ''", 2),
    ],
)
def test_the_errors_are_those_of_the_page(tmp_path: Path, content: str, line: int, monkeypatch: Any) -> None:
    [errors] = re.findall(r"^```\n(stages\.toml:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    beginning, _, end = errors.splitlines()[line].partition("environment_variables, …")
    monkeypatch.chdir(tmp_path)
    Path("stages.toml").write_text(content)
    with pytest.raises(ValueError) as error:
        StageFile.read(Path("stages.toml"))
    assert str(error.value).startswith(beginning)
    assert str(error.value).endswith(end)
