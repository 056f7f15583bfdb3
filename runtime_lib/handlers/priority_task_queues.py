"""The handler of a PriorityTaskQueues' worker: the queues of a namespace, one per priority.

A batch comes from one queue, so priorities never wait for one another here.
"""

from typing import Any

from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._sqs_batch import Batch

__all__ = ["handler"]

start()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run the messages of an SQS event and report those that are to be delivered again."""
    return Batch.of(event, context).process().response()
