"""One module's source: what its top level binds and imports, read without importing it."""

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from constructs_lib._task_definition import TaskReferenceError

__all__ = ["Assigned", "Binding", "Function", "Imported", "ParsedModule", "Starred"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Imported:
    """``from module import name``, or the module itself where name is None."""

    module: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Starred:
    """``from module import *``, which may bind any name."""

    module: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """``name = value``; None where the value is not written there (unpacked, a loop's variable)."""

    value: ast.expr | None
    line: int


Binding: TypeAlias = Imported | Starred | Assigned | Function | ast.ClassDef


class _Bound(NamedTuple):
    """A binding and when it happens; None deletes the name."""

    binding: Binding | None
    end: tuple[int, int]
    always: bool


@dataclass(frozen=True, slots=True)
class ParsedModule:
    """The top level of one module.

    Attributes:
        imports: what is imported with it: (module, None), or (module, name) for ``from module import name``.
    """

    name: str
    path: Path
    tree: ast.Module
    imports: Sequence[tuple[str, str | None]]
    _bound: Mapping[str, Sequence[_Bound]]
    _starred: Sequence[_Bound]

    @classmethod
    def read(cls, name: str, path: Path) -> "ParsedModule":
        """Parse one file.

        Raises:
            TaskReferenceError: the file is not Python, naming its line.
        """
        try:
            with warnings.catch_warnings():
                # An invalid escape is for the interpreter that runs the file to tell, once.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte, in older Pythons
            line, why = (error.lineno, error.msg) if isinstance(error, SyntaxError) else (None, error)
            raise TaskReferenceError(
                f"{path}:{line or 1} cannot be parsed: {why}; correct it, or leave it out of the asset with exclude="
            ) from error
        parts = name.split(".")
        reader = _Reader(parts if path.name == "__init__.py" else parts[:-1])
        reader.read(tree.body)
        return cls(name, path, tree, reader.imports, reader.bound, reader.starred)

    @property
    def names(self) -> Iterable[str]:
        """Every name that is bound at the top level, except by ``from module import *``."""
        return self._bound.keys()

    @property
    def stars(self) -> list[str]:
        """The modules of ``from module import *``."""
        return [bound.binding.module for bound in self._starred if isinstance(bound.binding, Starred)]

    @property
    def bindings(self) -> Iterator[Binding]:
        """Every binding, whether another replaces it later or not."""
        return (bound.binding for records in self._bound.values() for bound in records if bound.binding is not None)

    def bound(self, name: str, before: ast.expr | None = None) -> Iterator[Binding]:
        """What a name may be bound to, the last binding first: earlier ones count if later ones are conditional.

        Args:
            name: the name.
            before: an expression in this module that uses the name; None for a user of the imported module.
        """
        bindings = sorted([*self._bound.get(name, ()), *self._starred], key=lambda bound: bound.end)
        for bound in reversed(bindings):
            if before is None or bound.end <= (before.lineno, before.col_offset):
                if bound.binding is not None:
                    yield bound.binding
                if bound.always:
                    return

    def exports(self, name: str) -> bool:
        """Whether ``from this import *`` brings the name."""
        names = self.all_names()
        return not name.startswith("_") if names is None else name in names

    def all_names(self) -> tuple[str, ...] | None:
        """The literal ``__all__``; None where there is none, or it is not literal."""
        match [binding for binding in self.bound("__all__") if not isinstance(binding, Starred)]:
            case [Assigned(value=ast.List(elts=elements) | ast.Tuple(elts=elements))]:
                return tuple(e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str))
        return None


class _Reader(ast.NodeVisitor):
    """Visits the statements that run when the module is imported; the bodies of functions do not."""

    def __init__(self, package: Sequence[str]) -> None:
        self.imports: list[tuple[str, str | None]] = []
        self.bound: dict[str, list[_Bound]] = {}
        self.starred: list[_Bound] = []
        self._package = package
        self._always = True

    def read(self, body: Iterable[ast.stmt], *, always: bool = True) -> None:
        """Visit statements that always run, or only under a condition."""
        outside = self._always
        self._always = outside and always
        for statement in body:
            self.visit(statement)
        self._always = outside

    def generic_visit(self, node: ast.AST) -> None:
        """Pass over every other statement: it binds nothing."""

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports.append((alias.name, None))
            top = alias.name.partition(".")[0]
            self._bind(alias.asname or top, Imported(alias.name if alias.asname else top, None), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            package = self._package[: max(len(self._package) - node.level + 1, 0)]
            source = ".".join([*package, *([source] if source else [])])
        for alias in node.names:
            if alias.name == "*":
                self.starred.append(_Bound(Starred(source), _end(node), always=False))
            else:
                self.imports.append((source, alias.name))
                self._bind(alias.asname or alias.name, Imported(source, alias.name), node)

    def visit_FunctionDef(self, node: Function) -> None:
        self._bind(node.name, node, node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, node, node)
        # A class body runs with the module: what it imports is loaded, what it binds is its own.
        body = _Reader(self._package)
        body.read(node.body)
        self.imports += body.imports

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value, node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, node.value, node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._assign(node.target, None, node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._bind(target.id, None, node)

    def visit_If(self, node: ast.If) -> None:
        truth = _truth(node.test)
        if truth is not False:
            self.read(node.body, always=truth is True)
        if truth is not True:
            self.read(node.orelse, always=truth is False)

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        self.read(node.body, always=not node.handlers)
        for handler in node.handlers:
            self.read(handler.body, always=False)
        self.read(node.orelse, always=False)
        self.read(node.finalbody)

    visit_TryStar = visit_Try  # noqa: N815

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            if item.optional_vars is not None:
                self._assign(item.optional_vars, None, item.optional_vars)
        self.read(node.body)

    def visit_For(self, node: ast.For) -> None:
        self._assign(node.target, None, node.target)
        self.visit_While(node)

    def visit_While(self, node: ast.For | ast.While) -> None:
        self.read(node.body, always=False)
        self.read(node.orelse, always=False)

    def visit_Match(self, node: ast.Match) -> None:
        for case in node.cases:
            self.read(case.body, always=False)

    def _bind(self, name: str, binding: Binding | None, node: ast.stmt | ast.expr) -> None:
        self.bound.setdefault(name, []).append(_Bound(binding, _end(node), self._always))

    def _assign(self, target: ast.expr, value: ast.expr | None, node: ast.stmt | ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, Assigned(value, target.lineno), node)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, part_value in zip(targets, _parts(value, len(targets)), strict=True):
                    self._assign(part, part_value, node)
            case ast.Starred(value=starred):
                self._assign(starred, None, node)


def _end(node: ast.stmt | ast.expr) -> tuple[int, int]:
    return (node.end_lineno or node.lineno, node.end_col_offset or 0)


def _parts(value: ast.expr | None, count: int) -> Sequence[ast.expr | None]:
    """The values of ``a, b = x, y`` one by one; None for each where they are not written out."""
    if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == count:
        return value.elts
    return [None] * count


def _truth(test: ast.expr) -> bool | None:
    """Whether a condition holds while the module is imported in Lambda; None where that is not known."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return False
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return False
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            truth = _truth(operand)
            return None if truth is None else not truth
    return None
