"""Runs the init tasks; loaded where there are any."""

from threading import RLock

from runtime_lib import hooks
from runtime_lib.errors import TaskError
from runtime_lib.execution import describe

__all__ = ["run"]

_lock = RLock()


def run() -> None:
    """Run those that have not run in this environment, in the order in which they were registered.

    Raises:
        TaskError: one failed; it runs again when this is called again, and those behind it for the first time.
    """
    with _lock:
        while hooks.starting:
            init_task = hooks.starting.pop(0)
            try:
                init_task()
            except BaseException as error:
                hooks.starting.insert(0, init_task)
                if not isinstance(error, Exception | SystemExit):
                    raise
                name = f"{init_task.__module__}.{getattr(init_task, '__qualname__', init_task)}"
                raise TaskError(f"the init task {name} failed: {describe(error)}") from error
