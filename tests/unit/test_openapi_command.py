"""`tasks openapi`: the document of an API of a synthesized app."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from tasks_cli import synthesis
from tasks_cli.app import app
from tasks_cli.errors import CliError, UsageError
from tasks_cli.openapi.describe import describe
from tasks_cli.openapi.methods import ApiMethod, methods_of, read_methods
from tests.apps import add_api, add_api_task, add_receipts, new_stack
from tests.streaming_apps import add_export


@pytest.fixture(scope="module")
def assembly() -> Path:
    stack = new_stack(context={"aws:cdk:enable-asset-metadata": True})
    api = add_api(stack, authorization="none")
    add_api_task(stack, api=api, path="/orders/{order_id}")
    add_api_task(stack, "Echo", api=api, task="back_office.web:echo", path="/echo", environment={"SHOP": "1"})
    add_api_task(stack, "Other", api=add_api(stack, "Internal"), method="POST")
    add_receipts(stack)
    return Path(stack.node.root.synth().directory)


def test_methods_are_read_from_the_functions_metadata(assembly: Path) -> None:
    echo, get, other = read_methods(assembly)
    assert (get.api, get.path, get.method, get.respond) == ("Shop/Api", "/orders/{order_id}", "GET", "result")
    assert (get.task, get.modules, get.authorization) == ("back_office.web.get_order", "back_office.web", "NONE")
    assert (Path(get.code) / "back_office" / "web.py").is_file()
    assert echo.environment["SHOP"] == "1"
    assert (other.api, other.method, other.authorization) == ("Shop/Internal", "POST", "AWS_IAM")


def test_one_of_several_apis_is_to_be_named(assembly: Path) -> None:
    methods = read_methods(assembly)
    assert [one.path for one in methods_of(methods, "Shop/Internal")] == ["/"]
    with pytest.raises(UsageError, match="the app has several APIs: choose one by --api Shop/Api or Shop/Internal"):
        methods_of(methods, None)
    with pytest.raises(UsageError, match="there is no API 'Shop'; there are Shop/Api, Shop/Internal"):
        methods_of(methods, "Shop")
    with pytest.raises(CliError, match="the app has no TaskApi with an ApiTask: there is nothing to describe"):
        methods_of([], None)


def test_an_api_is_described_without_importing_its_tasks_here(assembly: Path, tmp_path: Path) -> None:
    document = describe(methods_of(read_methods(assembly), "Shop/Api"), tmp_path)
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["paths"].keys() == {"/orders/{order_id}", "/echo"}
    operation = document["paths"]["/orders/{order_id}"]["get"]
    assert [one["name"] for one in operation["parameters"]] == ["order_id", "verbose"]


def test_a_method_that_streams_is_described_by_its_handlers_docstring(tmp_path: Path) -> None:
    stack = new_stack(context={"aws:cdk:enable-asset-metadata": True})
    add_export(stack, api=add_api(stack), path="/export/{year}", method="ANY")
    document = describe(read_methods(Path(stack.node.root.synth().directory)), tmp_path)
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    operations = document["paths"]["/export/{year}"]
    assert operations["get"]["summary"] == "Write the orders of a year."
    assert [one["name"] for one in operations["get"]["parameters"]] == ["year"]
    assert operations["get"]["responses"].keys() == {"200"}
    assert ["requestBody" in operations[verb] for verb in ("get", "post")] == [False, True]


MODULES = {
    "prints": "print('importing')\nimport os\nprint(os.environ['SHOP'])",
    "misses": "import no_such_package",
    "exits": "import os\nos._exit(3)",
    "starts": "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid)",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, source in MODULES.items():
        task_of_it = "from runtime_lib import task\n@task\ndef get(id: int) -> str: ...\n"
        (tmp_path / f"shop_{name}.py").write_text(f"{source}\n{task_of_it}")
    return tmp_path


def described(name: str, shop: Path) -> dict[str, Any]:
    module = f"shop_{name}"
    found = ApiMethod(
        api="Shop/Api",
        path="/{id}",
        method="GET",
        respond="result",
        authorization="NONE",
        api_key=False,
        task=f"{module}.get",
        modules=module,
        code=str(shop),
        environment={"SHOP": "a"},
    )
    return describe([found], shop)


def test_what_modules_print_is_no_part_of_the_document_and_they_see_the_functions_variables(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert described("prints", shop)["paths"].keys() == {"/{id}"}
    assert capfd.readouterr().err == "importing\na\n"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_modules_start_is_ended_with_them(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    described("starts", shop)
    pid = int(capfd.readouterr().err)
    deadline = time.monotonic() + 5
    while runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_module_that_cannot_be_imported_is_named_with_its_error(shop: Path) -> None:
    with pytest.raises(CliError, match="'shop_misses' cannot be imported: ModuleNotFoundError: No module named 'no_"):
        described("misses", shop)
    with pytest.raises(CliError, match="the process that imports their modules ended with code 3, and what it wrote"):
        described("exits", shop)


def test_the_command_prints_the_document_or_writes_it_to_a_file(
    assembly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis, "synthesize", lambda *_, **__: (assembly, []))
    arguments = ["openapi", "--app", "python app.py", "--api", "Shop/Api"]
    printed = CliRunner().invoke(app, arguments)
    assert json.loads(printed.stdout)["paths"].keys() == {"/orders/{order_id}", "/echo"}
    file = tmp_path / "openapi.json"
    written = CliRunner().invoke(app, [*arguments, "--out", str(file)])
    assert written.stdout == f"Wrote 2 operations of Shop/Api to {file}\n"
    assert json.loads(file.read_text()) == json.loads(printed.stdout)
    told = CliRunner().invoke(app, [*arguments, "--out", str(file), "--json"])
    assert json.loads(told.stdout) == {"output": str(file), "api": "Shop/Api", "operations": 2}
