"""Functions of the application that run around every task, or add headers to every dispatch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from runtime_lib.arguments import check_json
from runtime_lib.errors import ArgumentError, TaskDefinitionError

if TYPE_CHECKING:
    from runtime_lib.context import TaskContext
    from runtime_lib.execution import Outcome
    from runtime_lib.task import Task

    BeforeTask = Callable[[TaskContext], object]
    AfterTask = Callable[[TaskContext, Outcome], object]
    DefaultHeaders = Callable[[Task[..., Any]], dict[str, Any]]

__all__ = ["after_task", "before_task", "default_headers"]

before: "list[BeforeTask]" = []
after: "list[AfterTask]" = []
headers: "list[DefaultHeaders]" = []

_Before = TypeVar("_Before", bound="BeforeTask")
_After = TypeVar("_After", bound="AfterTask")
_Headers = TypeVar("_Headers", bound="DefaultHeaders")
_ASYNC = 0x80  # CO_COROUTINE


def before_task(hook: _Before) -> _Before:
    """Call ``hook(context)`` before each task that runs here; if it raises, the task has failed without running."""
    before.append(_callable(hook))
    return hook


def after_task(hook: _After) -> _After:
    """Call ``hook(context, outcome)`` after each task that ran here; what it raises is logged and changes nothing."""
    after.append(_callable(hook))
    return hook


def default_headers(hook: _Headers) -> _Headers:
    """Add the headers that ``hook(task)`` returns to each dispatch; later hooks and ``with_headers`` override them.

    A dispatch by the name of a task that is not registered here has none: there is no task to ask for.
    """
    headers.append(_callable(hook))
    return hook


def headers_for(task: "Task[..., Any]", own: dict[str, Any]) -> dict[str, Any]:
    """The headers of a dispatch: what the hooks add, and over that its own.

    Raises:
        ArgumentError: a hook returned no dict, or a header is no JSON value.
    """
    found: dict[str, Any] = {}
    for hook in headers:
        added: object = hook(task)
        if not isinstance(added, dict):
            raise ArgumentError(
                f"the default_headers hook {_name(hook)} returned {type(added).__name__}: return a dict, empty for none"
            )
        found.update(added)
    found.update(own)
    if found:
        check_json(f"{task.name}() headers", found)
    return found


def _callable(hook: Any) -> Any:
    if not callable(hook):
        raise TaskDefinitionError(f"a hook is a function, given {hook!r}")
    if getattr(getattr(hook, "__code__", None), "co_flags", 0) & _ASYNC:
        raise TaskDefinitionError(f"the hook {_name(hook)} is async: it runs beside tasks of both kinds, make it def")
    return hook


def _name(hook: object) -> str:
    return str(getattr(hook, "__qualname__", hook))
