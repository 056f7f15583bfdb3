"""What a streaming handler can know of its invocation."""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

__all__ = ["StreamingContext"]


class StreamingContext:
    """What a handler gets for its parameter ``context``."""

    def __init__(self, lambda_context: Any, logger_name: str) -> None:
        self.lambda_context = lambda_context
        """The context object of Lambda's runtime client, which has more: ``client_context``, ``identity``, …."""
        self._logger_name = logger_name

    def __repr__(self) -> str:
        return f"StreamingContext(request_id={self.request_id!r})"

    @property
    def request_id(self) -> str:
        """The invocation's id."""
        return str(self.lambda_context.aws_request_id)

    @property
    def trace_id(self) -> str | None:
        """What X-Ray knows the invocation by: ``Root=…;Parent=…;Sampled=…``."""
        return os.environ.get("_X_AMZN_TRACE_ID")

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a function with tenant isolation; None for others."""
        return getattr(self.lambda_context, "tenant_id", None)

    @cached_property
    def deadline(self) -> float:
        """When the function's timeout ends the invocation, in epoch seconds."""
        from time import time

        return time() + self.remaining_seconds()

    def remaining_seconds(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return float(self.lambda_context.get_remaining_time_in_millis()) / 1000

    @cached_property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger of the handler's module, with the request id, at ``LOG_LEVEL``."""
        import logging

        return logging.LoggerAdapter(logging.getLogger(self._logger_name), {"request_id": self.request_id})
