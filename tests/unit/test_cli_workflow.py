"""`tasks workflow show` and `tasks runs …`: what they print, write and refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from tasks_cli import synthesis
from tasks_cli.app import app
from tasks_cli.errors import CliError, UsageError
from tests.unit.test_cli_listing import write_assembly
from tests.unit.test_workflow_runs import DESCRIBED, machine

TREE = """\
Shop/Etl (shop.etl.extract)
extract  Shop/Etl
├─ on failure: notify  Shop/Etl
└─ then: resize [subprocess · after 30 min · for each item, 40 at once]  Shop/Images by queue
   ├─ before: warm  Shop/Etl
   └─ then all: publish  Shop/Etl
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose app has been synthesized."""
    folder = write_assembly(tmp_path, {"Etl": machine("Shop/Etl", "shop.etl.extract")})
    monkeypatch.setattr(synthesis, "synthesize", lambda *_: (folder, []))
    (tmp_path / "cdk.json").write_text('{"app": "python app.py"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", ["shop.etl.extract", "shop.etl:extract", "extract", "Shop/Etl"])
@pytest.mark.usefixtures("project")
def test_a_workflow_is_shown_as_a_tree_without_being_deployed(name: str) -> None:
    assert run("workflow", "show", name) == TREE


@pytest.mark.usefixtures("project")
def test_the_format_is_what_is_asked_for_or_what_the_file_ends_with(project: Path) -> None:
    assert run("workflow", "show", "Shop/Etl", "--format", "mermaid").startswith("flowchart TD\n")
    ElementTree.fromstring(run("workflow", "show", "Shop/Etl", "--format", "svg"))
    assert run("workflow", "show", "Shop/Etl", "--out", "etl.svg") == "Wrote Shop/Etl (shop.etl.extract) to etl.svg\n"
    ElementTree.fromstring((project / "etl.svg").read_text(encoding="utf-8"))
    for name, begin in (("etl.mmd", "flowchart TD\n"), ("etl.TXT", TREE)):
        run("workflow", "show", "Shop/Etl", "--out", name)
        assert (project / name).read_text(encoding="utf-8").startswith(begin)
    run("workflow", "show", "Shop/Etl", "--out", "etl.svg", "--format", "text")
    assert (project / "etl.svg").read_text(encoding="utf-8") == TREE


@pytest.mark.usefixtures("project")
def test_a_workflow_for_programs_has_its_graph_as_its_machine_tells_it() -> None:
    found = json.loads(run("workflow", "show", "Shop/Etl", "--json"))
    assert found.pop("graph") == DESCRIBED
    assert found == {
        "workflow": "Shop/Etl",
        "task": "shop.etl.extract",
        "machine": "Shop-Etl-1A2B",
        "stack": "Shop",
        "express": False,
    }
    written = json.loads(run("workflow", "show", "Shop/Etl", "--out", "etl.svg", "--json"))
    assert (written["output"], written["format"]) == ("etl.svg", "svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "png"], "there is no format 'png'; it is one of svg, mermaid, text"),
        (["--out", "etl.png"], "'etl.png' does not tell its format: let it end in .svg, .mmd, .mermaid, .txt"),
        (["--stack", "Shop"], "--aws and --stack say where a run is"),
        (["--run", "1", "--app", "python app.py"], "--app is for what is not deployed"),
    ],
)
@pytest.mark.usefixtures("project")
def test_options_that_do_not_go_together_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        run("workflow", "show", "Shop/Etl", *arguments)
    assert message in str(refused.value)


@pytest.mark.usefixtures("project")
def test_a_workflow_that_there_is_not_is_refused_with_what_is_near() -> None:
    with pytest.raises(CliError, match=r"did you mean 'shop\.etl\.extract'"):
        run("workflow", "show", "shop.etl.extrac")


def test_a_status_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="it is one of running, succeeded, failed, timed-out, cancelled"):
        run("runs", "list", "--status", "broken")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs", "list", "--status", "broken"], 2, "error: there is no status 'broken'"),
        (["workflow", "show", "x", "--format", "png"], 2, "error: there is no format 'png'"),
        (["runs", "show", "5f0c"], 1, "error: no local cloud of this folder runs"),
    ],
)
def test_commands_end_with_the_code_for_what_went_wrong(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    environment: dict[str, Any] = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-m", "tasks_cli", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(message)


@pytest.mark.parametrize(
    "command", [["workflow", "show"], ["runs", "list"], ["runs", "show"], ["runs", "cancel"], ["runs", "result"]]
)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    text = run(*command, "--help")
    assert f"tasks {' '.join(command)} " in text.partition("Examples:")[2].replace("\n", " ")
