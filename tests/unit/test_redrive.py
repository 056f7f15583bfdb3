"""Dead letters go back to where they came from."""

import io
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from boto3 import client

from runtime_lib import Priority, SqsTransport, clients, queues, requeue_dead_letters, task, using_transport
from runtime_lib.context import Delivery
from runtime_lib.contract import FAILURE_ATTRIBUTE
from runtime_lib.dead_letters import receive_dead_letters, write_dead_letter
from runtime_lib.errors import DispatchError
from tests.bus_events import bus_event
from tests.deliveries import body_of
from tests.polled import Answers, Requests, asked

QUEUES = ("default", "high", "other", "dead")


@task
def send(number: int = 0) -> None: ...


class Shop:
    """Queues that redrive to one dead letter queue after one receive, and a function."""

    def __init__(self, sqs: Any) -> None:
        self._sqs = sqs
        self.urls = {name: sqs.create_queue(QueueName=f"Shop-{name}")["QueueUrl"] for name in QUEUES}
        arn = sqs.get_queue_attributes(QueueUrl=self.urls["dead"], AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1"})
        for name in ("default", "high"):
            sqs.set_queue_attributes(QueueUrl=self.urls[name], Attributes={"RedrivePolicy": policy})
        self.invocations: list[dict[str, Any]] = []
        self.moved: dict[str, str] = {}
        """Bodies that SQS moved, and the name of the queue it moved them from."""

    def dead_letter(
        self, body: str, source: str | None, reason: str = "failed", *, first_at: float | None = None
    ) -> None:
        delivery = Delivery(source=source, first_received_at=first_at)
        assert write_dead_letter(
            body, reason=reason, error=None, delivery=delivery, queue=self.urls["dead"], client=self._sqs
        )

    def put(self, name: str, body: str, attributes: dict[str, Any] | None = None) -> None:
        self._sqs.send_message(QueueUrl=self.urls[name], MessageBody=body, MessageAttributes=attributes or {})

    def receive(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while messages := self._sqs.receive_message(
            QueueUrl=self.urls[name], MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
        ).get("Messages"):
            found += messages
        return found

    def bodies(self, name: str) -> list[str]:
        return [message["Body"] for message in self.receive(name)]

    def count(self, name: str) -> int:
        attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self.urls[name], AttributeNames=attributes)["Attributes"]
        return sum(map(int, found.values()))

    def invoke(self, **request: Any) -> dict[str, Any]:
        self.invocations.append(request)
        return {"StatusCode": 202, "Payload": io.BytesIO()}


@pytest.fixture
def shop(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(sqs)
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs, "lambda": shop})
    monkeypatch.setattr(queues, "_urls", {})

    def at_once(params: dict[str, Any], **_: Any) -> None:
        params["WaitTimeSeconds"] = 0

    def with_source(parsed: dict[str, Any], **_: Any) -> None:
        for message in parsed.get("Messages", ()):
            if message["Body"] in shop.moved:  # (AWS adds it, moto does not)
                source = f"arn:aws:sqs:us-east-1:123456789012:Shop-{shop.moved[message['Body']]}"
                message["Attributes"]["DeadLetterQueueSourceArn"] = source

    sqs.meta.events.register("provide-client-params.sqs.ReceiveMessage", at_once)
    sqs.meta.events.register("after-call.sqs.ReceiveMessage", with_source)
    yield shop
    sqs.meta.events.unregister("provide-client-params.sqs.ReceiveMessage", at_once)
    sqs.meta.events.unregister("after-call.sqs.ReceiveMessage", with_source)
    for url in shop.urls.values():
        sqs.delete_queue(QueueUrl=url)


def test_letters_of_the_high_priority_queue_go_back_there_and_those_of_the_default_one_there(
    shop: Shop, sqs: Any
) -> None:
    with using_transport(SqsTransport({"default": shop.urls["default"], "high": shop.urls["high"]}, client=sqs)):
        sent = {"default": send.dispatch(1).id, "high": send.with_priority(Priority.HIGH).dispatch(2).id}
    for name in sent:  # received once, and not deleted: the next receive moves it
        (message,) = sqs.receive_message(QueueUrl=shop.urls[name], VisibilityTimeout=0)["Messages"]
        shop.moved[message["Body"]] = name
        assert "Messages" not in sqs.receive_message(QueueUrl=shop.urls[name])
    assert shop.count("dead") == 2
    assert requeue_dead_letters("Shop-dead") == 2
    for name, envelope_id in sent.items():
        (body,) = shop.bodies(name)
        assert json.loads(body)["id"] == envelope_id
    assert shop.count("dead") == 0


