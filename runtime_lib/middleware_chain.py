"""The middleware around one task; loaded when there is any."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime_lib import hooks
from runtime_lib.errors import TaskDefinitionError

if TYPE_CHECKING:
    from runtime_lib.context import TaskContext
    from runtime_lib.hooks import Middleware
    from runtime_lib.task import Task

__all__ = ["require_kinds", "wrapped"]


def wrapped(task: "Task[..., Any]", context: "TaskContext", function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which runs the task, inside the middleware of all tasks, its group and its own, outermost first.

    Raises:
        TaskDefinitionError: one of them is async, and the task is not.
    """
    layers = [*hooks.around, *(task.group.around() if task.group else ()), *task.middleware]
    require_kinds(task, layers)

    def call(*args: Any, **kwargs: Any) -> Any:
        call_next: Callable[[], Any] = partial(function, *args, **kwargs)
        for layer in reversed(layers):
            call_next = partial(layer, context, call_next)
            if task.is_async:
                call_next = partial(_awaited, call_next)
        return call_next()

    return call


def require_kinds(task: "Task[..., Any]", layers: "Iterable[Middleware]") -> None:
    """Refuse middleware that is async around a task that is not.

    Raises:
        TaskDefinitionError: one is.
    """
    for layer in layers:
        if hooks.is_async(layer) and not (task.is_async or task.takes_batches):
            name = getattr(layer, "__qualname__", layer)
            raise TaskDefinitionError(
                f"the middleware {name} is async and {task.name} is not, so that nothing awaits it: make the "
                "middleware def (call_next() then returns an awaitable around an async task), or the task async"
            )


async def _awaited(call: Callable[[], Any]) -> Any:
    """What a layer around an async task returns: its own result, or the awaitable that it got from `call_next`."""
    result = call()
    return await result if hasattr(result, "__await__") else result
