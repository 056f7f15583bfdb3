"""Events of fops.background, so that a migrating app can finish those that are still on their way.

``{"target": "module:name", "payload": {"body": "<arguments by parameter name, JSON>", …}, "meta": {…}}``; arguments
that were not given are left out, those of ``*args`` and ``**kwargs`` are under these parameters' own names.
"""

import json
import time
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from runtime_lib import registry
from runtime_lib.contract import ENVELOPE_VERSION, Priority
from runtime_lib.errors import EnvelopeError

__all__ = ["envelope_of"]


def envelope_of(event: dict[str, Any], *, envelope_id: str) -> dict[str, Any]:
    """The envelope of an event; fops gives it no id.

    Raises:
        EnvelopeError: a field is missing or of another type.
    """
    target, payload = event["target"], event.get("payload")
    if not isinstance(target, str) or target.count(":") != 1:
        raise EnvelopeError(f"target is {target!r:.100}: expected 'module:name'")
    if not isinstance(payload, dict) or not isinstance(payload.get("body"), str):
        raise EnvelopeError("payload.body is missing: expected a string with the arguments as JSON")
    try:
        arguments = json.loads(payload["body"])
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(f"payload.body is not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise EnvelopeError("payload.body is no object: expected the arguments by name")
    task = registry.find(target.replace(":", "."))
    args, kwargs = _as_passed(task.function, arguments) if task else ([], arguments)
    return {
        "id": envelope_id,
        "task": target.replace(":", "."),
        "args": args,
        "kwargs": kwargs,
        "headers": {},
        "metadata": {
            "priority": (task.priority if task else Priority.DEFAULT).value,
            "timestamp": time.time_ns() // 1_000_000,
            "version": ENVELOPE_VERSION,
        },
    }


def _as_passed(function: Callable[..., Any], named: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by parameter name as a call passes them; what has no parameter is kept, for the task to refuse."""
    args: list[Any] = []
    kwargs = dict(named)
    gap = False
    for parameter in signature(function).parameters.values():
        if parameter.name not in named:
            gap = True
        elif parameter.kind is Parameter.VAR_POSITIONAL and isinstance(named[parameter.name], list):
            args += kwargs.pop(parameter.name)
        elif parameter.kind is Parameter.VAR_KEYWORD and isinstance(named[parameter.name], dict):
            kwargs |= kwargs.pop(parameter.name)
        elif parameter.kind in {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD} and not gap:
            args.append(kwargs.pop(parameter.name))
    return args, kwargs
