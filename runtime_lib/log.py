"""The library's logger: what a task did, never what it was given."""

import logging
from collections.abc import MutableMapping
from typing import Any

__all__ = ["logger"]


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Never raises: Lambda's own handler raises for text that UTF-8 has not, which would cost a message its report."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.logger.isEnabledFor(level):
            return
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)
        except Exception as error:  # noqa: BLE001
            error_type = type(error).__name__
            super().log(level, "a log record could not be written (%s): %a %a %a", error_type, msg, args, kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


logger = _Logger(logging.getLogger("runtime_lib"))
