"""Worker processes that are stopped, killed and started again, on the queues of a local cloud."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from runtime_lib import SqsTransport, dispatch_task, using_transport
from tasks_cli.cloud import Cloud
from tasks_cli.local import inspection
from tasks_cli.local.process import LocalCloud
from tests.deliveries import TaskQueue, body_of
from tests.deployed import wait_for

pytestmark = pytest.mark.xdist_group("local_cloud")

ROOT = Path(__file__).parents[2]

JOBS = """
import asyncio, json, os, signal, time
from runtime_lib import TaskContext, task

def mark(kind, name, context):
    with open(os.environ["MARKS"], "a") as marks:
        marks.write(json.dumps({"kind": kind, "name": name, "attempt": context.attempt}) + "\\n")

def may_end():
    return os.path.exists(os.environ["MAY_END"])

@task
def work(name: str, context: TaskContext) -> None:
    mark("begun", name, context)
    while not may_end():
        time.sleep(0.02)
    mark("ended", name, context)

@task
async def awork(name: str, context: TaskContext) -> None:
    mark("begun", name, context)
    while not may_end():
        await asyncio.sleep(0.02)
    mark("ended", name, context)

@task(retry="never")
def fail(name: str, context: TaskContext) -> None:
    mark("begun", name, context)
    raise LookupError(f"no such order: {name}")

@task(retry="never")
def die(name: str, context: TaskContext) -> None:
    mark("begun", name, context)
    os.kill(os.getpid(), signal.SIGKILL)
