"""constructs_lib.TaskCode: what is in the asset, and that one serves every function of a stack."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda

from constructs_lib import TaskCode, TaskReferenceError
from runtime_lib import contract

WritePackage = Callable[..., Path]

TASKS = """
from runtime_lib import task

@task
def send(): ...
"""


@pytest.fixture
def write_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WritePackage:
    """Writes package ``shop`` to a directory on the path; returns its root."""

    def write(files: Mapping[str, str] | None = None, directory: str = "project") -> Path:
        root = tmp_path / directory / "shop"
        for name, content in {"__init__.py": "", "tasks.py": TASKS, **(files or {})}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.syspath_prepend(root.parent)
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        return root

    return write


def function(scope: cdk.Stack, name: str, code: aws_lambda.Code) -> aws_lambda.Function:
    return aws_lambda.Function(scope, name, runtime=aws_lambda.Runtime.PYTHON_3_13, handler="a.b", code=code)


def assets(app: cdk.App) -> list[Path]:
    """The directories of the assets that an app publishes."""
    return [path for path in Path(app.synth().directory).glob("asset.*") if path.is_dir()]


def asset_of(code: TaskCode) -> Path:
    app = cdk.App()
    stack = cdk.Stack(app, "Shop")
    function(stack, "F", code.for_stack(stack))
    [asset] = assets(app)
    return asset


def names(asset: Path, below: str) -> set[str]:
    return {path.relative_to(asset / below).as_posix() for path in (asset / below).rglob("*") if path.is_file()}


def test_asset_runs_the_tasks_with_nothing_else_installed(write_package: WritePackage) -> None:
    write_package({"sub/more.py": TASKS, "data/rates.csv": "EUR,1\n"})
    asset = asset_of(TaskCode.from_package("shop"))
    assert {path.name for path in asset.iterdir()} == {"shop", "runtime_lib"}
    assert names(asset, "shop") == {"__init__.py", "tasks.py", "sub/more.py", "data/rates.csv"}
    program = f"""
