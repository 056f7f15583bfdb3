"""runtime_lib.testing: its events are taken by the real handlers, and its context is taken for Lambda's."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from runtime_lib import (
    ApiEvent,
    BusEvent,
    Priority,
    ResponseStateError,
    ResponseWriter,
    ScheduledEvent,
    StreamRecord,
    TaskContext,
    UnmanagedSqsEvent,
    process_messages_for_lambda_consumer,
    task,
)
from runtime_lib.contract import ENV_DEAD_LETTER_QUEUE, ENV_TASK
from runtime_lib.dead_letters import DeadLetter
from runtime_lib.testing import (
    MockLambdaContext,
    RecordedResponse,
    api_event,
    bus_event,
    dead_letter_event,
    function_url_event,
    invocation_event,
    s3_event,
    scheduled_event,
    sqs_event,
    sqs_record,
    stream_event,
    stream_record,
)
from tests.task_modules import run_program

seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV_DEAD_LETTER_QUEUE, raising=False)
    seen.clear()


@task
def note(what: str, context: TaskContext) -> None:
    seen.append((what, context.attempt, context.group, context.remaining_seconds()))


@task
def note_run(region: str, event: ScheduledEvent) -> None:
    seen.append((region, event.schedule, event.scheduled_time))


@task
def note_change(record: StreamRecord) -> None:
    seen.append((record.event_name, record.keys, record.old_image, record.new_image, record.table))


@task
def note_event(event: BusEvent) -> None:
    seen.append((event.source, event.detail_type, event.detail, event.time))


@task
def note_object(event: BusEvent) -> None:
    seen.append(event.s3)


@task
def note_message(event: UnmanagedSqsEvent) -> None:
    seen.append(event.body)


@task
def double(number: int) -> int:
    return 2 * number


@task
def order(number: int, event: ApiEvent, lines: list[str] | None = None) -> dict[str, Any]:
    return {"number": number, "lines": lines, "agent": event.headers["user-agent"], "url": event.url("/x")}


def handle(construct: str, event: Any, context: Any = None) -> Any:
    return import_module(f"runtime_lib.handlers.{construct}").handler(event, context or MockLambdaContext())


def test_an_invocation_of_a_background_function() -> None:
    handle("background_task_function", invocation_event(note.call("a")))
    [(what, attempt, _, remaining)] = seen
    assert (what, attempt) == ("a", 1)
    assert 55 < remaining <= 60


@pytest.mark.parametrize("construct", ["managed_async_task", "priority_task_queues"])
def test_a_batch_of_a_queues_messages(construct: str) -> None:
    messages = [note.with_group("tenant").call("a"), note.call("b")]
    assert handle(construct, sqs_event(messages[0])) == {"batchItemFailures": []}
    assert handle(construct, sqs_event(messages[1])) == {"batchItemFailures": []}
    assert [(what, group) for what, _, group, _ in seen] == [("a", "tenant"), ("b", None)]


def test_a_message_that_was_received_before() -> None:
    handle("managed_async_task", sqs_event(note.call("a"), attempt=3))
    assert seen[0][1] == 3


def test_the_consumer_takes_them() -> None:
    process_messages_for_lambda_consumer(sqs_event(note.call("a")), MockLambdaContext())
    assert seen[0][0] == "a"


def test_a_record_of_a_fifo_queue_has_what_such_queues_deliver() -> None:
    record = sqs_record(note.call("a"), queue="orders.fifo", group="customer-7")
    assert record["eventSourceARN"].endswith(":orders.fifo")
    assert record["attributes"]["MessageGroupId"] == "customer-7"
    assert {"SequenceNumber", "MessageDeduplicationId"} < record["attributes"].keys()
    assert "MessageGroupId" not in sqs_record("text")["attributes"]


def test_a_message_that_others_sent() -> None:
    record = sqs_record('{"a": 1}', message_attributes={"kind": "x", "number": 7, "share": 0.5, "raw": b"\x00"})
    event = UnmanagedSqsEvent(sqs_event(record)["Records"][0])
    assert (event.body, event.json()) == ('{"a": 1}', {"a": 1})
    assert event.message_attributes == {"kind": "x", "number": 7, "share": 0.5, "raw": b"\x00"}


def test_messages_of_others_reach_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TASK, note_message.name)
    assert handle("queue_task", sqs_event("hello")) == {"batchItemFailures": []}
    assert seen == ["hello"]


def test_a_function_without_a_trigger_returns_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TASK, double.name)
    assert handle("pure_task", invocation_event(double.call(4))) == 8
    assert handle("pure_task", {"number": 5}) == 10


def test_a_run_of_a_schedule() -> None:
    at = datetime(2030, 1, 31, 9, tzinfo=UTC)
    event = scheduled_event(note_run.with_priority(Priority.HIGH).call("eu"), schedule="nightly", scheduled_time=at)
    assert event["scheduled_time"] == "2030-01-31T09:00:00Z"
    handle("scheduled_task", event)
    handle("scheduled_task", scheduled_event(note_run.call("us")))
    assert seen[0] == ("eu", "nightly", at)
    assert abs((seen[1][2] - datetime.now(UTC)).total_seconds()) < 60


CHANGES = {
    "INSERT": (None, {"id": 7, "lines": ["a", True, None], "of": {"x": Decimal("1.5")}}),
    "MODIFY": ({"id": 7}, {"id": 7, "tags": {"a", "b"}, "raw": b"\x00"}),
    "REMOVE": ({"id": 7, "sizes": {1, 2}}, None),
}


@pytest.mark.parametrize(("name", "old", "new"), [(name, *images) for name, images in CHANGES.items()])
def test_a_change_of_a_tables_item(monkeypatch: pytest.MonkeyPatch, name: str, old: Any, new: Any) -> None:
    monkeypatch.setenv(ENV_TASK, note_change.name)
    answer = handle("stream_task", stream_event(stream_record({"id": 7}, new=new, old=old, table="Orders")))
    assert answer == {"batchItemFailures": []}
    assert seen == [(name, {"id": 7}, old, new, "Orders")]


@pytest.mark.parametrize("value", [datetime(2030, 1, 31, tzinfo=UTC), set(), {"a", 1}, {True}, object()])
def test_a_value_that_no_item_has_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"DynamoDB has text, numbers, .*, given "):
        stream_record({"id": 7}, new={"id": 7, "value": value})


def test_an_event_of_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TASK, note_event.name)
    at = datetime(2030, 1, 31, 9, tzinfo=UTC)
    handle("event_task", bus_event({"id": 7}, source="shop", detail_type="Order Placed", happened_at=at))
    assert seen == [("shop", "Order Placed", {"id": 7}, at)]


def test_an_event_of_an_object_in_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TASK, note_object.name)
    handle("event_task", s3_event("uploads", "a b.png", size=3))
    handle("event_task", s3_event("uploads", "a b.png", detail_type="Object Deleted"))
    assert [(found.bucket, found.key, found.size) for found in seen] == [
        ("uploads", "a b.png", 3),
        ("uploads", "a b.png", None),
    ]


def test_a_request_of_an_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_TASK, order.name)
    event = api_event("GET", "/orders/7", resource="/orders/{number}", query={"lines": ["a", "b"]})
    answer = handle("api_task", event)
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"]) == {
        "number": 7,
        "lines": ["a", "b"],
        "agent": "test",
        "url": "https://abcdefghij.execute-api.us-east-1.amazonaws.com/prod/x",
    }


def test_bodies_headers_and_parameters_of_a_request_arrive() -> None:
    event = ApiEvent(api_event("POST", "/a", body={"x": [1]}, headers={"X-Many": ["1", "2"]}, query={"q": "ä b"}))
    assert (event.json(), event.headers["content-type"]) == ({"x": [1]}, "application/json")
    assert (event.headers["x-many"], event.multi_value_headers["X-Many"]) == ("2", ["1", "2"])
    assert event.querystring_params == {"q": "ä b"}
    assert (event.path_params, event.method, event.source_ip) == ({}, "POST", "203.0.113.7")
    assert ApiEvent(api_event("POST", "/a", body=b"\x00\xff")).body_bytes == b"\x00\xff"
    assert ApiEvent(api_event("POST", "/a", body="text")).body == "text"
    assert ApiEvent(api_event("GET", "/a", authorizer={"principalId": "ann"})).authorizer == {"principalId": "ann"}
    own = api_event("POST", "/a", body={}, headers={"content-type": "application/vnd.shop+json", "host": "a.example"})
    assert {name for name in own["headers"] if name.lower() in {"host", "content-type"}} == {"host", "content-type"}
    assert own["headers"]["content-type"] == "application/vnd.shop+json"
    greedy = ApiEvent(api_event("GET", "/files/7/a/b", resource="/files/{id}/{proxy+}"))
    assert greedy.path_params == {"id": "7", "proxy": "a/b"}


@pytest.mark.parametrize(
    ("resource", "path"), [("/a", "/b"), ("/a/{x}", "/a"), ("/a", "/a/b"), ("/a/{x}", "/a/"), ("/{p+}", "/")]
)
def test_a_path_that_is_none_of_its_resource_is_refused(resource: str, path: str) -> None:
    with pytest.raises(ValueError, match="is none of the resource"):
        api_event("GET", path, resource=resource)


def test_a_request_of_a_function_url() -> None:
    event = function_url_event(
        "POST", "/a", query={"tag": ["a", "b c"]}, headers={"X-Shop": "1"}, cookies=["c=1"], body={"x": 1}, caller="arn"
    )
    assert (event["rawQueryString"], event["queryStringParameters"]) == ("tag=a&tag=b+c", {"tag": "a,b c"})
    assert (event["headers"]["x-shop"], event["headers"]["content-type"]) == ("1", "application/json")
    assert (event["cookies"], json.loads(event["body"])) == (["c=1"], {"x": 1})
    assert event["requestContext"]["authorizer"]["iam"]["userArn"] == "arn"
    assert function_url_event(body=b"\xff")["isBase64Encoded"] is True
    assert not {"body", "cookies", "queryStringParameters"} & set(function_url_event())


def test_the_answer_of_a_streaming_handler_is_recorded_and_what_is_out_of_order_refused() -> None:
    stream: ResponseWriter
    stream = recorded = RecordedResponse()
    stream.start(status=201, headers={"x-shop": "1"}, cookies=["a=1"])
    stream.write("")
    stream.write("one")
    stream.write(b"two")
    stream.finish()
    assert (recorded.head.status, recorded.head.headers, recorded.head.cookies) == (201, {"x-shop": "1"}, ("a=1",))
    assert (recorded.chunks, recorded.body, recorded.state) == ([b"one", b"two"], b"onetwo", "finished")
    with pytest.raises(ResponseStateError):
        stream.write("more")
    early = RecordedResponse()
    early.respond({"ok": True})
    assert (early.response, early.chunks) == ({"ok": True}, [])


def test_a_dead_letter_with_its_reason() -> None:
    [record] = dead_letter_event(note.call("a"), reason="no luck", attempts=5)["Records"]
    letter = DeadLetter.in_record(record)
    assert (letter.task, letter.failure.shape) == (note.name, "task")
    assert (letter.failure.reason, letter.failure.attempts, letter.failure.error_type) == ("no luck", 5, "OSError")


def test_the_contexts_time_runs_out() -> None:
    context = MockLambdaContext(timeout=900)
    first = context.get_remaining_time_in_millis()
    time.sleep(0.002)
    assert context.get_remaining_time_in_millis() < first <= 900_000
    assert MockLambdaContext(timeout=0).get_remaining_time_in_millis() == 0


def test_the_context_has_what_lambdas_has() -> None:
    context = MockLambdaContext("shop", memory_limit_in_mb=256, aws_request_id="1")
    assert context.invoked_function_arn == "arn:aws:lambda:us-east-1:123456789012:function:shop"
    assert (context.function_name, context.memory_limit_in_mb, context.aws_request_id) == ("shop", "256", "1")
    assert MockLambdaContext().aws_request_id != MockLambdaContext().aws_request_id
    real = import_module("awslambdaric.lambda_context").LambdaContext("1", {}, {}, 0)
    own = set(vars(context)) - {"_deadline"}
    assert own <= set(vars(real))
    assert hasattr(real, "get_remaining_time_in_millis")


def test_little_is_loaded_for_it() -> None:
    printed = run_program(
        "import sys, runtime_lib.testing\n"
        "print([name for name in ('boto3', 'botocore', 'asyncio', 'pytest', 'aws_cdk') if name in sys.modules])"
    )
    assert printed == "[]\n"
