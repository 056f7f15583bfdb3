"""How far the running task is, for those who look at its record."""

import time
from math import isfinite
from typing import TYPE_CHECKING, Any

from runtime_lib.context import current_context
from runtime_lib.tracking import receiving_store

if TYPE_CHECKING:
    from runtime_lib.task_record import Progress

__all__ = ["progress"]

_SECONDS_BETWEEN = 1.0
_NOTE_CHARACTERS = 200
_noted: dict[str, float] = {}
"""When each task was noted last, as long as that keeps it from being noted again."""
_has_failed = False


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Say how far the running task is: ``handle.record().progress`` tells it. Where nothing is recorded, the log does.

    At most once a second; what is said within a second of the last is left out, but not that all is done. That is one
    write to the task store, for which an async task's event loop waits. What fails there fails no task.

    Args:
        done: how much is done, from 0 on.
        total: how much there is, if that is known.
        note: a few words, of which 200 characters are kept.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: ``done`` is negative, or more than ``total``.
    """
    _check(done, total, note)
    context = current_context()
    task_id = context.id if context else ""
    if not _is_due(task_id, is_done=done == total):
        return
    from runtime_lib.task_record import Progress

    noted = Progress(done, total, note[:_NOTE_CHARACTERS])
    store = receiving_store() if context else None
    if store:
        _note(store, task_id, noted)
        return
    from runtime_lib.log import logger

    task = context.task if context else "progress"
    logger.info("%s: %s", task, noted, extra={"task": context.task, "id": task_id} if context else None)


def _check(done: object, total: object, note: object) -> None:
    for name, value in (("done", done), ("total", 0 if total is None else total)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"progress takes a number for {name}, given {value!r:.100}")
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"progress takes a number from 0 on for {name}, given {value!r}")
    if total is not None and done > total:  # type: ignore[operator]  # numbers, as was just checked
        raise ValueError(f"progress takes a total that is not less than what is done, given {done!r} of {total!r}")
    if not isinstance(note, str):
        raise TypeError(f"progress takes a str for note, given {note!r:.100}")


def _is_due(task_id: str, *, is_done: bool) -> bool:
    now = time.monotonic()
    if not is_done and now - _noted.get(task_id, float("-inf")) < _SECONDS_BETWEEN:
        return False
    for old in [one for one, noted in tuple(_noted.items()) if now - noted >= _SECONDS_BETWEEN]:
        _noted.pop(old, None)
    _noted[task_id] = now
    return True


def _note(store: Any, task_id: str, noted: "Progress") -> None:
    global _has_failed  # noqa: PLW0603  (the log says it once, until it works again)
    try:
        store.note_progress(task_id, noted)
    except Exception as error:  # noqa: BLE001  (a store of the user's may raise anything)
        from runtime_lib.log import logger

        if not _has_failed:
            logger.warning("how far a task is could not be recorded: %s", error, extra={"id": task_id})
        _has_failed = True
    else:
        _has_failed = False
