"""`process_messages_for_lambda_consumer`, and what a handler does before its first event."""

import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from runtime_lib import (
    Discard,
    Reject,
    RetryLater,
    TaskDefinitionError,
    TaskError,
    contract,
    process_messages_for_lambda_consumer,
    task,
)
from runtime_lib.handlers._init_phase import start
from tests.deliveries import TaskQueue, body_of, failure_of

ran: list[Any] = []


@pytest.fixture(autouse=True)
def new_environment() -> Iterator[None]:
    """As in an environment that has not started yet."""
    start.cache_clear()
    level = logging.getLogger("runtime_lib").level
    ran.clear()
    yield
    start.cache_clear()
    logging.getLogger("runtime_lib").setLevel(level)


def message(name: str, *args: Any) -> str:
    return body_of(f"{__name__}.{name}", *args)


@task
def runs(name: str) -> None:
    ran.append(name)


@task
async def aruns(name: str) -> None:
    ran.append(name)


@task
def fails(name: str) -> None:
    ran.append(name)
    raise LookupError("no such order")


@task
def discards() -> None:
    raise Discard


@task
def rejects() -> None:
    raise Reject("no such customer")


@task
def asks() -> None:
    raise RetryLater


def test_an_sqs_event_without_failures_returns_nothing(queue: TaskQueue) -> None:
    queue.send(message("runs", "a"), message("aruns", "b"), message("discards"))
    assert process_messages_for_lambda_consumer(queue.event()) is None
    assert ran == ["a", "b"]


def test_what_succeeded_is_deleted_before_the_event_fails_for_the_rest(queue: TaskQueue) -> None:
    queue.send(message("runs", "a"), message("fails", "b"), message("aruns", "c"), message("discards"))
    event = queue.event()
    failed = event["Records"][1]["messageId"]
    with pytest.raises(TaskError, match=f"1 of 4 messages are to be delivered again: {failed}"):
        process_messages_for_lambda_consumer(event)
    assert ran == ["a", "b", "c"]
    assert queue.left() == 1


def test_failures_are_returned_where_the_mapping_takes_them(queue: TaskQueue) -> None:
    queue.send(message("runs", "a"), message("fails", "b"))
    event = queue.event()
    failed = event["Records"][1]["messageId"]
    assert process_messages_for_lambda_consumer(event, return_failures=True) == {
        "batchItemFailures": [{"itemIdentifier": failed}]
    }


def sns_event(*messages: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "arn:aws:sns:us-east-1:000000000000:taskhawk-shop:1",
                "Sns": {"Type": "Notification", "MessageId": "1", "Message": message, "MessageAttributes": {}},
            }
            for message in messages
        ]
    }


@pytest.mark.usefixtures("queue")
def test_notifications_of_an_sns_event_run() -> None:
    event = sns_event(message("runs", "a"), message("aruns", "b"), message("discards"))
    assert process_messages_for_lambda_consumer(event) is None
    assert ran == ["a", "b"]


def test_a_failing_notification_fails_the_event_after_its_neighbours_ran(queue: TaskQueue) -> None:
    event = sns_event(message("fails", "a"), message("runs", "b"), message("asks"), message("sned"))
    with pytest.raises(TaskError, match=r"3 of 4 notifications .*LookupError: no such order; RetryLater.*UnknownTask"):
        process_messages_for_lambda_consumer(event)
    assert ran == ["a", "b"]
    assert queue.dead_letters() == []


def test_a_notification_that_is_given_up_is_dead_lettered(queue: TaskQueue) -> None:
    event = sns_event("order 7", message("rejects"), message("runs", "a"))
    assert process_messages_for_lambda_consumer(event) is None
    reasons = [failure_of(letter)["reason"] for letter in queue.dead_letters()]
    assert sorted(reasons) == ["no such customer", "the message is not JSON: Expecting value: line 1 column 1 (char 0)"]
    assert ran == ["a"]


def test_it_fails_the_event_if_there_is_no_dead_letter_queue(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(contract.ENV_DEAD_LETTER_QUEUE)
    with pytest.raises(TaskError, match="1 of 2 notifications are to be delivered again: no such customer"):
        process_messages_for_lambda_consumer(sns_event(message("rejects"), message("runs", "a")))
    assert ran == ["a"]


@pytest.mark.parametrize("event", [{}, [], {"Records": []}, {"Records": {}}, {"Records": ["x"]}, {"Records": [{}]}, 7])
def test_any_other_event_is_refused(event: Any) -> None:
    with pytest.raises(TaskError, match="an SQS or SNS event has Records with their eventSource"):
        process_messages_for_lambda_consumer(event)


# --- Before the first event ------------------------------------------------------------------------------------------


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []

    def write(name: str, text: str) -> None:
        names.append(name)
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_modules_are_imported_for_a_handler_of_ones_own_which_may_be_one_of_them(
    write_module: Any, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(
        "their_tasks",
        "from runtime_lib import process_messages_for_lambda_consumer, task\n"
        "import their_other_tasks\n"
        "ran = []\n"
        "@task\n"
        "def send(name: str) -> None: ran.append(name)\n"
        "def handler(event, context):\n"
        "    return process_messages_for_lambda_consumer(event, context, return_failures=True)\n",
    )
    write_module("their_other_tasks", "")
    write_module(
        "their_last_tasks",
        "from runtime_lib import task\n"
        "from their_tasks import send\n"
        "@task\n"
        "def send_two(name: str) -> None: send(name); send(name)\n",
    )
    monkeypatch.setenv(contract.ENV_MODULES, "their_last_tasks, their_tasks")
    their_tasks = import_module("their_tasks")

    queue.send(body_of("their_last_tasks.send_two", "a"), body_of("their_tasks.send", "b"))
    assert their_tasks.handler(queue.event(), None) == {"batchItemFailures": []}
    assert their_tasks.ran == ["a", "a", "b"]


def test_a_module_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_MODULES, "json,no_such_module")
    with pytest.raises(TaskDefinitionError, match=r"'no_such_module' cannot be imported: ModuleNotFoundError"):
        start()


def test_what_a_module_cannot_import_is_named(write_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module("their_broken_tasks", "import numpy_is_not_in_the_asset")
    monkeypatch.setenv(contract.ENV_MODULES, "their_broken_tasks")
    with pytest.raises(TaskDefinitionError, match=r"'their_broken_tasks' cannot.*No module named 'numpy_is_not_in_the"):
        start()


@pytest.mark.parametrize(("value", "level"), [(None, "INFO"), ("debug", "DEBUG"), ("ERROR", "ERROR")])
def test_the_log_level_is_that_of_the_environment(
    value: str | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value:
        monkeypatch.setenv(contract.ENV_LOG_LEVEL, value)
    start()
    assert logging.getLevelName(logging.getLogger("runtime_lib").level) == level


def test_a_log_level_that_is_none_is_told_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(contract.ENV_LOG_LEVEL, "loud")
    start()
    assert "LOG_LEVEL is 'LOUD', which is no level of Python's logging" in caplog.text
