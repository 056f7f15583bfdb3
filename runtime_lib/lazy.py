"""Values that are made when they are first needed, once per environment."""

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import TypeVar

from runtime_lib.errors import TaskDefinitionError
from runtime_lib.hooks import is_async

__all__ = ["lazy_value"]

T = TypeVar("T")


def lazy_value(factory: Callable[[], T]) -> Callable[[], T]:
    """A function that calls ``factory`` when it is first called, and from then on returns what it made.

    Threads that call it at the same time get the same value. A factory that raises is called again the next time.

    Raises:
        TaskDefinitionError: the factory is async: its result could be awaited only once.
    """
    if not callable(factory) or is_async(factory):
        raise TaskDefinitionError(f"lazy_value takes a def function without parameters, given {factory!r}")
    lock, made = RLock(), list[T]()

    @wraps(factory)
    def value() -> T:
        if not made:
            with lock:
                if not made:
                    made.append(factory())
        return made[0]

    return value
