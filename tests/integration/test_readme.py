"""The README's example does what it says, when it is followed to the letter."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^`(?P<file>[\w/.]+)`:\n\n```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^On your machine:\n\n```shell\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for block in _BLOCK.finditer((_ROOT / "README.md").read_text()):
        path = tmp_path / block["file"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(block["code"])
    (tmp_path / "shop" / "__init__.py").touch()
    return tmp_path


def test_the_example_runs_as_it_stands(project: Path) -> None:
    [commands] = _COMMANDS.findall((_ROOT / "README.md").read_text())
    lines = commands.splitlines()
    assert lines[-1] == "tasks local down"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    try:
        printed = {command: run(command) for command in lines[:-3]}
        assert "tasks dispatch shop.tasks.send_receipt ann@example.com 17" in printed
        # Dispatched tasks run when they do: a reader's next command comes later than this one's.
        deadline = time.monotonic() + 30
        while "order 17" not in (logs := run(lines[-3])) or "order 18" not in run(lines[-2]):
            assert time.monotonic() < deadline, logs
            time.sleep(0.2)
        assert "receipt for order 17 sent to ann@example.com" in logs
        assert "order 18 has no e-mail address" in run(lines[-2])
    finally:
        assert "ended" in run(lines[-1]).lower()


def test_the_example_is_about_thirty_lines(project: Path) -> None:
    written = [path.read_text() for path in project.rglob("*.py")]
    assert sum(len([line for line in text.splitlines() if line.strip()]) for text in written) <= 30
