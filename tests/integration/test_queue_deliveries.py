"""Real deliveries of every kind of queue: what fails runs again alone, and is a dead letter with its reason."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_sqs as sqs

from constructs_lib import ManagedAsyncTask, Priority, PriorityTaskQueues, PureTask
from runtime_lib import dispatch_batch, requeue_dead_letters
from runtime_lib.dead_letters import read_dead_letter
from tasks_cli import deployed
from tasks_cli.local import inspection
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

pytestmark = pytest.mark.xdist_group("local_cloud")

RUNS = 100
FAILING = {3, 17, 18, 42, 60, 61, 99}
EXPECTED = {number: 2 if number in FAILING else 1 for number in range(RUNS)}
REASONS = {number: f"failed at attempt 2: LookupError: no order {number}" for number in FAILING}
GROUPS = 5


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack, code = cdk.Stack(app, "Queues"), field()

    def managed(name: str, **options: Any) -> ManagedAsyncTask:
        return ManagedAsyncTask(
            stack, name.title(), code=code, task=f"field.queues:{name}", environment=environment, **options
        )

    managed("managed", batch_size=10)
    managed("consumed", batch_size=10, entry="field.consumer:handler")
    managed("ordered", fifo=True, batch_size=10, max_receive_count=100)
    managed("together", batch_size=10)
    managed("lane", lanes=[2, None])
    PriorityTaskQueues(
        stack, "Queued", code=code, modules=["field.queues"], namespace="queued", environment=environment
    )
    ManagedAsyncTask.from_queue(
        stack,
        "OnOrder",
        code=code,
        task="field.queues:on_order",
        queue=sqs.Queue(stack, "Bank", queue_name="bank", visibility_timeout=cdk.Duration.minutes(6)),
        batch_size=10,
        dead_letter_task=managed("on_letter"),
        environment=environment,
    )
    PureTask(stack, "Add", code=code, task="field.queues:add")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("queues"), _build)


def _function(app: Field, construct_id: str) -> deployed.Function:
    [found] = [one for one in deployed.functions(app.cloud, app.stacks) if one.path.endswith(f"/{construct_id}")]
    return found


def _letters(app: Field, construct_id: str, task: str) -> dict[int, str]:
    """The reasons in the dead letter queue of a construct, for one task, by the task's argument."""
    url = f"{app.cloud.url}/000000000000/{_function(app, construct_id).dead_letter_queue}"
    letters = [read_dead_letter(one.as_received()) for one in inspection.queued_messages(app.cloud, url)]
    return {
        json.loads(letter.body)["args"][0]: letter.failure.reason
        for letter in letters
        if letter.task == f"field.queues.{task}"
    }


def _runs(app: Field, kind: str) -> dict[int, int]:
    return Counter(mark["number"] for mark in app.marks(kind))


@pytest.mark.parametrize("name", ["managed", "queued", "together", "consumed"])
def test_of_100_messages_the_7_that_fail_run_again_alone_and_are_dead_letters_with_their_reasons(
    app: Field, name: str
) -> None:
    from field import queues  # noqa: PLC0415  (it is importable once the app is built)

    task = getattr(queues, name)
    with app.routes(), dispatch_batch():
        for number in range(RUNS):
            task.with_priority(Priority.HIGH).dispatch(number)
    wait_for(lambda: len(_letters(app, name.title(), name)) == len(FAILING), seconds=60)
    wait_for(lambda: _runs(app, name) == EXPECTED)
    assert _letters(app, name.title(), name) == REASONS
    ids = {(mark["number"], mark["id"]) for mark in app.marks(name)}
    assert len(ids) == RUNS
    if name == "together":
        assert {len(call["numbers"]) for call in app.marks("call") if not FAILING.isdisjoint(call["numbers"])} >= {1}
        assert max(len(call["numbers"]) for call in app.marks("call")) == 10


def test_in_order_each_group_goes_on_once_what_failed_is_given_up(app: Field) -> None:
    from field.queues import ordered  # noqa: PLC0415

    with app.routes(), dispatch_batch():
        for number in range(RUNS):
            ordered.with_group(f"group-{number % GROUPS}").dispatch(number)
    wait_for(lambda: len(_letters(app, "Ordered", "ordered")) == len(FAILING), seconds=60)
    wait_for(lambda: _runs(app, "ordered") == EXPECTED)
    assert _letters(app, "Ordered", "ordered") == REASONS
    for group in range(GROUPS):
        ran = [mark["number"] for mark in app.marks("ordered") if mark["number"] % GROUPS == group]
        numbers = range(group, RUNS, GROUPS)
        assert ran == [number for number in numbers for _ in range(EXPECTED[number])], f"order of group {group}"

    letters = _function(app, "Ordered").dead_letter_queue
    with app.routes():  # within the five minutes for which SQS remembers what was dispatched
        assert requeue_dead_letters(letters) == len(FAILING)
    wait_for(lambda: all(_runs(app, "ordered")[number] == 4 for number in FAILING))


def test_of_100_messages_of_others_the_7_that_fail_run_again_alone_and_reach_the_dead_letter_task(app: Field) -> None:
    client = app.cloud.client("sqs")
    kind = {"kind": {"DataType": "String", "StringValue": "order"}}
    for start in range(0, RUNS, 10):
        entries = [
            {"Id": str(number), "MessageBody": json.dumps({"order": number}), "MessageAttributes": kind}
            for number in range(start, start + 10)
        ]
        client.send_message_batch(QueueUrl=client.get_queue_url(QueueName="bank")["QueueUrl"], Entries=entries)
    letters = wait_for(lambda: len(found := app.marks("letter")) >= len(FAILING) and found, seconds=60)
    wait_for(lambda: _runs(app, "on_order") == EXPECTED)
    assert {json.loads(letter["body"])["order"]: letter["reason"] for letter in letters} == REASONS
    assert {letter["label"] for letter in letters} == {"order"}
    assert len({(mark["number"], mark["id"]) for mark in app.marks("on_order")}) == RUNS


def test_each_lane_has_its_queue(app: Field) -> None:
    from field.queues import lane  # noqa: PLC0415

    with app.routes():
        for number in range(3):
            lane.with_lane(number).dispatch()
    wait_for(lambda: len(app.marks("lane")) == 3)
    found = {mark["lane"]: mark["queue"].partition("-lane-")[2] for mark in app.marks("lane")}
    assert found == {0: "", 1: "1", 2: ""}


def test_a_pure_task_answers_who_invokes_it(app: Field) -> None:
    name = _function(app, "Add").name
    answer = app.cloud.client("lambda").invoke(FunctionName=name, Payload=b'{"left": 2, "right": 3}')
    assert json.loads(answer["Payload"].read()) == {"sum": 5}
    answer = app.cloud.client("lambda").invoke(FunctionName=name, Payload=b'{"left": "two", "right": 3}')
    assert json.loads(answer["Payload"].read())["errorType"] == "ArgumentError"
