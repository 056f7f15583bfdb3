"""Polling a queue: receive no more than can be started at once, run it, and settle each message by itself."""

import json
import os
from asyncio import CancelledError, Task, create_task, sleep, wait
from collections.abc import Callable
from contextvars import copy_context
from itertools import count
from random import SystemRandom
from typing import Any, NamedTuple

from runtime_lib.contract import ENV_DEAD_LETTER_QUEUE, is_fifo
from runtime_lib.daemon_threads import DaemonThreads
from runtime_lib.dead_letters import write_dead_letter
from runtime_lib.errors import TaskError
from runtime_lib.execution import DeadLettered, Message, Outcome, RetryAfter, admit, run, run_async
from runtime_lib.heartbeat import Heartbeat
from runtime_lib.log import logger
from runtime_lib.queues import delete, queue_name, queue_url
from runtime_lib.record import Record

__all__ = ["PolledQueue", "Poller"]

_AWS_THREADS = 10
"""As many connections as a client of boto3 keeps."""
_STOP_CHECK_SECONDS = 0.1
_FIRST_PAUSE_SECONDS = 1
_MAX_PAUSE_SECONDS = 60
_CANCELLATION_SECONDS = 1
_PERMISSIONS = (
    "sqs:GetQueueUrl, sqs:GetQueueAttributes, sqs:ReceiveMessage, sqs:ChangeMessageVisibility and sqs:DeleteMessage, "
    "and sqs:SendMessage on its dead letter queue"
)


class PolledQueue(NamedTuple):
    """The queue that a worker polls, with its attributes as they were when the worker began."""

    url: str
    visibility_timeout: int
    max_receive_count: int | None
    dead_letter_queue: str | None

    @classmethod
    def find(
        cls, queue: str, *, visibility_timeout: int | None, dead_letter_queue: str | None, sqs: Any
    ) -> "PolledQueue":
        """Look a queue up by its name or URL; what is not given is as its attributes say.

        Raises:
            TaskError: it does not exist, may not be read, or is not one that a worker can poll.
        """
        if is_fifo(queue):
            raise TaskError(f"a worker cannot poll {queue}: it runs messages side by side, so use a standard queue")
        try:
            url = queue_url(queue, sqs)
            response = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"])
            attributes = response.get("Attributes", {})
            policy = json.loads(attributes.get("RedrivePolicy") or "{}")
            letters = dead_letter_queue or _redrive_target(policy, url) or os.environ.get(ENV_DEAD_LETTER_QUEUE)
            letters = letters and queue_url(letters, sqs)
        except Exception as error:
            raise _refusal(queue, error) from error
        timeout = visibility_timeout or int(attributes.get("VisibilityTimeout", 0))
        if not timeout:
            raise TaskError(f"a worker cannot poll {queue}: its visibility timeout is 0; pass visibility_timeout_s")
        if not letters:
            logger.warning("%s has no dead letter queue: a message that is given up stays in it and runs again", queue)
        return cls(url, timeout, int(policy["maxReceiveCount"]) if policy else None, letters or None)

    @property
    def name(self) -> str:
        """Its name, for messages to people."""
        return queue_name(self.url)


def _redrive_target(policy: dict[str, Any], url: str) -> str | None:
    """The URL of a queue's dead letter queue, which is always in the account and region of the queue itself."""
    name = policy.get("deadLetterTargetArn", "").rpartition(":")[2]
    return f"{url.rpartition('/')[0]}/{name}" if name else None