def test_letters_are_read_with_why_they_were_given_up(shop: Shop, sqs: Any) -> None:
    body = body_of(send.name)
    shop.dead_letter(body, "sqs:Shop-other", "no such customer")
    shop.put("dead", "x")
    letters = sorted(receive_dead_letters("Shop-dead", client=sqs), key=lambda letter: len(letter.body))
    assert [(letter.body, letter.failure.shape) for letter in letters] == [("x", "redrive"), (body, "task")]
    assert (letters[1].failure.reason, letters[1].failure.source) == ("no such customer", "sqs:Shop-other")
    assert list(receive_dead_letters("Shop-dead", client=sqs)) == []  # hidden for a while
    assert shop.count("dead") == 2


def test_letters_that_this_library_wrote_go_back_without_their_failure(shop: Shop) -> None:
    bodies = [body_of(send.name, number) for number in range(12)]
    for number, body in enumerate(bodies):
        shop.dead_letter(body, f"sqs:Shop-{'high' if number % 2 else 'other'}")
    assert requeue_dead_letters(shop.urls["dead"]) == 12
    found = {name: shop.receive(name) for name in ("high", "other")}
    assert sorted(message["Body"] for message in found["high"]) == sorted(bodies[1::2])
    assert sorted(message["Body"] for message in found["other"]) == sorted(bodies[::2])
    assert all(FAILURE_ATTRIBUTE not in message.get("MessageAttributes", {}) for message in found["high"])
    assert shop.count("dead") == 0


def test_a_group_is_kept(shop: Shop, requests: Requests) -> None:
    shop.dead_letter(body_of(send.name, metadata={"group": "tenant-7"}), "sqs:Shop-other")
    requests.clear()
    requeue_dead_letters("Shop-dead")
    ((entry,),) = [params["Entries"] for params in asked(requests, "SendMessageBatch")]
    assert entry["MessageGroupId"] == "tenant-7"


def test_letters_of_a_function_are_invoked_again(shop: Shop) -> None:
    body = body_of(send.name, 5)
    shop.dead_letter(body, "lambda:background:live")
    assert requeue_dead_letters("Shop-dead") == 1
    assert shop.invocations == [
        {"FunctionName": "background:live", "InvocationType": "Event", "Payload": body.encode()}
    ]
    assert shop.count("dead") == 0


def test_lambdas_own_letters_are_invoked_again_with_what_was_requested(shop: Shop) -> None:
    record = {
        "requestContext": {
            "functionArn": "arn:aws:lambda:a:1:function:background:$LATEST",
            "condition": "RetriesExhausted",
        },
        "requestPayload": {"task": "shop.send", "args": ["ö"]},
    }
    shop.put("dead", json.dumps(record))
    assert requeue_dead_letters("Shop-dead") == 1
    (request,) = shop.invocations
    assert (request["FunctionName"], json.loads(request["Payload"])) == ("background", record["requestPayload"])


@pytest.mark.parametrize("target", ["lambda:us-east-1:123456789012:function:nightly", "sqs:us-east-1:1:Shop-other"])
def test_a_run_that_scheduler_could_not_deliver_goes_to_its_target_as_the_run_that_it_was(
    shop: Shop, sqs: Any, target: str
) -> None:
    run = {"schedule": "nightly", "scheduled_time": "<aws.scheduler.scheduled-time>", "task": send.name}
    told = {"ERROR_CODE": "x", "SCHEDULED_TIME": "2026-03-29T01:00:00Z", "TARGET_ARN": f"arn:aws:{target}"}
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in told.items()}
    sqs.send_message(QueueUrl=shop.urls["dead"], MessageBody=json.dumps(run), MessageAttributes=attributes)
    assert requeue_dead_letters("Shop-dead") == 1
    bodies = shop.bodies("other") + [one["Payload"] for one in shop.invocations]
    assert [json.loads(body) for body in bodies] == [{**run, "scheduled_time": "2026-03-29T01:00:00Z"}]


