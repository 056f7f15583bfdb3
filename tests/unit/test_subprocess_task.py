"""Tasks with subprocess=True: what their processes get, what comes back, and how they end."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime_lib import (
    EagerTransport,
    HttpError,
    Reject,
    RetryLater,
    SubprocessError,
    TaskDefinitionError,
    TaskTimeoutError,
    TaskWorker,
    batch_task,
    hooks,
    subprocess_run,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, Discarded, Outcome, RetryAfter, Succeeded, run, run_async
from runtime_lib.testing import api_event
from tests import subprocess_tasks as tasks
from tests.deliveries import TaskQueue, body_of
from tests.polled import until
from tests.task_modules import load, run_program

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WORKER_TASK_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "folders"))
    (tmp_path / "folders").mkdir()
    tasks.started.clear()
    yield
    assert list((tmp_path / "folders").iterdir()) == []  # whatever becomes of a task, its folder goes


def execute(of: Any, *args: Any, delivery: Delivery | None = None, **kwargs: Any) -> Outcome:
    sent = of.signature.to_wire(args, kwargs)
    envelope = Envelope.new(of.name, *sent, priority=Priority.HIGH, headers={"tenant": "a"})
    delivery = delivery or Delivery()
    return asyncio.run(run_async(of, envelope, delivery)) if of.is_async else run(of, envelope, delivery)


def result_of(of: Any, *args: Any, **kwargs: Any) -> Any:
    outcome = execute(of, *args, **kwargs)
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error_of(of: Any, *args: Any, **kwargs: Any) -> BaseException:
    outcome = execute(of, *args, **kwargs)
    assert isinstance(outcome, RetryAfter | DeadLettered), outcome
    assert outcome.error
    return outcome.error


def is_alive(pid: int) -> bool:
    """Whether the process runs; what only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def happens(what: Callable[[], object]) -> None:
    """Wait until it is true, while the event loop goes on."""
    await asyncio.to_thread(until, what, seconds=20)


def written(note: Path) -> tuple[int, int, Path]:
    """The process of a task that hangs, the one that it has started, and its folder."""
    until(note.exists, seconds=20)
    child, grandchild, folder = note.read_text().split(maxsplit=2)
    return int(child), int(grandchild), Path(folder)


# --- What goes in and comes out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, None, "", False, [], {"a": [1, 2.5, "größe\n"]}])
@pytest.mark.parametrize("of", [tasks.returns, tasks.areturns], ids=["def", "async def"])
def test_what_the_task_returns_comes_back(of: Any, value: Any) -> None:
    result = result_of(of, value)
    assert (result, type(result)) == (value, type(value))


def test_the_function_runs_in_another_process_and_session() -> None:
    found = result_of(tasks.surroundings)
    assert found["pid"] != os.getpid()
    assert found["session"] == found["pid"]
    assert tasks.started == []


def test_more_than_a_pipe_holds_goes_both_ways() -> None:
    assert result_of(tasks.measures, "ü" * 1_000_000) == 1_000_000
    assert result_of(tasks.repeats, 3_000_000) == "x" * 3_000_000


def test_typed_arguments_arrive_as_their_types_and_results_as_json() -> None:
    order = tasks.Order(17, datetime(2027, 1, 1, tzinfo=UTC))
    assert result_of(tasks.is_typed, order, timedelta(hours=1), timedelta(seconds=5), flag=True) == {
        "year": 2027,
        "seconds": 3605,
        "flag": True,
        "order": {"number": 17, "at": "2027-01-01T00:00:00Z"},
    }


def test_the_context_and_what_the_library_passes_are_there() -> None:
    deadline = time.time() + 60
    delivery = Delivery(
        attempt=2,
        max_receive_count=4,
        receipt="r",
        queue_url="https://sqs/mail",
        source="sqs:mail",
        deadline=deadline,
        event={"body": "x"},
        lambda_context=object(),
        group="g",
    )
    found = result_of(tasks.knows, 5, delivery=delivery, colour="red")
    assert found["number"] == 5
    assert found["others"] == {"colour": "red", "headers": {"tenant": "a"}}
    assert found["metadata"] | {"timestamp": 0} == {
        "id": found["id"],
        "priority": "high",
        "receipt": "r",
        "timestamp": 0,
        "version": "1.0",
    }
    assert (found["attempt"], found["receipt"], found["chain"]) == (2, "r", found["id"])
    assert 0 < found["remaining"] < 60
    assert found["delivery"] == delivery._replace(lambda_context=None)._asdict()


