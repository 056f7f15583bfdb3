"""Why messages were given up: written in one format, read in five."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_lib.context import Delivery
from runtime_lib.contract import FAILURE_ATTRIBUTE, FAILURE_MAX_BYTES
from runtime_lib.dead_letters import (
    Failure,
    dead_letter_entry,
    read_dead_letter,
)
from tests.deliveries import body_of

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "dead_letters.json").read_text())
"""What lies in a queue in each of the six shapes, the last five as AWS documents them, and what is read of it."""


# --- Reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", GOLDEN)
def test_each_shape_is_read(shape: str) -> None:
    golden = GOLDEN[shape]
    letter = read_dead_letter(golden["message"])
    assert letter.failure._asdict() == golden["failure"]
    assert letter.body == golden.get("body", golden["message"]["Body"])
    assert (letter.id, letter.receipt) == (golden["message"]["MessageId"], "receipt")
    assert letter.task == golden["task"]
    assert letter.envelope_id == ("b1328174-a21c-43d3-b303-964dfcc76efc" if letter.task else golden.get("envelope_id"))


def test_a_lambda_alias_is_kept_and_the_error_of_a_python_function_read() -> None:
    record = json.loads(GOLDEN["destination"]["message"]["Body"])
    record["requestContext"]["functionArn"] = "arn:aws-cn:lambda:cn-north-1:1:function:mail:live"
    record["responsePayload"] = {
        "errorType": "TimeoutError",
        "errorMessage": "gateway",
        "stackTrace": ["  File 1\n", "  File 2\n"],
    }
    failure = read_dead_letter({"MessageId": "1", "Body": json.dumps(record)}).failure
    assert failure.source == "lambda:mail:live"
    assert failure.reason == "RetriesExhausted after 3 invocations: TimeoutError: gateway"
    assert (failure.error_type, failure.traceback) == ("TimeoutError", "  File 1\n  File 2\n")


@pytest.mark.parametrize("answer", [None, "text", ["a"], {"stackTrace": None, "errorType": 5}])
def test_an_answer_that_is_no_error_of_python_is_read(answer: Any) -> None:
    record = json.loads(GOLDEN["destination"]["message"]["Body"])
    record["responsePayload"] = answer
    failure = read_dead_letter({"MessageId": "1", "Body": json.dumps(record)}).failure
    assert failure.reason.startswith("RetriesExhausted after 3 invocations")


def test_an_event_that_was_too_old_has_no_answer() -> None:
    record = json.loads(GOLDEN["destination"]["message"]["Body"])
    del record["responsePayload"], record["responseContext"]
    record["requestContext"]["condition"] = "EventAgeExceeded"
    failure = read_dead_letter({"MessageId": "1", "Body": json.dumps(record)}).failure
    assert failure.reason == "EventAgeExceeded after 3 invocations"


def test_a_task_in_an_sns_notification_is_found() -> None:
    body = json.dumps({"Type": "Notification", "Message": body_of("shop.send", metadata={"group": "g"})})
    letter = read_dead_letter({"MessageId": "1", "Body": body})
    assert (letter.task, letter.group, letter.body) == ("shop.send", "g", body)


def test_a_body_of_a_task_that_looks_like_a_record_is_none() -> None:
    body = json.dumps({"requestContext": {"stage": "prod"}, "requestPayload": {}, "task": "shop.send"})
    letter = read_dead_letter({"MessageId": "1", "Body": body})
    assert (letter.failure.shape, letter.body) == ("redrive", body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
contexts = st.fixed_dictionaries(
    {"condition": json_values}, optional={"functionArn": json_values, "approximateInvokeCount": json_values}
)
records = st.fixed_dictionaries(
    {},
    optional={
        "requestContext": json_values | contexts,
        "requestPayload": json_values,
        "responsePayload": json_values,
        "timestamp": json_values,
        "KinesisBatchInfo": json_values,
        "metadata": json_values,
        "id": json_values,
        "task": json_values,
        "Type": st.just("Notification"),
        "Message": json_values,
    },
)
attributes = st.dictionaries(
    st.sampled_from([FAILURE_ATTRIBUTE, "ERROR_CODE", "ERROR_MESSAGE", "RETRY_ATTEMPTS"]),
    st.fixed_dictionaries({"StringValue": st.text(max_size=5) | json_values.map(json.dumps)})
    | st.just({"BinaryValue": b"x"}),
)
failures = st.dictionaries(st.sampled_from(Failure._fields), json_values).map(json.dumps)


@settings(max_examples=150, deadline=None)
@given(json_values.map(json.dumps) | records.map(json.dumps) | st.text(max_size=5), attributes, failures | st.none())
def test_whatever_lies_in_a_queue_is_read(body: str, found: dict[str, Any], failure: str | None) -> None:
    if failure is not None:
        found[FAILURE_ATTRIBUTE] = {"StringValue": failure}
    letter = read_dead_letter({"MessageId": "1", "Body": body, "MessageAttributes": found})
    assert isinstance(letter.body, str)
    for text in (
        letter.failure.reason,
        letter.failure.error_type,
        letter.failure.error_message,
        letter.failure.traceback,
    ):
        assert isinstance(text, str)
    assert type(letter.failure.attempts) is int
    for optional in (letter.task, letter.envelope_id, letter.group, letter.failure.source, letter.failure.chain):
        assert optional is None or isinstance(optional, str)


# --- Writing ---------------------------------------------------------------------------------------------------------


def failed(error: BaseException | None = None) -> BaseException:
    try:
        raise error or TimeoutError("gateway")
    except BaseException as raised:  # noqa: BLE001
        return raised


def test_a_dead_letter_is_the_untouched_body_and_one_attribute() -> None:
    body = body_of("shop.send", "ö", metadata={"chain": "first"})
    delivery = Delivery(3, 10, "r", "url", "sqs:mail", sent_at=1_000.0, first_received_at=2_000.5)
    entry = dead_letter_entry(body, reason="failed at attempt 3", error=failed(), delivery=delivery)
    assert (entry.body, entry.id) == (body, json.loads(body)["id"])
    [(name, attribute)] = entry.attributes.items()
    value = attribute["StringValue"]
    assert name == FAILURE_ATTRIBUTE
    found = json.loads(value)
    assert found.pop("traceback").startswith("Traceback (most recent call last):\n")
    assert found.pop("last_at") > 1.7e9
    assert found == {
        "reason": "failed at attempt 3",
        "error_type": "TimeoutError",
        "error_message": "gateway",
        "attempts": 3,
        "first_at": 2_000.5,
        "source": "sqs:mail",
        "chain": "first",
    }


def test_what_is_written_is_read() -> None:
    entry = dead_letter_entry(
        body_of("shop.send"), reason="r", error=failed(), delivery=Delivery(2, source="lambda:mail", sent_at=5.0)
    )
    failure = read_dead_letter({"MessageId": "1", "Body": entry.body, "MessageAttributes": entry.attributes}).failure
    assert (failure.shape, failure.reason, failure.attempts, failure.source) == ("task", "r", 2, "lambda:mail")
    assert (failure.error_type, failure.error_message, failure.first_at) == ("TimeoutError", "gateway", 5.0)
    assert failure.chain == json.loads(entry.body)["id"]
    assert failure.traceback.endswith("TimeoutError: gateway\n")


def test_the_format_in_a_queue_does_not_change() -> None:
    golden = GOLDEN["task"]
    written = Failure(**golden["failure"]).attribute()
    assert written == golden["message"]["MessageAttributes"][FAILURE_ATTRIBUTE]["StringValue"]


@pytest.mark.parametrize(
    "body", ["not json", "[]", '{"metadata": {"chain": 5}, "id": 5}', '{"metadata": [], "id": "x"}', "{}"]
)
def test_a_malformed_message_is_written_as_it_is(body: str) -> None:
    entry = dead_letter_entry(body, reason="the message is not JSON", error=None, delivery=Delivery())
    assert entry.body == body
    assert json.loads(entry.attributes[FAILURE_ATTRIBUTE]["StringValue"])["chain"] == ("x" if '"x"' in body else None)


TEXTS: dict[str, Callable[[int], str]] = {
    "ascii": lambda count: "x" * count,
    "two bytes": lambda count: "ö" * count,
    "astral": lambda count: "😀" * count,
    "control characters": lambda count: "\0\n\x1b" * count,
    "quotes": lambda count: '"\\' * count,
    "lone surrogates": lambda count: "\ud800" * count,
    "a long tail of another kind": lambda count: "x" * count + "😀" * count,
}


@pytest.mark.parametrize("count", [100, 1_000, 100_000])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_failure_fits_what_a_message_keeps_free_whatever_its_text(text: Callable[[int], str], count: int) -> None:
    error = failed(
        type(text(min(count, 1_000)).replace("\0", "0").replace("\ud800", "?"), (Exception,), {})(text(count))
    )
    entry = dead_letter_entry(
        json.dumps({"id": text(min(count, 10_000)), "metadata": {"chain": text(min(count, 10_000))}}),
        reason=text(count),
        error=error,
        delivery=Delivery(10**6, source=text(count), sent_at=1795286613.123456, first_received_at=1795286613.123456),
    )
    assert entry.size() - len(entry.body.encode()) <= FAILURE_MAX_BYTES
    found = json.loads(entry.attributes[FAILURE_ATTRIBUTE]["StringValue"])
    assert all(found[name] for name in ("reason", "error_type", "error_message", "traceback", "source", "chain"))
    assert text(count).startswith(found["reason"])


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
def test_a_failure_fits_whatever_its_texts(reason: str, message: str, traceback: str, chain: str) -> None:
    failure = Failure("task", reason * 99, reason * 9, message * 99, traceback * 999, 3, 1.5, 2.5, chain * 9, chain * 9)
    attribute = failure.attribute()
    assert attribute.isascii()
    assert len(FAILURE_ATTRIBUTE) + len("String") + len(attribute) <= FAILURE_MAX_BYTES


def test_of_a_long_traceback_the_end_is_kept_and_of_a_message_the_beginning() -> None:
    failure = Failure("task", "r" * 5_000, "T", "m" * 5_000 + "END", "START" + "t" * 50_000 + "END")
    found = json.loads(failure.attribute())
    assert found["traceback"].endswith("END")
    assert len(found["traceback"]) > 1_500
    assert set(found["error_message"]) == {"m"}
    assert FAILURE_MAX_BYTES - 17 - len(failure.attribute()) == 0


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_cannot_say_what_it_is_is_written() -> None:
    entry = dead_letter_entry(body_of("shop.send"), reason="r", error=failed(MuteError()), delivery=Delivery())
    assert json.loads(entry.attributes[FAILURE_ATTRIBUTE]["StringValue"])["error_type"] == "MuteError"
