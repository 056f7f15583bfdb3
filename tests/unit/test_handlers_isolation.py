"""Messages of one batch, and of one environment, have nothing to do with each other."""

import asyncio
import io
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from runtime_lib import RecordingTransport, Retry, TaskContext, current_context, task, using_transport
from runtime_lib.context import Delivery
from runtime_lib.execution import Message, admit, run_async
from runtime_lib.handlers.managed_async_task import handler
from tests.deliveries import TaskQueue, body_of

ran: list[Any] = []
tenant: ContextVar[str] = ContextVar("tenant", default="none")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    ran.clear()
    yield
    ran.clear()


def message(name: str, *args: Any, metadata: dict[str, Any] | None = None, **kwargs: Any) -> str:
    return body_of(f"{__name__}.{name}", *args, metadata=metadata, **kwargs)


@task
def runs(name: str) -> None:
    ran.append(name)


@task
async def aruns(name: str) -> None:
    ran.append(name)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot say")


class NotAnException(BaseException):
    pass


ENDS = {
    "exit": lambda: sys.exit(1),
    "cancelled": lambda: (_ for _ in ()).throw(asyncio.CancelledError()),
    "base exception": lambda: (_ for _ in ()).throw(NotAnException),
    "unprintable": lambda: (_ for _ in ()).throw(UnprintableError),
    "text that UTF-8 has not": lambda: (_ for _ in ()).throw(ValueError("\ud83d")),
}


@task(retry=Retry(3, jitter="none"))
def ends(how: str) -> None:
    ENDS[how]()


@task(retry=Retry(3, jitter="none"))
async def aends(how: str) -> None:
    ENDS[how]()


@pytest.fixture
def strict_log() -> Iterator[io.TextIOWrapper]:
    """A log whose handler raises what it cannot write, as Lambda's does."""

    class Strict(logging.StreamHandler[io.TextIOWrapper]):
        def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (its name in the base class)
            raise  # noqa: PLE0704

    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    written = Strict(stream)
    logger = logging.getLogger("runtime_lib")
    logger.addHandler(written)
    yield stream
    logger.removeHandler(written)


@pytest.mark.usefixtures("strict_log")
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", ["ends", "aends"])
def test_however_a_task_fails_its_neighbours_run_once_and_it_is_retried(name: str, how: str, queue: TaskQueue) -> None:
    queue.send(message("runs", "a"), message(name, how), message("aruns", "b"))
    assert queue.deliver(lambda event: handler(event, None)) == 3
    assert sorted(ran) == ["a", "b"]
    assert queue.left() == 1
    event = queue.event(ApproximateReceiveCount=3)
    assert handler(event, None) == {"batchItemFailures": []}
    [failure] = queue.failures().values()
    assert failure["reason"].startswith("failed at attempt 3: ")


def test_what_cannot_be_logged_is_logged_in_ascii(strict_log: io.TextIOWrapper, queue: TaskQueue) -> None:
    queue.send(message("ends", "text that UTF-8 has not"))
    handler(queue.event(), None)
    strict_log.seek(0)
    assert r"a log record could not be written (UnicodeEncodeError)" in (written := strict_log.read())
    assert r"ValueError('\ud83d')" in written


# --- Nothing of one message reaches the next -------------------------------------------------------------------------


@task
def dispatches(name: str, context: TaskContext) -> None:
    ran.append((tenant.get(), current_context() is context))
    tenant.set(name)
    runs.with_group(name).dispatch(name)


@task
async def adispatches(name: str, context: TaskContext) -> None:
    ran.append((tenant.get(), current_context() is context))
    tenant.set(name)
    await asyncio.sleep(0)
    await runs.with_group(name).adispatch(name)


@task
def plain(name: str) -> None:
    ran.append((tenant.get(), True))
    runs.dispatch(name)


@task
async def aplain(name: str) -> None:
    ran.append((tenant.get(), True))
    await runs.adispatch(name)