def test_an_event_that_is_no_json_stays_behind() -> None:
    found = result_of(tasks.knows, 5, delivery=Delivery(event={"at": object()}))
    assert found["delivery"]["event"] is None


def test_what_is_made_of_a_triggers_event_is_made_there() -> None:
    assert result_of(tasks.answers, delivery=Delivery(event=api_event("GET", "/orders/7"))) == "/orders/7"


def test_what_it_dispatches_knows_its_parent(capfd: pytest.CaptureFixture[str]) -> None:
    envelope = Envelope.new(tasks.dispatches.name, [], {}, priority=Priority.DEFAULT)
    assert isinstance(run(tasks.dispatches, envelope, Delivery()), Succeeded)
    assert f"parent={envelope.id} chain={envelope.id} source={envelope.task}" in capfd.readouterr().out


def test_init_tasks_run_first() -> None:
    assert result_of(tasks.is_prepared) == ["prepare"]


def test_hooks_and_middleware_run_here_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def around(context: Any, call_next: Any) -> Any:
        seen.append(os.getpid())
        return {"wrapped": call_next()}

    monkeypatch.setattr(hooks, "around", [around])
    monkeypatch.setattr(hooks, "before", [lambda context: seen.append(context.task)])
    assert result_of(tasks.returns, 5) == {"wrapped": 5}
    assert seen == [tasks.returns.name, os.getpid()]


def test_a_plain_call_runs_here() -> None:
    assert tasks.returns(5) == 5
    assert tasks.started == ["returns"]


def test_its_folder_is_its_own_and_goes_with_it(tmp_path: Path) -> None:
    folder = Path(result_of(tasks.leaves_a_file))
    assert folder.parent == tmp_path / "folders"
    assert not folder.exists()


def test_it_finds_the_same_modules_and_leaves_the_environment_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "layer")])
    monkeypatch.setenv("PYTHONPATH", "/opt/python")
    found = result_of(tasks.surroundings)
    assert str(tmp_path / "layer") in found["sys_path"]
    assert not {"", found["folder"]} & {*found["sys_path"]}  # what it writes there is no module
    assert found["python_path"] == "/opt/python"
    monkeypatch.delenv("PYTHONPATH")
    assert result_of(tasks.surroundings)["python_path"] is None


def test_what_it_starts_inherits_none_of_its_pipes() -> None:
    listed = result_of(tasks.hands_down)
    assert sorted(listed) == ["0", "1", "2", "3"]  # the last is the listing's own


def test_it_has_nothing_to_read_from_stdin() -> None:
    assert result_of(tasks.surroundings)["stdin"] == ""


def test_what_it_prints_goes_where_this_process_prints(capfd: pytest.CaptureFixture[str]) -> None:
    result_of(tasks.prints, "größe")
    out, err = capfd.readouterr()
    assert out == "größe\n"
    assert "größe on stderr\n" in err


def test_what_a_process_leaves_in_its_pipes_is_read(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess_run, "_CHUNK_BYTES", 7)  # so that it has ended long before all is read
    assert result_of(tasks.repeats, 150_000) == "x" * 150_000
    error_of(tasks.ends, "talk")
    assert "x" * 10_000 + "\nthe last line\n" in capfd.readouterr().err


def test_what_a_killed_task_has_printed_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    error_of(tasks.prints_and_hangs, "so far")
    assert capfd.readouterr().out == "so far\n"


def test_a_result_that_is_no_json_is_a_failure_that_says_so() -> None:
    error = error_of(tasks.returns_an_object)
    assert isinstance(error, SubprocessError)
    assert f"{tasks.returns_an_object.name} returned a object, which its process cannot send as JSON" in str(error)


def test_a_process_that_goes_on_after_its_result_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    pid = result_of(tasks.goes_on_after_its_result, "x")
    assert not is_alive(pid)
    assert f"the process of {tasks.goes_on_after_its_result.name} went on after its result" in caplog.text


