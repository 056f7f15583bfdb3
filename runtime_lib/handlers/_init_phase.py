"""What a handler does before its first event."""

import logging
import os
from functools import cache

from runtime_lib import hooks
from runtime_lib.contract import ENV_LOG_LEVEL, ENV_MODULES
from runtime_lib.log import logger
from runtime_lib.registry import load_modules

__all__ = ["start"]


@cache
def start() -> None:
    """Set the log level (INFO unless ``LOG_LEVEL`` says otherwise), import the modules and run their init tasks.

    Raises:
        TaskDefinitionError: a module cannot be imported.
        TaskError: an init task failed.
    """
    level = os.environ.get(ENV_LOG_LEVEL, "INFO").upper()
    if level in logging.getLevelNamesMapping():
        logger.setLevel(level)
    else:
        logger.warning("%s is %r, which is no level of Python's logging: it is left as it is", ENV_LOG_LEVEL, level)
    load_modules(os.environ.get(ENV_MODULES, ""))
    hooks.run_init_tasks()
