"""Apps of tests/fixtures/field, deployed to a local cloud."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aws_cdk as cdk

from constructs_lib import TaskCode
from runtime_lib import dispatch_task
from tasks_cli import deployed
from tasks_cli.cloud import Cloud
from tasks_cli.local.deployment import deploy

FIXTURES = Path(__file__).parent / "fixtures"


@cache
def field() -> TaskCode:
    """The code of tests/fixtures/field, which this process can import as well."""
    sys.path.append(str(FIXTURES))
    return TaskCode.from_package("field")


class Field:
    """A deployed app: its marks, and its routes for a dispatch from here."""

    def __init__(self, cloud: Cloud, folder: Path, build: Callable[[cdk.App, dict[str, str]], object]) -> None:
        self.cloud = cloud
        self.marks_file = folder / "marks"
        app = cdk.App(outdir=str(folder / "cdk.out"))
        build(app, {"MARKS": str(self.marks_file)})
        app.synth()
        self.stacks = [stack.name for stack in deploy(cloud, folder / "cdk.out")]

    @contextmanager
    def routes(self) -> Iterator[None]:
        """Dispatches inside the block go to the local cloud."""
        routes = deployed.routes(deployed.targets(self.cloud, self.stacks))
        with patch.dict(os.environ, routes), patch.dict("runtime_lib.clients._clients", clear=True):
            self.cloud.use_in_this_process()
            yield

    def dispatch(self, task: str, *args: Any) -> None:
        """Dispatch a task by name."""
        import_module(task.rpartition(".")[0])
        with self.routes():
            dispatch_task(task, *args)

    def marks(self, kind: str) -> list[dict[str, Any]]:
        """The marks of one kind so far."""
        lines = self.marks_file.read_text().splitlines() if self.marks_file.exists() else []
        return [found for found in map(json.loads, lines) if found["kind"] == kind]


def wait_for(what: Callable[[], Any], *, seconds: float = 30) -> Any:
    """What ``what`` returns once that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} s")