# --- What it raises --------------------------------------------------------------------------------------------------


def test_an_exception_is_of_its_class_and_tells_where_it_was_raised() -> None:
    error = error_of(tasks.raises, "LookupError")
    assert type(error) is LookupError
    assert error.args == ("no such order", 17)
    [note] = error.__notes__
    assert note.startswith("In the process of the task:\nTraceback (most recent call last):\n")
    assert "in raises\n" in note


def test_exceptions_with_fields_keep_them() -> None:
    out_of_stock, missing = error_of(tasks.araises), error_of(tasks.raises, "FileNotFoundError")
    assert isinstance(out_of_stock, tasks.OutOfStockError)
    assert (str(out_of_stock), out_of_stock.item) == ("tea is out of stock", "tea")
    assert isinstance(missing, FileNotFoundError)
    assert missing.filename == "/nowhere/at/all"
    refused = error_of(tasks.raises, "HttpError")
    assert isinstance(refused, HttpError)
    assert (refused.status, refused.headers, refused.details) == (404, {"X-Shop": "1"}, {"order": 7})


def test_the_retry_policy_knows_the_class() -> None:
    assert isinstance(execute(tasks.raises, "OutOfStockError"), DeadLettered)
    retried = execute(tasks.raises, "LookupError")
    assert isinstance(retried, RetryAfter)
    assert retried.delay == 30


def test_what_a_task_raises_to_instruct_means_what_it_means() -> None:
    later = execute(tasks.raises, "RetryLater")
    assert isinstance(later, RetryAfter)
    assert (later.delay, type(later.error), str(later.error)) == (120, RetryLater, "busy")
    assert execute(tasks.raises, "Discard") == Discarded("done already")
    rejected = execute(tasks.raises, "Reject")
    assert isinstance(rejected, DeadLettered)
    assert (rejected.reason, type(rejected.error)) == ("no such customer", Reject)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("UnspeakableError", "raised tests.subprocess_tasks.UnspeakableError: <object object at"),
        ("CancelledError", "raised asyncio.exceptions.CancelledError"),
        ("a class of another module", "raised sqlite3.IntegrityError: UNIQUE failed"),
    ],
)
def test_an_exception_that_cannot_be_made_here_is_a_subprocess_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str, text: str
) -> None:
    monkeypatch.delitem(sys.modules, "sqlite3", raising=False)
    error = error_of(tasks.raises, what)
    assert type(error) is SubprocessError
    assert str(error).startswith(f"{tasks.raises.name} {text}")
    assert error.exit_code is None
    assert "in raises\n" in error.__notes__[0]
    [logged] = [record for record in caplog.records if record.exc_info]
    assert vars(logged)["notes"] == error.__notes__  # Lambda's JSON lines have the traceback without them
    assert "sqlite3" not in sys.modules  # nothing is imported for a name that came back


def test_an_eager_task_fails_with_its_exception() -> None:
    with using_transport(EagerTransport()), pytest.raises(tasks.OutOfStockError):
        tasks.raises.dispatch("OutOfStockError")


# --- How it ends without an answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "ended", "code"),
    [
        ("abort", "was ended by SIGABRT", -signal.SIGABRT),
        ("segfault", "was ended by SIGSEGV", -signal.SIGSEGV),
        ("be killed", "was ended by SIGKILL (out of memory?)", -signal.SIGKILL),
        ("exit 3", "ended with exit code 3", 3),
        ("exit 0", "ended with exit code 0", 0),
        ("exit with a text", "ended with exit code 1", 1),
    ],
)
def test_how_the_process_ended_is_in_the_error(how: str, ended: str, code: int) -> None:
    error = error_of(tasks.ends, how)
    assert type(error) is SubprocessError
    assert error.exit_code == code
    first, _, rest = str(error).partition("\n")
    assert first == f"the process of {tasks.ends.name} {ended} and without a result; the end of its stderr:"
    assert rest.startswith(f"about to {how}")
    assert ("no disk left" in rest) == (how == "exit with a text")


