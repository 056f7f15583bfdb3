"""The Python of README.md and docs/: it can be parsed, and every name and argument of this library's exists."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import constructs_lib
import runtime_lib

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("constructs_lib", "runtime_lib", "tasks_cli")
KNOWN = {name: getattr(library, name) for library in (runtime_lib, constructs_lib) for name in library.__all__}


def samples() -> Iterator[Any]:
    for page in PAGES:
        for code in re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            line = page.read_text().count("\n", 0, code.start()) + 2
            yield pytest.param(code[1], id=f"{page.name}:{line}")


@pytest.mark.parametrize("code", [*samples()])
def test_names_and_arguments_of_a_sample_exist(code: str) -> None:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(code, "sample", "exec", flags)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] in OURS:
                for alias in names:
                    assert hasattr(import_module(module), alias.name) or import_module(f"{module}.{alias.name}")
            case ast.Call(func=function, args=args, keywords=keywords) if (
                ours := of_this_library(function)
            ) is not None:
                require_arguments(
                    ours, len(args), [keyword.arg for keyword in keywords if keyword.arg], ast.unparse(node)
                )


def of_this_library(node: ast.expr) -> Any:
    """What a name in a sample stands for; None if it is the sample's own."""
    match node:
        case ast.Name(id=name):
            found = KNOWN.get(name)
            # Exceptions of C's making have no signature.
            return None if isinstance(found, type) and issubclass(found, Exception) else found
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in KNOWN:
            return getattr(KNOWN[owner], name)
    return None


def require_arguments(called: Any, positional: int, names: list[str], code: str) -> None:
    if "__init__" in vars(called):  # a construct's class tells the signature of jsii's metaclass
        called, positional = called.__init__, positional + 1
    signature = inspect.signature(called)
    try:
        signature.bind(*[None] * positional, **dict.fromkeys(names))
    except TypeError as error:
        pytest.fail(f"{code}: {error}")
    for parameter in signature.parameters.values():
        for options in get_args(parameter.annotation) if parameter.kind is parameter.VAR_KEYWORD else ():  # Unpack[…]
            assert set(names) <= signature.parameters.keys() | options.__annotations__.keys(), code


def test_every_warning_is_described() -> None:
    source = "".join(path.read_text() for path in (ROOT / "constructs_lib").glob("*.py"))
    slugs = set(re.findall(r'\bwarn\(\s*[\w.]+,\s*"([\w-]+)"', source))
    described = set(
        re.findall(r"^\| `lambda-task-constructs:([\w-]+)`", (ROOT / "docs/checks.md").read_text(), re.MULTILINE)
    )
    assert slugs
    assert slugs == described


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link
