"""The library's logger: what a task did, never what it was given."""

import logging

__all__ = ["logger"]

logger = logging.getLogger("runtime_lib")
