"""Shared by the tests of constructs_lib's source reading."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from constructs_lib._source import SourceTree, TaskReferenceError


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[Mapping[str, str | bytes]], SourceTree]:
    """Writes the files of package ``shop`` and reads it back."""
    root = tmp_path / "shop"

    def write(files: Mapping[str, str | bytes]) -> SourceTree:
        modules = {}
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
            parts = ["shop", *name.removesuffix(".py").split("/")]
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return SourceTree("shop", root, modules)

    return write


@pytest.fixture
def refusal() -> Callable[[Callable[[], object]], str]:
    """The message of the TaskReferenceError that a call raises."""

    def refuse(call: Callable[[], object]) -> str:
        with pytest.raises(TaskReferenceError) as caught:
            call()
        assert isinstance(caught.value, ValueError)
        return str(caught.value)

    return refuse
