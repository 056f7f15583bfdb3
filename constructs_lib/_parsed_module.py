"""One module's source: what its top level binds and imports, read without importing it."""

import ast
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from constructs_lib._task_definition import TaskReferenceError

__all__ = ["Assigned", "Binding", "Function", "Imported", "ParsedModule"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Imported:
    """``from module import name``, or the module itself where name is None."""

    module: str
    name: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Assigned:
    """``name = value``; None where the value is not written there (unpacked, a loop's variable)."""

    value: ast.expr | None
    line: int


Binding: TypeAlias = Imported | Assigned | Function | ast.ClassDef


@dataclass(slots=True)
class ParsedModule:
    """The top level of one module.

    Attributes:
        bindings: what each name may be bound to once the module is imported, in the order of the source: a statement
            that always runs replaces what stood before, one under a condition adds to it.
        imports: the modules and names that are imported while the module is, each as (module, name or None).
        stars: the modules of ``from module import *``.
    """

    name: str
    path: Path
    tree: ast.Module
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    imports: list[tuple[str, str | None]] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)

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
        except SyntaxError as error:
            raise TaskReferenceError(
                f"{path}:{error.lineno or 1}: cannot be parsed: {error.msg}. Correct it, or leave it out with exclude="
            ) from error
        except ValueError as error:  # null bytes, before Python 3.12
            raise TaskReferenceError(
                f"{path}:1: cannot be parsed: {error}. Correct it, or leave it out with exclude="
            ) from error
        module = cls(name, path, tree)
        _Reader(module, module.bindings).read(tree.body, always=True)
        return module

    def exports(self, name: str) -> bool:
        """Whether ``from this import *`` brings the name."""
        names = self.all_names()
        return not name.startswith("_") if names is None else name in names

    def all_names(self) -> tuple[str, ...] | None:
        """The literal ``__all__``; None where there is none, or it is not literal."""
        match self.bindings.get("__all__"):
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


@dataclass(slots=True)
class _Reader:
    module: ParsedModule
    bindings: dict[str, list[Binding]]

    def read(self, body: Iterable[ast.stmt], *, always: bool) -> None:
        for statement in body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self._import(statement, always=always)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self._bind(name, statement, always=always)
                case ast.ClassDef(name=name):
                    self._bind(name, statement, always=always)
                    # A class body runs with the module: what it imports is loaded, what it binds is its own.
                    _Reader(self.module, {}).read(statement.body, always=always)
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._assign(target, value, always=always)
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self._assign(target, value, always=always)
                case ast.AugAssign(target=target):
                    self._assign(target, None, always=always)
                case ast.Delete(targets=targets) if always:
                    for target in targets:
                        if isinstance(target, ast.Name):
                            self.bindings.pop(target.id, None)
                case ast.If(test=test, body=then, orelse=otherwise):
                    truth = _truth(test)
                    if truth is not False:
                        self.read(then, always=always and truth is True)
                    if truth is not True:
                        self.read(otherwise, always=always and truth is False)
                case ast.Try() | ast.TryStar():
                    self.read(statement.body, always=always and not statement.handlers)
                    for handler in statement.handlers:
                        self.read(handler.body, always=False)
                    self.read(statement.orelse, always=False)
                    self.read(statement.finalbody, always=always)
                case ast.With(items=items, body=block):
                    for item in items:
                        if item.optional_vars is not None:
                            self._assign(item.optional_vars, None, always=always)
                    self.read(block, always=always)
                case ast.For(target=target):
                    self._assign(target, None, always=False)
                    self.read([*statement.body, *statement.orelse], always=False)
                case ast.While():
                    self.read([*statement.body, *statement.orelse], always=False)
                case ast.Match(cases=cases):
                    for case in cases:
                        self.read(case.body, always=False)

    def _bind(self, name: str, binding: Binding, *, always: bool) -> None:
        if always:
            self.bindings[name] = [binding]
        else:
            self.bindings.setdefault(name, []).append(binding)

    def _assign(self, target: ast.expr, value: ast.expr | None, *, always: bool) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, Assigned(value, target.lineno), always=always)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, part_value in zip(targets, _parts(value, len(targets)), strict=True):
                    self._assign(part, part_value, always=always)
            case ast.Starred(value=starred):
                self._assign(starred, None, always=always)

    def _import(self, statement: ast.Import | ast.ImportFrom, *, always: bool) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self.module.imports.append((alias.name, None))
                top = alias.name.partition(".")[0]
                bound = Imported(alias.name if alias.asname else top, None, statement.lineno)
                self._bind(alias.asname or top, bound, always=always)
            return
        source = self.module.absolute(statement)
        for alias in statement.names:
            if alias.name == "*":
                self.module.imports.append((source, None))
                self.module.stars.append(source)
            else:
                self.module.imports.append((source, alias.name))
                bound = Imported(source, alias.name, statement.lineno)
                self._bind(alias.asname or alias.name, bound, always=always)


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
