"""How far a task is: in its record, in the same way in memory and in DynamoDB, or in the log."""

import json
import logging
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from runtime_lib import (
    EagerTransport,
    MemoryStore,
    Progress,
    Retry,
    TaskContext,
    TaskHandle,
    TaskStatus,
    current_context,
    progress,
    progress_notes,
    registry,
    set_store,
    task,
    using_store,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import ENV_STORE, ENV_TRACKED
from runtime_lib.envelope import Envelope
from runtime_lib.execution import run
from runtime_lib.store import Store, TaskStore
from runtime_lib.task_record import Ending, RecordedError
from tests.deliveries import body_of
from tests.stores import BrokenStore, dynamodb_store

NAME = "progress.works"
RETRYING = Ending(TaskStatus.RETRYING, error=RecordedError("ValueError", "no"))
FAILED = Ending(TaskStatus.FAILED, error=RecordedError("ValueError", "no"))


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[TaskStore]:
    with dynamodb_store() as store:
        yield store


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = MemoryStore() if request.param == "memory" else request.getfixturevalue("dynamodb")
    return found


@pytest.fixture
def task_id(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_notes, "_noted", {})
    monkeypatch.setattr(progress_notes, "_has_failed", False)


def of(store: Store, task_id: str) -> Progress | None:
    record = store.find(task_id)
    assert record is not None
    return record.progress


# --- In a store ------------------------------------------------------------------------------------------------------


def test_what_runs_may_say_how_far_it_is(store: Store, task_id: str) -> None:
    store.begin(task_id, NAME, owner="a", seconds=60)
    assert of(store, task_id) is None
    for noted in (Progress(0), Progress(1, 3, "rows"), Progress(2.5, 3.0, "")):
        store.note_progress(task_id, noted)
        assert of(store, task_id) == noted


def test_what_does_not_run_is_at_no_point(store: Store, task_id: str) -> None:
    store.note_progress(task_id, Progress(1))
    assert store.find(task_id) is None
    store.add(task_id, NAME)
    store.note_progress(task_id, Progress(1))
    assert of(store, task_id) is None
    store.begin(task_id, NAME, owner="a", seconds=60)
    store.end(task_id, FAILED, owner="a")
    store.note_progress(task_id, Progress(1))
    assert of(store, task_id) is None


def test_it_stays_when_the_attempt_ends_and_while_the_next_one_has_not_said_anything(
    store: Store, task_id: str
) -> None:
    store.begin(task_id, NAME, owner="a", seconds=60)
    store.note_progress(task_id, Progress(1, 3))
    store.end(task_id, RETRYING, owner="a")
    assert of(store, task_id) == Progress(1, 3)
    store.begin(task_id, NAME, owner="b", seconds=60)
    assert of(store, task_id) == Progress(1, 3)
    store.end(task_id, Ending(TaskStatus.SUCCEEDED, result="1"), owner="b")
    assert of(store, task_id) == Progress(1, 3)


def test_it_is_forgotten_when_a_dead_letter_is_sent_back(store: Store, task_id: str) -> None:
    store.begin(task_id, NAME, owner="a", seconds=60, message_id="1")
    store.note_progress(task_id, Progress(1, 3))
    store.end(task_id, FAILED, owner="a")
    assert store.begin(task_id, NAME, owner="b", seconds=60, message_id="2") == 1
    assert of(store, task_id) is None


@pytest.mark.parametrize(
    ("noted", "text"),
    [
        (Progress(3), "3"),
        (Progress(3, 10), "3/10"),
        (Progress(0.5, 1.0, "half"), "0.5/1 half"),
        (Progress(3, note="rows"), "3 rows"),
    ],
)
def test_it_reads_as_it_is_said(noted: Progress, text: str) -> None:
    assert str(noted) == text


# --- In a task -------------------------------------------------------------------------------------------------------


@task(name=NAME, retry=Retry(2))
def works(said: list[list[Any]], context: TaskContext, failures: int = 0) -> None:
    for one in said:
        progress(*one)
    if context.attempt <= failures:
        raise ValueError("no")


@task(name="progress.aworks")
async def aworks(said: list[list[Any]]) -> None:
    for one in said:
        progress(*one)


@task(name="progress.tells_between")
def tells_between() -> list[Any]:
    progress(1, 3)
    progress(2, 3)
    context = current()
    first = TaskHandle(context.id, "").record().progress
    progress(3, 3)
    return [first, TaskHandle(context.id, "").record().progress]


def current() -> TaskContext:
    context = current_context()
    assert context is not None
    return context


@pytest.mark.parametrize("name", [NAME, "progress.aworks"])
def test_a_task_says_it_in_its_record(store: Store, name: str) -> None:
    with using_transport(EagerTransport()), using_store(store):
        handle = {NAME: works, "progress.aworks": aworks}[name].dispatch([[3, 10, "rows"]])  # type: ignore[attr-defined]
        assert handle.record().progress == Progress(3, 10, "rows")


def test_it_is_written_once_a_second_and_always_at_the_end(store: Store) -> None:
    with using_transport(EagerTransport()), using_store(store):
        assert tells_between.dispatch().result() == [[1, 3, ""], [3, 3, ""]]


def test_after_a_second_it_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_notes, "_SECONDS_BETWEEN", 0.05)
    with using_transport(EagerTransport()), using_store(MemoryStore()) as store:
        handle = slowly.dispatch()
    assert of(store, handle.id) == Progress(2)


