"""Functions of the application that run before and around every task, or add headers to every dispatch."""

from collections.abc import Callable, Iterable
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
    Middleware = Callable[[TaskContext, Callable[[], Any]], Any]
    InitTask = Callable[[], object]

__all__ = ["after_task", "before_task", "checked_middleware", "default_headers", "init_task", "middleware"]

before: "list[BeforeTask]" = []
after: "list[AfterTask]" = []
headers: "list[DefaultHeaders]" = []
around: "list[Middleware]" = []
"""The middleware of all tasks, the outermost first."""
starting: "list[InitTask]" = []
"""The init tasks that have not run to their end; see `init_tasks`."""

_Before = TypeVar("_Before", bound="BeforeTask")
_After = TypeVar("_After", bound="AfterTask")
_Headers = TypeVar("_Headers", bound="DefaultHeaders")
_Middleware = TypeVar("_Middleware", bound="Middleware")
_Init = TypeVar("_Init", bound="InitTask")
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


def middleware(function: _Middleware) -> _Middleware:
    """Call ``function(context, call_next)`` around each task that runs here, the first that is registered outermost.

    ``call_next()`` runs what is inside, at last the task, and returns its result or raises its exception; what the
    middleware returns or raises takes their place. Around an ``async def`` task it returns an awaitable; an ``async
    def`` middleware awaits it, and cannot be around a ``def`` task.
    """
    [checked] = checked_middleware("@middleware", [function])
    around.append(checked)
    return function


def init_task(function: _Init) -> _Init:
    """Call ``function()`` once, before the first task of this environment: in Lambda during INIT, in a worker at start.

    Where tasks run eagerly, that is before the first of them. Several run in the order in which they are registered.
    One that fails keeps the environment from starting.
    """
    starting.append(_callable(function, "an init task", "it runs before there is an event loop"))
    return function


def run_init_tasks() -> None:
    """Run the init tasks that have not run yet, or wait for those that do.

    Raises:
        TaskError: one failed.
    """
    if starting:
        from runtime_lib import init_tasks

        init_tasks.run()


def checked_middleware(where: str, given: "Iterable[Middleware]") -> "tuple[Middleware, ...]":
    """Middleware as a tuple.

    Raises:
        TaskDefinitionError: one is not callable; ``where`` names what was given it.
    """
    if not hasattr(given, "__iter__") or not all(map(callable, functions := tuple(given))):
        raise TaskDefinitionError(
            f"{where}: middleware is a list of functions of (context, call_next), given {given!r}"
        )
    return functions


def is_async(function: object) -> bool:
    """Whether it is an ``async def``."""
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & _ASYNC)


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


def _callable(hook: Any, what: str = "a hook", why: str = "it runs beside tasks of both kinds") -> Any:
    if not callable(hook):
        raise TaskDefinitionError(f"{what} is a function, given {hook!r}")
    if is_async(hook):
        raise TaskDefinitionError(f"the {what.partition(' ')[2]} {_name(hook)} is async: {why}, make it def")
    return hook


def _name(hook: object) -> str:
    return str(getattr(hook, "__qualname__", hook))
