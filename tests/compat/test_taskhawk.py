"""Messages to and from taskhawk 4.7.0 itself, which runs in an environment of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime_lib import (
    Priority,
    SqsTransport,
    TaskContext,
    clients,
    listen_for_messages,
    process_messages_for_lambda_consumer,
    requeue_dead_letters,
    task,
    using_transport,
)
from runtime_lib.contract import ENV_DEAD_LETTER_QUEUE, taskhawk_queue_name
from runtime_lib.handlers.priority_task_queues import handler
from tasks_cli.cloud import Cloud
from tasks_cli.local.process import LocalCloud
from tests.deliveries import TaskQueue, body_of

pytestmark = pytest.mark.xdist_group("local_cloud")

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv" / "taskhawk" / "bin" / "python"
MAX_RECEIVE_COUNT = 2
PRIORITIES = list(Priority)
ran: list[Any] = []


@task(name="shop.send_email")
def send_email(to: str, subject: str, from_email: str | None = None, **rest: Any) -> None:
    ran.append([to, subject, from_email, rest["headers"], rest["metadata"]["priority"], rest["metadata"]["id"]])


@task(name="shop.render")
async def render(order: float, lines: list[Any], context: TaskContext) -> None:
    ran.append([order, lines, context.priority])


@task(name="shop.fail")
def fail(order: str) -> None:
    """Only taskhawk runs it."""


@task(name="shop.forward")
def forward(to: str) -> None:
    send_email.with_group("tenant-7").with_headers(request_id="7").dispatch(to, "forwarded")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    if not PYTHON.exists():
        pytest.fail(
            f"taskhawk is not installed ({PYTHON} is missing): run 'make .venv/taskhawk/.ready', or 'make test'"
        )
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def queues(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Priority, TaskQueue]]:
    """The app's queues as taskhawk's Terraform generator makes them, each subscribed to its topic."""
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs})
    ran.clear()
    found = {}
    for priority in PRIORITIES:
        queue = TaskQueue(sqs, taskhawk_queue_name("shop", priority), max_receive_count=MAX_RECEIVE_COUNT)
        topic = queue.name.lower()
        arn = sns.create_topic(Name=topic)["TopicArn"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue.arn, Attributes={"RawMessageDelivery": "true"})
        found[priority] = queue
    monkeypatch.setenv(ENV_DEAD_LETTER_QUEUE, found[Priority.DEFAULT].dead_letter_queue)
    yield found
    for topic in sns.list_topics()["Topics"]:
        sns.delete_topic(TopicArn=topic["TopicArn"])
    for queue in found.values():
        queue.delete()


@pytest.fixture
def transport(queues: dict[Priority, TaskQueue]) -> Iterator[SqsTransport]:
    transport = SqsTransport({priority: queue.name for priority, queue in queues.items()})
    with using_transport(transport):
        yield transport


def peer(cloud: Cloud, command: str, priority: Priority) -> Any:
    """What taskhawk prints."""
    done = subprocess.run(
        [PYTHON, HERE / "peer.py", command, priority.value],
        env={**os.environ, "AWS_ENDPOINT_URL": str(cloud.url)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- From here to taskhawk -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("priority", PRIORITIES)
def test_taskhawk_runs_what_is_dispatched_here(
    priority: Priority, cloud: Cloud, queues: dict[Priority, TaskQueue]
) -> None:
    sending = send_email.with_headers(request_id="größer").with_priority(priority)
    handle = sending.dispatch("a@b.c", "Grüße 🎉", from_email="shop@b.c")
    render.with_priority(priority).dispatch(12.5, lines=[1, {"sku": None}])
    email, rendered = sorted(peer(cloud, "consume", priority), key=len, reverse=True)
    assert rendered == {"arguments": [12.5, [1, {"sku": None}]]}
    assert 1_500_000_000_000 < email.pop("timestamp") < 9_999_999_999_999
    assert email == {
        "arguments": ["a@b.c", "Grüße 🎉", "shop@b.c"],
        "headers": {"request_id": "größer"},
        "id": handle.id,
        "priority": priority.value,
        "version": "1.0",
    }
    assert queues[priority].left() == 0


@pytest.mark.usefixtures("transport")
def test_taskhawk_ignores_what_only_this_library_says(cloud: Cloud, queues: dict[Priority, TaskQueue]) -> None:
    queue = queues[Priority.DEFAULT]
    queue.send(body_of("shop.forward", "a@b.c", metadata={"chain": "first", "hops": 2, "group": "g"}))
    assert queue.deliver(lambda event: handler(event, None)) == 1
    [email] = peer(cloud, "consume", Priority.DEFAULT)
    assert (email["arguments"], email["headers"]) == (["a@b.c", "forwarded", None], {"request_id": "7"})


# --- From taskhawk to here -------------------------------------------------------------------------------------------


COPIES = 3
"""Of each message that taskhawk publishes."""


def expected(priority: Priority, email_id: str) -> list[Any]:
    email = ["a@b.c", "Grüße 🎉", "shop@b.c", {"request_id": "größer"}, priority, email_id]
    return [email, [12.5, [1, {"sku": None}], priority]]


@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_worker_runs_what_taskhawk_publishes(
    priority: Priority, cloud: Cloud, queues: dict[Priority, TaskQueue]
) -> None:
    published = peer(cloud, "dispatch", priority)
    listen_for_messages(queue=queues[priority].name, concurrency=10, loop_count=2, wait_time_s=0)
    email, rendered = expected(priority, json.loads(published[0])["id"])
    assert sorted(ran, key=len) == [rendered] * COPIES + [email] * COPIES
    assert queues[priority].left() == 0


def test_the_handler_of_priority_task_queues_runs_what_taskhawk_publishes(
    cloud: Cloud, queues: dict[Priority, TaskQueue]
) -> None:
    published = peer(cloud, "dispatch", Priority.BULK)
    assert queues[Priority.BULK].deliver(lambda event: handler(event, None)) == 2 * COPIES
    email, rendered = expected(Priority.BULK, json.loads(published[0])["id"])
    assert sorted(ran, key=len) == [rendered] * COPIES + [email] * COPIES


@pytest.mark.usefixtures("queues")
def test_a_lambda_consumer_runs_what_taskhawk_publishes(cloud: Cloud) -> None:
    published = peer(cloud, "dispatch", Priority.HIGH)
    notifications = [
        {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": {"Type": "Notification", "Message": payload}}
        for payload in published
    ]
    assert process_messages_for_lambda_consumer({"Records": notifications}, SimpleNamespace()) is None
    assert ran == expected(Priority.HIGH, json.loads(published[0])["id"])


# --- Dead letters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", PRIORITIES)
def test_queues_are_called_as_taskhawk_calls_them(priority: Priority, cloud: Cloud) -> None:
    assert peer(cloud, "names", priority) == [
        taskhawk_queue_name("shop", priority),
        taskhawk_queue_name("shop", priority, dead_letters=True),
    ]


@pytest.mark.usefixtures("transport")
def test_what_taskhawk_gave_up_is_requeued_to_the_queue_that_it_came_from(
    cloud: Cloud, queues: dict[Priority, TaskQueue]
) -> None:
    fail.with_priority(Priority.HIGH).dispatch("order 7")
    for _ in range(MAX_RECEIVE_COUNT):
        assert peer(cloud, "consume", Priority.HIGH) == []
    assert queues[Priority.HIGH].left() == 0
    assert requeue_dead_letters("TASKHAWK-SHOP-HIGH-PRIORITY-DLQ") == 1
    assert [queues[priority].left() for priority in (Priority.HIGH, Priority.DEFAULT)] == [1, 0]


@pytest.mark.usefixtures("transport")
def test_taskhawk_runs_what_was_given_up_here_and_requeued(
    cloud: Cloud, queues: dict[Priority, TaskQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queues[Priority.LOW]
    monkeypatch.setenv(ENV_DEAD_LETTER_QUEUE, queue.dead_letter_queue)
    queue.send(body_of("shop.send_email", "a@b.c", "Hi", metadata={"hops": 99}))
    assert queue.deliver(lambda event: handler(event, None)) == 1
    assert (ran, queue.left()) == ([], 0)
    assert requeue_dead_letters(queue.dead_letter_queue) == 1
    [email] = peer(cloud, "consume", Priority.LOW)
    assert email["arguments"] == ["a@b.c", "Hi", None]
