"""The demo's figures: from log records to what became of every message."""

import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from runtime_lib.handle import TaskHandle
from tasks_cli.demo import observation as module
from tasks_cli.demo.observation import Observation
from tasks_cli.deployed import Function
from tasks_cli.local.inspection import QueuedMessage
from tasks_cli.local.logs import LogLine

FUNCTION = Function(
    "Shop-Mail", "Shop", "PriorityTaskQueues", "Shop/Mail", "queue", ("shop.mail",), {}, {}, {}, "Letters"
)


class Cloud:
    """What was logged and what lies in the dead letter queue; each line is read once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.letters: list[QueuedMessage] = []
        self._lines: list[LogLine] = []
        monkeypatch.setattr(module, "LogReader", lambda *_: SimpleNamespace(read=self._read))
        monkeypatch.setattr(module, "queued_messages", lambda *_: self.letters)
        self.observation = Observation(MagicMock(), [FUNCTION])

    def _read(self) -> list[LogLine]:
        lines, self._lines = self._lines, []
        return lines

    def log(self, event: str, message_id: str, **fields: Any) -> None:
        record = {"event": event, "task": "shop.mail", "id": message_id, "chain": "c", **fields}
        self.print(json.dumps({"logger": "sample_app.monitoring", **record}))

    def print(self, text: str) -> None:
        self._lines.append(LogLine(0.0, FUNCTION.name, text))

    def figures(self) -> Any:
        self.observation.update()
        [figures] = self.observation.figures()
        return figures


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return Cloud(monkeypatch)


def test_a_message_that_ran_twice_is_one_that_was_retried_once(cloud: Cloud) -> None:
    cloud.log("dispatch", "1")
    cloud.log("start", "1", waited_ms=40)
    cloud.log("end", "1", outcome="RetryAfter")
    figures = cloud.figures()
    assert (figures.dispatched, figures.unfinished, figures.retried, figures.wait_p50_ms) == (1, 1, 0, 40)
    cloud.log("start", "1", waited_ms=2_040)
    cloud.log("end", "1", outcome="Succeeded")
    figures = cloud.figures()
    assert (figures.dispatched, figures.unfinished, figures.retried, figures.succeeded) == (1, 0, 1, 1)
    assert figures.wait_p50_ms == 40


def test_a_message_is_dead_lettered_when_it_lies_in_the_queue(cloud: Cloud) -> None:
    cloud.log("start", "1", waited_ms=1)
    cloud.log("end", "1", outcome="DeadLettered")
    assert cloud.figures().unfinished == 1
    body = json.dumps({"id": "1", "task": "shop.mail"})
    failure = {"TaskFailure": {"DataType": "String", "StringValue": json.dumps({"reason": "no", "chain": "c"})}}
    cloud.letters = [QueuedMessage("m", body, failure, {}, 0, True)]
    figures = cloud.figures()
    assert (figures.dead_lettered, figures.reasons, figures.unfinished) == (1, {"no": 1}, 0)


def test_what_is_dispatched_is_missed_until_it_ends(cloud: Cloud) -> None:
    cloud.observation.add_dispatched([TaskHandle("1", "shop.mail"), TaskHandle("2", "shop.mail")])
    cloud.log("dispatch", "3")
    cloud.log("end", "2", outcome="Discarded")
    figures = cloud.figures()
    assert (figures.dispatched, figures.discarded, figures.unfinished) == (3, 1, 2)
    assert [message.id for message in cloud.observation.unfinished] == ["1", "3"]
    assert {message.id for message in cloud.observation.chains()["c"]} == {"3"}


def test_percentiles_are_of_all_first_starts(cloud: Cloud) -> None:
    for number in range(101):
        cloud.log("start", str(number), waited_ms=number * 10)
    figures = cloud.figures()
    assert (figures.wait_p50_ms, figures.wait_p95_ms) == (500, 950)


@pytest.mark.parametrize("line", ["START RequestId: 1", "sample_app.monitoring", '["sample_app.monitoring"]', "{"])
def test_other_lines_are_no_news(cloud: Cloud, line: str) -> None:
    cloud.print(line)
    assert cloud.observation.update() is False
    assert cloud.observation.figures() == []
