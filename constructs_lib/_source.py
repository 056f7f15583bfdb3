"""Finds tasks, modules and handlers in the source of a package by parsing it; nothing is imported."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeAlias

from constructs_lib._parsed_module import Assigned, Binding, Function, Imported, ParsedModule
from constructs_lib._task_definition import TaskDefinition, TaskReferenceError, literal_name, literal_namespaces

__all__ = ["SourceTree", "TaskDefinition", "TaskReferenceError"]

_DECORATORS: Final = {"runtime_lib.task", "runtime_lib.task.task"}
_REFERENCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")


@dataclass(frozen=True, slots=True)
class _Module:
    """A name leads to a module of the package."""

    name: str


@dataclass(frozen=True, slots=True)
class _External:
    """A name leads out of the package."""

    name: str


@dataclass(frozen=True, slots=True)
class _Value:
    """A name leads to a definition or an expression in a module of the package; None where it is not written out."""

    module: ParsedModule
    node: Function | ast.ClassDef | ast.expr | None
    line: int


_Origin: TypeAlias = _Module | _External | _Value


class SourceTree:
    """The modules of one package, each parsed when it is first needed.

    Args:
        package: the top-level package.
        root: its directory.
        modules: the file of every module in the asset.
    """

    def __init__(self, package: str, root: Path, modules: Mapping[str, Path]) -> None:
        self._package = package
        self._root = root
        self._modules = modules
        # A directory without __init__.py is a package too, of no file.
        self._packages = {parent for module in modules for parent in _parents(module)}
        self._parsed: dict[str, ParsedModule] = {}

    def task(self, reference: str) -> TaskDefinition:
        """The task that ``module:name`` leads to, through re-exports and aliases.

        Raises:
            TaskReferenceError: there is none, or what is there is not a task.
        """
        module, name = self._split(reference)
        problems: list[TaskReferenceError] = []
        for origin in self._lookup(module, name):
            try:
                return self._definition(reference, origin)
            except TaskReferenceError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]
        raise self._missing(reference, module, name)

    def tasks(self) -> tuple[TaskDefinition, ...]:
        """Every task at the top level of a module, ordered by module and line.

        Raises:
            TaskReferenceError: a file cannot be parsed, or a task's name or namespace cannot be read.
        """
        return tuple(task for name in sorted(self._modules) for task in self._tasks_of(self._parse(name)))

    def handler(self, reference: str) -> str:
        """The Lambda handler ``module.function`` for ``module:function``.

        Raises:
            TaskReferenceError: the module binds no such name, or not to something that Lambda can call.
        """
        module, name = self._split(reference)
        for origin in self._lookup(module, name):
            match origin:
                case _Module():
                    what = "is a module"
                case _Value(node=ast.ClassDef()):
                    what = "is a class"
                case _Value(node=ast.AsyncFunctionDef()):
                    what = "is an async def, which Lambda does not await"
                case _:
                    return f"{module}.{name}"
            raise TaskReferenceError(f"{reference!r} {what}: a handler is a function (event, context) of a module")
        raise self._missing(reference, module, name)

    def require_modules(self, modules: Sequence[str]) -> None:
        """Check that each module is in the asset.

        Raises:
            TaskReferenceError: one is not.
        """
        if isinstance(modules, str):
            raise TaskReferenceError(f"modules={modules!r} is one string: give a list, [{modules!r}]")
        for module in modules:
            if module not in self._modules and module not in self._packages:
                raise TaskReferenceError(self._no_module(module))

    def loaded_by(self, modules: Iterable[str]) -> frozenset[str]:
        """The modules and everything in the package that importing them imports.

        Imports inside functions, under TYPE_CHECKING, and through importlib are not counted; those under another
        condition are.

        Raises:
            TaskReferenceError: a module is not in the asset, or cannot be parsed.
        """
        waiting = list(modules)
        self.require_modules(waiting)
        loaded: set[str] = set()
        while waiting:
            name = waiting.pop()
            for module in (*_parents(name), name):
                if module in self._modules and module not in loaded:
                    loaded.add(module)
                    waiting += self._imports(self._parse(module))
        return frozenset(loaded)

    def _imports(self, module: ParsedModule) -> Iterator[str]:
        for source, name in module.imports:
            yield source
            if name is not None and not (source in self._modules and name in self._parse(source).bindings):
                yield f"{source}.{name}"
        for source in module.stars:
            if source in self._modules:
                yield from (f"{source}.{name}" for name in self._parse(source).all_names() or ())

    def _tasks_of(self, module: ParsedModule) -> list[TaskDefinition]:
        tasks: dict[str, TaskDefinition] = {}
        for bindings in module.bindings.values():
            for binding in reversed(bindings):
                task = self._declared(module, binding)
                if task is not None:
                    tasks.setdefault(task.name, task)
        return sorted(tasks.values(), key=lambda task: task.line)

    def _declared(self, module: ParsedModule, binding: Binding) -> TaskDefinition | None:
        """The task that this very binding registers."""
        match binding:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for decorator in binding.decorator_list:
                    options = self._options(module, decorator)
                    if options is not None:
                        return _define(module, module, binding, options)
            case Assigned(value=ast.Call() as call, line=line):
                return self._registered(module, call, line)
        return None

    def _definition(self, reference: str, origin: _Origin) -> TaskDefinition:
        match origin:
            case _Module(name):
                raise TaskReferenceError(f"{reference!r} is a module: name a task in it, as in '{name}:<task>'")
            case _External(name):
                raise TaskReferenceError(
                    f"{reference!r} leads to {name}, which is not in package {self._package!r}: "
                    "define the task in the package"
                )
            case _Value(module, ast.FunctionDef() | ast.AsyncFunctionDef() as function):
                return self._decorated(reference, module, function)
            case _Value(module, ast.ClassDef(), line):
                raise TaskReferenceError(
                    f"{reference!r} is a class ({module.path}:{line}): a task is a function decorated with @task"
                )
            case _Value(module, ast.Call() as call, line):
                task = self._registered(module, call, line)
                if task is not None:
                    return task
        raise TaskReferenceError(
            f"{reference!r} is assigned from what cannot be followed without importing "
            f"({origin.module.path}:{origin.line}): decorate the function with @task, or write name = task(function)"
        )

    def _decorated(self, reference: str, module: ParsedModule, function: Function) -> TaskDefinition:
        where = f"{module.path}:{function.lineno}"
        options = [self._options(module, decorator) for decorator in function.decorator_list]
        written = ", ".join(f"@{ast.unparse(decorator)}" for decorator in function.decorator_list)
        if all(option is None for option in options):
            raise TaskReferenceError(
                f"{reference!r} is not decorated with @task ({where})"
                + (f", only with {written}" if written else "")
                + ": add @task from runtime_lib above it"
            )
        if options[0] is None:
            raise TaskReferenceError(
                f"{reference!r} has another decorator above @task ({where}: {written}): move @task to the top, "
                "so that the name stays the task"
            )
        return _define(module, module, function, options[0])

    def _registered(self, module: ParsedModule, call: ast.Call, line: int) -> TaskDefinition | None:
        """The task that ``task(function)`` registers; None where the call is something else."""
        options = self._options(module, call.func)
        if options is None or len(call.args) != 1:
            return None
        for origin in self._follow(module, call.args[0]):
            match origin:
                case _Value(home, ast.FunctionDef() | ast.AsyncFunctionDef() as function):
                    return _define(module, home, function, [*options, *call.keywords])
        raise TaskReferenceError(
            f"{module.path}:{line}: {ast.unparse(call)} does not name a function of package {self._package!r}: "
            "a task is a function at the top level of a module"
        )

    def _options(self, module: ParsedModule, decorator: ast.expr) -> Sequence[ast.keyword] | None:
        """The options that an expression gives @task; None where it does not lead to @task."""
        for origin in self._follow(module, decorator):
            match origin:
                case _External(name) if name in _DECORATORS:
                    return []
                case _Value(home, ast.Call(func=callee, args=arguments, keywords=keywords)):
                    if arguments and self._is(home, callee, "functools.partial"):
                        callee, *arguments = arguments
                    options = None if arguments else self._options(home, callee)
                    if options is not None:
                        return [*options, *keywords]
        return None

    def _is(self, module: ParsedModule, expression: ast.expr, name: str) -> bool:
        return any(origin == _External(name) for origin in self._follow(module, expression))

    def _follow(
        self, module: ParsedModule, expression: ast.expr, seen: frozenset[tuple[str, str]] = frozenset()
    ) -> Iterator[_Origin]:
        """What an expression at the top level of a module may lead to, the likeliest first."""
        match expression:
            case ast.Name(id=name):
                yield from self._lookup(module.name, name, seen)
            case ast.Attribute(value=value, attr=attribute):
                for base in self._follow(module, value, seen):
                    match base:
                        case _Module(name):
                            yield from self._lookup(name, attribute, seen)
                        case _External(name):
                            yield _External(f"{name}.{attribute}")
                        case _:
                            yield _Value(module, None, expression.lineno)
            case _:
                yield _Value(module, expression, expression.lineno)

    def _lookup(self, module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Iterator[_Origin]:
        """What a module's attribute may lead to, the likeliest first: of several bindings the last."""
        if module not in self._modules and module not in self._packages:
            yield _External(f"{module}.{name}")
            return
        found = False
        if module in self._modules and (module, name) not in seen:
            seen |= {(module, name)}
            for origin in self._bound(self._parse(module), name, seen):
                found = True
                yield origin
        if not found and self._exists(f"{module}.{name}"):
            yield _Module(f"{module}.{name}")

    def _bound(self, module: ParsedModule, name: str, seen: frozenset[tuple[str, str]]) -> Iterator[_Origin]:
        for binding in reversed(module.bindings.get(name, ())):
            match binding:
                case Imported(source, None):
                    yield _Module(source) if self._exists(source) else _External(source)
                case Imported(source, str(imported)):
                    yield from self._lookup(source, imported, seen)
                case Assigned(None, line):
                    yield _Value(module, None, line)
                case Assigned(ast.expr() as value):
                    yield from self._follow(module, value, seen)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    yield _Value(module, binding, binding.lineno)
        if name not in module.bindings:
            for source in reversed(module.stars):
                if source in self._modules and self._parse(source).exports(name):
                    yield from self._lookup(source, name, seen)

    def _exists(self, module: str) -> bool:
        return module in self._modules or module in self._packages

    def _parse(self, module: str) -> ParsedModule:
        parsed = self._parsed.get(module)
        if parsed is None:
            parsed = self._parsed[module] = ParsedModule.read(module, self._modules[module])
        return parsed

    # --- What went wrong ---------------------------------------------------------------------------------------------

    def _split(self, reference: str) -> tuple[str, str]:
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise TaskReferenceError(
                f"{reference!r} is not a reference: write 'module:name', as in '{self._package}.tasks:send_email'"
            )
        module, name = match["module"], match["name"]
        if not self._exists(module):
            raise TaskReferenceError(f"{reference!r}: {self._no_module(module)}")
        if "." in name:
            raise TaskReferenceError(
                f"{reference!r} names an attribute of a class or function: "
                "a task or handler is a function at the top level of a module"
            )
        return module, name

    def _no_module(self, module: str) -> str:
        if module.partition(".")[0] != self._package:
            return f"module {module!r} is not in the asset, which holds package {self._package!r}"
        file = self._root.joinpath(*module.split(".")[1:])
        if file.with_suffix(".py").is_file() or (file / "__init__.py").is_file():
            return f"module {module!r} is not in the asset: exclude= leaves it out"
        return f"module {module!r} does not exist{_nearest(module, self._modules)}"

    def _missing(self, reference: str, module: str, name: str) -> TaskReferenceError:
        if module not in self._modules:
            return TaskReferenceError(f"{reference!r}: package {module!r} has no __init__.py, and so no {name!r}")
        parsed = self._parse(module)
        if name in parsed.bindings:
            return TaskReferenceError(
                f"{reference!r} is imported in {parsed.path}, but no module it comes from defines it, "
                "or they import it from each other"
            )
        for node in ast.walk(parsed.tree):
            if isinstance(node, Function) and node.name == name:
                return TaskReferenceError(
                    f"{reference!r} is inside a class or function ({parsed.path}:{node.lineno}): "
                    "move it to the top level of the module"
                )
        unseen = [source for source in parsed.stars if not self._exists(source)]
        return TaskReferenceError(
            f"{reference!r}: {parsed.path} has no {name!r}{_nearest(name, parsed.bindings)}"
            + "".join(f"; what it takes from {source} import * cannot be seen: import it by name" for source in unseen)
        )


def _define(
    module: ParsedModule, home: ParsedModule, function: Function, options: Sequence[ast.keyword]
) -> TaskDefinition:
    try:
        name = literal_name(options, default=f"{home.name}.{function.name}")
        namespaces = literal_namespaces(options)
    except TaskReferenceError as problem:
        raise TaskReferenceError(f"{home.path}:{function.lineno}: {problem}") from None
    is_async = isinstance(function, ast.AsyncFunctionDef)
    return TaskDefinition(name, module.name, function.name, namespaces, is_async, home.path, function.lineno)


def _parents(module: str) -> list[str]:
    """``a``, ``a.b`` for ``a.b.c``: the packages that are imported before it."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _nearest(word: str, words: Iterable[str]) -> str:
    near = get_close_matches(word, words, n=1)
    return f": did you mean {near[0]!r}?" if near else ""
