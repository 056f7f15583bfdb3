"""A task store on the local cloud, with IAM enforced: what is recorded of real deliveries, and who may."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import aws_cdk as cdk
import pytest

from constructs_lib import BackgroundTaskFunction, ManagedAsyncTask, TaskStore
from runtime_lib import TaskCancelledError, TaskFailedError, TaskHandle, TaskStatus, get_transport
from runtime_lib.contract import Priority
from runtime_lib.dead_letters import receive_dead_letters
from runtime_lib.envelope import Envelope
from runtime_lib.store import TaskStore as Records
from runtime_lib.task_record import Ending, Refused
from tasks_cli import deployed
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]
COUNT, SLOW, ACOUNT = "field.recorded.count", "field.recorded.slow", "field.recorded.acount"


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack = cdk.Stack(app, "Recorded")
    code = field()
    options: Any = {"code": code, "environment": environment}
    store = TaskStore(stack, "Store")
    count = ManagedAsyncTask(stack, "Count", task="field.recorded:count", store=store, **options)
    ManagedAsyncTask(
        stack,
        "Slow",
        task="field.recorded:slow",
        store=store,
        timeout=cdk.Duration.seconds(4),
        visibility_timeout=cdk.Duration.seconds(6),
        **options,
    )
    BackgroundTaskFunction(
        stack, "Background", modules=["field.recorded"], namespace="recorded", store=store, **options
    )
    for name, allow in {"Nobody": None, "Reader": store.grant_read, "Writer": store.grant_write}.items():
        asking = BackgroundTaskFunction(
            stack, name, modules=["field.recorded"], namespace="asking", retry_attempts=0, **options
        )
        asking.function.add_environment("TASK_STORE", store.table_name)
        if allow:
            allow(asking.function)
    sender = BackgroundTaskFunction(stack, "Sender", modules=["field.recorded"], namespace="asking", **options)
    count.grant_dispatch(sender.function)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("recorded"), _build)


@pytest.fixture
def routes(app: Field) -> Iterator[None]:
    with app.routes():
        yield


@pytest.fixture(scope="module")
def functions(app: Field) -> dict[str, deployed.Function]:
    return {one.path.rpartition("/")[2]: one for one in deployed.functions(app.cloud, app.stacks) if one.construct}


def _attempts(app: Field, handle: TaskHandle) -> list[int]:
    return [mark["attempt"] for mark in app.marks("counted") if mark["id"] == handle.id]


def _tasks() -> Any:
    from field import recorded  # noqa: PLC0415  (on the path once the app is built)

    return recorded


# --- What is recorded ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("routes")
def test_from_its_dispatch_to_its_result(app: Field) -> None:
    handle = _tasks().count.with_delay(1).dispatch(3)
    seen = [handle.status()]
    deadline = time.monotonic() + 30
    while not handle.record().has_finished:
        assert time.monotonic() < deadline
        if (status := handle.status()) != seen[-1]:
            seen.append(status)
    assert seen[0] is TaskStatus.QUEUED
    assert TaskStatus.RETRYING in seen
    assert handle.result(timeout=0) == {"attempt": 3}
    assert _attempts(app, handle) == [1, 2, 3]
    record = handle.record()
    assert (record.attempts, record.error) == (3, None)
    assert record.queued_at < record.started_at < record.finished_at


@pytest.mark.usefixtures("routes")
def test_a_task_that_is_given_up_has_failed_with_its_error(app: Field) -> None:
    handle = _tasks().count.dispatch(9)
    with pytest.raises(TaskFailedError, match="failed at attempt 3: ValueError: attempt 3 of 9") as caught:
        handle.result(timeout=30)
    assert caught.value.failure is not None
    assert "recorded.py" in caught.value.failure.traceback


@pytest.mark.usefixtures("routes")
def test_invocations_are_numbered_and_awaited(app: Field) -> None:
    handle = _tasks().acount.dispatch(2)
    assert handle.result(timeout=30) == [2]
    assert _attempts(app, handle) == [1, 2]
    given_up = _tasks().acount.dispatch(9)
    with pytest.raises(TaskFailedError, match="failed at attempt 3"):
        given_up.result(timeout=30)
    assert _attempts(app, given_up) == [1, 2, 3]


@pytest.mark.usefixtures("routes")
def test_a_queued_task_that_is_cancelled_is_skipped(app: Field) -> None:
    cancelled = _tasks().count.with_delay(1).dispatch(1)
    assert cancelled.cancel()
    later = _tasks().count.with_delay(2).dispatch(1)
    assert later.result(timeout=30) == {"attempt": 1}
    assert _attempts(app, cancelled) == []
    with pytest.raises(TaskCancelledError):
        cancelled.result(timeout=0)


@pytest.mark.usefixtures("routes")
def test_what_runs_is_not_cancelled(app: Field) -> None:
    handle = _tasks().slow.dispatch(1)
    wait_for(lambda: handle.status() is TaskStatus.RUNNING)
    assert not handle.cancel()
    assert handle.result(timeout=30) == "done"


# --- Duplicates and crashes ------------------------------------------------------------------------------------------


def _url(app: Field, route: str) -> str:
    url: str = app.cloud.client("sqs").get_queue_url(QueueName=route.partition(":")[2])["QueueUrl"]
    return url


def _is_empty(app: Field, function: deployed.Function) -> bool:
    [route] = function.routes.values()
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = app.cloud.client("sqs").get_queue_attributes(QueueUrl=_url(app, route), AttributeNames=names)
    return not any(int(value) for value in found["Attributes"].values())


@pytest.mark.usefixtures("routes")
def test_two_racing_duplicates_have_one_effect(app: Field, functions: dict[str, deployed.Function]) -> None:
    call = _tasks().slow.call(2)
    barrier = threading.Barrier(2)

    def deliver(number: int) -> list[str]:
        record = {
            "messageId": str(number),
            "receiptHandle": "of a test",
            "body": call.body,
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:of-a-test",
        }
        barrier.wait()
        answer = app.cloud.client("lambda").invoke(
            FunctionName=functions["Slow"].name, Payload=json.dumps({"Records": [record]}).encode()
        )
        failures = json.loads(answer["Payload"].read())["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in failures]

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(deliver, range(2))
    assert len(first + second) <= 1  # the other one comes again, unless its environment began too late for a race
    assert call.handle.result(timeout=0) == "done"
    assert [mark["attempt"] for mark in app.marks("began") if mark["id"] == call.envelope.id] == [1]


@pytest.mark.usefixtures("routes")
def test_what_comes_again_after_success_does_nothing(app: Field, functions: dict[str, deployed.Function]) -> None:
    call = _tasks().slow.call(0)
    get_transport().send([call])
    assert call.handle.result(timeout=30) == "done"
    [route] = functions["Slow"].routes.values()
    app.cloud.client("sqs").send_message(QueueUrl=_url(app, route), MessageBody=call.body)
    wait_for(lambda: _is_empty(app, functions["Slow"]))
    assert [mark["attempt"] for mark in app.marks("began") if mark["id"] == call.envelope.id] == [1]
    assert call.handle.record().attempts == 1


@pytest.mark.usefixtures("routes")
def test_after_a_crash_the_task_runs_again_once_its_lease_has_lapsed(app: Field) -> None:
    handle = _tasks().slow.dispatch(-0.1)
    assert handle.result(timeout=40) == "done"
    assert [mark["attempt"] for mark in app.marks("began") if mark["id"] == handle.id] == [1, 2]


@pytest.mark.parametrize("before", [None, "failed"])
def test_of_many_attempts_that_begin_at_once_in_dynamodb_one_does(app: Field, before: str | None) -> None:
    table = app.cloud.client("dynamodb").list_tables()["TableNames"][0]
    store = Records(table, app.cloud.client("dynamodb"))
    key = f"race {before}"
    if before:
        store.begin(key, COUNT, owner="before", seconds=60)
        store.end(key, Ending(TaskStatus(before)), owner="before")
    barrier = threading.Barrier(8)

    def begin(number: int) -> int | Refused:
        barrier.wait()
        return store.begin(key, COUNT, owner=f"owner {number}", seconds=60)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(begin, range(8)))
    assert sorted(isinstance(answer, int) for answer in answers) == [False] * 7 + [True]


# --- Who may ---------------------------------------------------------------------------------------------------------


def _invoke(app: Field, function: deployed.Function, task: str, *args: object) -> dict[str, Any]:
    """Run a task at once; the mark that it leaves."""
    before = len(app.marks("asked"))
    body = Envelope.new(task, list(args), {}, priority=Priority.DEFAULT).encode()
    answer = app.cloud.client("lambda").invoke(FunctionName=function.name, Payload=body.encode())
    assert "FunctionError" not in answer, answer["Payload"].read()
    [mark] = app.marks("asked")[before:]
    return mark


@pytest.mark.usefixtures("routes")
def test_a_function_may_do_with_records_what_it_is_granted(app: Field, functions: dict[str, deployed.Function]) -> None:
    handle = _tasks().count.with_delay(600).dispatch(1)
    for name, what, granted in [
        ("Nobody", "status", "grant_read"),
        ("Nobody", "cancel", "grant_write"),
        ("Reader", "cancel", "grant_write"),
        ("Writer", "status", "grant_read"),
    ]:
        refused = _invoke(app, functions[name], "field.recorded.ask", handle.id, what)["refused"]
        assert "AccessDenied" in refused
        assert f"({granted}(function) of the TaskStore" in refused
    assert _invoke(app, functions["Reader"], "field.recorded.ask", handle.id, "status")["answer"] == "queued"
    assert _invoke(app, functions["Writer"], "field.recorded.ask", handle.id, "cancel")["answer"] == "True"


def test_a_sender_records_what_it_dispatches(app: Field, functions: dict[str, deployed.Function]) -> None:
    handle = TaskHandle(_invoke(app, functions["Sender"], "field.recorded.pass_on", 1)["id"], COUNT)
    with app.routes():
        assert handle.result(timeout=30) == {"attempt": 1}
        assert handle.record().queued_at is not None


@contextmanager
def _without(app: Field, function: deployed.Function, action: str) -> Iterator[None]:
    """Take one action out of the role of a function."""
    iam = app.cloud.client("iam")
    role = app.cloud.client("lambda").get_function(FunctionName=function.name)["Configuration"]["Role"]
    policy = {"RoleName": role.rpartition("/")[2], "PolicyName": "task"}
    document: dict[str, Any] = iam.get_role_policy(**policy)["PolicyDocument"]
    changed = json.loads(json.dumps(document))
    for statement in changed["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [one for one in actions if one != action] or ["none:None"]
    assert changed != document
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(changed))
    try:
        yield
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("dynamodb:PutItem", "was not dispatched: the task store Recorded-Store-F6D89124 failed"),
        ("sqs:SendMessage", "1 of 1 messages were not sent"),
    ],
)
def test_what_a_sender_may_not_record_or_send_is_neither(
    app: Field, functions: dict[str, deployed.Function], action: str, why: str
) -> None:
    with _without(app, functions["Sender"], action):
        refused = _invoke(app, functions["Sender"], "field.recorded.pass_on", 1)["refused"]
    assert why in refused
    items = app.cloud.client("dynamodb").scan(TableName="Recorded-Store-F6D89124")["Items"]
    assert "queued" not in {item["status"]["S"] for item in items if item["task"]["S"] == COUNT}


@pytest.mark.usefixtures("routes")
def test_without_its_permission_a_server_begins_nothing_and_loses_nothing(
    app: Field, functions: dict[str, deployed.Function]
) -> None:
    with _without(app, functions["Background"], "dynamodb:UpdateItem"):
        handle = _tasks().acount.dispatch(1)
        letters = _url(app, f"sqs:{functions['Background'].dead_letter_queue}")
        letter = wait_for(
            lambda: next((one for one in receive_dead_letters(letters) if one.envelope_id == handle.id), None)
        )
    assert "AccessDenied" in letter.failure.error_message
    assert _attempts(app, handle) == []


# --- The table -------------------------------------------------------------------------------------------------------


def test_the_table_deletes_what_has_expired(app: Field) -> None:
    [table] = app.cloud.client("dynamodb").list_tables()["TableNames"]
    expiry = app.cloud.client("dynamodb").describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "expires_at")
