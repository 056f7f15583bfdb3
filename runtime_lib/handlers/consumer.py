"""`process_messages_for_lambda_consumer`: for users who keep a handler of their own, as taskhawk's users do."""

from typing import Any

from runtime_lib.context import Delivery
from runtime_lib.errors import TaskError
from runtime_lib.execution import DeadLettered, Message, RetryAfter, admit, describe
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._running import run_message
from runtime_lib.handlers._sqs_batch import Batch

__all__ = ["UnfinishedMessagesError", "process_messages_for_lambda_consumer"]


class UnfinishedMessagesError(TaskError):
    """Some messages of the event are to be delivered again; the others are done."""


def process_messages_for_lambda_consumer(
    lambda_event: dict[str, Any], context: Any = None, *, return_failures: bool = False
) -> dict[str, Any] | None:
    """Run the tasks in an SQS or SNS event.

    The modules that have the tasks must have been imported, or be named by ``TASK_MODULES``, as the constructs do. Of
    an SQS event, what succeeded is deleted, whether or not the mapping reports batch item failures.

    Args:
        lambda_event: the event as Lambda passes it.
        context: Lambda's context; with it, records are not started shortly before the deadline.
        return_failures: return ``{"batchItemFailures": […]}`` for a mapping with ReportBatchItemFailures, instead of
            raising.

    Raises:
        UnfinishedMessagesError: some are to be delivered again, so that Lambda does.
        TaskError: the event is neither.
    """
    start()  # not while this module is imported: the handler's own module, which does that, may be one of them
    match lambda_event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return _sqs(lambda_event, context, return_failures=return_failures)
        case {"Records": [{"EventSource": "aws:sns"}, *_]}:
            _sns(lambda_event["Records"], context)
            return None
        case _:
            found = sorted(lambda_event) if isinstance(lambda_event, dict) else type(lambda_event).__name__
            raise TaskError(f"an SQS or SNS event has Records with their eventSource, given {found!r:.200}")


def _sqs(event: dict[str, Any], context: Any, *, return_failures: bool) -> dict[str, Any] | None:
    batch = Batch.of(event, context).process()
    if return_failures:
        return batch.response()
    if batch.failed:
        batch.delete_finished()
        raise UnfinishedMessagesError(
            f"{len(batch.failed)} of {len(event['Records'])} messages are to be delivered again: "
            f"{', '.join(batch.failed)}"
        )
    return None


def _sns(records: list[dict[str, Any]], context: Any) -> None:
    """Run each notification; SNS has no receipts, so a failing one makes Lambda deliver the event again."""
    failures = []
    for record in records:
        delivery = Delivery(event=record, lambda_context=context)
        body = record["Sns"]["Message"]
        admitted = admit(body, delivery)
        outcome = run_message(admitted, delivery) if isinstance(admitted, Message) else admitted
        if isinstance(outcome, RetryAfter):
            failures.append(describe(outcome.error))
        elif isinstance(outcome, DeadLettered):
            from runtime_lib.dead_letters import write_dead_letter

            if not write_dead_letter(body, reason=outcome.reason, error=outcome.error, delivery=delivery):
                failures.append(outcome.reason)
    if failures:
        raise UnfinishedMessagesError(
            f"{len(failures)} of {len(records)} notifications are to be delivered again: {'; '.join(failures)}"
        )
