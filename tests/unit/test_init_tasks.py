"""Functions that run before the first task of an environment, and values made when they are needed."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime_lib import (
    EagerTransport,
    TaskDefinitionError,
    TaskError,
    TaskWorker,
    hooks,
    init_task,
    lazy_value,
    task,
    using_transport,
)
from tests.runtime_api import RuntimeApi
from tests.unit.conftest import TaskQueue

ROOT = Path(__file__).parents[2]
seen: list[str] = []


@pytest.fixture(autouse=True)
def no_init_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "starting", [])
    seen.clear()


@task
def send() -> None:
    seen.append("task")


@task
async def send_async() -> None:
    seen.append("async task")


def noting(name: str) -> Any:
    return lambda: seen.append(name)


def test_init_tasks_run_once_in_their_order_before_the_first_eager_task() -> None:
    init_task(noting("first"))
    init_task(noting("second"))
    with using_transport(EagerTransport()):
        send.dispatch()
        send.dispatch()
    assert seen == ["first", "second", "task", "task"]


def test_a_worker_runs_them_before_it_receives(mail: TaskQueue, sqs: Any) -> None:
    init_task(noting("init"))

    async def work() -> None:
        await TaskWorker(queue=mail.url, loop_count=1, wait_time_s=0, client=sqs).run()

    asyncio.run(work())
    asyncio.run(work())
    assert seen == ["init"]


def test_a_failing_one_names_itself_and_runs_again_with_those_behind_it() -> None:
    @init_task
    def connect() -> None:
        seen.append("connect")
        if len(seen) == 1:
            raise OSError("no database")

    init_task(noting("behind"))
    with using_transport(EagerTransport()):
        with pytest.raises(TaskError, match=r"the init task .*connect failed: OSError: no database") as caught:
            send.dispatch()
        assert isinstance(caught.value.__cause__, OSError)
        send.dispatch()
    assert seen == ["connect", "connect", "behind", "task"]


def test_sys_exit_in_an_init_task_is_a_failure_with_its_name() -> None:
    init_task(lambda: exit(3))  # noqa: PLR1722
    with pytest.raises(TaskError, match="SystemExit: 3"):
        hooks.run_init_tasks()


def test_threads_run_them_once_and_no_task_runs_before_their_end() -> None:
    begun = threading.Event()

    @init_task
    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        seen.append("init")

    def dispatch() -> None:
        with using_transport(EagerTransport()):
            send.dispatch()

    threads = [threading.Thread(target=dispatch) for _ in range(5)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["init", *["task"] * 5]


def test_an_init_task_may_dispatch_eagerly() -> None:
    @init_task
    def first() -> None:
        seen.append("first")
        send.dispatch()
        send_async.dispatch()  # (in a thread of its own, if a loop is running)

    async def start() -> None:
        with using_transport(EagerTransport()):
            send.dispatch()

    init_task(noting("second"))
    asyncio.run(start())
    assert seen == ["first", "task", "async task", "second", "task"]


def test_what_cannot_run_during_init_is_refused() -> None:
    async def connect() -> None: ...

    with pytest.raises(
        TaskDefinitionError, match=r"the init task .*connect is async: it runs before there is an event"
    ):
        init_task(connect)
    with pytest.raises(TaskDefinitionError, match="an init task is a function, given 5"):
        init_task(5)  # type: ignore[type-var]


# --- In Lambda -------------------------------------------------------------------------------------------------------

MODULE = """
from runtime_lib import init_task, task

print("imported")

@init_task
def warm():
    print("warm")

@init_task
def check():
    {check}

@task
def send():
    print("task")
"""


@pytest.fixture(scope="module")
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as api:
        yield api


def lambda_root(tmp_path: Path, check: str) -> Path:
    (tmp_path / "shop.py").write_text(MODULE.format(check=check))
    (tmp_path / "runtime_lib").symlink_to(ROOT / "runtime_lib")
    return tmp_path


def test_lambda_runs_them_once_during_init(api: RuntimeApi, tmp_path: Path) -> None:
    root = lambda_root(tmp_path, "print('check')")
    event = {"target": "shop:send", "payload": {"body": "{}"}}
    handler = "runtime_lib.handlers.background_task_function.handler"
    with api.function(handler, root, {"TASK_MODULES": "shop"}) as function:
        first, second = function.invoke(event), function.invoke(event)
    lines = [line for line in first.output.splitlines() if line in {"imported", "warm", "check", "task"}]
    assert lines == ["imported", "warm", "check", "task"]
    assert "warm" not in second.output


def test_one_that_fails_in_lambda_is_an_error_of_init_with_its_name(api: RuntimeApi, tmp_path: Path) -> None:
    root = lambda_root(tmp_path, "raise OSError('no database')")
    handler = "runtime_lib.handlers.background_task_function.handler"
    with api.function(handler, root, {"TASK_MODULES": "shop"}) as function:
        result = function.invoke({})
    assert result.kind == "error"
    assert result.body["errorMessage"] == "the init task shop.check failed: OSError: no database"


# --- Lazy values -----------------------------------------------------------------------------------------------------


def test_a_lazy_value_is_made_when_it_is_first_needed_and_once() -> None:
    @lazy_value
    def connection() -> object:
        seen.append("made")
        return object()

    assert seen == []
    assert connection() is connection()
    assert seen == ["made"]
    assert connection.__name__ == "connection"


def test_a_falsy_lazy_value_is_made_once() -> None:
    nothing = lazy_value(lambda: seen.append("made"))
    assert (nothing(), nothing()) == (None, None)
    assert seen == ["made"]


def test_threads_get_the_same_lazy_value() -> None:
    @lazy_value
    def slow() -> object:
        time.sleep(0.05)
        seen.append("made")
        return object()

    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(slow())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(set(map(id, got))), seen) == (5, 1, ["made"])


def test_a_factory_that_raised_is_called_again() -> None:
    @lazy_value
    def flaky() -> int:
        seen.append("made")
        return 1 // (len(seen) - 1)

    with pytest.raises(ZeroDivisionError):
        flaky()
    assert (flaky(), flaky(), len(seen)) == (1, 1, 2)


def test_an_async_factory_is_refused() -> None:
    async def connect() -> None: ...

    for factory in (connect, 5):
        with pytest.raises(TaskDefinitionError, match="lazy_value takes a def function without parameters"):
            lazy_value(factory)  # type: ignore[arg-type]
