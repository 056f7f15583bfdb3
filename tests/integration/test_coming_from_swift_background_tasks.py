"""The walk-through of docs/coming-from-swift-background-tasks.md, followed as it stands there."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deployed import wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from-swift-background-tasks.md").read_text()
FILE = re.compile(r"^`(?P<path>[\w/.]+)`:\n\n```python\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


def block(heading: str, language: str = "shell") -> str:
    """The first block of a section."""
    section = PAGE[PAGE.index(f"## {heading}\n") :].split("\n## ", 1)[0]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs commands in a folder with the page's project; the last one of the page ends what they started."""
    for found in FILE.finditer(PAGE):
        path = tmp_path / found["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(found["text"])
    (tmp_path / "background" / "__init__.py").touch()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    try:
        yield run
    finally:
        assert "ended" in run(block("Clean up"))


def test_the_answer_comes_at_once_and_the_background_work_ends_later(run: Run) -> None:
    for command in block("Deploy").splitlines():
        run(command)
    answer = run(block("Invoke"))
    answered = time.monotonic()
    assert json.loads(answer) == json.loads(block("Invoke", "json")) == {"echoedMessage": "Hello Background Tasks"}
    lines = block("The logs", "text").splitlines()
    assert lines[-1] not in run(block("The logs"))
    wait_for(lambda: lines[-1] in run(block("The logs")))
    assert time.monotonic() - answered > 5
    logged = run(block("The logs")).splitlines()
    assert [text for line in logged for text in lines if line.endswith(text)] == lines
