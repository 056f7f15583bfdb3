"""Functions of the application that run around every task, or add headers to every dispatch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

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


def before_task(hook: _Before) -> _Before:
    """Call ``hook(context)`` before each task that runs here; if it raises, the task has failed without running."""
    before.append(hook)
    return hook


def after_task(hook: _After) -> _After:
    """Call ``hook(context, outcome)`` after each task that ran here; what it raises is logged and changes nothing."""
    after.append(hook)
    return hook


def default_headers(hook: _Headers) -> _Headers:
    """Add the headers that ``hook(task)`` returns to each dispatch; ``with_headers`` overrides them."""
    headers.append(hook)
    return hook
