"""`@subprocess`: the function of a script in ``WORKER_TASK_DIR`` that runs in place of a task's own."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from runtime_lib.errors import ArgumentError

__all__ = ["subprocess"]

R = TypeVar("R")


def subprocess(function: Callable[..., R]) -> Callable[..., R]:
    """Make a function, ``def`` or ``async def``, what a script runs for the task that is called like its file.

    ::

        @subprocess
        def work(a, b): ...

        if __name__ == "__main__":
            work()

    Called without arguments, in the process of the task, it gets the task's arguments, as JSON values, and the task
    returns what it returns. Called with arguments, or anywhere else, it is the function itself.

    Raises:
        ArgumentError: where no task asks for it, it was called without arguments that it needs.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            return function(*args, **kwargs)
        from runtime_lib.subprocess_child import take

        request = take()
        if request is None:
            _require_no_arguments(function)
            return function()
        return request.run(lambda: function(*request.args, **request.kwargs))

    return call


def _require_no_arguments(function: Callable[..., Any]) -> None:
    from inspect import signature

    try:
        signature(function).bind()
    except TypeError as error:
        raise ArgumentError(
            f"{function.__name__}() {error}: this process runs it for no task, so call it with its arguments, or "
            "dispatch the task that is called like this file"
        ) from None
