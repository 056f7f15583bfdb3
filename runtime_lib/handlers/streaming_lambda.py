"""The handler of a StreamingLambda's function: its answer is out before the invocation ends."""

import os
from importlib import import_module
from types import TracebackType
from typing import Any

from runtime_lib.contract import ENV_STREAMING_HANDLER
from runtime_lib.errors import TaskDefinitionError
from runtime_lib.handlers._init_phase import start
from runtime_lib.log import logger
from runtime_lib.streaming import hook
from runtime_lib.streaming.answering import answer, answer_collected
from runtime_lib.streaming.handlers import StreamingHandler

__all__ = ["handler"]


def _the_handler() -> StreamingHandler[..., Any]:
    """The user's function, whose module logs at the library's level.

    Raises:
        TaskDefinitionError: there is none, or it is not decorated.
    """
    path = os.environ.get(ENV_STREAMING_HANDLER, "")
    module, _, name = path.partition(":")
    if not module or not name:
        raise TaskDefinitionError(f"{ENV_STREAMING_HANDLER} is {path!r}: expected 'module:function'")
    found = getattr(import_module(module), name, None)
    if not isinstance(found, StreamingHandler):
        raise TaskDefinitionError(
            f"{path} is {'missing' if found is None else f'a {type(found).__name__}'}: expected a function decorated "
            "with @background_handler or @streaming_handler"
        )
    import logging

    logging.getLogger(found.function.__module__).setLevel(logger.logger.level)
    return found


start()
_handler = _the_handler()
_is_hooked = hook.install()


def handler(event: Any, context: Any) -> Any:
    """Answer an event.

    Raises:
        Exception: what the user's function raised, unless its answer says it.
    """
    try:
        return answer(_handler, event, context) if _is_hooked else answer_collected(_handler, event, context)
    except Exception as error:  # noqa: BLE001  (raised again)
        raise error.with_traceback(_of_the_user(error.__traceback__)) from error.__cause__


def _of_the_user(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame outside this library on, if there is one."""
    found = traceback
    while found and found.tb_frame.f_globals.get("__name__", "").startswith("runtime_lib."):
        found = found.tb_next
    return found or traceback
