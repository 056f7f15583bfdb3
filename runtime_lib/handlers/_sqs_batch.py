"""A batch of SQS messages, as an event source mapping delivers it: run each, and settle each by itself.

A record that kills the process must not take its neighbours along. So whatever has finished is deleted before anything
else starts, and records that were received before — one of them may be the killer — run last and one at a time, in
an order that alternates from delivery to delivery: those behind the killer in one are before it in the next. Only those
whose last run this is run first: if there was no time for them so far, they must not be given up without having run.

Of a batch task, the records that come for the first time run together; the others run alone like any other's.
"""

import os
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_MAX_RECEIVE_COUNT, SQS_MAX_BATCH_ENTRIES, is_fifo
from runtime_lib.errors import TaskError
from runtime_lib.execution import DeadLettered, Message, Outcome, RetryAfter, admit, last_run, run_async
from runtime_lib.handlers._running import run_in_loop, run_message
from runtime_lib.log import logger
from runtime_lib.record import Record

if TYPE_CHECKING:
    from runtime_lib.batches import BatchTask

__all__ = ["Admission", "Admitted", "Batch", "by_suspicion"]

Admitted = tuple[Record, Message]
"""A record, and what is to run for it."""

IsRun = Callable[[Record], bool]
Admission = Callable[[str, Delivery], Message | Outcome]
"""Makes of a record what can be run, or says what becomes of it: `execution.admit` does so of envelopes."""

_SECONDS_TO_REPORT = 0.5
"""What is left when the last task ends, to settle its message and give back those that were not started."""
_SECONDS_TO_ANSWER = 0.2
"""What of it is left for the answer: without one, every message that is not deleted yet runs again."""


class Batch:
    """The records of one event; ``failed`` are the ids of those that are to be delivered again.

    Raises:
        TaskError: it is no event of SQS.
    """

    @staticmethod
    def of(event: dict[str, Any], context: Any, *, admit: Admission = admit, is_run: IsRun = Record.is_node) -> "Batch":
        """The batch of an event, which keeps the order of a FIFO queue.

        ``is_run`` says of a record whether it is a run of a workflow, which is told its end: what others send may only
        look like one.

        Raises:
            TaskError: it is no event of SQS.
        """
        if any(is_fifo(record["eventSourceARN"]) for record in _records(event)):
            from runtime_lib.handlers._fifo_batch import FifoBatch

            return FifoBatch(event, context, admit=admit, is_run=is_run)
        return Batch(event, context, admit=admit, is_run=is_run)

    def __init__(
        self, event: dict[str, Any], context: Any, *, admit: Admission = admit, is_run: IsRun = Record.is_node
    ) -> None:
        deadline = time.time() + context.get_remaining_time_in_millis() / 1000 if context else None
        self._admit = admit
        self._is_run = is_run
        self._deadline = deadline
        self._records = [_read(record, deadline, context) for record in _records(event)]
        self._longest = 0.0
        self._finished: list[Record] = []
        self._not_started: list[Record] = []
        self.failed: list[str] = []

    def process(self) -> "Batch":
        """Run every record for which there is time."""
        admitted: list[Admitted] = []
        for record in self._records:
            message = self._admit(record.body, record.delivery)
            if isinstance(message, Message):
                admitted.append((record, message))
            else:
                self._settle(record, message)
        urgent, fresh, suspects = by_suspicion(admitted)
        self._run_one_by_one(urgent)
        self._run_one_by_one([one for one in fresh if not one[1].task.is_async])
        self._run_together([one for one in fresh if one[1].task.is_async and not one[1].task.takes_batches], _at_once)
        for records in _by_task(one for one in fresh if one[1].task.takes_batches):
            self._run_together(records, _as_one)
        self._run_one_by_one(suspects)
        self._give_back("the function is about to time out")
        return self

    def _run_one_by_one(self, records: list[Admitted]) -> None:
        for record, message in records:
            if self._has_time(record):
                self._settle(record, self._run(record, message))

    def _run(self, record: Record, message: Message) -> Outcome:
        self.delete_finished()
        started = time.monotonic()
        outcome = run_message(message, record.delivery)
        self._longest = max(self._longest, time.monotonic() - started)
        return outcome

    def _run_together(
        self,
        records: list[Admitted],
        run: Callable[[list[Admitted]], Coroutine[Any, Any, list[Outcome]]],
    ) -> None:
        records = [one for one in records if self._has_time(one[0])]
        if not records:
            return
        self.delete_finished()
        started = time.monotonic()
        outcomes = run_in_loop(run(records))
        self._longest = max(self._longest, time.monotonic() - started)
        for (record, _), outcome in zip(records, outcomes, strict=True):
            self._settle(record, outcome)

    def _has_time(self, record: Record) -> bool:
        """Whether there is time for one that takes as long as the longest so far; if not, it is given back."""
        if self._is_time_left():
            return True
        self._not_started.append(record)
        return False

    def _is_time_left(self) -> bool:
        return self._seconds_left() >= self._longest + _SECONDS_TO_REPORT

    def _seconds_left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - time.time()

    def _give_back(self, reason: str) -> None:
        """Let what was not started be delivered again at once, as far as there is time to ask for it."""
        if not self._not_started:
            return
        from runtime_lib.queues import show

        logger.warning("%d messages are not started: %s", len(self._not_started), reason)
        self.failed += [record.id for record in self._not_started]
        for url, receipts in _by_queue(self._not_started):
            for start in range(0, len(receipts), SQS_MAX_BATCH_ENTRIES):
                if self._seconds_left() < _SECONDS_TO_ANSWER:
                    return  # the others are delivered again when their visibility timeout ends
                show(url, receipts[start : start + SQS_MAX_BATCH_ENTRIES])

    def _settle(self, record: Record, outcome: Outcome) -> None:
        if isinstance(outcome, RetryAfter | DeadLettered) and self._seconds_left() < _SECONDS_TO_ANSWER:
            self.failed.append(record.id)
            logger.warning(
                "message %s comes back when its visibility timeout ends: the function is about to time out", record.id
            )
        elif isinstance(outcome, RetryAfter):
            self.failed.append(record.id)
            record.back_to_queue(outcome.delay)
        elif self._is_told(record, outcome):
            self._finished.append(record)
        else:
            self.failed.append(record.id)

    def _is_told(self, record: Record, outcome: Outcome) -> bool:
        """Whether who has to know of the end does: a workflow of each of its runs, a person of a dead letter.

        In this order: a workflow takes one end only, however often it is told, and a second letter would be one more.
        """
        if self._is_run(record) and not record.report(outcome):
            return False
        return not isinstance(outcome, DeadLettered) or self._dead_letter(record, outcome)

    @staticmethod
    def _dead_letter(record: Record, outcome: DeadLettered) -> bool:
        from runtime_lib.dead_letters import write_dead_letter

        return write_dead_letter(record.body, reason=outcome.reason, error=outcome.error, delivery=record.delivery)

    def delete_finished(self) -> None:
        """Delete what has finished, so that nothing which starts now can make it run again."""
        from runtime_lib.queues import delete

        for url, receipts in _by_queue(self._finished):
            delete(url, receipts)
        self._finished = []

    def response(self) -> dict[str, Any]:
        """What an event source mapping with ReportBatchItemFailures takes: it deletes the others.

        (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html)
        """
        return {"batchItemFailures": [{"itemIdentifier": record_id} for record_id in self.failed]}


