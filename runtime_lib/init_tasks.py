"""Runs the init tasks; loaded where there are any."""

from contextvars import ContextVar
from threading import Lock

from runtime_lib import hooks
from runtime_lib.errors import TaskError
from runtime_lib.execution import describe

__all__ = ["run"]

_lock = Lock()
_inside: ContextVar[bool] = ContextVar("runtime_lib.inside_init_task", default=False)
"""Whether an init task runs here: what it dispatches eagerly must not wait for it."""


def run() -> None:
    """Run those that have not run in this environment, in the order in which they were registered.

    Another thread that calls this meanwhile waits until they have.

    Raises:
        TaskError: one failed; it runs again when this is called again, and those behind it for the first time.
    """
    if _inside.get():
        return
    with _lock:
        token = _inside.set(True)
        try:
            while hooks.starting:
                _run(hooks.starting[0])
                hooks.starting.pop(0)
        finally:
            _inside.reset(token)


def _run(init_task: "hooks.InitTask") -> None:
    try:
        init_task()
    except (Exception, SystemExit) as error:
        name = f"{init_task.__module__}.{getattr(init_task, '__qualname__', init_task)}"
        raise TaskError(f"the init task {name} failed: {describe(error)}") from error
