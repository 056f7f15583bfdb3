"""Describes an API in a process of its own: the tasks' modules are imported there, not here."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks_cli.cloud import LOCAL_REGION
from tasks_cli.errors import CliError
from tasks_cli.local.process import end_group
from tasks_cli.openapi.methods import ApiMethod

_SECONDS = 120


def describe(methods: Sequence[ApiMethod], project: Path) -> dict[str, Any]:
    """The OpenAPI document of an API's methods.

    The modules are imported from the functions' assets, with the functions' variables set, and with what is installed
    here where a requirement is.

    Raises:
        CliError: a module cannot be imported, or a task cannot be described.
    """
    environment = {"AWS_DEFAULT_REGION": LOCAL_REGION, **os.environ}
    for method in methods:
        environment |= method.environment
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tasks_cli.openapi.child"],
        cwd=project,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what the modules start as they are imported ends with it
    )
    try:
        answer, _ = process.communicate(json.dumps([one._asdict() for one in methods]), timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise CliError(f"the tasks' modules are not imported after {_SECONDS} seconds") from None
    finally:
        end_group(process.pid)
        process.wait()
    if process.returncode:
        raise CliError(
            f"the tasks cannot be described: the process that imports their modules ended with code "
            f"{process.returncode}, and what it wrote is above"
        )
    found = json.loads(answer)
    if "error" in found:
        raise CliError(f"{found['error']} (the modules are imported here to read their signatures)")
    document: dict[str, Any] = found["document"]
    return document
