"""What every handler does once, while its environment starts."""

import os

from runtime_lib.contract import ENV_LOG_LEVEL, ENV_MODULES
from runtime_lib.log import logger
from runtime_lib.registry import load_modules

__all__ = ["start"]


def start() -> None:
    """Set the log level and import the modules whose tasks this function runs."""
    level = os.environ.get(ENV_LOG_LEVEL)
    if level:
        logger.setLevel(level.upper())
    load_modules(os.environ.get(ENV_MODULES, ""))
