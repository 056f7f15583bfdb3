"""Runs the Python functions of the local cloud on Lambda's real runtime client, `awslambdaric`.

The emulator's own worker imports a Python handler itself; only for custom runtimes it serves the Lambda Runtime API. So
a Python function is deployed as a custom runtime whose ``bootstrap`` starts the runtime client.
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks_cli.local.assembly import Template

BOOTSTRAP_NAME = "bootstrap"
BOOTSTRAP = b"""\
#!/bin/sh
# Lambda runs the function from /var/task with its own packages last; the same here, from the unpacked code.
case "${AWS_LAMBDA_EXEC_WRAPPER:-}" in
    /var/task/*) wrapper="$LAMBDA_TASK_ROOT${AWS_LAMBDA_EXEC_WRAPPER#/var/task}" ;;
    *) wrapper="${AWS_LAMBDA_EXEC_WRAPPER:-}" ;;
esac
export AWS_LAMBDA_LOG_GROUP_NAME="${AWS_LAMBDA_LOG_GROUP_NAME:-/aws/lambda/$AWS_LAMBDA_FUNCTION_NAME}"
export PYTHONPATH="$LAMBDA_TASK_ROOT${PYTHONPATH:+:$PYTHONPATH}:$TASKS_LOCAL_PACKAGES"
exec ${wrapper:+"$wrapper"} "$TASKS_LOCAL_PYTHON" -S -m tasks_local_function "$_HANDLER"
"""
"""``-S`` hides the developer's site-packages: a module that the function's code lacks is missing here too."""

_CUSTOM_RUNTIME = "provided.al2023"
_PACKAGES = ("awslambdaric", "boto3")
_REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9._-]+")


def is_available() -> bool:
    """Whether `awslambdaric` is installed: it has wheels for Linux only."""
    return find_spec("awslambdaric") is not None


def environment(directory: Path) -> dict[str, str]:
    """What the emulator must pass to the bootstraps; makes the folder of packages in ``directory``."""
    if not is_available():
        return {}
    packages = directory / "packages"
    packages.mkdir()
    for path in _package_paths():
        (packages / path.name).symlink_to(path)
    (packages / "tasks_local_function.py").symlink_to(Path(__file__).with_name("function_main.py"))
    version = sys.version_info
    return {
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version.major}.{version.minor}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        # Lines by which a function tells the emulator what belongs to an invocation.
        "TASKS_LOCAL_ANNOUNCEMENT": "\x1etasks-local-function",
        "TASKS_LOCAL_END": "\x1etasks-local-end",
        "TASKS_LOCAL_GOES_ON": "\x1etasks-local-goes-on",
        "TASKS_LOCAL_PACKAGES": str(packages),
        "TASKS_LOCAL_PYTHON": sys.executable,
        "TZ": ":UTC",
    }


def use_runtime_client(template: Template) -> dict[str, str]:
    """Put the template's Python functions on the runtime client; the new key of each asset they need, by the old one.

    An asset gets a new key because it gets a new content, the bootstrap. Functions without an asset (inline code,
    images) and with layers stay in the emulator's own worker.
    """
    keys: dict[str, str] = {}
    for resource in template.get("Resources", {}).values():
        properties = resource.get("Properties", {})
        if resource["Type"] != "AWS::Lambda::Function" or not _can_change(properties):
            continue
        key = properties["Code"]["S3Key"]
        keys[key] = properties["Code"]["S3Key"] = _key_with_bootstrap(key)
        properties["Runtime"] = _CUSTOM_RUNTIME
        logging = properties.get("LoggingConfig", {})
        if logging.get("LogFormat") == "JSON":
            # Lambda sets them for its managed runtimes.
            variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
            variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
            variables["AWS_LAMBDA_LOG_LEVEL"] = logging.get("ApplicationLogLevel", "INFO")
    return keys


def _can_change(properties: dict[str, Any]) -> bool:
    is_python = str(properties.get("Runtime", "")).startswith("python")
    return is_python and isinstance(properties.get("Code", {}).get("S3Key"), str) and not properties.get("Layers")


def _key_with_bootstrap(key: str) -> str:
    path = Path(key)
    return str(path.with_name(hashlib.sha256(key.encode() + BOOTSTRAP).hexdigest() + path.suffix))


def _package_paths() -> set[Path]:
    """Modules and packages of the runtime client, boto3 and all that they require."""
    pending, distributions = list[str](_PACKAGES), dict[str, metadata.Distribution]()
    while pending:
        name = pending.pop()
        if name in distributions:
            continue
        try:
            distributions[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # Required on other systems or Python versions.
            continue
        pending.extend(_requirements(distributions[name]))
    return {path for distribution in distributions.values() for path in _top_level_paths(distribution)}


def _requirements(distribution: metadata.Distribution) -> Iterator[str]:
    for requirement in distribution.requires or ():
        name = _REQUIREMENT_NAME.match(requirement)
        if name and "extra ==" not in requirement:
            yield name.group()


def _top_level_paths(distribution: metadata.Distribution) -> Iterator[Path]:
    root = Path(str(distribution.locate_file("")))
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        yield root / name
