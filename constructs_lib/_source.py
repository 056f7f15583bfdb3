"""Finds tasks, modules and handlers in the source of a package by parsing it; nothing is imported."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Final

from constructs_lib._origins import External, Module, Origin, PackageModules, Value, parents
from constructs_lib._parsed_module import Assigned, Binding, Function, ParsedModule
from constructs_lib._task_definition import (
    Option,
    TaskDefinition,
    TaskReferenceError,
    group_options,
)

__all__ = ["SourceTree", "TaskDefinition", "TaskReferenceError"]

_TASK: Final = frozenset(
    {"runtime_lib.task", "runtime_lib.task.task", "runtime_lib.batch_task", "runtime_lib.batches.batch_task"}
)
_GROUP: Final = frozenset({"runtime_lib.TaskGroup", "runtime_lib.task_group.TaskGroup"})
_STUB: Final = frozenset({"runtime_lib.external_task", "runtime_lib.external.external_task"})
_STREAMS: Final = frozenset(
    f"runtime_lib.{place}{name}"
    for name in ("background_handler", "streaming_handler")
    for place in ("", "streaming.handlers.")
)
_PARTIAL: Final = "functools.partial"
_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE: Final = re.compile(rf"({_DOTTED}):({_DOTTED})")


class SourceTree:
    """The source of one package, as far as it is in the asset.

    Args:
        package: the top-level package.
        root: its directory.
        files: the file of every module in the asset.
    """

    def __init__(self, package: str, root: Path, files: Mapping[str, Path]) -> None:
        self._package = package
        self.root: Final = root
        self.files: Final = files
        self._modules = PackageModules(files)
        self._loaded: dict[tuple[str, ...], frozenset[str]] = {}

    def task(self, reference: str) -> TaskDefinition:
        """The task that ``module:name`` leads to, through re-exports and aliases.

        Raises:
            TaskReferenceError: there is none, or what is there is not a task.
        """
        module, name = self._split(reference)
        problems: list[TaskReferenceError] = []
        for origin in self._modules.attribute(module, name):
            try:
                return self._definition(reference, origin)
            except TaskReferenceError as problem:
                problems.append(problem)
        raise problems[0] if problems else self._missing(reference, module, name)

    def tasks(self) -> tuple[TaskDefinition, ...]:
        """Every task that a module registers at its top level, ordered by module and line.

        Raises:
            TaskReferenceError: a file cannot be parsed, a task's name or namespace cannot be read, or two modules
                register different tasks of one name.
        """
        return self._tasks

    def option(self, task: TaskDefinition, option: str) -> object:
        """The value of an option of @task: a literal, a name for one, or what the name of an enum's member ends with.

        None where it is left out.

        Raises:
            TaskReferenceError: it cannot be read without importing.
        """
        given = [one for one in task.options if one.arg == option]
        if not given:
            return None
        value, home = given[-1].value, self._modules.parse(given[-1].module)
        try:
            return ast.literal_eval(value)
        except ValueError:
            pass
        for origin in self._modules.expression(home, value):
            match origin:
                case External(name):
                    return name.rpartition(".")[2]
                case Value(node=ast.expr() as node):
                    try:
                        return ast.literal_eval(node)
                    except ValueError:
                        continue
        raise TaskReferenceError(
            f"{task.path}:{task.line}: {option}={ast.unparse(value)} of @task cannot be read without importing: "
            f"write it as a literal, or give {option} to the construct"
        )

    def handler(self, reference: str) -> str:
        """The Lambda handler ``module.function`` for ``module:function``.

        Raises:
            TaskReferenceError: the module has no such name, or what it names cannot be a handler.
        """
        module, name = self._split(reference)
        for origin in self._modules.attribute(module, name):
            match origin:
                case Module():
                    what = "is a module"
                case Value(node=ast.ClassDef()):
                    what = "is a class"
                case Value(node=ast.AsyncFunctionDef()):
                    what = "is an async def, which Lambda does not await"
                case _:
                    return f"{module}.{name}"
            raise TaskReferenceError(f"{reference!r} {what}: a handler is a function of (event, context)")
        raise self._missing(reference, module, name)

    def streaming_handler(self, reference: str) -> str:
        """The module of ``module:function``, a function that answers before it is done.

        Raises:
            TaskReferenceError: the module has no such name, or it is not decorated as one.
        """
        module, name = self._split(reference)
        for origin in self._modules.attribute(module, name):
            match origin:
                case Value(home, ast.FunctionDef() | ast.AsyncFunctionDef() as function) if any(
                    self._leads_to(home, decorator, _STREAMS)
                    for decorator in function.decorator_list[:1]
                    if not isinstance(decorator, ast.Call)
                ):
                    return module
            raise TaskReferenceError(
                f"{reference!r} is no function with @streaming_handler or @background_handler on top: "
                "put one of them (from runtime_lib) above it, without parentheses"
            )
        raise self._missing(reference, module, name)

    def require_modules(self, modules: Sequence[str]) -> None:
        """Check that each module is in the asset.

        Raises:
            TaskReferenceError: one is not.
        """
        if isinstance(modules, str):
            raise TaskReferenceError(f"{modules!r} is one string: give a list of modules, [{modules!r}]")
        for module in modules:
            if module not in self._modules:
                raise TaskReferenceError(self._no_module(module))

    def loaded_by(self, modules: Iterable[str]) -> frozenset[str]:
        """The modules, and every module of the package that importing them imports.

        Imports in functions, under TYPE_CHECKING and through importlib do not count; those under another condition do.

        Raises:
            TaskReferenceError: a module is not in the asset, or one of them cannot be parsed.
        """
        key = tuple(modules)
        loaded = self._loaded.get(key)
        if loaded is None:
            self.require_modules(key)
            loaded = self._loaded[key] = frozenset(self._closure(key))
        return loaded

    # --- Modules -----------------------------------------------------------------------------------------------------

    def _closure(self, modules: Iterable[str]) -> set[str]:
        loaded: set[str] = set()
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            for module in (*parents(name), name):
                if module in self._modules.files and module not in loaded:
                    loaded.add(module)
                    waiting += self._imports(self._modules.parse(module))
        return loaded

    def _imports(self, module: ParsedModule) -> Iterator[str]:
        imported: list[tuple[str, str | None]] = list(module.imports)
        for source in module.stars:
            names = self._modules.parse(source).all_names() if source in self._modules.files else None
            imported += [(source, None), *((source, name) for name in names or ())]
        for source, name in imported:
            yield source
            if name is not None:
                origins = self._modules.attribute(source, name)
                yield from (origin.name for origin in origins if isinstance(origin, Module))

    # --- Tasks -------------------------------------------------------------------------------------------------------

    @cached_property
    def _tasks(self) -> tuple[TaskDefinition, ...]:
        tasks = [task for name in sorted(self._modules.files) for task in self._registered_by(name)]
        known: dict[str, TaskDefinition] = {}
        for task in tasks:
            other = known.setdefault(task.name, task)
            if (other.path, other.line) != (task.path, task.line):
                raise TaskReferenceError(
                    f"two tasks are called {task.name!r}: {other.path}:{other.line} and {task.path}:{task.line}: "
                    "rename one, or give it another name="
                )
        return tuple(tasks)

    def _registered_by(self, name: str) -> list[TaskDefinition]:
        module = self._modules.parse(name)
        # Two branches of a condition may define one task.
        tasks = {task.name: task for binding in module.bindings if (task := self._registered(module, binding))}
        return sorted(tasks.values(), key=lambda task: task.line)

    def _registered(self, module: ParsedModule, binding: Binding) -> TaskDefinition | None:
        """The task that this very statement registers."""
        match binding:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for decorator in binding.decorator_list:
                    options = self._options(module, decorator)
                    if options is not None:
                        return _definition(module, module, binding, options)
            case Assigned(value=ast.Call() as call, line=line):
                return self._called(module, call, line)
        return None

    def _definition(self, reference: str, origin: Origin) -> TaskDefinition:
        match origin:
            case Module(name):
                raise TaskReferenceError(f"{reference!r} is a module: name a task in it, as in '{name}:<task>'")
            case External(name):
                raise TaskReferenceError(
                    f"{reference!r} leads to {name}, which is not in package {self._package!r}: "
                    "define the task in the package"
                )
            case Value(module, ast.FunctionDef() | ast.AsyncFunctionDef() as function):
                return self._decorated(reference, module, function)
            case Value(module, ast.ClassDef(), line):
                raise TaskReferenceError(
                    f"{reference!r} is a class ({module.path}:{line}): a task is a function decorated with @task"
                )
            case Value(module, ast.Call() as call, line):
                task = self._called(module, call, line)
                if task is not None:
                    return task
        raise TaskReferenceError(
            f"{reference!r} is assigned from what cannot be followed without importing "
            f"({origin.module.path}:{origin.line}): decorate the function with @task, or write name = task(function)"
        )

    def _decorated(self, reference: str, module: ParsedModule, function: Function) -> TaskDefinition:
        where = f"{module.path}:{function.lineno}"
        decorators = function.decorator_list
        written = ", ".join(f"@{ast.unparse(decorator)}" for decorator in decorators)
        options = [self._options(module, decorator) for decorator in decorators]
        if all(given is None for given in options):
            if any(self._leads_to(module, decorator, _STUB) for decorator in decorators):
                raise TaskReferenceError(
                    f"{reference!r} stands for a task of another application ({where}: {written}): it is served there"
                )
            raise TaskReferenceError(
                f"{reference!r} is not decorated with @task ({where})"
                + (f", only with {written}" if written else "")
                + ": put @task (from runtime_lib import task) above it"
                + (", or write its group out, as in group = TaskGroup(…)" if ".task" in written else "")
            )
        if options[0] is None:
            raise TaskReferenceError(
                f"{reference!r} has another decorator above @task ({where}: {written}): move @task to the top, "
                "so that the name is the task"
            )
        return _definition(module, module, function, options[0])

    def _called(self, module: ParsedModule, call: ast.Call, line: int) -> TaskDefinition | None:
        """The task that ``task(function)`` registers; None where something else is called."""
        options = self._options(module, call.func)
        if options is None or len(call.args) != 1:
            return None
        for origin in self._modules.expression(module, call.args[0]):
            match origin:
                case Value(home, ast.FunctionDef() | ast.AsyncFunctionDef() as function):
                    return _definition(module, home, function, [*options, *_written(module, call.keywords)])
        raise TaskReferenceError(
            f"{module.path}:{line}: {ast.unparse(call)} is not given a function of package {self._package!r}: "
            "a task is a function at the top level of a module"
        )

    def _options(
        self, module: ParsedModule, decorator: ast.expr, seen: frozenset[Binding] = frozenset()
    ) -> list[Option] | None:
        """The options that an expression gives to @task; None where it does not lead there."""
        for origin in self._modules.expression(module, decorator, seen):
            match origin:
                case External(name) if name in _TASK:
                    return []
                case Value(home, ast.Attribute(value=owner, attr="task" | "batch_task"), _, followed):
                    group = self._group(home, owner, followed)
                    if group is not None:
                        return group
                case Value(home, ast.Call(func=callee, args=arguments, keywords=keywords), _, followed):
                    if arguments and External(_PARTIAL) in self._modules.expression(home, callee, followed):
                        callee, *arguments = arguments
                    options = None if arguments else self._options(home, callee, followed)
                    if options is not None:
                        return [*options, *_written(home, keywords)]
        return None

    def _group(self, module: ParsedModule, owner: ast.expr, seen: frozenset[Binding]) -> list[Option] | None:
        """The options that a TaskGroup gives to its tasks, its parent's first; None where something else is meant."""
        for origin in self._modules.expression(module, owner, seen):
            match origin:
                case Value(home, ast.Call(func=callee, keywords=keywords), line, followed) if any(
                    isinstance(made, External) and made.name in _GROUP
                    for made in self._modules.expression(home, callee, followed)
                ):
                    parent, own = group_options(_written(home, keywords))
                    outer = [] if parent is None else self._group(home, parent, followed)
                    if parent is not None and outer is None:
                        raise TaskReferenceError(
                            f"{home.path}:{line}: parent={ast.unparse(parent)} of TaskGroup cannot be followed without "
                            "importing: write it as parent = TaskGroup(…) in the package"
                        )
                    return [*(outer or ()), *own]
        return None

    def _leads_to(self, module: ParsedModule, decorator: ast.expr, names: frozenset[str]) -> bool:
        callee = decorator.func if isinstance(decorator, ast.Call) else decorator
        origins = self._modules.expression(module, callee)
        return any(isinstance(origin, External) and origin.name in names for origin in origins)

    # --- What is wrong -----------------------------------------------------------------------------------------------

    def _split(self, reference: str) -> tuple[str, str]:
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise TaskReferenceError(
                f"{reference!r} is not a reference: write 'module:name', as in '{self._package}.tasks:send_email'"
            )
        module, name = match.groups()
        if module not in self._modules:
            raise TaskReferenceError(f"{reference!r}: {self._no_module(module)}")
        if "." in name:
            raise TaskReferenceError(
                f"{reference!r} names an attribute of {name.partition('.')[0]}: "
                "write 'module:name' with a function at the top level of the module"
            )
        return module, name

    def _no_module(self, module: str) -> str:
        if module.partition(".")[0] != self._package:
            return f"module {module!r} is not in the asset: of your code it has package {self._package!r}"
        file = self.root.joinpath(*module.split(".")[1:])
        if file.with_suffix(".py").is_file() or any(file.rglob("*.py")):
            return f"module {module!r} is not in the asset: exclude= leaves it out"
        return f"module {module!r} does not exist{_nearest(module, self._modules.files)}"

    def _missing(self, reference: str, module: str, name: str) -> TaskReferenceError:
        if module not in self._modules.files:
            return TaskReferenceError(f"{reference!r}: {module} is a directory without __init__.py, and has no names")
        parsed = self._modules.parse(module)
        if name in parsed.names:
            return TaskReferenceError(
                f"{reference!r} is bound in {parsed.path}, but nothing that it is imported from defines it"
            )
        for node in ast.walk(parsed.tree):
            if isinstance(node, Function) and node.name == name:
                return TaskReferenceError(
                    f"{reference!r} is inside a class or function ({parsed.path}:{node.lineno}): "
                    "move it to the top level of the module"
                )
        unseen = [source for source in parsed.stars if source not in self._modules]
        return TaskReferenceError(
            f"{reference!r}: {parsed.path} has no {name!r}{_nearest(name, parsed.names)}"
            + "".join(f"; from {source} import * cannot be followed: import the name itself" for source in unseen)
        )


def _written(module: ParsedModule, keywords: Iterable[ast.keyword]) -> list[Option]:
    return [Option(keyword.arg, keyword.value, module.name) for keyword in keywords]


def _definition(
    module: ParsedModule, home: ParsedModule, function: Function, options: Sequence[Option]
) -> TaskDefinition:
    return TaskDefinition.of(function, options, module=module.name, home=home.name, path=home.path)


def _nearest(word: str, words: Iterable[str]) -> str:
    near = get_close_matches(word, words, n=1)
    return f": did you mean {near[0]!r}?" if near else ""