def test_one_event_that_failed_in_two_functions_goes_to_both(shop: Shop) -> None:
    event = json.dumps(bus_event("Order Placed", {}, source="shop.orders"))
    for function in ("Shop-Invoice", "Shop-Index"):
        shop.dead_letter(event, f"lambda:{function}")
    assert requeue_dead_letters(shop.urls["dead"]) == 2
    assert {one["FunctionName"] for one in shop.invocations} == {"Shop-Invoice", "Shop-Index"}
    assert shop.count("dead") == 0


def test_all_go_where_they_are_told(shop: Shop) -> None:
    bodies = [body_of(send.name, number) for number in range(3)]
    shop.dead_letter(bodies[0], "sqs:Shop-high")
    shop.dead_letter(bodies[1], "lambda:background")
    shop.put("dead", bodies[2])
    assert requeue_dead_letters("Shop-dead", to="Shop-other") == 3
    assert sorted(shop.bodies("other")) == sorted(bodies)
    assert shop.invocations == []


def test_only_the_selected_ones_go(shop: Shop) -> None:
    for number in range(6):
        shop.dead_letter(body_of(send.name, number), "sqs:Shop-other", "timeout" if number % 2 else "bug")
    assert requeue_dead_letters("Shop-dead", select=lambda letter: letter.failure.reason == "timeout") == 3
    assert sorted(json.loads(body)["args"] for body in shop.bodies("other")) == [[1], [3], [5]]
    assert shop.count("dead") == 3


