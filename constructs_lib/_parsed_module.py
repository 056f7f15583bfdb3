"""One module's source: what its top level binds and imports, read without importing it."""

import ast
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from constructs_lib._task_definition import TaskReferenceError

__all__ = ["Assigned", "Binding", "Function", "Imported", "ParsedModule"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Imported:
    """``from module import name``, or the module itself where name is None."""

    module: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Assigned:
    """``name = value``; None where the value is not written there (unpacked, a loop's variable)."""

    value: ast.expr | None
    line: int


Binding: TypeAlias = Imported | Assigned | Function | ast.ClassDef


class _Bound(NamedTuple):
    """A binding and when it happens; None deletes the name."""

    binding: Binding | None
    end: tuple[int, int]
    always: bool


@dataclass(slots=True)
class ParsedModule:
    """The top level of one module.

    Attributes:
        imports: what is imported with it: (module, None), or (module, name) for ``from module import name``.
        stars: the modules of ``from module import *``.
    """

    name: str
    path: Path
    tree: ast.Module
    imports: list[tuple[str, str | None]] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)
    _bound: dict[str, list[_Bound]] = field(default_factory=dict)

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
        module = cls(name, path, tree)
        _Reader(module, module._bound).read(tree.body)
        return module

    @property
    def names(self) -> Iterable[str]:
        """Every name that is bound at the top level."""
        return self._bound.keys()

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
        for bound in reversed(self._bound.get(name, ())):
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
        match list(self.bound("__all__")):
            case [Assigned(value=ast.List(elts=elements) | ast.Tuple(elts=elements))]:
                return tuple(e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str))
        return None

    def absolute(self, statement: ast.ImportFrom) -> str:
        """The full name of the module that a ``from … import`` names."""
        if not statement.level:
            return statement.module or ""
        package = self.name.split(".")
        climb = statement.level - (self.path.name == "__init__.py")
        return ".".join([*package[: max(len(package) - climb, 0)], *filter(None, [statement.module])])


class _Reader(ast.NodeVisitor):
    """Visits the statements that run when the module is imported; the bodies of functions do not."""

    def __init__(self, module: ParsedModule, bound: dict[str, list[_Bound]]) -> None:
        self._module = module
        self._bound = bound
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
            self._module.imports.append((alias.name, None))
            top = alias.name.partition(".")[0]
            self._bind(alias.asname or top, Imported(alias.name if alias.asname else top, None), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = self._module.absolute(node)
        for alias in node.names:
            if alias.name == "*":
                self._module.stars.append(source)
            else:
                self._module.imports.append((source, alias.name))
                self._bind(alias.asname or alias.name, Imported(source, alias.name), node)

    def visit_FunctionDef(self, node: Function) -> None:
        self._bind(node.name, node, node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, node, node)
        # A class body runs with the module: what it imports is loaded, what it binds is its own.
        _Reader(self._module, {}).read(node.body)

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
        end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
        self._bound.setdefault(name, []).append(_Bound(binding, end, self._always))

    def _assign(self, target: ast.expr, value: ast.expr | None, node: ast.stmt | ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, Assigned(value, target.lineno), node)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, part_value in zip(targets, _parts(value, len(targets)), strict=True):
                    self._assign(part, part_value, node)
            case ast.Starred(value=starred):
                self._assign(starred, None, node)


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