@pytest.mark.parametrize("receive_count", [1, 2])
@pytest.mark.parametrize(("first", "then"), [("dispatches", "plain"), ("adispatches", "aplain")])
@pytest.mark.parametrize("is_one_batch", [True, False])
def test_chain_group_and_context_variables_of_one_message_never_reach_another(
    first: str, then: str, is_one_batch: bool, receive_count: int, queue: TaskQueue
) -> None:
    bodies = [message(first, "a", metadata={"chain": "chain-a", "hops": 3}), message(then, "b")]
    with using_transport(RecordingTransport()) as recording:
        for group in [bodies] if is_one_batch else [bodies[:1], bodies[1:]]:
            queue.send(*group)
            assert handler(queue.event(ApproximateReceiveCount=receive_count), None) == {"batchItemFailures": []}
    assert ran == [("none", True), ("none", True)]
    assert (current_context(), tenant.get()) == (None, "none")
    sent = {call.envelope.args[0]: call.envelope.metadata for call in recording.sent}
    assert (sent["a"]["chain"], sent["a"]["hops"], sent["a"]["group"]) == ("chain-a", 4, "a")
    assert (sent["b"]["hops"], sent["b"]["source"]) == (1, f"{__name__}.{then}")
    assert sent["b"]["chain"] == sent["b"]["parent"]
    assert "group" not in sent["b"]


def test_nothing_reaches_whoever_awaits_the_task_itself() -> None:
    async def await_two() -> None:
        for body in (message("adispatches", "a"), message("adispatches", "b")):
            admitted = admit(body, Delivery())
            assert isinstance(admitted, Message)
            await run_async(*admitted, Delivery())

    with using_transport(RecordingTransport()):
        asyncio.run(await_two())
    assert ran == [("none", True), ("none", True)]


# --- async tasks -----------------------------------------------------------------------------------------------------


both_run = asyncio.Barrier(2)


@task
async def waits_for_another(name: str) -> None:
    await asyncio.wait_for(both_run.wait(), timeout=5)
    ran.append(name)


def test_async_tasks_of_a_batch_run_at_the_same_time(queue: TaskQueue) -> None:
    queue.send(message("waits_for_another", "a"), message("waits_for_another", "b"))
    assert handler(queue.event(), None) == {"batchItemFailures": []}
    assert sorted(ran) == ["a", "b"]


@task
async def notes_its_loop() -> None:
    ran.append(asyncio.get_running_loop())


@task
def runs_a_loop_of_its_own() -> None:
    asyncio.run(asyncio.sleep(0))


def test_all_async_tasks_of_an_environment_run_on_one_loop(queue: TaskQueue) -> None:
    for receive_count in (1, 2):
        queue.send(message("notes_its_loop"), message("runs_a_loop_of_its_own"), message("notes_its_loop"))
        assert handler(queue.event(ApproximateReceiveCount=receive_count), None) == {"batchItemFailures": []}
    assert len(ran) == 4
    assert len(set(map(id, ran))) == 1


# --- Logs ------------------------------------------------------------------------------------------------------------


def test_logs_tell_which_message_and_not_what_is_in_it(queue: TaskQueue, caplog: pytest.LogCaptureFixture) -> None:
    chain = {"chain": "the-chain"}
    queue.send(
        message("runs", "s3cret", metadata=chain),
        message("ends", how="s3cret", metadata=chain),
        message("runs", "s3cret", "s3cret", metadata=chain),
    )
    with caplog.at_level("DEBUG"):
        event = queue.event(ApproximateReceiveCount=3)
        handler(event, None)
    ours = [record for record in caplog.records if record.name == "runtime_lib"]
    assert [(record.levelname, record.task.rpartition(".")[2]) for record in ours] == [
        ("INFO", "runs"),
        ("ERROR", "ends"),
        ("ERROR", "runs"),
    ]
    assert {(record.attempt, record.chain, len(record.id)) for record in ours} == {(3, "the-chain", 36)}
    assert "s3cret" not in "".join(record.getMessage() for record in ours if record.levelname == "INFO")
    assert "s3cret" not in ours[2].getMessage()
