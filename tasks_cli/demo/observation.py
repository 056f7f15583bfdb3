"""What becomes of every message, told by what the cloud has: the functions' logs and the dead letter queues."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, NamedTuple

from runtime_lib.dead_letters import DeadLetter, read_dead_letter
from runtime_lib.handle import TaskHandle
from tasks_cli.cloud import Cloud
from tasks_cli.deployed import Function
from tasks_cli.local.inspection import queued_messages
from tasks_cli.local.logs import LogReader

_LOGGER = "sample_app.monitoring"


@dataclass(slots=True)
class Message:
    """One dispatched task. ``outcome`` is Succeeded, Discarded or DeadLettered, None while it is on its way."""

    id: str
    task: str
    chain: str
    starts: int = 0
    waited_ms: int | None = None
    """From its dispatch to its first start."""
    outcome: str | None = None
    reason: str | None = None
    """Why it is in a dead letter queue."""


class TaskFigures(NamedTuple):
    """What became of all messages of one task. Waits are from dispatch to start, in milliseconds."""

    task: str
    dispatched: int
    succeeded: int
    discarded: int
    retried: int
    """Starts after the first, whether the task failed or asked for another one."""
    dead_lettered: int
    reasons: dict[str, int]
    unfinished: int
    wait_p50_ms: int | None
    wait_p95_ms: int | None


class Observation:
    """Every message of the app's functions."""

    def __init__(self, cloud: Cloud, functions: Sequence[Function]) -> None:
        self.messages: dict[str, Message] = {}
        self._cloud = cloud
        self._logs = LogReader(cloud, [function.name for function in functions])
        sqs = cloud.client("sqs")
        names = {function.dead_letter_queue for function in functions} - {""}
        self._dead_letter_queues = [sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in sorted(names)]
        self._read_letters: set[str] = set()

    def add_dispatched(self, handles: Iterable[TaskHandle]) -> None:
        """Watch messages that this process has dispatched."""
        for handle in handles:
            self._message(handle.id, handle.task, handle.id)

    def update(self) -> bool:
        """Read what is new; whether there was anything."""
        records = [record for line in self._logs.read() if (record := _record(line.message))]
        for record in records:
            self._note(record)
        letters = [letter for url in self._dead_letter_queues for letter in self._new_letters(url)]
        for letter in letters:
            message = self._message(str(letter.envelope_id), str(letter.task), str(letter.failure.chain))
            message.outcome, message.reason = "DeadLettered", letter.failure.reason
        return bool(records or letters)

    @property
    def unfinished(self) -> list[Message]:
        """The messages of which nothing tells yet what became of them."""
        return [message for message in self.messages.values() if message.outcome is None]

    def chains(self) -> dict[str, list[Message]]:
        """The messages that each first dispatch has led to, itself among them, by its id."""
        chains: dict[str, list[Message]] = {}
        for message in self.messages.values():
            chains.setdefault(message.chain, []).append(message)
        return chains

    def figures(self) -> list[TaskFigures]:
        """The figures of each task, in the order in which the tasks came up."""
        tasks = dict.fromkeys(message.task for message in self.messages.values())
        return [_figures(task, [one for one in self.messages.values() if one.task == task]) for task in tasks]

    def _note(self, record: dict[str, Any]) -> None:
        message = self._message(record["id"], record["task"], record["chain"])
        if record["event"] == "start":
            message.starts += 1
            waited = int(record["waited_ms"])
            message.waited_ms = waited if message.waited_ms is None else min(message.waited_ms, waited)
        elif record["event"] == "end" and record["outcome"] in {"Succeeded", "Discarded"}:
            # A dead letter counts when it lies in its queue.
            message.outcome = record["outcome"]

    def _new_letters(self, url: str) -> list[DeadLetter]:
        messages = [one for one in queued_messages(self._cloud, url) if one.id not in self._read_letters]
        self._read_letters.update(message.id for message in messages)
        return [read_dead_letter(message.as_received()) for message in messages]

    def _message(self, message_id: str, task: str, chain: str) -> Message:
        return self.messages.setdefault(message_id, Message(message_id, task, chain))


def _record(line: str) -> dict[str, Any] | None:
    """A record of the app's monitoring; None for the other lines of a log."""
    if _LOGGER not in line:
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("logger") == _LOGGER else None


def _figures(task: str, messages: list[Message]) -> TaskFigures:
    outcomes = Counter(message.outcome for message in messages)
    waits = sorted(message.waited_ms for message in messages if message.waited_ms is not None)
    percentiles = quantiles(waits, n=20, method="inclusive") if len(waits) > 1 else waits * 19
    return TaskFigures(
        task=task,
        dispatched=len(messages),
        succeeded=outcomes["Succeeded"],
        discarded=outcomes["Discarded"],
        retried=sum(max(0, message.starts - 1) for message in messages),
        dead_lettered=outcomes["DeadLettered"],
        reasons=dict(Counter(message.reason for message in messages if message.reason).most_common()),
        unfinished=outcomes[None],
        wait_p50_ms=round(percentiles[9]) if percentiles else None,
        wait_p95_ms=round(percentiles[18]) if percentiles else None,
    )
