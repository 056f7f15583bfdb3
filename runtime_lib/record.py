"""A message received from an SQS queue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from runtime_lib.context import Delivery
from runtime_lib.contract import NODE_KEY
from runtime_lib.log import logger

if TYPE_CHECKING:
    from runtime_lib.outcomes import Outcome

__all__ = ["Record"]

_BEGINNING = 32
"""Characters of a body in which the one key of a run in an execution is, white space included."""


class Record(NamedTuple):
    """One received message; ``id`` is SQS's, not the envelope's."""

    id: str
    body: str
    delivery: Delivery

    @classmethod
    def received(
        cls,
        message_id: str,
        body: str,
        *,
        receipt: str,
        system: Mapping[str, str],
        queue_url: str,
        max_receive_count: int | None,
        deadline: float | None = None,
        event: Any = None,
        lambda_context: Any = None,
    ) -> Self:
        """From the parts of a delivery; ``system`` are its system attributes, numbers and times as strings.

        SQS counts receives across queues: a message that it moved here itself has those of the queue where it was, and
        how many of its own this queue allows cannot be told by them.
        """
        from runtime_lib.queues import queue_name

        delivery = Delivery(
            attempt=int(system.get("ApproximateReceiveCount", 1)),
            max_receive_count=None if "DeadLetterQueueSourceArn" in system else max_receive_count,
            receipt=receipt,
            queue_url=queue_url,
            source=f"sqs:{queue_name(queue_url)}",
            sent_at=_seconds(system.get("SentTimestamp")),
            first_received_at=_seconds(system.get("ApproximateFirstReceiveTimestamp")),
            deadline=deadline,
            event=event,
            lambda_context=lambda_context,
            message_id=message_id,
            group=system.get("MessageGroupId"),
        )
        return cls(message_id, body, delivery)

    def back_to_queue(self, delay: float, sqs: Any | None = None) -> None:
        """Let its queue deliver it again after ``delay`` seconds; a failure is logged."""
        from runtime_lib.queues import change_visibility

        try:
            change_visibility(str(self.delivery.queue_url), str(self.delivery.receipt), delay, sqs)
        except Exception:  # noqa: BLE001  (the queue's own visibility timeout ends as well, only at another time)
            logger.exception("message %s comes back when its visibility timeout ends, not in %.1f s", self.id, delay)

    def is_node(self) -> bool:
        """Whether it is a run inside an execution of Step Functions, which waits to be told its end."""
        return "".join(self.body[:_BEGINNING].split()).startswith(f'{{"{NODE_KEY}":')

    def report(self, outcome: "Outcome", region: str | None = None) -> bool:
        """Tell the execution how the run ended; False: it could not be told, and the message has to come again.

        ``region`` is that of its queue, if it may be another one than this process's own.
        """
        from runtime_lib.handlers._node import report

        return report(self.body, outcome, region=region)


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None
