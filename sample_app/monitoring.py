"""What every function of the shop reports: when a task starts, how it ends, and what it dispatches in turn.

Lambda writes each record as JSON with the fields of ``extra``. So CloudWatch Logs Insights can ask for
``pct(waited_ms, 95) by task``; `tasks demo` reads the same records.
"""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_lib import TaskContext, after_task, before_task, set_transport
from runtime_lib.transports import RouteTransport, Transport

if TYPE_CHECKING:
    from runtime_lib.execution import Outcome
    from runtime_lib.task import Call

__all__ = ["log_end", "log_start"]

logger = logging.getLogger(__name__)


@before_task
def log_start(context: TaskContext) -> None:
    """Say how long the message has waited since its dispatch."""
    waited = round(time.time() * 1000) - context.metadata()["timestamp"]
    logger.info("%s starts", context.task, extra={"event": "start", "waited_ms": waited, **_extra(context)})


@after_task
def log_end(context: TaskContext, outcome: "Outcome") -> None:
    """Say what became of it: Succeeded, RetryAfter, DeadLettered or Discarded."""
    name = type(outcome).__name__
    logger.info("%s ends: %s", context.task, name, extra={"event": "end", "outcome": name, **_extra(context)})


def _extra(context: TaskContext) -> dict[str, Any]:
    return {"task": context.task, "id": context.id, "attempt": context.attempt, "chain": context.chain}


class _ReportingTransport:
    """Sends along the routes, and reports what was sent: what never starts can then be missed."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def send(self, calls: "Sequence[Call]") -> None:
        self._inner.send(calls)
        for call in calls:
            envelope = call.envelope
            extra = {"event": "dispatch", "task": envelope.task, "id": envelope.id, "chain": envelope.chain}
            logger.info("%s is dispatched", envelope.task, extra=extra)


set_transport(_ReportingTransport(RouteTransport()))
