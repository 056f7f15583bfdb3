"""constructs_lib.TaskCode with requirements: installed for Lambda's platform, from wheels made here."""

import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda
from aws_cdk.aws_lambda import Architecture, Runtime

from constructs_lib import TaskCode, _wheels, task_code

Installs = Callable[[Mapping[str, str]], None]


def write_wheel(directory: Path, tag: str, files: Mapping[str, str], name: str = "rates") -> None:
    """A wheel as PyPI would serve it."""
    info = f"{name}-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    contents = {**files, **metadata}
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, content in {**contents, f"{info}/RECORD": record}.items():
            wheel.writestr(path, content)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "__init__.py").write_text("import rates\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return root


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A requirements file that takes ``rates`` from the wheels beside it, whatever pip is configured to use."""
    file = tmp_path / "requirements.txt"
    file.write_text(f"--no-index\n--find-links {tmp_path}\nrates==1.0\n")
    return file


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Lets a requirements file that is not empty install these files, without pip."""

    def install(files: Mapping[str, str]) -> None:
        def install_wheels(requirements: Path, target: Path, **_: object) -> None:
            for name, content in files.items() if requirements.read_text() else ():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_text(content)

        monkeypatch.setattr(task_code, "install_wheels", install_wheels)

    return install


def add_function(
    stack: cdk.Stack,
    name: str,
    code: TaskCode,
    runtime: Runtime = Runtime.PYTHON_3_13,
    architecture: Architecture | None = None,
) -> None:
    architecture = architecture or Architecture.ARM_64
    aws_lambda.Function(
        stack,
        name,
        runtime=runtime,
        architecture=architecture,
        handler="a.b",
        code=code.for_stack(stack, runtime=runtime, architecture=architecture),
    )


def assets(stack: cdk.Stack) -> list[Path]:
    """The asset of each function of a stack, in their order."""
    directory = Path(cdk.Stage.of(stack).synth().directory)
    resources = json.loads((directory / stack.template_file).read_text())["Resources"].values()
    keys = [
        resource["Properties"]["Code"]["S3Key"] for resource in resources if resource["Type"] == "AWS::Lambda::Function"
    ]
    return [directory / f"asset.{key.removesuffix('.zip')}" for key in keys]


def bundle(code: TaskCode) -> Path:
    stack = cdk.Stack(cdk.App(), "Shop")
    add_function(stack, "F", code)
    [asset] = assets(stack)
    return asset


def test_wheels_are_chosen_by_the_functions_python_and_architecture(
    package: Path, requirements: Path, tmp_path: Path
) -> None:
    tags = (
        "cp313-cp313-manylinux_2_28_aarch64",
        "cp313-cp313-manylinux2014_x86_64",
        "cp311-cp311-manylinux_2_17_x86_64",
    )
    for tag in tags:
        write_wheel(tmp_path, tag, {"rates/__init__.py": tag})
    code = TaskCode.from_package("shop", requirements=requirements)
    stack = cdk.Stack(cdk.App(), "Shop")
    add_function(stack, "Arm", code, Runtime.PYTHON_3_13, Architecture.ARM_64)
    add_function(stack, "Intel", code, Runtime.PYTHON_3_13, Architecture.X86_64)
    add_function(stack, "Older", code, Runtime.PYTHON_3_11, Architecture.X86_64)
    assert tuple((asset / "rates" / "__init__.py").read_text() for asset in assets(stack)) == tags


def test_codes_of_other_requirements_have_other_assets(
    package: Path, requirements: Path, tmp_path: Path, installs: Installs
) -> None:
    installs({"rates/__init__.py": ""})
    (tmp_path / "none.txt").write_text("")
    stack = cdk.Stack(cdk.App(), "Shop")
    add_function(stack, "With", TaskCode.from_package("shop", requirements=requirements))
    add_function(stack, "Without", TaskCode.from_package("shop", requirements=tmp_path / "none.txt"))
    assert [(asset / "rates").is_dir() for asset in assets(stack)] == [True, False]


def test_glibc_of_the_runtime_decides_which_wheels_run() -> None:
    newest = {python: _wheels._platforms(python, "arm64")[0] for python in ("3.11", "3.12", "3.14")}
    assert newest == {
        "3.11": "manylinux_2_26_aarch64",
        "3.12": "manylinux_2_34_aarch64",
        "3.14": "manylinux_2_34_aarch64",
    }


def test_installed_files_are_the_same_on_every_machine_and_installed_once(
    package: Path, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path, "py3-none-any", {"rates/__init__.py": "", "rates/table.csv": "EUR,1\n"})
    requirements.write_text(f"--no-index\n{tmp_path}/rates-1.0-py3-none-any.whl\n")
    runs = []
    run = _wheels.subprocess.run
    monkeypatch.setattr(
        _wheels.subprocess, "run", lambda *args, **options: (runs.append(args), run(*args, **options))[1]
    )
    code = TaskCode.from_package("shop", requirements=requirements)
    first, second = bundle(code), bundle(code)
    assert first.name == second.name
    assert len(runs) == 1
    installed = {path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()}
    assert {name for name in installed if not name.startswith("runtime_lib/")} == {
        "shop/__init__.py",
        "rates/__init__.py",
        "rates/table.csv",
        "rates-1.0.dist-info/METADATA",
        "rates-1.0.dist-info/WHEEL",
        "rates-1.0.dist-info/entry_points.txt",
        "rates-1.0.dist-info/INSTALLER",
        "rates-1.0.dist-info/REQUESTED",
    }


def test_code_is_shared_by_functions_of_one_python_and_architecture(package: Path, requirements: Path) -> None:
    code = TaskCode.from_package("shop", requirements=requirements)
    stack = cdk.Stack(cdk.App(), "Shop")
    arm = code.for_stack(stack, runtime=Runtime.PYTHON_3_13, architecture=Architecture.ARM_64)
    assert code.for_stack(stack, runtime=Runtime.PYTHON_3_13, architecture=Architecture.ARM_64) is arm
    assert code.for_stack(stack, runtime=Runtime.PYTHON_3_12, architecture=Architecture.ARM_64) is not arm
    assert code.for_stack(stack, runtime=Runtime.PYTHON_3_13, architecture=Architecture.X86_64) is not arm


def test_environment_variables_are_present_while_requirements_are_installed(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path, "py3-none-any", {"rates/__init__.py": "installed"})
    file = tmp_path / "requirements.txt"
    file.write_text("--no-index\n--find-links ${WHEELS}\n${WANTED}==1.0\n")
    monkeypatch.setenv("WHEELS", str(tmp_path))
    code = TaskCode.from_package("shop", requirements=file, environment={"WANTED": "rates"})
    assert (bundle(code) / "rates" / "__init__.py").read_text() == "installed"


def test_codes_of_other_environments_have_other_assets(
    package: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install_wheels(_: Path, target: Path, *, environment: Mapping[str, str], **__: str) -> None:
        (target / "edition.py").write_text(environment["EDITION"])

    monkeypatch.setattr(task_code, "install_wheels", install_wheels)
    stack = cdk.Stack(cdk.App(), "Shop")
    for edition in ("small", "large"):
        environment = {"EDITION": edition}
        add_function(stack, edition, TaskCode.from_package("shop", requirements=requirements, environment=environment))
    assert [(asset / "edition.py").read_text() for asset in assets(stack)] == ["small", "large"]


@pytest.mark.parametrize("value", [7, cdk.Aws.REGION], ids=["number", "token"])
def test_variables_that_are_no_strings_yet_are_refused(package: Path, requirements: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"environment\['X'\] is .*, allowed is a string that is known now"):
        TaskCode.from_package("shop", requirements=requirements, environment={"X": value})  # type: ignore[dict-item]


def test_requirements_that_have_no_wheel_are_refused_with_what_pip_says(package: Path, requirements: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        bundle(TaskCode.from_package("shop", requirements=requirements))
    message = str(caught.value)
    assert "Shop/F" in message
    assert "cannot be installed for Python 3.13 on arm64 (wheels only)" in message
    assert "No matching distribution found for rates==1.0" in message
    assert "docker" not in message


def test_this_distribution_in_the_requirements_brings_nothing(
    package: Path, requirements: Path, installs: Installs
) -> None:
    ours = {f"{name}/__init__.py": "raise RuntimeError\n" for name in ("constructs_lib", "tasks_cli", "runtime_lib")}
    ours["runtime_lib/of_another_version.py"] = ""
    installs({"rates/__init__.py": "", **ours})
    asset = bundle(TaskCode.from_package("shop", requirements=requirements))
    assert {path.name for path in asset.iterdir()} == {"shop", "rates", "runtime_lib"}
    assert (asset / "runtime_lib" / "contract.py").is_file()
    assert not (asset / "runtime_lib" / "of_another_version.py").exists()
    assert "raise RuntimeError" not in (asset / "runtime_lib" / "__init__.py").read_text()


@pytest.mark.parametrize(
    ("installed", "why"), [("aws_cdk", "synthesized with, not run"), ("shop", "as your own package is called")]
)
def test_requirements_that_bring_the_cdk_or_a_second_package_are_refused(
    package: Path, requirements: Path, installs: Installs, installed: str, why: str
) -> None:
    installs({f"{installed}/__init__.py": ""})
    with pytest.raises(RuntimeError, match=f"installs {installed}, .*{why}: leave out the requirement"):
        bundle(TaskCode.from_package("shop", requirements=requirements))


def test_requirements_need_runtime_and_architecture(package: Path, requirements: Path) -> None:
    code = TaskCode.from_package("shop", requirements=requirements)
    stack = cdk.Stack(cdk.App(), "Shop")
    with pytest.raises(ValueError, match="give for_stack"):
        code.for_stack(stack)
    with pytest.raises(ValueError, match="give for_stack"):
        code.for_stack(stack, runtime=Runtime.PYTHON_3_13)
    with pytest.raises(ValueError, match=r"runtime='nodejs22\.x': tasks run on a Python runtime"):
        code.for_stack(stack, runtime=Runtime.NODEJS_22_X, architecture=Architecture.ARM_64)


def test_missing_requirements_file_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*nowhere\.txt"):
        TaskCode.from_package("shop", requirements=tmp_path / "nowhere.txt")


def test_missing_pip_is_answered_with_how_to_install_it(
    package: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wheels, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"has no pip\. Install pip into it"):
        bundle(TaskCode.from_package("shop", requirements=requirements))
