"""Tasks that start later than a queue can delay them."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import boto3
import pytest
from moto import mock_aws

from runtime_lib import (
    DispatchError,
    EagerTransport,
    MemoryStore,
    PayloadTooLargeError,
    Priority,
    RecordingTransport,
    RetryLater,
    SqsTransport,
    TaskContext,
    TaskHandle,
    clients,
    contract,
    queues,
    task,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.envelope import Envelope
from runtime_lib.errors import NotRecordedError, StoreError
from runtime_lib.execution import Succeeded, run, run_async
from runtime_lib.store import using_store

GROUP, ROLE = "shop-later", "arn:aws:iam::123456789012:role/shop-later"
LETTERS = "arn:aws:sqs:us-east-1:123456789012:letters"


@task(name="mail.remind", namespace="mail")
def remind(to: str = "", text: Any = None) -> None:
    raise AssertionError("dispatched, not run")


@task(name="back.tidy", namespace="back")
def tidy() -> None:
    raise AssertionError("dispatched, not run")


@task(name="shop.order")
def order(hours: list[float], context: TaskContext) -> None:
    made.extend(remind.with_delay(timedelta(hours=delay)).dispatch("a").id for delay in hours)
    if context.attempt == 1:
        raise RetryLater


@task(name="shop.orders")
async def orders() -> None:
    made.extend(handle.id for handle in await asyncio.gather(*(remind.with_delay(3600).adispatch("a") for _ in "123")))


@task(name="shop.appointment")
def appointment(moment: str) -> None:
    made.append(remind.at(datetime.fromisoformat(moment)).dispatch("a").id)


made: list[str] = []


@pytest.fixture(autouse=True)
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made.clear()
    monkeypatch.setattr(clients, "_clients", {})
    monkeypatch.setattr(queues, "_urls", {})
    monkeypatch.setenv("TASK_ROUTE__MAIL", "sqs:mail")
    monkeypatch.setenv("TASK_ROUTE__BACK", "lambda:back:live")
    monkeypatch.setenv(contract.ENV_SCHEDULES, f"{GROUP} {ROLE} {LETTERS}")
    with mock_aws():
        client = boto3.client("scheduler")
        client.create_schedule_group(Name=GROUP)
        boto3.client("sqs").create_queue(QueueName="mail")
        yield client


def names(scheduler: Any) -> list[str]:
    return [one["Name"] for one in scheduler.list_schedules(GroupName=GROUP)["Schedules"]]


def the_schedule(scheduler: Any) -> dict[str, Any]:
    [name] = names(scheduler)
    return scheduler.get_schedule(Name=name, GroupName=GROUP)


def start_of(schedule: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(schedule["ScheduleExpression"].removeprefix("at(").removesuffix(")")).replace(
        tzinfo=UTC
    )


def test_a_long_delay_makes_a_schedule_that_sends_the_message_once_and_deletes_itself(scheduler: Any) -> None:
    handle = remind.with_headers(request="1").with_delay(timedelta(days=3)).dispatch("größer")
    schedule = the_schedule(scheduler)
    assert schedule["Name"] == handle.id
    assert abs(start_of(schedule) - datetime.now(UTC) - timedelta(days=3)) < timedelta(seconds=5)
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    target = schedule["Target"]
    assert target["Arn"] == "arn:aws:sqs:us-east-1:123456789012:mail"
    assert (target["RoleArn"], target["DeadLetterConfig"]) == (ROLE, {"Arn": LETTERS})
    envelope = Envelope.decode(target["Input"])
    assert (envelope.id, envelope.args, envelope.headers) == (handle.id, ["größer"], {"request": "1"})


@pytest.mark.parametrize("delay", [900, 1, 0])
def test_a_delay_that_sqs_has_makes_no_schedule(delay: int, scheduler: Any) -> None:
    remind.with_delay(delay).dispatch("a")
    assert names(scheduler) == []


@pytest.mark.parametrize(
    "moment",
    [
        datetime.now(UTC) + timedelta(hours=5),
        (datetime.now(UTC) + timedelta(hours=5)).astimezone(timezone(timedelta(hours=-9))),
    ],
)
def test_a_task_starts_at_a_time_of_any_time_zone(moment: datetime, scheduler: Any) -> None:
    remind.with_priority(Priority.HIGH).with_delay(5).at(moment).dispatch("a")
    assert abs(start_of(the_schedule(scheduler)) - moment) < timedelta(seconds=2)


def test_a_time_that_has_passed_is_now() -> None:
    assert remind.at(datetime.now(UTC) - timedelta(days=1)).call("a").delay == 0
    assert 58 <= remind.at(datetime.now(UTC) + timedelta(minutes=1)).call("a").delay <= 60
    assert remind.at(datetime.now(UTC) + timedelta(days=1)).with_delay(5).call("a").delay == 5


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone: give it tzinfo=UTC"):
        remind.at(datetime(2040, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("moment", ["2040-01-01T00:00:00Z", date(2040, 1, 1), 3_600, None])
def test_a_time_is_a_datetime(moment: Any) -> None:
    with pytest.raises(TypeError, match="a task starts at a datetime with a time zone, given "):
        remind.at(moment)


def test_a_function_gets_its_event_later_with_any_delay(scheduler: Any) -> None:
    tidy.with_delay(5).dispatch()
    schedule = the_schedule(scheduler)
    assert schedule["Target"]["Arn"] == "arn:aws:lambda:us-east-1:123456789012:function:back:live"
    # Scheduler looks once a minute, and refuses what has passed.
    assert timedelta(seconds=55) < start_of(schedule) - datetime.now(UTC) <= timedelta(seconds=62)


def test_a_group_goes_with_the_message_alone_for_scheduler_takes_those_of_fifo_queues_only(scheduler: Any) -> None:
    remind.with_group("tenant-7").with_delay(3600).dispatch("a")
    target = the_schedule(scheduler)["Target"]
    assert "SqsParameters" not in target
    assert Envelope.decode(target["Input"]).metadata["group"] == "tenant-7"


def test_a_message_is_what_it_was_though_it_looks_like_a_placeholder(scheduler: Any) -> None:
    remind.with_delay(3600).dispatch("<aws.scheduler.execution-id>")
    text = the_schedule(scheduler)["Target"]["Input"]
    assert "<aws.scheduler." not in text
    assert json.loads(text)["args"] == ["<aws.scheduler.execution-id>"]


def test_several_are_scheduled_in_one_call(scheduler: Any) -> None:
    later, now = remind.with_delay(3600), remind.with_delay(5)
    handles = remind.dispatch_many([later.call("a"), now.call("b"), later.call("c")])
    assert sorted(names(scheduler)) == sorted([handles[0].id, handles[2].id])


# --- Attempts of a task that dispatches ------------------------------------------------------------------------------


def attempt(number: int, parent: str, *hours: float) -> list[str]:
    made.clear()
    envelope = Envelope.new("shop.order", [list(hours)], {}, priority=Priority.DEFAULT)._replace(id=parent)
    run(order, envelope, Delivery(attempt=number))
    return list(made)


def test_a_retried_task_makes_no_second_schedule(scheduler: Any) -> None:
    first = attempt(1, "parent", 1, 2, 1)
    second = attempt(2, "parent", 1, 2, 1)
    assert first == second
    assert len(set(first)) == 3
    assert sorted(names(scheduler)) == sorted(first)
    assert {UUID(one).version for one in first} == {5}


def test_another_run_and_a_dispatch_outside_a_task_make_schedules_of_their_own(scheduler: Any) -> None:
    one, other = attempt(1, "one", 1), attempt(1, "other", 1)
    assert one != other
    remind.with_delay(3600).dispatch("a")
    remind.with_delay(3600).dispatch("a")
    assert len(names(scheduler)) == 4


def test_the_same_dispatched_side_by_side_is_not_one(scheduler: Any) -> None:
    asyncio.run(run_async(orders, Envelope.new("shop.orders", [], {}, priority=Priority.DEFAULT), Delivery()))
    assert len(set(made)) == 3
    assert sorted(names(scheduler)) == sorted(made)


def test_what_was_asked_for_at_a_time_is_the_same_when_that_has_passed() -> None:
    for moment in (datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)):
        made.clear()
        envelope = Envelope.new("shop.appointment", [moment.isoformat()], {}, priority=Priority.DEFAULT)
        for number in (1, 2):
            run(appointment, envelope, Delivery(attempt=number))
        first, second = made
        assert first == second


@pytest.mark.parametrize("known_by", ["first_received_at", "sent_at", "timestamp"])
@pytest.mark.parametrize(("route", "seconds"), [("sqs:mail", 960), ("lambda:mail", 90)])
def test_a_retry_that_is_nearer_to_the_time_sends_nothing_beside_the_schedule(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch, known_by: str, route: str, seconds: int
) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL", route)
    first = time.time()
    moment = datetime.fromtimestamp(first + seconds, UTC)
    envelope = Envelope.new("shop.appointment", [moment.isoformat()], {}, priority=Priority.DEFAULT)
    known = {} if known_by == "timestamp" else {known_by: first}
    for later in (0, 120):
        envelope.metadata["timestamp"] = int(1000 * (first + (0 if known_by == "timestamp" else later)))
        monkeypatch.setattr("runtime_lib.invocation.time", lambda later=later: first + later)
        assert run(appointment, envelope, Delivery(**known)) == Succeeded()
    [name] = names(scheduler)
    assert made == [name, name]
    queue = boto3.client("sqs").get_queue_url(QueueName="mail")["QueueUrl"]
    counted = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessagesDelayed"] == counted["ApproximateNumberOfMessages"] == "0"


def test_without_schedules_a_retry_leaves_to_the_queue_what_has_come_near_enough(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(contract.ENV_SCHEDULES)
    moment = datetime.now(UTC) + timedelta(seconds=800)
    envelope = Envelope.new("shop.appointment", [moment.isoformat()], {}, priority=Priority.DEFAULT)
    assert run(appointment, envelope, Delivery(attempt=2, first_received_at=time.time() - 120)) == Succeeded()
    assert names(scheduler) == []


def test_a_retry_sends_to_a_fifo_queue_when_the_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL", "sqs:mail.fifo")
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="mail.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    moment = datetime.now(UTC) - timedelta(seconds=1)
    envelope = Envelope.new("shop.appointment", [moment.isoformat()], {}, priority=Priority.DEFAULT)
    assert run(appointment, envelope, Delivery(attempt=2, first_received_at=time.time() - 1200)) == Succeeded()
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


# --- What is refused -------------------------------------------------------------------------------------------------


def test_without_schedules_the_error_names_the_grant(monkeypatch: pytest.MonkeyPatch, scheduler: Any) -> None:
    monkeypatch.delenv(contract.ENV_SCHEDULES)
    message = r"mail.remind cannot be delayed by 901 s: .* grant_dispatch\(function, delayed=True\)"
    with pytest.raises(DispatchError, match=message):
        remind.with_delay(901).dispatch("a")
    with pytest.raises(
        DispatchError, match=r"back.tidy cannot be delayed by 5 s: .* grant_dispatch\(function, delayed"
    ):
        tidy.with_delay(5).dispatch()
    with pytest.raises(DispatchError, match=r"back.tidy cannot be delayed by 3,600 s"):
        tidy.with_delay(3600).dispatch()
    assert names(scheduler) == []


def test_an_sqs_transport_of_ones_own_has_no_long_delays() -> None:
    with (
        using_transport(SqsTransport("mail")),
        pytest.raises(DispatchError, match="SQS delays a message by 900 s at most"),
    ):
        remind.with_delay(901).dispatch("a")


def test_a_fifo_queue_has_no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL", "sqs:mail.fifo")
    with pytest.raises(DispatchError, match=r"mail.fifo is a FIFO queue"):
        remind.with_delay(3600).dispatch("a")


def test_what_is_too_large_for_a_schedule_is_refused_and_nothing_is_made(scheduler: Any) -> None:
    later = remind.with_delay(3600)
    with pytest.raises(PayloadTooLargeError, match="EventBridge Scheduler, which delays it, takes 262,144"):
        remind.dispatch_many([later.call("a"), later.call("x" * 262_144)])
    assert names(scheduler) == []


def test_large_arguments_wait_in_the_payload_bucket(monkeypatch: pytest.MonkeyPatch, scheduler: Any) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL", str(contract.Route("sqs", "mail", payloads=True)))
    monkeypatch.setenv(contract.ENV_PAYLOADS, "payloads")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="payloads")
    handle = remind.with_delay(3600).dispatch("x" * 262_144)
    envelope = Envelope.decode(the_schedule(scheduler)["Target"]["Input"])
    assert envelope.args == []
    stored = s3.get_object(Bucket="payloads", Key=f"payloads/{handle.id}")["Body"].read()
    assert json.loads(stored)["args"] == ["x" * 262_144]


def test_what_scheduler_does_not_take_is_an_error_that_lists_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_SCHEDULES, f"absent {ROLE} {LETTERS}")
    later = remind.with_delay(3600)
    calls = [later.call("a"), later.call("b")]
    with pytest.raises(DispatchError, match="2 of 2 schedules were not made") as refused:
        remind.dispatch_many(calls)
    assert {one.id for one in refused.value.failed} == {call.envelope.id for call in calls}


@pytest.mark.parametrize("value", ["group", f"{GROUP} {ROLE}", f"{GROUP} {ROLE} {LETTERS} more"])
def test_a_bad_variable_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_SCHEDULES, value)
    with pytest.raises(DispatchError, match=r"TASK_SCHEDULES is .*: expected a schedule group, a role's ARN"):
        remind.with_delay(3600).dispatch("a")


# --- Cancelling, and where nothing waits -----------------------------------------------------------------------------


def test_cancelling_deletes_the_schedule(scheduler: Any) -> None:
    handle = remind.with_delay(3600).dispatch("a")
    assert TaskHandle(handle.id, handle.task).cancel()
    assert names(scheduler) == []
    assert not handle.cancel()


def test_a_recorded_task_is_cancelled_in_its_store_as_well(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheduler: Any
) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL", str(contract.Route("sqs", "mail", stored=True)))
    with using_store(MemoryStore()):
        handle = remind.with_delay(3600).dispatch("a")
        assert handle.status() == "queued"
        assert handle.cancel()
        assert handle.status() == "cancelled"
        assert names(scheduler) == []
        soon = remind.dispatch("b")
        assert soon.cancel()
        monkeypatch.setenv("TASK_ROUTE__MAIL", "sqs:mail")
        assert remind.with_delay(3600).dispatch("a").cancel()
        assert "does not start, and its record does not say so" in caplog.text
        with pytest.raises(NotRecordedError):
            TaskHandle("unknown", "mail.remind").cancel()


def test_without_schedules_cancelling_takes_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(contract.ENV_SCHEDULES)
    with pytest.raises(StoreError, match="no task store"):
        TaskHandle("id", "mail.remind").cancel()


def test_eager_and_recording_transports_wait_for_nothing(scheduler: Any) -> None:
    with using_transport(RecordingTransport()) as recording:
        remind.with_delay(3600).dispatch("a")
        assert [call.delay for call in recording.sent] == [3600]
    with using_transport(EagerTransport()), pytest.raises(AssertionError, match="dispatched, not run"):
        remind.at(datetime.now(UTC) + timedelta(days=1)).dispatch("a")
    assert names(scheduler) == []