@pytest.mark.parametrize("limit", [1, 5, 10, 11])
def test_no_more_than_the_limit_go(shop: Shop, limit: int) -> None:
    for number in range(12):
        shop.dead_letter(body_of(send.name, number), "sqs:Shop-other")
    assert requeue_dead_letters("Shop-dead", limit=limit) == limit
    assert (shop.count("other"), shop.count("dead")) == (limit, 12 - limit)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_one_or_more(shop: Shop, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit is 1 or more, or None for all, given {limit}"):
        requeue_dead_letters("Shop-dead", limit=limit)


def test_nothing_is_lost_when_sending_fails(shop: Shop, answers: Answers) -> None:
    for number in range(3):
        shop.dead_letter(body_of(send.name, number), "sqs:Shop-other")
    answers("SendMessageBatch", None, ConnectionError("reset"))
    with pytest.raises(DispatchError, match="ConnectionError: reset"):
        requeue_dead_letters("Shop-dead")
    assert (shop.count("other"), shop.count("dead")) == (1, 2)


@pytest.mark.parametrize("error", [ConnectionError("reset"), None])
def test_nothing_is_lost_when_an_invocation_fails(shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def invoke(**_: Any) -> dict[str, Any]:
        if error:
            raise error
        return {"StatusCode": 429, "Payload": io.BytesIO()}

    monkeypatch.setattr(shop, "invoke", invoke)
    shop.dead_letter(body_of(send.name), "lambda:background")
    said = r"dead letter .* was not sent to lambda:background: (reset|Lambda answered 429)"
    with pytest.raises(DispatchError, match=said):
        requeue_dead_letters("Shop-dead")
    assert shop.count("dead") == 1


STREAM = {"requestContext": {"functionArn": "arn:aws:lambda:a:1:function:b", "condition": "x"}, "KinesisBatchInfo": {}}


@pytest.mark.parametrize(
    ("body", "source", "to", "said"),
    [
        ("x", None, None, r"dead letter \S+ does not tell where it came from: pass to='<queue>'"),
        ("x", "sns:topic", None, r"the source of dead letter \S+ is 'sns:topic': .*: pass to='<queue>'"),
        ("x", "sqs:Shop-dead", None, "Shop-dead is the dead letter queue itself: requeue to another queue"),
        ("x", "sqs:Shop-other", "Shop-dead", "Shop-dead is the dead letter queue itself"),
        ("x", "sqs:Shop-gone", None, "the queue 'Shop-gone' cannot be found"),
        (json.dumps(STREAM), "", None, r"dead letter \S+ tells of records in a stream, and holds no task to run again"),
        (json.dumps(STREAM), "", "Shop-other", "holds no task to run again"),
    ],
)
def test_a_letter_that_cannot_go_is_refused_with_the_reason_and_stays(
    shop: Shop, body: str, source: str | None, to: str | None, said: str
) -> None:
    if source == "":
        shop.put("dead", body)
    else:
        shop.dead_letter(body, source)
    with pytest.raises(DispatchError, match=said):
        requeue_dead_letters("Shop-dead", to=to)
    assert (shop.count("dead"), shop.count("other")) == (1, 0)


def test_a_run_of_a_schedule_that_did_not_get_to_its_workflow_is_started(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = client("stepfunctions")
    monkeypatch.setitem(clients._clients, "stepfunctions", states)
    monkeypatch.setitem(clients._clients, "sts", client("sts"))
    role = "arn:aws:iam::123456789012:role/states"
    machine = states.create_state_machine(name="Shop-Etl", definition="{}", roleArn=role)["stateMachineArn"]
    told = {
        "ERROR_CODE": "AWS.Scheduler.InternalServerError",
        "TARGET_ARN": machine,
        "SCHEDULED_TIME": "2026-03-29T00:00:00Z",
    }
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in told.items()}
    body = '{"id": "nightly <aws.scheduler.scheduled-time>", "task": "shop.etl.extract"}'
    shop.put("dead", body, attributes)
    assert requeue_dead_letters("Shop-dead") == 1
    [execution] = states.list_executions(stateMachineArn=machine)["executions"]
    found = states.describe_execution(executionArn=execution["executionArn"])
    assert json.loads(found["input"])["id"] == "nightly 2026-03-29T00:00:00Z"


def test_a_letter_that_shows_up_again_while_others_are_read_is_given_once(shop: Shop, sqs: Any) -> None:
    for number in range(12):
        shop.dead_letter(body_of(send.name, number), "sqs:Shop-other")
    letters = list(receive_dead_letters("Shop-dead", client=sqs, visibility_timeout=0))
    assert len(letters) == len({letter.id for letter in letters})


def test_letters_are_all_read_though_the_first_show_up_again_before_the_last() -> None:
    class Crowded:
        """Gives ten letters a receive, which it then hides for as long as twenty receives take."""

        def __init__(self) -> None:
            self.receives = 0
            self.shown_from = dict.fromkeys(map(str, range(600)), 0)

        def receive_message(self, **_: Any) -> dict[str, Any]:
            self.receives += 1
            visible = [one for one, shown_from in self.shown_from.items() if shown_from <= self.receives]
            letters = random.sample(visible, 10)
            self.shown_from |= dict.fromkeys(letters, self.receives + 20)
            return {"Messages": [{"MessageId": one, "Body": "{}", "ReceiptHandle": "r"} for one in letters]}

    random.seed(0)
    assert len(list(receive_dead_letters("https://sqs/letters", client=Crowded()))) == 600


def test_an_empty_queue_has_none_to_send(shop: Shop) -> None:
    assert requeue_dead_letters("Shop-dead") == 0


def test_letters_of_others_that_say_the_same_are_all_sent(shop: Shop) -> None:
    for body in ("refresh", "refresh"):
        shop.dead_letter(body, "sqs:Shop-other", first_at=time.time() - 3_600)
    for body in ('{"id": "order-7", "is": "paid"}', '{"id": "order-7", "is": "sent"}'):  # no task's id
        shop.dead_letter(body, "sqs:Shop-other")
    assert requeue_dead_letters("Shop-dead") == 4
    assert shop.count("other") == 4


def test_a_message_that_fails_again_meanwhile_is_sent_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a call for a queue whose tasks fail at once would not end."""
    bodies = [body_of("shop.send"), "no envelope"]
    for body in bodies:
        shop.dead_letter(body, "sqs:Shop-other")

    def fail_again(url: str, receipts: list[str], client: Any) -> None:
        queues.delete(url, receipts, client)
        for body in shop.bodies("other")[-1:]:
            shop.dead_letter(body, "sqs:Shop-other")

    monkeypatch.setattr("runtime_lib.redrive.delete", fail_again)
    assert requeue_dead_letters("Shop-dead") == 2
    assert shop.count("dead") == 2
