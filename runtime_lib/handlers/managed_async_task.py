"""The handler of a ManagedAsyncTask's function: its task's own queue."""

import os
from typing import Any

from runtime_lib.contract import ENV_TAKES_DEAD_LETTERS
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._sqs_batch import Batch

__all__ = ["handler"]

start()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run the messages of an SQS event and report those that are to be delivered again."""
    if os.environ.get(ENV_TAKES_DEAD_LETTERS) != "1":
        return Batch.of(event, context).process().response()
    from runtime_lib.handlers._dead_letters import admit_letter, is_own_run

    return Batch.of(event, context, admit=admit_letter, is_run=is_own_run).process().response()
