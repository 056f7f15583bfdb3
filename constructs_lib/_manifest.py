"""What the modules of a workflow say of their tasks, as values: read by importing them in a process of its own.

Edges may be objects of other modules, and retry policies are made by calls: parsing alone does not tell them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, NamedTuple

from constructs_lib._source import SourceTree
from constructs_lib._task_definition import TaskReferenceError

__all__ = ["EdgeManifest", "TaskManifest", "read_manifest"]

_SECONDS: Final = 120
_REGION: Final = "us-east-1"
_read: dict[str, dict[str, Any]] = {}


class EdgeManifest(NamedTuple):
    """One edge: the task it leads to, the seconds before that starts, and how it is mapped over a list, if it is."""

    task: str
    wait: float = 0.0
    max_concurrency: int | None = None
    then: str | None = None


class TaskManifest(NamedTuple):
    """One task with its retry policy and its edges; durations are in seconds."""

    name: str
    function: str
    module: str
    namespaces: Sequence[str]
    priority: str
    max_attempts: int | None
    first_delay: float
    multiplier: float
    max_delay: float
    jitter: str
    timeout: float | None
    subprocess: bool
    run_before: Sequence[EdgeManifest]
    run_after: Sequence[EdgeManifest]
    on_failure: Sequence[EdgeManifest]


def read_manifest(source: SourceTree, modules: Iterable[str], start: str) -> Mapping[str, TaskManifest]:
    """Every task that is reached from ``start``, by name. The same source is read once in a process.

    Raises:
        TaskReferenceError: a module cannot be imported here, or the graph is none: says why.
    """
    loaded = sorted(set(modules))
    key = _fingerprint(source, loaded, start)
    if key not in _read:
        _read[key] = _import(source, loaded, start)
    found = _read[key]
    if "error" in found:
        raise TaskReferenceError(found["error"] + _remedy(found.get("missing"), source))
    return {name: _manifest(described) for name, described in found["tasks"].items()}


def _import(source: SourceTree, modules: Sequence[str], start: str) -> dict[str, Any]:
    asked = {"path": [str(source.root.parent), *sys.path], "modules": modules, "start": start}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "constructs_lib._manifest_child"],
        env={"AWS_DEFAULT_REGION": _REGION, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what the modules start as they are imported ends with it
    )
    try:
        answer, _ = process.communicate(json.dumps(asked), timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise TaskReferenceError(
            f"the modules {', '.join(modules)} are not imported after {_SECONDS} seconds: what takes so long belongs "
            "into their tasks, or into a lazy_value"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode or not answer:
        raise TaskReferenceError(
            f"the modules {', '.join(modules)} cannot be imported: the process that reads their tasks ended with code "
            f"{process.returncode} before it could tell them, and what it wrote is above"
        )
    found: dict[str, Any] = json.loads(answer)
    return found


def _remedy(missing: str | None, source: SourceTree) -> str:
    if missing is None:
        return ""
    package = missing.partition(".")[0]
    if package == source.root.name:
        return f" (add {missing!r} to the asset, or correct its name)"
    return f" (the edges of a workflow are read by importing its modules here: pip install {package})"


def _manifest(described: Mapping[str, Any]) -> TaskManifest:
    edges = {
        option: [EdgeManifest(**edge) for edge in described[option]]
        for option in ("run_before", "run_after", "on_failure")
    }
    return TaskManifest(**{**described, **edges})


def _fingerprint(source: SourceTree, modules: Sequence[str], start: str) -> str:
    digest = sha256(json.dumps([str(source.root), modules, start]).encode())
    for name, path in sorted(source.files.items()):
        digest.update(name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