@task(name="progress.slowly")
def slowly() -> None:
    progress(1)
    time.sleep(0.06)
    progress(2)


def test_two_tasks_do_not_keep_each_other_from_saying_it() -> None:
    with using_transport(EagerTransport()), using_store(MemoryStore()):
        first, second = (works.dispatch([[number, 10]]) for number in (1, 2))  # type: ignore[call-arg]
        assert (first.record().progress, second.record().progress) == (Progress(1, 10), Progress(2, 10))


def test_what_kept_tasks_from_saying_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_notes, "_SECONDS_BETWEEN", 0.0)
    with using_transport(EagerTransport()), using_store(MemoryStore()):
        for number in range(5):
            works.dispatch([[number]])  # type: ignore[call-arg]
    assert len(progress_notes._noted) == 1


def test_a_long_note_is_cut() -> None:
    with using_transport(EagerTransport()), using_store(MemoryStore()):
        noted = works.dispatch([[1, None, "x" * 999]]).record().progress  # type: ignore[call-arg]
    assert noted == Progress(1, None, "x" * 200)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (["1"], TypeError, r"progress takes a number for done, given '1'"),
        ([True], TypeError, r"a number for done, given True"),
        ([Decimal(1)], TypeError, r"a number for done"),
        ([1, "2"], TypeError, r"a number for total, given '2'"),
        ([-1], ValueError, r"a number from 0 on for done, given -1"),
        ([float("nan")], ValueError, r"a number from 0 on for done, given nan"),
        ([1, float("inf")], ValueError, r"a number from 0 on for total, given inf"),
        ([3, 2], ValueError, r"a total that is not less than what is done, given 3 of 2"),
        ([1, 2, 3], TypeError, r"a str for note, given 3"),
    ],
)
def test_what_it_cannot_be_is_refused(said: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        progress(*said)


def test_nothing_of_nothing_is_all_of_it() -> None:
    progress(0, 0)


def test_a_store_that_fails_fails_no_task_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_notes, "_SECONDS_BETWEEN", 0.0)
    with using_transport(EagerTransport()), using_store(BrokenStore("note_progress")):
        handle = works.dispatch([[1], [2], [3]])  # type: ignore[call-arg]
        assert handle.status() is TaskStatus.SUCCEEDED
    found = [one for one in caplog.messages if "how far" in one]
    assert found == ["how far a task is could not be recorded: the task store Records failed: ThrottlingException"]


# --- In the log ------------------------------------------------------------------------------------------------------


def test_without_a_store_the_log_says_it_as_often(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "runtime_lib")
    envelope = Envelope.decode(body_of(NAME, [[1, 3, "rows"], [2, 3], [3, 3]]))
    run(works, envelope, Delivery())
    assert [one for one in caplog.messages if "/" in one] == [f"{NAME}: 1/3 rows", f"{NAME}: 3/3"]
    [record, _] = [one for one in caplog.records if "/" in one.getMessage()]
    assert vars(record)["id"] == envelope.id


def test_outside_of_a_task_only_the_log_says_it_whatever_store_there_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "runtime_lib")
    set_store(BrokenStore("note_progress"))
    try:
        progress(1, 2, "half")
        progress(1.5, 2)
    finally:
        set_store(None)
    assert caplog.messages == ["progress: 1/2 half"]


# --- In a process of its own -----------------------------------------------------------------------------------------

APART = """
from runtime_lib import progress, task

@task(subprocess=True, name="progress.apart")
def apart():
    progress(1, 2)
    progress(2, 2, "done")
"""


class Table(BaseHTTPRequestHandler):
    """Answers for DynamoDB, and keeps what it was asked."""

    asked: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.headers["X-Amz-Target"], body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002


def test_a_task_in_a_process_of_its_own_says_it_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    (tmp_path / "progress_apart.py").write_text(APART)
    monkeypatch.syspath_prepend(str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Table)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv(ENV_STORE, "Records")
        monkeypatch.setenv(ENV_TRACKED, "1")
        with using_transport(EagerTransport()), using_store(MemoryStore()):
            handle = import_module("progress_apart").apart.dispatch()
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert [target.partition(".")[2] for target, _ in Table.asked] == ["UpdateItem"] * 2
    _, request = Table.asked[1]
    assert request["Key"] == {"id": {"S": handle.id}}
    assert '{"S": "[2, 2, \\"done\\"]"}' in json.dumps(request["ExpressionAttributeValues"])
