"""constructs_lib: what is exported, and what importing it costs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import constructs_lib
from runtime_lib import contract

_ROOT = Path(__file__).parents[2]
# Every string of the contract that stands for something outside: variables, handlers, keys.
_WORDS = sorted(
    value
    for name, value in vars(contract).items()
    if isinstance(value, str)
    and (name.startswith("ENV_") or name.endswith("_HANDLER") or name in {"METADATA_KEY", "FAILURE_ATTRIBUTE"})
)


def _modules_after(statement: str) -> set[str]:
    """The modules that a fresh process has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, env=os.environ, capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_import_loads_neither_aws_cdk_nor_boto3() -> None:
    assert _modules_after("import constructs_lib").isdisjoint({"aws_cdk", "boto3", "botocore", "jsii"})


def test_no_construct_loads_boto3() -> None:
    loaded = _modules_after("from constructs_lib import *")
    assert "aws_cdk" in loaded
    assert loaded.isdisjoint({"boto3", "botocore"})


def test_every_exported_name_can_be_imported_and_is_listed() -> None:
    assert set(constructs_lib.__all__) <= set(dir(constructs_lib))
    for name in constructs_lib.__all__:
        assert getattr(constructs_lib, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'constructs_lib' has no attribute 'ManagedAsyncTsak'"):
        constructs_lib.ManagedAsyncTsak  # noqa: B018


@pytest.mark.parametrize("word", _WORDS)
def test_words_of_the_contract_are_spelled_once(word: str) -> None:
    spelled = [
        f"{path.relative_to(_ROOT)}:{node.lineno}"
        for package in ("constructs_lib", "runtime_lib")
        for path in sorted((_ROOT / package).rglob("*.py"))
        if path.name != "contract.py"
        for node in _strings(ast.parse(path.read_text("utf-8")))
        if word in node.value
    ]
    assert spelled == []


def _strings(tree: ast.Module) -> list[ast.Constant]:
    """The string constants of a module but its docstrings, which may show what users see."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements
    ]