def test_of_a_long_stderr_the_end_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    text = str(error_of(tasks.ends, "talk"))
    assert text.endswith("xxx\nthe last line")
    assert len(text) < 2_500
    assert "x" * 10_000 in capfd.readouterr().err


def test_the_next_run_is_not_affected() -> None:
    error_of(tasks.ends, "abort")
    assert result_of(tasks.returns, 1) == 1


# --- Time ------------------------------------------------------------------------------------------------------------


def test_at_the_timeout_it_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    started = time.monotonic()
    error = error_of(tasks.hangs, str(tmp_path / "note"))
    assert isinstance(error, TaskTimeoutError)
    assert str(error) == f"{tasks.hangs.name} did not end within 2.5 seconds, its timeout"
    assert 2.5 <= time.monotonic() - started < 10
    child, grandchild, folder = written(tmp_path / "note")
    until(lambda: not is_alive(child) and not is_alive(grandchild))
    assert not folder.exists()


def test_it_is_killed_before_the_functions_deadline(tmp_path: Path) -> None:
    deadline = time.time() + 3
    error = error_of(tasks.hangs_without_timeout, str(tmp_path / "note"), delivery=Delivery(deadline=deadline))
    assert isinstance(error, TaskTimeoutError)
    assert "did not end before its function's deadline" in str(error)
    assert deadline - 0.55 < time.time() < deadline
    child, grandchild, _ = written(tmp_path / "note")
    until(lambda: not is_alive(child) and not is_alive(grandchild))


def test_without_time_left_it_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess_run, "Popen", None)
    assert isinstance(error_of(tasks.returns, 1, delivery=Delivery(deadline=time.time() + 0.4)), TaskTimeoutError)


def test_cancelling_the_task_that_awaits_it_kills_it(tmp_path: Path) -> None:
    note = tmp_path / "note"

    async def cancel() -> None:
        envelope = Envelope.new(tasks.ahangs.name, [str(note)], {}, priority=Priority.DEFAULT)
        running = asyncio.create_task(run_async(tasks.ahangs, envelope, Delivery()))
        await happens(note.exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert list((tmp_path / "folders").iterdir()) == []

    asyncio.run(asyncio.wait_for(cancel(), 30))
    child, grandchild, _ = written(note)
    until(lambda: not is_alive(child) and not is_alive(grandchild))
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("task-subprocess")])


@pytest.mark.parametrize("name", ["hangs_without_timeout", "ahangs"])
def test_when_the_process_that_waits_is_killed_the_other_ends_too(tmp_path: Path, name: str) -> None:
    note = tmp_path / "note"
    program = (
        "from runtime_lib import EagerTransport, using_transport\n"
        "from tests import subprocess_tasks\n"
        "with using_transport(EagerTransport()):\n"
        f"    subprocess_tasks.{name}.dispatch({str(note)!r})\n"
    )
    temporary = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=temporary)
    pids: tuple[int, ...] = ()
    try:
        child, grandchild, folder = written(note)
        pids = (child, grandchild)
        parent.kill()
        parent.wait()
        until(lambda: not is_alive(child) and not is_alive(grandchild))
        assert folder.exists()  # (nobody is left to remove it)
    finally:
        parent.kill()
        parent.wait()
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


# --- Beside other tasks ----------------------------------------------------------------------------------------------


def test_a_worker_goes_on_with_its_other_tasks(mail: TaskQueue, tmp_path: Path) -> None:
    go = tmp_path / "go"
    mail.send(body_of(tasks.computes.name, str(go)))

    async def app() -> None:
        async with TaskWorker(queue="mail", concurrency=2, wait_time_s=1):
            await happens(lambda: list((tmp_path / "folders").iterdir()))  # its process has begun
            mail.send(*(body_of(tasks.counts.name, str(number)) for number in range(5)))
            await happens(lambda: len(tasks.started) == 5)
            assert mail.left() >= 1  # the one that computes
            go.touch()
            await happens(lambda: not mail.left())

    asyncio.run(app())
    assert sorted(tasks.started) == ["0", "1", "2", "3", "4"]
    assert mail.dead_letters() == []


