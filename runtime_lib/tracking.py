"""Where tasks are recorded, if they are: the store in force, found without loading any."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from runtime_lib.contract import DEFAULT_STORE_TTL_SECONDS, ENV_STORE, ENV_STORE_TTL, ENV_TRACKED

if TYPE_CHECKING:
    from runtime_lib.store import Store

    _S = TypeVar("_S", bound=Store)

__all__ = ["get_store", "receiving_store", "set_store", "using_store"]

_process_store: "Store | None" = None
_override: "ContextVar[Store | None]" = ContextVar("runtime_lib.store", default=None)
_by_environment: "dict[tuple[str, str], Store]" = {}


def set_store(store: "Store | None") -> None:
    """Record in ``store`` what runs in this process, in every thread and asyncio task; None: as the environment says.

    A construct with ``store=`` has set the environment of its function and of every sender; this is for a laptop, tests
    and workers elsewhere.
    """
    global _process_store  # noqa: PLW0603  (a process has one default)
    _process_store = store


@contextmanager
def using_store(store: "_S") -> "Iterator[_S]":
    """Record in ``store`` what runs inside the block, in this thread or asyncio task only."""
    token = _override.set(store)
    try:
        yield store
    finally:
        _override.reset(token)


def get_store() -> "Store":
    """The store in force here: the innermost `using_store`, else `set_store`'s, else the environment's table.

    Raises:
        StoreError: there is none.
    """
    store = _given() or _of_environment()
    if store is None:
        from runtime_lib.errors import StoreError

        raise StoreError(
            f"no task store: give the construct that serves the task store=TaskStore(…), which sets {ENV_STORE} where "
            "it is granted; on a laptop and in tests call set_store(MemoryStore())"
        )
    return store


def receiving_store() -> "Store | None":
    """The store that records what runs here; None if nothing does."""
    return _given() or (_of_environment() if os.environ.get(ENV_TRACKED) == "1" else None)


def _given() -> "Store | None":
    return _override.get() or _process_store


def _of_environment() -> "Store | None":
    table, ttl = os.environ.get(ENV_STORE), os.environ.get(ENV_STORE_TTL, str(DEFAULT_STORE_TTL_SECONDS))
    if not table:
        return None
    if (table, ttl) not in _by_environment:
        from runtime_lib.store import TaskStore

        _by_environment[table, ttl] = TaskStore(table, time_to_live=int(ttl))
    return _by_environment[table, ttl]
