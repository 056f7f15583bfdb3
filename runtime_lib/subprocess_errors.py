"""Exceptions on their way from the process of a task to the one that waits for it."""

import json
import sys
from collections.abc import Callable
from traceback import format_exception
from typing import Any

from runtime_lib.errors import RetryLater, SubprocessError, message_of

__all__ = ["described", "restored"]

_TRACEBACK_CHARACTERS = 8_000


def described(error: BaseException) -> dict[str, Any]:
    """An exception as JSON: its class, what `copy` would make another of, and what a person reads."""
    kind = type(error)
    traceback = "".join(format_exception(error))
    return {
        "module": kind.__module__,
        "name": kind.__qualname__,
        "text": message_of(error),
        "traceback": traceback[-_TRACEBACK_CHARACTERS:],
        "args": _arguments(error),
        "state": {name: value for name, value in vars(error).items() if name != "__notes__" and _is_json(value)},
    }


def _arguments(error: BaseException) -> list[Any] | None:
    """What its class makes an equal one of; None if that is not known, or no JSON."""
    if isinstance(error, RetryLater):
        return [error.delay, str(error)]  # a timedelta is no JSON
    try:
        reduced: Any = error.__reduce__()
        kind, arguments = reduced[0], list(reduced[1])
    except Exception:  # noqa: BLE001  (a class may refuse to be copied)
        return None
    return arguments if kind is type(error) and _is_json(arguments) else None


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def restored(task: str, told: dict[str, Any]) -> Exception:
    """The exception that a task raised, if its class is loaded here already; nothing is imported for it."""
    error = _made(told)
    if error is None:
        module = "" if told["module"] in {"builtins", "__main__"} else f"{told['module']}."
        text = f": {told['text']}" if told["text"] else ""
        error = SubprocessError(f"{task} raised {module}{told['name']}{text}")
    error.add_note(f"In the process of the task:\n{told['traceback']}")
    return error


def _made(told: dict[str, Any]) -> Exception | None:
    kind = _class(told["module"], told["name"])
    if kind is None or told["args"] is None:
        return None
    return _equal(told, kind, _called) or _equal(told, kind, _unpickled)


def _equal(
    told: dict[str, Any], kind: type[Exception], make: Callable[[type[Exception], list[Any]], Exception]
) -> Exception | None:
    try:
        error = make(kind, told["args"])
        vars(error).update(told["state"])
        # A class whose __init__ makes the message makes another one of that.
        return error if str(error) == told["text"] else None
    except Exception:  # noqa: BLE001  (whatever a class of the user's does)
        return None


def _class(module: str, name: str) -> type[Exception] | None:
    """The class, unless its module is not loaded here; ``__main__`` is another module here."""
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _called(kind: type[Exception], arguments: list[Any]) -> Exception:
    return kind(*arguments)


def _unpickled(kind: type[Exception], arguments: list[Any]) -> Exception:
    error = kind.__new__(kind, *arguments)
    error.args = tuple(arguments)
    return error
