"""The handler of a QueueTask's function: messages that others sent to a queue of theirs, in whatever form."""

from typing import Any

from runtime_lib.context import Delivery
from runtime_lib.envelope import derived_id
from runtime_lib.execution import Message
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._one_task import envelope_of, the_task
from runtime_lib.handlers._sqs_batch import Batch

__all__ = ["handler"]

start()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Run the task for each message of an SQS event and report those that are to be delivered again."""
    return Batch.of(event, context, admit=_message, is_run=lambda _: False).process().response()


def _message(_body: str, delivery: Delivery) -> Message:
    task = the_task()
    envelope = envelope_of(derived_id(task.name, str(delivery.message_id)), task)
    if delivery.group is not None:
        envelope.metadata["group"] = delivery.group
    return Message(task, envelope)
