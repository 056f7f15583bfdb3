"""Samples of docs/tasks.md and docs/testing.md that are whole programs: they run, and do what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest

from runtime_lib import RecordingTransport, hooks, registry, using_transport
from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_DEAD_LETTER_QUEUE, Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Succeeded, run
from tests.task_modules import load

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "around", [])
    monkeypatch.setattr(hooks, "starting", [])
    monkeypatch.setattr(registry, "_tasks", {})
    monkeypatch.delenv(ENV_DEAD_LETTER_QUEUE, raising=False)


def samples(page: str, heading: str) -> list[str]:
    text = (DOCS / page).read_text()
    section = text[text.index(f"## {heading}\n") :].split("\n## ", 1)[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def outcome_of(task: Any, *args: Any, **headers: Any) -> Any:
    return run(task, Envelope.new(task.name, list(args), {}, priority=Priority.DEFAULT, headers=headers), Delivery())


def test_middleware(capsys: pytest.CaptureFixture[str]) -> None:
    module = load(samples("tasks.md", "Middleware")[0])
    refused = outcome_of(module.charge, 1)
    assert isinstance(refused, DeadLettered)
    assert refused.reason == "no tenant"
    assert outcome_of(module.charge, 1, tenant="a") == Succeeded(None)
    assert capsys.readouterr().out.count("charge took") == 2


def test_groups(capsys: pytest.CaptureFixture[str]) -> None:
    module = load(samples("tasks.md", "Middleware")[0] + samples("tasks.md", "Groups")[0])
    hooks.around.clear()
    assert (module.send.name, module.send.namespaces, module.send.retry.max_attempts) == ("mail.send", ("mail",), 5)
    assert (module.welcome.name, module.welcome.priority) == ("mail.welcome", Priority.HIGH)
    assert isinstance(outcome_of(module.send, "a"), DeadLettered)
    assert capsys.readouterr().out.count("mail.send took") == 1


def test_what_runs_before_the_first_task() -> None:
    module = load(samples("tasks.md", "Before the first task")[0])
    module.loaded = []
    module.load_model = lambda: module.loaded.append(1)
    hooks.run_init_tasks()
    hooks.run_init_tasks()
    assert module.loaded == [1]
    assert callable(module.table)


def test_tasks_of_other_applications() -> None:
    with using_transport(RecordingTransport()) as recording:
        load(samples("tasks.md", "Tasks of other applications")[0])
    [call] = recording.sent
    assert (call.envelope.task, call.namespace, call.envelope.kwargs) == (
        "images.tasks.resize",
        "images",
        {"width": 200},
    )


def test_events_for_handlers() -> None:
    module = load(samples("testing.md", "Events and a context for handlers")[0])
    module.test_a_task_that_takes_an_event()
    module.test_a_handler()


def test_a_plain_call_of_a_streaming_handler() -> None:
    load(samples("testing.md", "Events and a context for handlers")[1]).test_a_stream()
