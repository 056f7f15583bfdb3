"""Real deliveries of streams, uploads and events, and of arguments too large for a message, with IAM enforced."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3

from constructs_lib import BackgroundTaskFunction, EventTask, ManagedAsyncTask, PayloadBucket, StreamTask
from runtime_lib import requeue_dead_letters
from runtime_lib.dead_letters import DeadLetter, receive_dead_letters
from tasks_cli import deployed
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

pytestmark = pytest.mark.xdist_group("local_cloud")

RECORDS = 100
FAILING = {3, 17, 18, 42, 60, 61, 99}
TABLE, BUCKET = "happenings", "happenings-uploads"
MIB = 1024 * 1024


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack, code = cdk.Stack(app, "Happenings"), field()
    table = dynamodb.Table(
        stack,
        "Table",
        table_name=TABLE,
        partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.NUMBER),
        stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
    )
    bucket = s3.Bucket(stack, "Uploads", bucket_name=BUCKET)
    StreamTask(
        stack,
        "Changes",
        code=code,
        task="field.happenings:on_change",
        table=table,
        batch_size=25,
        retry_attempts=20,
        environment=environment,
    )
    EventTask(
        stack,
        "OnUpload",
        code=code,
        task="field.happenings:on_upload",
        bucket=bucket,
        prefix="in/",
        suffix=".csv",
        environment=environment,
    )
    EventTask(
        stack,
        "OnOrder",
        code=code,
        task="field.happenings:on_order",
        event_pattern=events.EventPattern(source=["shop.orders"]),
        environment=environment,
    )
    digest = ManagedAsyncTask(
        stack,
        "Digest",
        code=code,
        task="field.happenings:digest",
        payloads=PayloadBucket(stack, "Payloads"),
        environment=environment,
    )
    sender = BackgroundTaskFunction(
        stack, "Send", code=code, modules=["field.happenings"], namespace="senders", environment=environment
    )
    digest.grant_dispatch(sender.function)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("happenings"), _build)


def _dead_letters(app: Field, source: str) -> list[DeadLetter]:
    """What was given up of one construct; it stays there, visible again."""
    [queue] = {
        function.dead_letter_queue
        for function in deployed.functions(app.cloud, app.stacks)
        if function.construct == "StreamTask"
    }
    letters = receive_dead_letters(queue, client=app.cloud.client("sqs"), visibility_timeout=0)
    return [letter for letter in letters if source in str(letter.failure.source)]


def _put(app: Field, number: int, **item: Any) -> None:
    typed = {name: {"BOOL": value} for name, value in item.items()}
    app.cloud.client("dynamodb").put_item(TableName=TABLE, Item={"id": {"N": str(number)}, **typed})


def test_of_100_changes_the_7_that_fail_run_again_alone_and_are_dead_letters_with_their_reasons(app: Field) -> None:
    for number in range(RECORDS):
        _put(app, number, fails=number in FAILING)
    wait_for(lambda: len(app.marks("changed")) >= RECORDS - len(FAILING), seconds=60)
    letters = wait_for(lambda: len(found := _dead_letters(app, "Changes")) >= len(FAILING) and found)
    runs = Counter(mark["number"] for mark in app.marks("change"))
    assert runs == {number: 3 if number in FAILING else 1 for number in range(RECORDS)}
    done = [mark["number"] for mark in app.marks("changed")]
    assert done == [number for number in range(RECORDS) if number not in FAILING], "in the order of the stream"
    reasons = {int(json.loads(letter.body)["dynamodb"]["Keys"]["id"]["N"]): letter.failure.reason for letter in letters}
    assert reasons == {number: f"failed at attempt 3: LookupError: no order {number}" for number in FAILING}
    ids = {
        mark["number"]: {one["id"] for one in app.marks("change") if one["number"] == mark["number"]}
        for mark in app.marks("change")
    }
    assert all(len(found) == 1 for found in ids.values()), "one id however often a record is delivered"
    assert len(set.union(*ids.values())) == RECORDS


def test_a_change_that_kills_the_function_takes_no_neighbour_with_it(app: Field) -> None:
    numbers = range(200, 210)
    for number in numbers:
        _put(app, number, kills=number == 205)
    wait_for(lambda: {200, 209} <= {mark["number"] for mark in app.marks("changed")}, seconds=60)
    done = {mark["number"] for mark in app.marks("changed")}
    assert done & {*numbers} == {*numbers} - {205}
    [letter] = wait_for(
        lambda: [one for one in _dead_letters(app, "Changes") if one.failure.shape == "stream"], seconds=60
    )
    assert letter.failure.reason.startswith("RetryAttemptsExhausted: 1 records of shardId")


def test_a_dead_letter_of_a_stream_can_be_sent_again(app: Field) -> None:
    _put(app, 300, fails=True)
    wait_for(lambda: any("no order 300" in one.failure.reason for one in _dead_letters(app, "Changes")))
    before = len([mark for mark in app.marks("change") if mark["number"] == 300])
    [queue] = {f.dead_letter_queue for f in deployed.functions(app.cloud, app.stacks) if f.construct == "StreamTask"}
    with app.routes():
        assert requeue_dead_letters(queue, select=lambda letter: "no order 300" in letter.failure.reason, limit=1)
    wait_for(lambda: len([mark for mark in app.marks("change") if mark["number"] == 300]) > before)


def test_an_upload_runs_its_task_once(app: Field) -> None:
    client = app.cloud.client("s3")
    for key in ("in/ä b.csv", "in/a.txt", "out/a.csv"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"1,2")
    wait_for(lambda: app.marks("upload"))
    _order(app, 1)  # what comes later is there, so nothing else comes of the uploads
    wait_for(lambda: app.marks("order"))
    assert [(mark["key"], mark["size"]) for mark in app.marks("upload")] == [("in/ä b.csv", 3)]


def _order(app: Field, number: int, **detail: Any) -> None:
    entry = {"Source": "shop.orders", "DetailType": "Order Placed", "Detail": json.dumps({"number": number, **detail})}
    assert app.cloud.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_an_event_that_fails_is_retried_under_one_id_and_then_a_dead_letter_with_its_reason(app: Field) -> None:
    _order(app, 7, fails=True)
    _order(app, 8, refused=True)

    def given_up() -> dict[int, str]:
        found = {}
        for letter in _dead_letters(app, "OnOrder"):
            found[json.loads(letter.body)["detail"]["number"]] = letter.failure.reason
        return found

    reasons = wait_for(lambda: len(found := given_up()) == 2 and found)
    assert reasons[8] == "we do not take that"
    assert reasons[7].endswith("LookupError: no order 7")
    runs = [mark["id"] for mark in app.marks("order") if mark["number"] == 7]
    assert len(runs) == 3
    assert len(set(runs)) == 1


def test_arguments_of_three_mebibytes_arrive_as_they_were_dispatched(app: Field) -> None:
    app.dispatch("field.happenings.send", 3 * MIB, "größe ")
    app.dispatch("field.happenings.send", 60, "small ")
    text = "größe " * (3 * MIB // 6)
    expected = {hashlib.sha256(one.encode()).hexdigest() for one in (text, "small " * 10)}
    wait_for(lambda: {mark["of"] for mark in app.marks("digest")} == expected)
    found = {mark["of"]: mark["id"] for mark in app.marks("digest")}
    [bucket] = [one["Name"] for one in app.cloud.client("s3").list_buckets()["Buckets"] if "payloads" in one["Name"]]
    keys = [one["Key"] for one in app.cloud.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [f"payloads/{found[hashlib.sha256(text.encode()).hexdigest()]}"]


def test_without_its_grant_of_the_bucket_a_sender_dispatches_nothing_large(app: Field) -> None:
    [sender] = [one for one in deployed.functions(app.cloud, app.stacks) if one.construct == "BackgroundTaskFunction"]
    iam = app.cloud.client("iam")
    role = app.cloud.client("lambda").get_function(FunctionName=sender.name)["Configuration"]["Role"]
    policy = {"RoleName": role.rpartition("/")[2], "PolicyName": "task"}
    document = iam.get_role_policy(**policy)["PolicyDocument"]
    kept = [statement for statement in document["Statement"] if "s3:PutObject" not in statement["Action"]]
    assert len(kept) == len(document["Statement"]) - 1
    iam.put_role_policy(**policy, PolicyDocument=json.dumps({**document, "Statement": kept}))
    before = len(app.marks("digest"))
    try:
        app.dispatch("field.happenings.send", 2 * MIB, "denied ")
        client = app.cloud.client("sqs")
        [letter] = wait_for(lambda: [*receive_dead_letters(sender.dead_letter_queue, client=client)])
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))
    assert letter.failure.error_type == "DispatchError"
    assert "did not take its arguments: An error occurred (AccessDenied)" in letter.failure.error_message
    assert len(app.marks("digest")) == before