import sys
sys.path.insert(0, {str(asset)!r})
import shop.tasks, shop.sub.more
from runtime_lib import registry
print(registry.names(), shop.tasks.__file__)
"""
    ran = subprocess.run([sys.executable, "-ISc", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == f"['shop.sub.more.send', 'shop.tasks.send'] {asset}/shop/tasks.py\n", ran.stderr


def test_runtime_lib_in_the_asset_is_complete_but_for_its_type_marker(write_package: WritePackage) -> None:
    write_package()
    asset = asset_of(TaskCode.from_package("shop"))
    home = Path(contract.__file__).parent
    sources = {path.relative_to(home).as_posix() for path in home.rglob("*.py")}
    assert names(asset, "runtime_lib") == sources


def test_secrets_caches_and_generated_files_never_enter_the_asset(write_package: WritePackage) -> None:
    never = [
        ".env",
        ".env.production",
        ".git/config",
        ".DS_Store",
        ".pytest_cache/x.py",
        ".venv/lib/x.py",
        "x.pyc",
        "x.pyo",
    ]
    never += ["__pycache__/tasks.cpython-311.pyc", "__pycache__/x.txt", "node_modules/x/x.py", "cdk.out/tree.json"]
    root = write_package({**dict.fromkeys(never, ""), **{f"sub/{name}": "" for name in never}, "environment.py": ""})
    asset = asset_of(TaskCode.from_package("shop", exclude=["nothing"]))
    assert (root / "sub" / ".env").exists()
    assert names(asset, "shop") == {"__init__.py", "tasks.py", "environment.py"}


FILES = [
    "tests/a.py",
    "sub/tests/b.py",
    "x.csv",
    "data/y.csv",
    "data/z.json",
    "data/deep/y.csv",
    "Tests/c.py",
    "tests.py",
]
EXCLUDED = {
    "tests": {"tests/a.py"},
    "tests/": {"tests/a.py"},
    "tests.py": {"tests.py"},
    "**/tests": {"tests/a.py", "sub/tests/b.py"},
    "tests/**": {"tests/a.py"},
    "*/tests": {"sub/tests/b.py"},
    "*.csv": {"x.csv"},
    "data/*.csv": {"data/y.csv"},
    "data/**/*.csv": {"data/y.csv", "data/deep/y.csv"},
    "**/*.csv": {"x.csv", "data/y.csv", "data/deep/y.csv"},
    "data": {"data/y.csv", "data/z.json", "data/deep/y.csv"},
    "data/?.csv": {"data/y.csv"},
    "data/[!y]*": {"data/z.json", "data/deep/y.csv"},
    "y.csv": set(),
    "shop/tests": set(),
}


@pytest.mark.parametrize(("pattern", "excluded"), EXCLUDED.items(), ids=EXCLUDED.keys())
def test_exclude_is_relative_to_the_package(write_package: WritePackage, pattern: str, excluded: set[str]) -> None:
    write_package(dict.fromkeys(FILES, ""))
    asset = asset_of(TaskCode.from_package("shop", exclude=[pattern]))
    assert {"__init__.py", "tasks.py", *FILES} - names(asset, "shop") == excluded


def test_excluded_module_has_no_tasks(write_package: WritePackage) -> None:
    write_package({"dev/tools.py": TASKS})
    source = TaskCode.from_package("shop", exclude=["dev"]).source
    assert [task.name for task in source.tasks()] == ["shop.tasks.send"]
    with pytest.raises(TaskReferenceError, match="exclude= leaves it out"):
        source.task("shop.dev.tools:send")


def test_modules_are_what_can_be_imported(write_package: WritePackage) -> None:
    write_package(
        {"__init__.py": TASKS, "sub/__init__.py": TASKS, "not-a-module.py": TASKS, "1/x.py": TASKS, "a.txt": TASKS}
    )
    tasks = TaskCode.from_package("shop").source.tasks()
    assert [task.name for task in tasks] == ["shop.send", "shop.sub.send", "shop.tasks.send"]


@pytest.mark.parametrize("pattern", ["/tests", "../other", "a/../b", "./tests", "", "a//b", "data\\x.csv"])
def test_pattern_that_is_not_relative_is_refused(write_package: WritePackage, pattern: str) -> None:
    write_package()
    with pytest.raises(ValueError, match="relative to the package") as caught:
        TaskCode.from_package("shop", exclude=[pattern])
    assert repr(pattern) in str(caught.value)


def test_one_string_is_no_list_of_patterns(write_package: WritePackage) -> None:
    write_package()
    with pytest.raises(ValueError, match=r"give a list, \['tests'\]"):
        TaskCode.from_package("shop", exclude="tests")


def test_package_is_found_without_importing_it(write_package: WritePackage) -> None:
    write_package({"__init__.py": "raise RuntimeError('imported')"})
    assert TaskCode.from_package("shop").source.task("shop.tasks:send").name == "shop.tasks.send"
    assert "shop" not in sys.modules


def test_package_without_init_is_found(write_package: WritePackage) -> None:
    root = write_package()
    (root / "__init__.py").unlink()
    assert names(asset_of(TaskCode.from_package("shop")), "shop") == {"tasks.py"}


def test_package_in_several_directories_is_refused(write_package: WritePackage) -> None:
    for directory in ("one", "two"):
        (write_package(directory=directory) / "__init__.py").unlink()
    with pytest.raises(ValueError, match="one directory") as caught:
        TaskCode.from_package("shop")
    assert "one/shop" in str(caught.value)
    assert "two/shop" in str(caught.value)


PACKAGES = {
    "no_such_package": "cannot be imported from here",
    "shop.tasks": "the name of a top-level package",
    "shop/tasks": "the name of a top-level package",
    "": "the name of a top-level package",
    "textwrap": "a package in one directory",
    "runtime_lib": "give your own package",
    "constructs_lib": "give your own package",
    "tasks_cli": "give your own package",
    "aws_cdk": "give your own package",
}


@pytest.mark.parametrize(("package", "message"), PACKAGES.items(), ids=PACKAGES.keys())
def test_what_is_no_package_of_the_user_is_refused(write_package: WritePackage, package: str, message: str) -> None:
    write_package()
    with pytest.raises(ValueError, match=message) as caught:
        TaskCode.from_package(package)
    assert f"package={package!r}" in str(caught.value)


def test_module_without_a_spec_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "specless", ModuleType("specless"))
    with pytest.raises(ValueError, match="package='specless' cannot be imported from here"):
        TaskCode.from_package("specless")


def test_links_are_followed(write_package: WritePackage, tmp_path: Path) -> None:
    root = write_package()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "rates.csv").write_text("EUR,1\n")
    (root / "data").symlink_to(tmp_path / "shared")
    (root / "one.csv").symlink_to(tmp_path / "shared" / "rates.csv")
    asset = asset_of(TaskCode.from_package("shop"))
    for name in ("data/rates.csv", "one.csv"):
        assert (asset / "shop" / name).read_text() == "EUR,1\n"
        assert not (asset / "shop" / name).is_symlink()


def test_link_that_leads_above_itself_or_nowhere_is_refused_unless_excluded(write_package: WritePackage) -> None:
    root = write_package({"sub/x.py": ""})
    (root / "sub" / "up").symlink_to(root)
    with pytest.raises(ValueError, match="which contains it: remove the link"):
        TaskCode.from_package("shop")
    (root / "sub" / "gone").symlink_to(root / "nowhere")
    with pytest.raises(ValueError, match="sub/gone is neither file nor directory, or a broken link"):
        TaskCode.from_package("shop", exclude=["sub/up"])
    assert TaskCode.from_package("shop", exclude=["sub/up", "sub/gone"])


def test_one_code_serves_all_functions_of_a_stack_and_each_stack_has_its_own(write_package: WritePackage) -> None:
    write_package()
    code = TaskCode.from_package("shop")
    app = cdk.App()
    codes = []
    for name in ("One", "Two"):
        stack = cdk.Stack(app, name)
        for scope in (stack, cdk.NestedStack(stack, "Nested")):
            inner = cdk.CfnResource(scope, "Inner", type="AWS::SQS::Queue")
            assert code.for_stack(inner) is code.for_stack(scope)
            codes.append(code.for_stack(scope))
            function(scope, "F", code.for_stack(scope))
            function(scope, "G", code.for_stack(inner))
    assert len(set(codes)) == 4
    assert len(assets(app)) == 1


def test_asset_hash_depends_on_content_alone(write_package: WritePackage) -> None:
    first = asset_of(TaskCode.from_package("shop")) if write_package() else None
    other = write_package(directory="elsewhere")
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "tasks.pyc").write_text("")
    (other / "tasks.py").chmod(0o600)
    os.utime(other / "tasks.py", (1, 1))
    second = asset_of(TaskCode.from_package("shop"))
    assert first is not None
    assert second.parent != first.parent
    assert second.name == first.name
    (other / "tasks.py").write_text(TASKS + "\n")
    assert asset_of(TaskCode.from_package("shop")).name != first.name


def test_codes_of_one_package_with_other_files_have_other_assets(write_package: WritePackage, tmp_path: Path) -> None:
    """CDK keeps bundles in a cache that does not see what is bundled."""
    root = write_package({"extra.py": ""})
    for _ in range(2):  # into one directory, as every `cdk synth` does
        app = cdk.App(outdir=str(tmp_path / "out"))
        stack = cdk.Stack(app, "Shop")
        function(stack, "F", TaskCode.from_package("shop").for_stack(stack))
        function(stack, "G", TaskCode.from_package("shop", exclude=["extra.py"]).for_stack(stack))
        (root / "extra.py").write_text("x = 1\n")
    found = [names(asset, "shop") for asset in assets(app)]
    assert sorted(map(len, found)) == [2, 3, 3]


def test_files_in_the_asset_are_readable_in_lambda(write_package: WritePackage) -> None:
    root = write_package({"tool.sh": "#!/bin/sh\n"})
    (root / "tasks.py").chmod(0o600)
    (root / "tool.sh").chmod(0o700)
    asset = asset_of(TaskCode.from_package("shop"))
    assert (asset / "shop" / "tasks.py").stat().st_mode & 0o777 == 0o644
    assert (asset / "shop" / "tool.sh").stat().st_mode & 0o777 == 0o755


def test_asset_above_lambdas_limit_is_refused_and_docker_is_never_tried(
    write_package: WritePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package({"model.bin": "x" * 1_000_000, "small.bin": "x"})
    code = TaskCode.from_package("shop")
    monkeypatch.setattr("constructs_lib.task_code.LAMBDA_CODE_MAX_BYTES", 999_999)
    stack = cdk.Stack(cdk.App(), "Shop")
    with pytest.raises(RuntimeError) as caught:
        function(stack, "F", code.for_stack(stack))
    message = str(caught.value)
    assert "Shop/F" in message
    assert "Lambda allows 999,999" in message
    assert "exclude=" in message
    assert "shop/model.bin" in message
    assert "docker" not in message


def test_code_without_requirements_starts_no_tool(write_package: WritePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a tool was started"))
    assert asset_of(TaskCode.from_package("shop"))
