"""How `tasks` runs a CDK app and tells what it says."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks_cli.errors import UsageError
from tasks_cli.synthesis import Note, SynthesisError, app_command, synthesize

# An app as the CDK would run it, without the seconds that the CDK takes.
APP = """
import json, os, sys
out = os.environ["CDK_OUTDIR"]
os.makedirs(out, exist_ok=True)
json.dump(dict(os.environ), open("environment.json", "w"))
manifest = {"version": "55.0.0", "artifacts": {}, **MANIFEST}
json.dump(manifest, open(os.path.join(out, "manifest.json"), "w"))
"""


def write_app(project: Path, *, manifest: Any = None, text: str = APP) -> str:
    (project / "app.py").write_text(text.replace("MANIFEST", repr(manifest or {})))
    return "python app.py"


def environment_of(project: Path) -> dict[str, str]:
    environment: dict[str, str] = json.loads((project / "environment.json").read_text())
    return environment


def test_the_app_of_cdk_json_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "cdk.json").write_text('{"app": "python shop/app.py"}')
    assert app_command(tmp_path, None) == "python shop/app.py"
    assert app_command(tmp_path, "python other.py") == "python other.py"


def test_without_an_app_the_error_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no cdk\.json with an 'app'.*--app"):
        app_command(tmp_path, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object, not list"),
        ('{"app": ["python", "app.py"]}', r"'app' in .* must be one string, .* not \['python', 'app.py'\]"),
        ('{"app": "python app.py", "context": [1]}', r"'context' in .* must be a JSON object, not \[1\]"),
    ],
)
def test_a_cdk_json_that_is_none_is_a_clear_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "cdk.json").write_text(content)
    with pytest.raises(SynthesisError, match=message):
        synthesize(app_command(tmp_path, None), tmp_path)


def test_the_app_runs_as_under_the_cdk_command_line(tmp_path: Path) -> None:
    (tmp_path / "cdk.json").write_text('{"context": {"stage": "test", "both": "cdk.json"}}')
    (tmp_path / "cdk.context.json").write_text('{"both": "cdk.context.json"}')
    folder, _ = synthesize(write_app(tmp_path), tmp_path)
    environment = environment_of(tmp_path)
    context = json.loads(environment["CDK_CONTEXT_JSON"])
    assert environment["CDK_OUTDIR"] == str(folder)
    assert (environment["CDK_DEFAULT_ACCOUNT"], environment["CDK_DEFAULT_REGION"]) == ("000000000000", "us-east-1")
    assert (context["stage"], context["both"]) == ("test", "cdk.context.json")
    assert context["aws:cdk:enable-path-metadata"] is True
    assert Path(environment["JSII_NODE"]).exists()
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


REAL_APP = """
import aws_cdk as cdk
from aws_cdk import aws_sqs
app = cdk.App()
aws_sqs.CfnQueue(cdk.Stack(app, "Shop"), "Orders", visibility_timeout=43201)
app.synth()
"""


def test_a_template_that_aws_would_refuse_is_an_error_when_validation_is_asked_for(tmp_path: Path) -> None:
    command = write_app(tmp_path, text=REAL_APP)
    assert synthesize(command, tmp_path) == (tmp_path / "cdk.out", [])
    with pytest.raises(SynthesisError, match=r"Shop/Orders: VisibilityTimeout: 43201 is greater than .*43200"):
        synthesize(command, tmp_path, validate=True)


def test_what_an_earlier_run_left_is_not_taken_for_an_assembly(tmp_path: Path) -> None:
    synthesize(write_app(tmp_path), tmp_path)
    with pytest.raises(SynthesisError, match=r"does it call app\.synth\(\)"):
        synthesize(write_app(tmp_path, text=""), tmp_path)


def test_a_failing_app_is_told_by_its_message_without_its_traceback(tmp_path: Path) -> None:
    text = "raise RuntimeError('Shop/Resize: timeout is 1000 s\\n  at Function.x (node.js:1:2)\\nallowed: 900 s')"
    with pytest.raises(SynthesisError) as caught:
        synthesize(write_app(tmp_path, text=text), tmp_path)
    assert str(caught.value) == (
        "the CDK app failed (python app.py): Shop/Resize: timeout is 1000 s\nallowed: 900 s (app.py:1)"
    )


def test_a_mistake_in_the_app_is_told_with_its_kind_and_line(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"ModuleNotFoundError: No module named 'absent' \(app\.py:2\)$"):
        synthesize(write_app(tmp_path, text="\nimport absent"), tmp_path)


def test_a_command_that_cannot_be_run_is_told_by_its_output(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"(?s)exit code 2.*can't open file .*absent\.py"):
        synthesize("python absent.py", tmp_path)


def test_a_lookup_in_aws_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    command = write_app(tmp_path, manifest={"missing": [{"provider": "vpc-provider", "key": "k", "props": {}}]})
    with pytest.raises(SynthesisError, match=r"vpc-provider.*cdk synth"):
        synthesize(command, tmp_path)


def noted(level: str) -> dict[str, Any]:
    metadata = {
        "/Shop/Mail": [{"type": f"aws:cdk:{level}", "data": "no alarm"}, {"type": "aws:cdk:logicalId", "data": "M"}]
    }
    return {"artifacts": {"Shop": {"type": "aws:cloudformation:stack", "metadata": metadata}}}


def test_warnings_of_constructs_are_returned(tmp_path: Path) -> None:
    _, notes = synthesize(write_app(tmp_path, manifest=noted("warning")), tmp_path)
    assert notes == [Note("warning", "Shop/Mail", "no alarm")]


def test_errors_of_constructs_fail(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="Shop/Mail: no alarm"):
        synthesize(write_app(tmp_path, manifest=noted("error")), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_an_interrupted_synthesis_leaves_no_process(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    text = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    command = write_app(tmp_path, text=text)
    interrupted = subprocess.Popen(
        [sys.executable, "-m", "tasks_cli", "synth", "--app", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        interrupted.terminate()
        assert interrupted.wait(10) == 128 + 15
    finally:
        interrupted.kill()
        interrupted.wait()
    status = Path(f"/proc/{pid_file.read_text()}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()  # ended, if not yet reaped
