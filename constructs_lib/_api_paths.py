"""The methods and paths of one API, as they are claimed by its tasks."""

import ast
import re
from dataclasses import dataclass
from typing import Final

from constructs import Construct

from constructs_lib._task_definition import TaskDefinition
from constructs_lib._validation import refusal

__all__ = ["ApiPath", "ClaimedPaths", "api_method", "check_path_parameters", "takes_event"]

_METHODS: Final = ("ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_LITERAL: Final = re.compile(r"[\w.:$-]+", re.ASCII)
_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*)(\+?)\}", re.ASCII)
_EVENT: Final = "ApiEvent"


def api_method(scope: Construct, given: str) -> str:
    """A method as API Gateway spells it.

    Raises:
        ValueError: it has none of this name.
    """
    method = given.upper()
    if method not in _METHODS:
        raise refusal(scope, "method", given=repr(given), allowed=", ".join(_METHODS), remedy="use one of these")
    return method


@dataclass(frozen=True, slots=True)
class ApiPath:
    """A path such as ``/orders/{id}``, with the names of its parameters.

    Attributes:
        text: the path as it is written.
        parts: its parts; none for ``/``.
        parameters: the names in braces.
    """

    text: str
    parts: tuple[str, ...]
    parameters: tuple[str, ...]

    @classmethod
    def parse(cls, scope: Construct, text: str, *, argument: str = "path") -> "ApiPath":
        """Read a path.

        Raises:
            ValueError: API Gateway would not take it.
        """
        parts = tuple(text.removeprefix("/").split("/")) if text != "/" else ()
        matches = [_PARAMETER.fullmatch(part) for part in parts]
        names = tuple(match[1] for match in matches if match)
        problem = None
        if not text.startswith("/"):
            problem = "begin it with a slash"
        elif "" in parts:
            problem = "leave out the slash at its end, and double ones"
        elif len(set(names)) < len(names):
            problem = "give each parameter a name of its own"
        elif any(match and match[2] for match in matches[:-1]):
            problem = "a parameter with + takes the rest of the path: put it last"
        elif not all(match or _LITERAL.fullmatch(part) for part, match in zip(parts, matches, strict=True)):
            problem = "a part has letters, digits and -._:$ or is one parameter in braces, named as in Python"
        if problem:
            raise refusal(
                scope,
                argument,
                given=repr(text),
                allowed="a path such as '/orders/{id}' or '/{proxy+}'",
                remedy=problem,
            )
        return cls(text, parts, names)


class ClaimedPaths:
    """Which construct serves which method of which path."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, str], str] = {}
        self._variables: dict[tuple[str, ...], tuple[str, str]] = {}

    def claim(self, scope: Construct, method: str, path: ApiPath) -> None:
        """Note that ``scope`` serves the method.

        Raises:
            ValueError: another construct does already, or has another parameter at the same place.
        """
        other = self._methods.get((method, path.text))
        if other is not None:
            raise ValueError(
                f"{scope.node.path} and {other} both serve {method} {path.text}: give one another method or path"
            )
        for depth, part in enumerate(path.parts):
            if not part.startswith("{"):
                continue
            above = path.parts[:depth]
            there, theirs = self._variables.setdefault(above, (part, scope.node.path))
            if there != part:
                raise refusal(
                    scope,
                    "path",
                    given=f"{path.text!r} with {part} where {theirs} has {there}",
                    allowed=f"one parameter after '/{'/'.join(above)}'",
                    remedy="API Gateway tells no two parameters apart at one place: call them the same",
                )
        self._methods[method, path.text] = scope.node.path

    def __contains__(self, method_and_path: tuple[str, str]) -> bool:
        return method_and_path in self._methods

    def described(self) -> list[str]:
        """Every method with its path."""
        return [f"{method} {path}" for method, path in self._methods]


def check_path_parameters(scope: Construct, task: TaskDefinition, path: ApiPath) -> None:
    """Refuse a path with a parameter that the task's function does not take.

    Raises:
        ValueError: the function takes neither this name, nor any name, nor the whole event.
    """
    names = {parameter.arg for parameter in (*task.parameters.args, *task.parameters.kwonlyargs)}
    missing = [name for name in path.parameters if name not in names]
    if not missing or task.parameters.kwarg is not None or takes_event(task):
        return
    raise refusal(
        scope,
        "path",
        given=f"{path.text!r} with {{{missing[0]}}}, which {task.name} does not take",
        allowed=f"the parameters of {task.path.name}:{task.line}: {', '.join(sorted(names)) or '(none)'}",
        remedy=f"name a parameter of one of the two as in the other, or take the whole event: event: {_EVENT}",
    )


def takes_event(task: TaskDefinition) -> bool:
    """Whether the task's function takes the whole request."""
    parameters = (*task.parameters.posonlyargs, *task.parameters.args, *task.parameters.kwonlyargs)
    annotations = [ast.unparse(parameter.annotation) for parameter in parameters if parameter.annotation]
    return any(re.search(rf"\b{event}\b", text) for text in annotations for event in _event_names(task))


def _event_names(task: TaskDefinition) -> set[str]:
    """What the task's module calls the event's type."""
    names = {_EVENT}
    for node in ast.walk(ast.parse(task.path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.name == _EVENT and alias.asname}
    return names