class Poller:
    """Receives from a queue and runs up to ``concurrency`` of its messages at a time, on the running event loop.

    Requests to AWS (with ``sqs``) and ``def`` tasks are made in threads. Times are in seconds.
    """

    def __init__(
        self,
        queue: PolledQueue,
        sqs: Any,
        *,
        concurrency: int,
        num_messages: int,
        wait_time: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._sqs = sqs
        self._concurrency = concurrency
        self._num_messages = num_messages
        self._wait_time = wait_time
        self._is_stopping = is_stopping
        self._aws_threads = DaemonThreads(_AWS_THREADS, "task-worker-aws")
        self._task_threads = DaemonThreads(concurrency, "task-worker")
        self._heartbeat = Heartbeat(queue.url, queue.visibility_timeout, sqs)
        self._running: set[Task[None]] = set()
        self._has_received = False
        self._failures = 0

    async def poll(self, *, loop_count: int | None, grace_period: float | None) -> None:
        """Receive ``loop_count`` times, or until it is to stop; then let what runs finish.

        Raises:
            TaskError: it may not receive from the queue.
        """
        self._heartbeat.start()
        try:
            for _ in count() if loop_count is None else range(loop_count):
                capacity = await self._capacity()
                if not capacity:
                    break
                await self._take(await self._receive(capacity))
            await self._finish(grace_period)
        finally:
            self._heartbeat.end()
            self._aws_threads.end()
            self._task_threads.end()
            await self._cancel()

    # --- Receiving ---------------------------------------------------------------------------------------------------

    async def _capacity(self) -> int:
        """How many messages may be received now; waits until it is one. 0: nothing more is to start."""
        while len(self._running) >= self._concurrency and not self._is_stopping():
            await wait(self._running, timeout=_STOP_CHECK_SECONDS, return_when="FIRST_COMPLETED")
        return 0 if self._is_stopping() else min(self._num_messages, self._concurrency - len(self._running))

    async def _receive(self, capacity: int) -> list[Record]:
        try:
            records = await self._aws_threads.call(self._request, capacity)
        except Exception as error:
            if not self._has_received and _is_denied(error):
                raise _refusal(self._queue.name, error) from error
            pause = min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**self._failures) * SystemRandom().uniform(0.5, 1)
            logger.error("receiving from %s failed and is tried again in %.1f s: %s", self._queue.name, pause, error)
            self._failures += 1
            await self._pause(pause)
            return []
        self._has_received = True
        self._failures = 0
        return records

    def _request(self, capacity: int) -> list[Record]:
        response = self._sqs.receive_message(
            QueueUrl=self._queue.url,
            MaxNumberOfMessages=capacity,
            VisibilityTimeout=self._queue.visibility_timeout,
            WaitTimeSeconds=self._wait_time,
            AttributeNames=["All"],  # the oldest releases of boto3 that are supported know no other name for it
        )
        records = [
            Record.received(
                message["MessageId"],
                message["Body"],
                receipt=message["ReceiptHandle"],
                system=message.get("Attributes", {}),
                queue_url=self._queue.url,
                max_receive_count=self._queue.max_receive_count,
            )
            for message in response.get("Messages", ())
        ]
        self._heartbeat.hold(records)
        return records

    async def _pause(self, seconds: float) -> None:
        for _ in range(round(seconds / _STOP_CHECK_SECONDS)):
            if self._is_stopping():
                return
            await sleep(_STOP_CHECK_SECONDS)

    async def _take(self, records: list[Record]) -> None:
        """Start what was received; if the worker was stopped meanwhile, give it back at once."""
        if self._is_stopping():
            await self._aws_threads.call(self._give_back, records)
            return
        for record in records:
            task = create_task(self._process(record))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _give_back(self, records: list[Record]) -> None:
        for record in records:
            self._heartbeat.release(record)
            record.back_to_queue(0, self._sqs)

    # --- Running -----------------------------------------------------------------------------------------------------

    async def _process(self, record: Record) -> None:
        """Run a message and settle it; what a task raises is an outcome, so an exception here is something else."""
        try:
            outcome = await self._run(record)
            await self._aws_threads.call(self._settle, record, outcome)
        except CancelledError:  # past the grace period, or because the event loop ends
            logger.error("message %s was cancelled and comes back when its visibility timeout ends", record.id)
        except Exception:  # noqa: BLE001  (its neighbours go on)
            logger.exception("message %s was not settled and comes back when its visibility timeout ends", record.id)
        finally:
            self._heartbeat.forget(record)

    async def _run(self, record: Record) -> Outcome:
        admitted = await self._aws_threads.call(copy_context().run, admit, record.body, record.delivery)
        if not isinstance(admitted, Message):
            return admitted
        task, envelope = admitted
        if task.is_async:
            return await run_async(task, envelope, record.delivery)
        return await self._task_threads.call(copy_context().run, run, task, envelope, record.delivery)

    def _settle(self, record: Record, outcome: Outcome) -> None:
        self._heartbeat.release(record)
        if isinstance(outcome, RetryAfter):
            record.back_to_queue(outcome.delay, self._sqs)
        elif record.is_node() and not record.report(outcome, self._sqs.meta.region_name):
            return
        elif not isinstance(outcome, DeadLettered) or self._dead_letter(record, outcome):
            delete(self._queue.url, [str(record.delivery.receipt)], self._sqs)

    def _dead_letter(self, record: Record, outcome: DeadLettered) -> bool:
        return write_dead_letter(
            record.body,
            reason=outcome.reason,
            error=outcome.error,
            delivery=record.delivery,
            queue=self._queue.dead_letter_queue,
            client=self._sqs,
        )

    # --- Stopping ----------------------------------------------------------------------------------------------------

    async def _finish(self, grace_period: float | None) -> None:
        """Wait for what runs, as long as the grace period lasts."""
        if self._running:
            logger.info("the worker of %s finishes %d messages and stops", self._queue.name, len(self._running))
            await wait(self._running, timeout=grace_period)

    async def _cancel(self) -> None:
        """Cancel what still runs, which ends ``async def`` tasks but no threads."""
        if self._running:
            for task in self._running:
                task.cancel()
            await wait(self._running, timeout=_CANCELLATION_SECONDS)


def _is_denied(error: Exception) -> bool:
    return "AccessDenied" in str(error)  # in all of its spellings; botocore's message has the code


def _refusal(queue: str, error: Exception) -> TaskError:
    needed = f" (a worker needs {_PERMISSIONS})" if _is_denied(error) else ""
    return TaskError(f"a worker cannot poll {queue}: {error}{needed}")
