"""Names of tasks, and nothing else that a message could name."""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime_lib.errors import TaskDefinitionError, UnknownTaskError

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = ["find", "load_modules", "names", "register", "resolve"]

_SHOWN_CHARACTERS = 200
"""Of a name that no task has: a message can hold any."""
_tasks: "dict[str, Task[..., Any]]" = {}


def register(task: "Task[..., Any]") -> None:
    """Make a task known by its name.

    Raises:
        TaskDefinitionError: another function has the name already.
    """
    known = _tasks.get(task.name)
    if known and _place(known) != _place(task):
        raise TaskDefinitionError(
            f"two tasks are called {task.name!r}: at {_place(known)} and at {_place(task)}; "
            "rename one or give it a name of its own: @task(name='…')"
        )
    _tasks[task.name] = task  # the same place again is a reloaded module


def _place(task: "Task[..., Any]") -> str:
    code = task.definition.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def find(name: str) -> "Task[..., Any] | None":
    """The task of this name, or None."""
    return _tasks.get(name)


def resolve(name: str) -> "Task[..., Any]":
    """The task of this name.

    Raises:
        UnknownTaskError: no module that is loaded has it.
    """
    try:
        return _tasks[name]
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name[:_SHOWN_CHARACTERS], names(), 1)
        raise UnknownTaskError(
            f"no task called {name[:_SHOWN_CHARACTERS]!r} is registered here"
            + (f"; did you mean {near[0]!r}?" if near else f" ({len(_tasks)} are).")
            + " A message only runs tasks of the modules that its construct or worker loads."
        ) from None


def names() -> list[str]:
    """All names, sorted."""
    return sorted(_tasks)


def load_modules(modules: str | Iterable[str]) -> None:
    """Import modules (names, or one string with commas) so that their tasks are registered.

    Raises:
        TaskDefinitionError: one of them is missing or fails to import; its own error is the cause.
    """
    for module in modules.split(",") if isinstance(modules, str) else modules:
        if not module.strip():
            continue
        try:
            import_module(module.strip())
        except TaskDefinitionError:
            raise
        except Exception as error:
            raise TaskDefinitionError(
                f"the task module {module.strip()!r} cannot be imported: {type(error).__name__}: {error}"
            ) from error
