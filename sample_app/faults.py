"""Faults on purpose, to see retries and checks at work: nothing of this is loaded unless ``SHOP_FAULTS`` is set.

``SHOP_FAULTS={"busy_percent": 5, "lost_invoice": "AB-12345"}`` has the mail gateway turn away every twentieth mail at
its first attempt, and one invoice vanish without a trace.
"""

import json
import os
from zlib import crc32

from runtime_lib import Discard, TaskContext, before_task
from sample_app.gateway import GatewayBusyError

__all__ = ["be_busy", "lose_invoice"]

_FAULTS = json.loads(os.environ["SHOP_FAULTS"])
_BUSY_PERCENT: int = _FAULTS.get("busy_percent", 0)
_LOST_INVOICE: str | None = _FAULTS.get("lost_invoice")


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