"""

LISTEN = """
import json, sys
from runtime_lib import listen_for_messages
listen_for_messages(modules=["jobs"], wait_time_s=1, **json.loads(sys.argv[1]))
"""

RUN = """
import asyncio, json, sys
from runtime_lib import TaskWorker
asyncio.run(TaskWorker(modules=["jobs"], wait_time_s=1, **json.loads(sys.argv[1])).run())
"""


class Shop:
    """A queue, the processes that work on it, and the marks of their tasks."""

    def __init__(self, cloud: Cloud, folder: Path, queue: TaskQueue) -> None:
        (folder / "jobs.py").write_text(JOBS)
        self.cloud = cloud
        self.queue = queue
        self._marks = folder / "marks"
        self._may_end = folder / "may_end"
        self._environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": str(cloud.url),
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "MARKS": str(self._marks),
            "MAY_END": str(self._may_end),
        }

    def dispatch(self, task: str, *args: Any) -> None:
        with using_transport(SqsTransport(self.queue.url, client=self.cloud.client("sqs"))):
            dispatch_task(f"jobs.{task}", *args)

    @contextmanager
    def worker(self, code: str = LISTEN, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs the worker; it is killed at the end of the block, if it is still there."""
        command = [sys.executable, "-c", code, json.dumps({"queue": self.queue.url, **options})]
        process = subprocess.Popen(command, env=self._environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def let_tasks_end(self) -> None:
        """Until then, those of ``work`` and ``awork`` go on."""
        self._may_end.touch()

    def marks(self, kind: str) -> list[str]:
        return [mark["name"] for mark in self._all_marks() if mark["kind"] == kind]

    def attempts(self, kind: str) -> list[int]:
        return [mark["attempt"] for mark in self._all_marks() if mark["kind"] == kind]

    def _all_marks(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._marks.read_text().splitlines()] if self._marks.exists() else []

    def wait_for_marks(self, kind: str, count: int) -> None:
        wait_for(lambda: len(self.marks(kind)) >= count)

    def finish(self, **options: Any) -> None:
        """Let another worker do what is left."""
        self.let_tasks_end()
        with self.worker(**options) as process:
            wait_for(lambda: self.queue.left() == 0)
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def shop(cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest) -> Shop:
    """A parameter, if there is one, is the max_receive_count of its queue."""
    limit = getattr(request, "param", 5)
    return Shop(cloud, tmp_path, TaskQueue(cloud.client("sqs"), f"shop-{uuid4().hex}", max_receive_count=limit))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_tasks_finish_and_leaves_the_rest_in_the_queue(
    shop: Shop, number: signal.Signals
) -> None:
    names = ["Ada", "Bob", "Cem", "Dee"]
    for name in names:
        shop.dispatch("awork" if name == "Bob" else "work", name)
    with shop.worker(concurrency=2) as process:
        shop.wait_for_marks("begun", 2)
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        shop.let_tasks_end()
        assert process.wait(10) == 0
    assert sorted(shop.marks("ended")) == sorted(shop.marks("begun")) == ["Ada", "Bob"]
    left = inspection.queued_messages(shop.cloud, shop.queue.url)
    assert [(message.receive_count, message.is_visible) for message in left] == [(0, True), (0, True)]
    shop.finish(concurrency=2)
    assert sorted(shop.marks("ended")) == names


def test_a_second_signal_ends_the_process_at_once(shop: Shop) -> None:
    shop.dispatch("work", "Ada")
    with shop.worker() as process:
        shop.wait_for_marks("begun", 1)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
    assert shop.queue.left() == 1


def test_past_the_grace_period_a_process_ends_although_a_task_does_not(shop: Shop) -> None:
    shop.dispatch("work", "Ada")
    with shop.worker(grace_period_s=0.5) as process:
        shop.wait_for_marks("begun", 1)
        process.terminate()
        assert process.wait(10) == 0
    assert shop.marks("ended") == []
    assert shop.queue.left() == 1


def test_ctrl_c_stops_a_task_worker_gracefully(shop: Shop) -> None:
    shop.dispatch("work", "Ada")
    with shop.worker(RUN) as process:
        shop.wait_for_marks("begun", 1)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        shop.let_tasks_end()
        assert process.wait(10) == -signal.SIGINT
    assert shop.marks("ended") == ["Ada"]
    assert shop.queue.left() == 0


def test_the_message_of_a_killed_process_runs_in_another_one(shop: Shop) -> None:
    shop.dispatch("work", "Ada")
    with shop.worker(visibility_timeout_s=1) as process:
        shop.wait_for_marks("begun", 1)
        process.kill()
        process.wait()
    shop.finish()
    assert shop.attempts("begun") == [1, 2]
    assert shop.attempts("ended") == [2]


def test_a_task_longer_than_the_visibility_timeout_runs_once(shop: Shop) -> None:
    with shop.worker(visibility_timeout_s=2, concurrency=2), shop.worker(visibility_timeout_s=2, concurrency=2):
        shop.dispatch("work", "Ada")
        shop.dispatch("awork", "Bob")
        shop.wait_for_marks("begun", 2)
        time.sleep(3)
        shop.let_tasks_end()
        wait_for(lambda: shop.queue.left() == 0)
    assert sorted(shop.marks("begun")) == sorted(shop.marks("ended")) == ["Ada", "Bob"]


@pytest.mark.parametrize("shop", [2], indirect=True)
def test_a_message_that_kills_its_process_takes_no_neighbour_with_it(shop: Shop) -> None:
    names = ["Ada", "Bob", "Eve", "Cem"]
    for name in names:
        shop.dispatch("die" if name == "Eve" else "work", name)
    shop.let_tasks_end()
    with shop.worker(visibility_timeout_s=1) as process:
        assert process.wait(10) == -signal.SIGKILL
    shop.finish()
    assert Counter(shop.marks("begun")) == Counter(names)
    assert sorted(shop.marks("ended")) == ["Ada", "Bob", "Cem"]
    [failure] = shop.queue.failures().values()
    assert failure["reason"] == "1 deliveries ended without a report: timeout, out of memory or killed"


def test_failures_are_dead_lettered_with_their_reason_and_neighbours_run_once(shop: Shop) -> None:
    names = [f"order {number}" for number in range(12)]
    for number, name in enumerate(names):
        if number % 4 == 3:
            shop.dispatch("fail", name)
        else:
            shop.dispatch("work" if number % 2 else "awork", name)
    shop.finish(concurrency=10)
    assert Counter(shop.marks("begun")) == Counter(names)
    failures = {json.loads(body)["args"][0]: failure for body, failure in shop.queue.failures().items()}
    assert {name: failure["reason"] for name, failure in failures.items()} == {
        name: f"failed at attempt 1: LookupError: no such order: {name}" for name in names[3::4]
    }
    assert {failure["source"] for failure in failures.values()} == {f"sqs:{shop.queue.url.rpartition('/')[2]}"}


def test_a_notification_of_a_topic_runs(shop: Shop) -> None:
    topics: Any = shop.cloud.client("sns")
    topic = topics.create_topic(Name="orders")["TopicArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=shop.queue.arn)
    topics.publish(TopicArn=topic, Message=body_of("jobs.work", "Ada"))
    shop.finish()
    assert shop.marks("ended") == ["Ada"]
