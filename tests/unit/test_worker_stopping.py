"""How a polling worker stops, and how it lives on an app's event loop."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_lib import TaskWorker, listen_for_messages, task
from runtime_lib.errors import TaskError
from tests.deliveries import TaskQueue, body_of
from tests.polled import DENIED, Answers, Requests, asked, listen, until

ran: list[Any] = []
may_end = threading.Event()
barrier: Any = None
"""Where the test and a task meet."""


@pytest.fixture(autouse=True)
def fresh(mail: TaskQueue) -> Iterator[None]:
    ran.clear()
    may_end.clear()
    yield
    may_end.set()


@task
def runs(name: str) -> None:
    ran.append(name)


@task
async def aruns(name: str) -> None:
    ran.append(name)


@task
async def ameets(name: str) -> None:
    async with asyncio.timeout(5):
        await barrier.wait()
    ran.append(name)


@task
def waits(name: str) -> None:
    ran.append(name)
    may_end.wait(10)


@task
async def awaits(name: str) -> None:
    ran.append(name)
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        ran.append("cancelled")
        raise


def body(name: str, *args: Any) -> str:
    return body_of(f"{__name__}.{name}", *args)


# --- Stopping --------------------------------------------------------------------------------------------------------


def test_a_worker_told_to_stop_receives_nothing(mail: TaskQueue, requests: Requests) -> None:
    shutdown = threading.Event()
    shutdown.set()
    listen_for_messages(queue="mail", shutdown_event=shutdown)
    assert asked(requests, "ReceiveMessage") == []


def test_what_arrives_after_the_stop_is_returned_at_once(mail: TaskQueue, sqs: Any) -> None:
    shutdown = threading.Event()

    def stop(**_: Any) -> None:
        shutdown.set()

    mail.send(body("runs", "Ada"), body("runs", "Bob"))
    sqs.meta.events.register("after-call.sqs.ReceiveMessage", stop)
    try:
        listen_for_messages(queue="mail", shutdown_event=shutdown, concurrency=2)
    finally:
        sqs.meta.events.unregister("after-call.sqs.ReceiveMessage", stop)
    assert ran == []
    assert len(mail.event()["Records"]) == 2


def test_a_shutdown_event_lets_the_running_task_finish(mail: TaskQueue) -> None:
    shutdown = threading.Event()
    mail.send(body("waits", "Ada"), body("waits", "Bob"))
    worker = threading.Thread(target=listen_for_messages, kwargs={"queue": "mail", "shutdown_event": shutdown})
    worker.start()
    until(lambda: ran)
    shutdown.set()
    worker.join(0.5)
    assert worker.is_alive()
    may_end.set()
    worker.join(5)
    assert not worker.is_alive()
    assert len(ran) == 1
    assert mail.left() == 1


@pytest.mark.parametrize("name", ["waits", "awaits"])
def test_past_the_grace_period_the_worker_ends_and_the_message_stays(mail: TaskQueue, name: str) -> None:
    mail.send(body(name, "Ada"))
    started = time.monotonic()
    listen(grace_period_s=0.3)
    assert 0.3 <= time.monotonic() - started < 3
    assert mail.left() == 1
    assert ran == (["Ada"] if name == "waits" else ["Ada", "cancelled"])


def test_signal_handlers_are_restored() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    listen()
    assert [signal.getsignal(number) for number in numbers] == before


def test_no_thread_is_left(mail: TaskQueue) -> None:
    mail.send(body("runs", "Ada"))
    listen()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("task-worker")])


# --- On an app's event loop ------------------------------------------------------------------------------------------


def test_a_task_worker_runs_in_a_lifespan_without_blocking_the_loop(mail: TaskQueue) -> None:
    async def app() -> None:
        mail.send(body("waits", "Ada"), body("aruns", "Bob"))
        async with TaskWorker(queue="mail", concurrency=2, wait_time_s=1):
            await asyncio.to_thread(until, lambda: len(ran) == 2)
            may_end.set()  # which one of them waits for

    asyncio.run(app(), debug=True)
    assert sorted(ran) == ["Ada", "Bob"]
    assert mail.left() == 0


def test_async_tasks_run_on_the_loop_of_the_app(mail: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app() -> None:
        monkeypatch.setattr(sys.modules[__name__], "barrier", asyncio.Barrier(2))
        mail.send(body("ameets", "Ada"))
        async with TaskWorker(queue="mail", wait_time_s=1), asyncio.timeout(5):
            await barrier.wait()

    asyncio.run(app())
    assert len(ran) == 1


def test_past_the_grace_period_a_lifespan_ends_with_its_async_tasks_cancelled(mail: TaskQueue) -> None:
    async def app() -> None:
        mail.send(body("awaits", "Ada"))
        async with TaskWorker(queue="mail", wait_time_s=1, grace_period_s=0.2):
            await asyncio.to_thread(until, lambda: ran)
        assert ran == ["Ada", "cancelled"]

    asyncio.run(app())
    assert mail.left() == 1


def test_cancelling_run_lets_the_running_task_finish(mail: TaskQueue) -> None:
    async def app() -> None:
        mail.send(body("waits", "Ada"))
        working = asyncio.create_task(TaskWorker(queue="mail", wait_time_s=1).run())
        await asyncio.to_thread(until, lambda: ran)
        working.cancel()
        await asyncio.sleep(0.2)
        assert not working.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await working

    asyncio.run(app())
    assert mail.left() == 0


def test_cancelling_run_again_ends_it_at_once(mail: TaskQueue) -> None:
    async def app() -> None:
        mail.send(body("waits", "Ada"))
        working = asyncio.create_task(TaskWorker(queue="mail", wait_time_s=1).run())
        await asyncio.to_thread(until, lambda: ran)
        for _ in range(2):
            working.cancel()
            await asyncio.sleep(0.1)
        assert working.cancelled()

    asyncio.run(app())
    assert mail.left() == 1


def test_a_worker_that_ends_in_a_lifespan_is_logged_at_once_and_raises_at_its_end(
    answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    async def app() -> None:
        answers("ReceiveMessage", DENIED)
        async with TaskWorker(queue="mail"):
            await asyncio.to_thread(until, lambda: "the worker has ended" in caplog.text)
            ran.append("logged")

    with pytest.raises(TaskError, match="a worker cannot poll mail"):
        asyncio.run(app())
    assert ran == ["logged"]


def test_a_missing_queue_is_raised_where_the_lifespan_begins() -> None:
    async def app() -> None:
        async with TaskWorker(queue="absent"):
            ran.append("began")

    with pytest.raises(TaskError, match="a worker cannot poll absent"):
        asyncio.run(app())
    assert ran == []
