"""Modules of tasks that a test writes as text, and programs that it runs in a process of their own."""

import itertools
import subprocess
import sys
import textwrap
from types import ModuleType
from typing import Any

_numbers = itertools.count(1)


def load(source: str, name: str | None = None) -> Any:
    """The module of this source, imported under ``name`` or a name that no other has."""
    name = name or f"shop_{next(_numbers)}"
    module = sys.modules[name] = ModuleType(name)
    try:
        exec(compile(textwrap.dedent(source), f"{name}.py", "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def run_program(source: str, *options: str, timeout: float = 30) -> str:
    """What a program prints that a fresh Python runs.

    Raises:
        AssertionError: it failed; with what it wrote to stderr.
    """
    program = textwrap.dedent(source)
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
