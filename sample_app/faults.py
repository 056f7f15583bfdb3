"""Faults on purpose, to see retries and checks at work: nothing of this is loaded unless ``SHOP_FAULTS`` is set.

``SHOP_FAULTS={"busy_percent": 5, "lost_invoice": "AB-12345", "lost_report": "rehearsal"}`` has the mail gateway turn
away every twentieth mail at its first attempt, and one invoice vanish without a trace. For the sales report that
``extract.with_headers(report="rehearsal")`` dispatches there is no room.
"""

import json
import os
from errno import ENOSPC
from zlib import crc32

from runtime_lib import Discard, TaskContext, before_task
from sample_app.gateway import GatewayBusyError

__all__ = ["be_busy", "lose_invoice", "refuse_report"]

_FAULTS = json.loads(os.environ["SHOP_FAULTS"])
_BUSY_PERCENT: int = _FAULTS.get("busy_percent", 0)
_LOST_INVOICE: str | None = _FAULTS.get("lost_invoice")
_LOST_REPORT: str | None = _FAULTS.get("lost_report")


@before_task
def be_busy(context: TaskContext) -> None:
    """Turn a mail away at its first attempt; which ones depends on the mail alone, so that runs are alike."""
    if context.task.startswith("sample_app.mail.") and context.attempt == 1:
        luck = crc32(json.dumps([context.task, context.envelope.args]).encode()) % 100
        if luck < _BUSY_PERCENT:
            raise GatewayBusyError("too many mails at once (on purpose)")


@before_task
def lose_invoice(context: TaskContext) -> None:
    """Drop one order's invoice, as a defect would."""
    if context.task == "sample_app.invoices.render" and context.envelope.args[0] == _LOST_INVOICE:
        raise Discard("lost on purpose")


@before_task
def refuse_report(context: TaskContext) -> None:
    """Fail to store one sales report, at every attempt."""
    if context.task == "sample_app.sales.load" and _LOST_REPORT and context.headers.get("report") == _LOST_REPORT:
        raise OSError(ENOSPC, "no room for the report (on purpose)")