def _records(event: Any) -> list[dict[str, Any]]:
    records: Any = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not all(isinstance(one, dict) and "receiptHandle" in one for one in records):
        found = sorted(event) if isinstance(event, dict) else type(event).__name__
        raise TaskError(
            f"this function works on a queue, and its events have Records with receiptHandles, given {found!r:.200}: "
            "send to the queue instead of invoking the function"
        )
    return records


def _read(record: dict[str, Any], deadline: float | None, context: Any) -> Record:
    """A record from the event's form of a message."""
    from runtime_lib.queues import url_of_arn

    limit = os.environ.get(ENV_MAX_RECEIVE_COUNT)
    return Record.received(
        record["messageId"],
        record["body"],
        receipt=record["receiptHandle"],
        system=record.get("attributes", {}),
        queue_url=url_of_arn(record["eventSourceARN"]),
        max_receive_count=int(limit) if limit else None,
        deadline=deadline,
        event=record,
        lambda_context=context,
    )


def _by_queue(records: Iterable[Record]) -> Iterable[tuple[str, list[str]]]:
    """The receipts of each queue's records."""
    receipts: dict[str, list[str]] = {}
    for record in records:
        receipts.setdefault(str(record.delivery.queue_url), []).append(str(record.delivery.receipt))
    return receipts.items()


def _age(one: Admitted) -> tuple[float, str]:
    return one[0].delivery.sent_at or 0.0, one[0].id


def by_suspicion(records: Iterable[Admitted]) -> tuple[list[Admitted], list[Admitted], list[Admitted]]:
    """Those whose last run this is, those that come for the first time, and those that came before; each in order."""
    urgent: list[Admitted] = []
    fresh: list[Admitted] = []
    suspects: list[Admitted] = []
    for one in records:
        record, message = one
        if record.delivery.attempt == 1:
            fresh.append(one)
        elif record.delivery.attempt < last_run(message.task.retry, record.delivery):
            suspects.append(one)
        else:
            urgent.append(one)
    return _alternating(urgent), sorted(fresh, key=_age), _alternating(suspects)


def _alternating(suspects: list[Admitted]) -> list[Admitted]:
    """Fewest receives first; of equal ones the oldest first at odd deliveries, the newest first at even ones."""
    by_attempt: dict[int, list[Admitted]] = {}
    for one in suspects:
        by_attempt.setdefault(one[0].delivery.attempt, []).append(one)
    return [
        one for attempt in sorted(by_attempt) for one in sorted(by_attempt[attempt], key=_age, reverse=attempt % 2 == 0)
    ]


def _by_task(records: Iterable[Admitted]) -> Iterable[list[Admitted]]:
    tasks: dict[str, list[Admitted]] = {}
    for one in records:
        tasks.setdefault(one[1].task.name, []).append(one)
    return tasks.values()


async def _at_once(records: list[Admitted]) -> list[Outcome]:
    """Run messages of async tasks side by side."""
    from asyncio import gather

    runs = (run_async(task, envelope, record.delivery) for record, (task, envelope) in records)
    return list(await gather(*runs))


async def _as_one(records: list[Admitted]) -> list[Outcome]:
    """Run messages of one batch task by one call."""
    task: BatchTask[Any, Any] = records[0][1].task  # type: ignore[assignment]  # it takes batches
    return await task.run_together([(message.envelope, record.delivery) for record, message in records])
