"""The handler of a ManagedAsyncTask's function: its task's own queue."""

from typing import Any

from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._sqs_batch import Batch

__all__ = ["handler"]

start()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run the messages of an SQS event and report those that are to be delivered again."""
    return Batch.of(event, context).process().response()
