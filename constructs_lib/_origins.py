"""Follows names through imports and assignments to where they come from, by parsing alone."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from constructs_lib._parsed_module import Assigned, Binding, Function, Imported, ParsedModule, Starred

__all__ = ["External", "Module", "Origin", "PackageModules", "Value", "parents"]

_Seen: TypeAlias = frozenset[Binding]


@dataclass(frozen=True, slots=True)
class Module:
    """A name leads to a module of the package."""

    name: str


@dataclass(frozen=True, slots=True)
class External:
    """A name leads out of the package."""

    name: str


@dataclass(frozen=True, slots=True)
class Value:
    """A name leads to a definition or an expression in a module of the package.

    Attributes:
        node: None where the value is not written out, as in ``for name in …``; the attribute, if it is one of a value.
        seen: the bindings that led here.
    """

    module: ParsedModule
    node: Function | ast.ClassDef | ast.expr | None
    line: int
    seen: _Seen


Origin: TypeAlias = Module | External | Value


class PackageModules:
    """The modules of one package, each parsed when it is first needed.

    Args:
        files: the file of each module.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files
        # A directory without __init__.py can be imported too.
        self._directories = frozenset(parent for module in files for parent in parents(module))
        self._parsed: dict[str, ParsedModule] = {}

    def __contains__(self, module: str) -> bool:
        return module in self.files or module in self._directories

    def parse(self, module: str) -> ParsedModule:
        """The source of a module that has a file.

        Raises:
            TaskReferenceError: it cannot be parsed.
        """
        parsed = self._parsed.get(module)
        if parsed is None:
            parsed = self._parsed[module] = ParsedModule.read(module, self.files[module])
        return parsed

    def attribute(self, module: str, name: str, seen: _Seen = frozenset()) -> Iterator[Origin]:
        """What ``module.name`` may lead to, the likeliest first."""
        if module not in self:
            yield External(f"{module}.{name}")
            return
        found = False
        if module in self.files:
            for origin in self._bound(self.parse(module), name, None, seen):
                found = True
                yield origin
        if not found and f"{module}.{name}" in self:
            yield Module(f"{module}.{name}")

    def expression(self, module: ParsedModule, node: ast.expr, seen: _Seen = frozenset()) -> Iterator[Origin]:
        """What an expression at the top level of a module may lead to, the likeliest first."""
        match node:
            case ast.Name(id=name):
                yield from self._bound(module, name, node, seen)
            case ast.Attribute(value=owner, attr=attribute):
                for origin in self.expression(module, owner, seen):
                    match origin:
                        case Module(name):
                            yield from self.attribute(name, attribute, seen)
                        case External(name):
                            yield External(f"{name}.{attribute}")
                        case Value():
                            yield Value(module, node, node.lineno, seen)
            case _:
                yield Value(module, node, node.lineno, seen)

    def _bound(self, module: ParsedModule, name: str, before: ast.expr | None, seen: _Seen) -> Iterator[Origin]:
        for binding in module.bound(name, before):
            if isinstance(binding, Starred):
                if binding.module not in self.files or not self.parse(binding.module).exports(name):
                    continue
                binding = Imported(binding.module, name)  # noqa: PLW2901
            if binding not in seen:
                yield from self._origins(module, binding, seen | {binding})

    def _origins(self, module: ParsedModule, binding: Binding, seen: _Seen) -> Iterator[Origin]:
        match binding:
            case Imported(source, None):
                yield Module(source) if source in self else External(source)
            case Imported(source, str(name)):
                yield from self.attribute(source, name, seen)
            case Assigned(None, line):
                yield Value(module, None, line, seen)
            case Assigned(ast.expr() as value):
                yield from self.expression(module, value, seen)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield Value(module, binding, binding.lineno, seen)


def parents(module: str) -> list[str]:
    """The packages that are imported before a module: ``a``, ``a.b`` for ``a.b.c``."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
