"""The polling worker: what becomes of the messages of its queue, its options, and errors of AWS."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_lib import (
    Priority,
    RecordingTransport,
    Retry,
    RetryLater,
    TaskWorker,
    clients,
    current_context,
    listen_for_messages,
    polling,
    registry,
    set_transport,
    task,
    using_transport,
)
from runtime_lib.errors import TaskDefinitionError, TaskError
from tests.deliveries import TaskQueue, body_of
from tests.polled import DENIED, UNREACHABLE, Answers, Requests, asked, listen, until

pytestmark = pytest.mark.usefixtures("mail")

ran: list[Any] = []
barrier: Any = None
"""Set by a test; what meets there runs side by side."""
may_end = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    ran.clear()
    may_end.clear()
    yield
    may_end.set()
    set_transport(None)


@task
def runs(name: str) -> None:
    ran.append(name)


@task
async def aruns(name: str) -> None:
    ran.append(name)


@task
def meets(name: str) -> None:
    barrier.wait(5)
    ran.append((name, current_context().id, threading.current_thread().name))


@task
async def ameets(name: str) -> None:
    async with asyncio.timeout(5):
        await barrier.wait()
    ran.append((name, current_context().id, threading.current_thread().name))


@task(retry=Retry(3, first_delay=0))
def fails(name: str) -> None:
    ran.append(current_context().attempt)
    raise LookupError("no such order")


@task(retry="never")
def fails_for_good(name: str) -> None:
    raise LookupError("no such order")


@task
def asks(name: str) -> None:
    raise RetryLater(120)


@task
def dispatches(name: str) -> None:
    runs.dispatch(name)


@task
async def adispatches(name: str) -> None:
    await runs.adispatch(name)


@task
def waits(name: str) -> None:
    ran.append(name)
    may_end.wait(10)


def body(name: str, *args: Any) -> str:
    return body_of(f"{__name__}.{name}", *args)


# --- Running ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["runs", "aruns"])
def test_a_task_runs_and_its_message_is_deleted(mail: TaskQueue, name: str) -> None:
    mail.send(body(name, "Ada"))
    listen()
    assert ran == ["Ada"]
    assert mail.left() == 0


@pytest.mark.parametrize(("name", "kind"), [("meets", threading.Barrier), ("ameets", asyncio.Barrier)])
def test_tasks_run_side_by_side_each_with_its_own_context(
    mail: TaskQueue, monkeypatch: pytest.MonkeyPatch, name: str, kind: Any
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "barrier", kind(3))
    bodies = [body(name, str(number)) for number in range(3)]
    mail.send(*bodies)
    listen(concurrency=3, requests=2)
    assert {(who, envelope_id) for who, envelope_id, _ in ran} == {
        (str(number), json.loads(text)["id"]) for number, text in enumerate(bodies)
    }
    assert len({thread for _, _, thread in ran}) == (3 if name == "meets" else 1)


def test_no_more_is_received_than_can_start_at_once(mail: TaskQueue, requests: Requests) -> None:
    mail.send(*(body("waits", str(number)) for number in range(5)))
    shutdown = threading.Event()
    worker = threading.Thread(
        target=listen_for_messages, kwargs={"queue": "mail", "concurrency": 3, "shutdown_event": shutdown}
    )
    worker.start()
    try:
        until(lambda: len(ran) == 3)
        time.sleep(0.3)
        assert sorted(ran) == ["0", "1", "2"]
        assert [params["MaxNumberOfMessages"] for params in asked(requests, "ReceiveMessage")] == [3]
    finally:
        shutdown.set()
        may_end.set()
        worker.join(10)
    assert mail.left() == 2


def test_a_failing_message_does_not_disturb_its_neighbours(mail: TaskQueue) -> None:
    mail.send(body("runs", "Ada"), body("fails", "Bob"), "not json", body("aruns", "Cem"))
    listen(concurrency=4)
    assert sorted(map(str, ran)) == ["1", "Ada", "Cem"]
    assert mail.left() == 1
    assert list(mail.failures()) == ["not json"]


def test_an_exhausted_message_is_in_the_dead_letter_queue_with_its_reason(mail: TaskQueue) -> None:
    text = body("fails", "Ada")
    mail.send(text)
    listen(requests=4)
    assert ran == [1, 2, 3]
    assert mail.left() == 0
    failure = mail.failures()[text]
    assert failure["reason"] == "failed at attempt 3: LookupError: no such order"
    assert (failure["attempts"], failure["source"], failure["chain"]) == (3, "sqs:mail", json.loads(text)["id"])


def test_a_message_is_given_up_before_its_queue_would_move_it_without_a_reason(mail: TaskQueue) -> None:
    text = body("runs", "Ada")
    mail.send(text)
    for _ in range(3):  # deliveries that end without a report
        [message] = clients.client("sqs").receive_message(QueueUrl=mail.url)["Messages"]
        clients.client("sqs").change_message_visibility(
            QueueUrl=mail.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    listen()
    assert ran == []
    assert "3 deliveries ended without a report" in mail.failures()[text]["reason"]


def test_the_dead_letter_queue_that_is_given_comes_before_the_queues_own(mail: TaskQueue, sqs: Any) -> None:
    other = sqs.create_queue(QueueName="other")["QueueUrl"]
    text = body("fails_for_good", "Ada")
    mail.send(text)
    listen(dead_letter_queue="other")
    [letter] = sqs.receive_message(QueueUrl=other)["Messages"]
    assert letter["Body"] == text
    assert mail.failures() == {}


def test_without_a_dead_letter_queue_the_message_stays_and_the_log_says_so(
    sqs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queue = TaskQueue(sqs, "bare")
    queue.send(body("fails_for_good", "Ada"))
    listen("bare")
    assert queue.left() == 1
    assert "bare has no dead letter queue" in caplog.text
    assert "given up" in caplog.records[-1].message
    assert "LookupError: no such order" in caplog.records[-1].message


def test_retry_later_hides_the_message_for_its_delay(mail: TaskQueue, requests: Requests) -> None:
    mail.send(body("asks", "Ada"))
    listen()
    [changed] = asked(requests, "ChangeMessageVisibility")
    assert changed["VisibilityTimeout"] == 120
    assert mail.left() == 1


def test_a_message_wrapped_by_sns_runs(mail: TaskQueue) -> None:
    mail.send(json.dumps({"Type": "Notification", "TopicArn": "arn:…", "Message": body("runs", "Ada")}))
    listen()
    assert ran == ["Ada"]


def test_a_transport_set_once_is_seen_by_the_threads_of_tasks(mail: TaskQueue) -> None:
    recording = RecordingTransport()
    set_transport(recording)
    text = body("dispatches", "Ada")
    mail.send(text)
    listen()
    [call] = recording.sent
    assert (call.envelope.args, call.envelope.metadata["parent"]) == (["Ada"], json.loads(text)["id"])


@pytest.mark.parametrize("name", ["dispatches", "adispatches"])
def test_tasks_have_the_context_variables_of_where_the_worker_was_started(mail: TaskQueue, name: str) -> None:
    mail.send(body(name, "Ada"))
    with using_transport(RecordingTransport()) as recording:
        listen()
    assert [call.envelope.args for call in recording.sent] == [["Ada"]]


# --- Options ---------------------------------------------------------------------------------------------------------


def test_taskhawks_positional_arguments_keep_their_meaning(
    mail: TaskQueue, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_ROUTE__DEFAULT__HIGH", "sqs:mail")
    mail.send(body("runs", "Ada"), body("runs", "Bob"), body("runs", "Cem"))
    listen_for_messages(Priority.high, 1, 60, 2, threading.Event(), concurrency=3)
    received = asked(requests, "ReceiveMessage")
    assert [(one["MaxNumberOfMessages"], one["VisibilityTimeout"]) for one in received] == [(1, 60), (1, 60)]
    assert sorted(ran) == ["Ada", "Bob"]


def test_the_request_is_one_that_every_supported_boto3_knows(mail: TaskQueue, requests: Requests) -> None:
    listen()
    [received] = asked(requests, "ReceiveMessage")
    assert received["AttributeNames"] == ["All"]
    assert "MessageSystemAttributeNames" not in received
    assert received["VisibilityTimeout"] == 300, "the queue's own"


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ({"TASK_ROUTE__SHOP__HIGH": "sqs:urgent", "TASK_ROUTE__SHOP": "sqs:all"}, "urgent"),
        ({"TASK_ROUTE__SHOP__LOW": "sqs:slow", "TASK_ROUTE__SHOP": "sqs:all"}, "all"),
    ],
)
def test_the_queue_is_the_one_that_the_routes_name(
    monkeypatch: pytest.MonkeyPatch, sqs: Any, routes: dict[str, str], found: str
) -> None:
    for variable, route in routes.items():
        monkeypatch.setenv(variable, route)
    queue = TaskQueue(sqs, found)
    queue.send(body("runs", "Ada"))
    listen_for_messages(Priority.HIGH, loop_count=1, namespace="shop")
    assert ran == ["Ada"]
    queue.delete()


def test_no_queue_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(TaskError, match=r"pass queue=.*TASK_ROUTE__MAIL__BULK \(or TASK_ROUTE__MAIL, .*'sqs:<queue"):
        TaskWorker(Priority.BULK, namespace="mail")


@pytest.mark.parametrize("route", ["lambda:mailer", "mailer"])
def test_a_route_that_is_no_queue_is_an_error(monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    monkeypatch.setenv("TASK_ROUTE__DEFAULT", route)
    with pytest.raises(TaskError, match=f"TASK_ROUTE__DEFAULT is '{route}'"):
        TaskWorker()


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("concurrency", 0, "1 or more"),
        ("num_messages", 0, "1 to 10"),
        ("num_messages", 11, "1 to 10"),
        ("visibility_timeout_s", 0, "1 to 43200"),
        ("visibility_timeout_s", 43_201, "1 to 43200"),
        ("wait_time_s", 21, "0 to 20"),
        ("loop_count", -1, "0 or more"),
        ("grace_period_s", -1, "0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused(option: str, value: int, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is {allowed}, given {value}"):
        TaskWorker(queue="mail", **{option: value})


def test_a_missing_queue_is_an_error_that_names_it() -> None:
    with pytest.raises(TaskError, match=r"a worker cannot poll absent: .*does not exist"):
        listen("absent")


def test_a_fifo_queue_is_refused() -> None:
    with pytest.raises(TaskError, match=r"cannot poll mail.fifo: .* use a standard queue"):
        listen("mail.fifo")


def test_a_queue_without_visibility_timeout_is_refused(sqs: Any) -> None:
    sqs.create_queue(QueueName="instant", Attributes={"VisibilityTimeout": "0"})
    with pytest.raises(TaskError, match="its visibility timeout is 0; pass visibility_timeout_s"):
        listen("instant")


def test_a_worker_without_tasks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tasks", {})
    with pytest.raises(TaskError, match="no task is registered here: pass modules="):
        listen()


def test_a_module_that_cannot_be_imported_is_an_error() -> None:
    with pytest.raises(TaskDefinitionError, match=r"absent\.tasks"):
        listen(modules=["absent.tasks"])


# --- Errors of AWS ---------------------------------------------------------------------------------------------------


def test_a_failing_request_is_logged_and_tried_again(
    mail: TaskQueue,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(polling, "_FIRST_PAUSE_SECONDS", 0.2)
    answers("ReceiveMessage", UNREACHABLE, UNREACHABLE)
    mail.send(body("runs", "Ada"))
    listen(requests=3)
    assert ran == ["Ada"]
    failures = [record.message for record in caplog.records if "receiving from mail failed" in record.message]
    assert len(failures) == 2
    assert "Could not connect" in failures[0]


@pytest.mark.parametrize("operation", ["GetQueueUrl", "GetQueueAttributes", "ReceiveMessage"])
def test_a_worker_that_is_denied_its_queue_is_an_error_at_its_start(answers: Answers, operation: str) -> None:
    answers(operation, DENIED)
    with pytest.raises(TaskError, match=r"a worker cannot poll mail: .*AccessDenied.*sqs:ReceiveMessage"):
        listen()


def test_a_worker_that_has_received_before_outlives_a_denial(
    mail: TaskQueue, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_FIRST_PAUSE_SECONDS", 0.1)
    answers("ReceiveMessage", None, DENIED)
    mail.send(body("runs", "Ada"), body("runs", "Bob"))
    listen(requests=3)
    assert sorted(ran) == ["Ada", "Bob"]


def test_a_message_that_cannot_be_deleted_is_logged_and_stops_nothing(
    mail: TaskQueue, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    answers("DeleteMessageBatch", UNREACHABLE)
    mail.send(body("runs", "Ada"), body("runs", "Bob"))
    listen(requests=2)
    assert sorted(ran) == ["Ada", "Bob"]
    assert mail.left() == 1
    assert "could not be deleted and will run again" in caplog.text
