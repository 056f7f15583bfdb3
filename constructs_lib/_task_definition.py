"""A task as its source declares it, and the one error for a reference that finds none."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

from runtime_lib.contract import DEFAULT_NAMESPACE

__all__ = [
    "Option",
    "TaskDefinition",
    "TaskReferenceError",
    "delays_asked_for",
    "group_options",
    "literal_name",
    "literal_namespaces",
]


class TaskReferenceError(ValueError):
    """A task, module or handler was named that the asset's source does not have."""


class Option(NamedTuple):
    """``arg=value`` as it is written in a module; ``arg`` is None for ``**value``."""

    arg: str | None
    value: ast.expr
    module: str


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """What the source says about one task.

    Attributes:
        name: the name it is registered under: ``<module>.<function>`` of the function, or the decorator's ``name=``.
        module: the module whose import registers it.
        function: the function's own name.
        namespaces: the decorator's ``namespace=``, the first being the default for dispatch.
        is_async: whether it is an ``async def``.
        path: the file of the function.
        line: the line of the function.
        delays: what in its source asks for delays of its own, None if nothing there does.
        parameters: what it takes, as it is written.
        options: what is given to @task and to its groups; of one that is given twice the last counts.
    """

    name: str
    module: str
    function: str
    namespaces: tuple[str, ...]
    is_async: bool
    path: Path
    line: int
    delays: str | None
    parameters: ast.arguments
    options: tuple[Option, ...]

    @classmethod
    def of(
        cls,
        function: ast.FunctionDef | ast.AsyncFunctionDef,
        options: Sequence[Option],
        *,
        module: str,
        home: str,
        path: Path,
    ) -> Self:
        """What ``module`` registers of a function that stands in the module ``home``.

        Raises:
            TaskReferenceError: its name or its namespaces cannot be read.
        """
        try:
            name = literal_name(options, module=home, function=function.name)
            namespaces = literal_namespaces(options)
        except TaskReferenceError as problem:
            raise TaskReferenceError(f"{path}:{function.lineno}: {problem}") from None
        return cls(
            name,
            module,
            function.name,
            namespaces,
            isinstance(function, ast.AsyncFunctionDef),
            path,
            function.lineno,
            delays_asked_for(function, options),
            function.args,
            tuple(options),
        )

    def required(self) -> list[str]:
        """The parameters without a default that the library does not pass, as far as names and annotations tell."""
        positional = [*self.parameters.posonlyargs, *self.parameters.args]
        required = positional[: len(positional) - len(self.parameters.defaults)]
        by_name = zip(self.parameters.kwonlyargs, self.parameters.kw_defaults, strict=True)
        required += [parameter for parameter, default in by_name if default is None]
        return [one.arg for one in required if not _may_be_passed(one)]


# Parameters that the library passes by their name, and what annotations are made of for which it passes nothing.
_PASSED_NAMES: Final = frozenset({"metadata", "headers"})
_PLAIN_TYPES: Final = frozenset(
    {"Any", "bool", "bytes", "date", "datetime", "dict", "float", "int", "list", "set", "str", "timedelta", "tuple"}
)


def _may_be_passed(parameter: ast.arg) -> bool:
    """Whether the library passes it: a `ScheduledEvent` for one, or what may be any such type."""
    if parameter.annotation is None:
        return parameter.arg in _PASSED_NAMES
    words = {node.id for node in ast.walk(parameter.annotation) if isinstance(node, ast.Name)}
    texts = [node for node in ast.walk(parameter.annotation) if isinstance(node, ast.Constant) and node.value]
    return parameter.arg in _PASSED_NAMES or bool(texts) or not words <= _PLAIN_TYPES


def group_options(options: Sequence[Option]) -> tuple[ast.expr | None, list[Option]]:
    """The parent of a TaskGroup, and what of its arguments its tasks have from it."""
    given = [one for one in options if not (isinstance(one.value, ast.Constant) and one.value.value is None)]
    parent = next((option.value for option in given if option.arg == "parent"), None)
    return parent, [option for option in given if option.arg not in {"parent", "middleware"}]


def literal_name(options: Sequence[Option], *, module: str, function: str) -> str:
    """The name of a task: the ``name=`` among the options of @task behind the prefixes of its groups.

    Raises:
        TaskReferenceError: one of them is not a literal string.
    """
    prefix = ""
    for option in options:
        if option.arg == "name_prefix":
            part = _literal([option], "name_prefix", default="")
            if not isinstance(part, str):
                raise TaskReferenceError(f"name_prefix={part!r} of TaskGroup: write a string")
            prefix += part
    name = _literal(options, "name", default=None)
    if name is None:
        return prefix + function if prefix else f"{module}.{function}"
    if not isinstance(name, str) or not name:
        raise TaskReferenceError(f"name={name!r} of @task: write a non-empty string")
    return prefix + name


def literal_namespaces(options: Sequence[Option]) -> tuple[str, ...]:
    """The ``namespace=`` among the options of @task, always as a tuple.

    Raises:
        TaskReferenceError: it is not a literal string, or list or tuple of literal strings.
    """
    namespace = _literal(options, "namespace", default=DEFAULT_NAMESPACE)
    namespaces = [namespace] if isinstance(namespace, str) else namespace
    if (
        not isinstance(namespaces, list | tuple)
        or not namespaces
        or not all(isinstance(name, str) and name for name in namespaces)
    ):
        raise TaskReferenceError(f"namespace={namespace!r} of @task: write a non-empty string, or a list of them")
    return tuple(namespaces)


def delays_asked_for(function: ast.AST, options: Sequence[Option]) -> str | None:
    """``RetryLater`` or ``Retry(first_delay=…)`` in a task's source: what an asynchronous invocation cannot do."""
    if any("RetryLater" in {getattr(node, "id", None), getattr(node, "attr", None)} for node in ast.walk(function)):
        return "RetryLater"
    for option in [option for option in options if option.arg == "retry"][-1:]:  # the last one counts
        if isinstance(option.value, ast.Call):
            for keyword in option.value.keywords:
                if keyword.arg in {"first_delay", "max_delay"}:
                    return f"Retry({keyword.arg}=…)"
    return None


def _literal(options: Sequence[Option], argument: str, *, default: object) -> object:
    """The value of one option; the last one counts, as for functools.partial."""
    value = default
    for option in options:
        if option.arg is None:
            raise TaskReferenceError(
                f"**{ast.unparse(option.value)} hides the task's name and namespace, "
                "which are read without importing: write the options out"
            )
        if option.arg == argument:
            try:
                value = ast.literal_eval(option.value)
            except ValueError:
                raise TaskReferenceError(
                    f"{argument}={ast.unparse(option.value)} of a task cannot be read without importing: "
                    "write it as a literal string"
                ) from None
    return value