def test_several_run_side_by_side(tmp_path: Path) -> None:
    async def run_all() -> list[Any]:
        bodies = [
            Envelope.new(tasks.computes.name, [str(tmp_path / "go")], {}, priority=Priority.DEFAULT) for _ in range(3)
        ]
        running = [asyncio.create_task(run_async(tasks.computes, one, Delivery())) for one in bodies]
        await happens(lambda: len(list((tmp_path / "folders").iterdir())) == 3)
        (tmp_path / "go").touch()
        return await asyncio.gather(*running)

    assert asyncio.run(asyncio.wait_for(run_all(), 30)) == [Succeeded()] * 3


# --- What it needs, and what it does not -----------------------------------------------------------------------------


def test_nothing_needs_shared_memory() -> None:
    found = result_of(tasks.surroundings)
    assert [name for name in found["modules"] if name.startswith(("multiprocessing", "_multiprocessing"))] == []
    printed = run_program(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from runtime_lib import EagerTransport, using_transport\n"
        "from tests import subprocess_tasks\n"
        "with using_transport(EagerTransport()):\n"
        "    subprocess_tasks.returns.dispatch(1), subprocess_tasks.areturns.dispatch(1)\n"
        "print([name for name in sys.modules if name.startswith(('multiprocessing', '_multiprocessing'))])"
    )
    assert printed == "[]\n"


def test_a_task_without_it_loads_none_of_it() -> None:
    printed = run_program(
        "import sys\n"
        "from runtime_lib import EagerTransport, task, using_transport\n"
        "@task\n"
        "def send(): ...\n"
        "@task(subprocess=True, timeout=5)\n"
        "def never_run(): ...\n"
        "with using_transport(EagerTransport()): send.dispatch()\n"
        "names = 'subprocess signal selectors tempfile shutil runtime_lib.subprocess_run runtime_lib.subprocess_child'\n"
        "names += ' runtime_lib.subprocess_errors runtime_lib.subprocess_task runtime_lib.time_limit'\n"
        "print([name for name in names.split() if name in sys.modules])"
    )
    assert printed == "[]\n"


def test_a_task_of_the_program_itself_is_refused_with_what_to_do() -> None:
    printed = run_program(
        "from runtime_lib import EagerTransport, task, using_transport\n"
        "@task(subprocess=True)\n"
        "def send(): ...\n"
        "try:\n"
        "    with using_transport(EagerTransport()): send.dispatch()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert printed == (
        "TaskDefinitionError __main__.send has subprocess=True and is defined in the program itself, which its process "
        "cannot import: move it to a module, and import that\n"
    )


def test_a_module_that_cannot_be_imported_there_is_named() -> None:
    module = load("from runtime_lib import task\n@task(subprocess=True)\ndef send(): ...")
    error = error_of(module.send)
    assert isinstance(error, TaskDefinitionError)
    assert f"the task module '{module.__name__}' cannot be imported: ModuleNotFoundError" in str(error)


def test_a_batch_task_cannot_have_it() -> None:
    def together(items: list[int]) -> None: ...

    together.__qualname__ = "together"
    with pytest.raises(TaskDefinitionError, match="subprocess=True is for tasks that run one by one"):
        batch_task(subprocess=True)(together)


def test_log_lines_of_the_task_come_out_at_this_process_level(tmp_path: Path) -> None:
    (tmp_path / "logging_shop.py").write_text(
        "import logging\nfrom runtime_lib import task\n"
        "@task(subprocess=True)\ndef send():\n"
        "    logging.getLogger('shop').info('sent')\n"
        "    print(logging.getLogger('runtime_lib').level, flush=True)\n"
    )
    program = (
        "import logging, sys\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "from runtime_lib import EagerTransport, using_transport\n"
        "import logging_shop\n"
        "for level in (logging.WARNING, logging.INFO):\n"
        "    logging.basicConfig(level=level, force=True, format='%(message)s')\n"
        "    logging.getLogger('runtime_lib').setLevel(level + 1)\n"
        "    with using_transport(EagerTransport()): logging_shop.send.dispatch()\n"
        "    print('--', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    quiet, loud = done.stderr.split("--\n")[:2]
    assert "sent" not in quiet
    assert "[INFO] shop: sent\n" in loud
    assert done.stdout == "31\n21\n"
