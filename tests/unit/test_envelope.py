"""The message: its format, what it remembers, and what is said of one that is none."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_lib.context import Delivery, TaskContext, running
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.errors import ArgumentError, EnvelopeError, NewerMessageError

GOLDEN = Path(__file__).parent / "golden"
TASKHAWKS = json.loads((GOLDEN / "envelope.json").read_text())
"""The example of taskhawk's usage guide."""
CHAINED = json.loads((GOLDEN / "envelope_of_a_chain.json").read_text())


def compact(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))


# --- The format ------------------------------------------------------------------------------------------------------


def test_taskhawks_example_is_read() -> None:
    envelope = Envelope.decode((GOLDEN / "envelope.json").read_text())
    assert envelope == Envelope(
        "b1328174-a21c-43d3-b303-964dfcc76efc",
        "tasks.send_email",
        ["email@automatic.com", "Hello!"],
        {"from_email": "spam@example.com"},
        {"request_id": "1234"},
        {"priority": "high", "timestamp": 1460868253255, "version": "1.0"},
    )
    assert (envelope.priority, envelope.chain, envelope.hops) == (Priority.HIGH, envelope.id, 0)


@pytest.mark.parametrize("golden", [TASKHAWKS, CHAINED], ids=["taskhawk's", "of a chain"])
def test_the_format_on_the_wire_does_not_change(golden: dict[str, Any]) -> None:
    envelope = Envelope.decode(compact(golden))
    assert envelope.encode() == compact(golden)
    assert Envelope.decode(json.dumps(golden, indent=2).encode()) == envelope


def test_what_a_chain_carries_is_read() -> None:
    envelope = Envelope.decode(compact(CHAINED))
    assert (envelope.chain, envelope.hops) == ("b1328174-a21c-43d3-b303-964dfcc76efc", 2)
    assert envelope.metadata == CHAINED["metadata"]
    assert envelope.args[4] == ["ö", "😀"]


def test_what_another_writer_adds_is_left_alone() -> None:
    message = {**TASKHAWKS, "extra": [1]}
    message["metadata"] = {**message["metadata"], "traceparent": "00-x", "expiry": None}
    assert Envelope.decode(compact(message)).metadata["traceparent"] == "00-x"


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        ("2016-04-17T04:44:13.255000+00:00", 1460868253255),
        ("2016-04-17T04:44:13.255Z", 1460868253255),
        ("2016-04-17T04:44:13.255", 1460868253255),
        ("2016-04-17T06:44:13.255+02:00", 1460868253255),
        ("20160417T044413Z", 1460868253000),
        ("0001-01-01T00:00:00+23:59", -62135683140000),
        ("9999-12-31T23:59:59-23:59", 253402387139000),
    ],
)
def test_a_timestamp_may_be_an_iso_time_as_taskhawk_allows(timestamp: str, milliseconds: int) -> None:
    message = {**TASKHAWKS, "metadata": {**TASKHAWKS["metadata"], "timestamp": timestamp}}
    assert Envelope.decode(compact(message)).metadata["timestamp"] == milliseconds


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)),  # as os.fsdecode() has them
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(json_values, max_size=4),
    st.dictionaries(st.text(), json_values, max_size=4),
    st.dictionaries(st.text(), json_values, max_size=4),
    st.sampled_from(Priority),
)
def test_any_json_arguments_arrive_as_they_were_sent(
    args: list[Any], kwargs: dict[str, Any], headers: dict[str, Any], priority: Priority
) -> None:
    envelope = Envelope.new("shop.send", args, kwargs, priority=priority, headers=headers)
    text = envelope.encode()
    assert text.isascii()
    decoded = Envelope.decode(text)
    assert decoded == envelope
    assert json.dumps(decoded.args) == json.dumps(args)  # (1 == 1.0 == True)


# --- What it remembers -----------------------------------------------------------------------------------------------


def test_a_message_dispatched_by_a_task_remembers_it() -> None:
    parent = Envelope.decode(compact(CHAINED))
    token = running.set(TaskContext(parent, Delivery()))
    try:
        child = Envelope.new("shop.mail.send", [], {}, priority=Priority.LOW, group="g", schema=2)
    finally:
        running.reset(token)
    assert child.id != parent.id
    assert {name: child.metadata[name] for name in child.metadata if name != "timestamp"} == {
        "priority": "low",
        "version": "1.0",
        "chain": CHAINED["metadata"]["chain"],
        "parent": parent.id,
        "source": "shop.invoices.render",
        "hops": 3,
        "group": "g",
        "schema": 2,
    }


def test_the_first_message_of_a_chain_remembers_nothing() -> None:
    first = Envelope.new("shop.send", [], {}, priority=Priority.DEFAULT)
    assert first.metadata.keys() == {"priority", "timestamp", "version"}
    token = running.set(TaskContext(first, Delivery()))
    try:
        second = Envelope.new("shop.send", [], {}, priority=Priority.DEFAULT)
    finally:
        running.reset(token)
    assert (second.chain, second.metadata["parent"], second.hops) == (first.id, first.id, 1)


# --- What cannot be sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "headers", "message"),
    [
        ([1, math.nan], {}, {}, r"^shop\.send\(\) argument 2 cannot be sent as JSON: Out of range float"),
        ([], {"a": [math.inf]}, {}, r"^shop\.send\(\) argument 'a' cannot be sent as JSON: Out of range float"),
        ([], {}, {"h": -math.inf}, r"^shop\.send\(\) header 'h' cannot be sent as JSON: Out of range float"),
        ([object()], {}, {}, "argument 1 cannot be sent as JSON: Object of type object is not JSON serializable"),
        ([], {"a": {("x", 1): 2}}, {}, "argument 'a' cannot be sent as JSON: keys must be str"),
    ],
)
def test_what_is_no_json_is_refused_by_its_name(args: Any, kwargs: Any, headers: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Envelope.new("shop.send", args, kwargs, priority=Priority.DEFAULT, headers=headers).encode()


def test_metadata_that_is_no_json_is_refused() -> None:
    envelope = Envelope.new("shop.send", [], {}, priority=Priority.DEFAULT)
    envelope.metadata["at"] = math.nan
    with pytest.raises(ArgumentError, match=r"^shop\.send\(\) cannot be sent as JSON: Out of range float"):
        envelope.encode()


# --- What is no message ----------------------------------------------------------------------------------------------

NOT_JSON = {
    "nothing": "",
    "text": "hello",
    "half": '{"id": ',
    "two": "{}{}",
    "NaN": compact(TASKHAWKS).replace("1460868253255", "NaN"),
    "NaN in arguments": compact({**TASKHAWKS, "args": [math.nan]}),
    "infinity": compact({**TASKHAWKS, "kwargs": {"a": -math.inf}}),
    "a number too large": compact(TASKHAWKS).replace('"Hello!"', "1e999"),
    "a number too long": compact(TASKHAWKS).replace('"Hello!"', "1" * 5000),
    "nested too deeply": "[" * 100_000,
    "a byte order mark": "\ufeff{}",
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_strict_json_is_no_message(text: str) -> None:
    with pytest.raises(EnvelopeError, match=r"^the message is not JSON: "):
        Envelope.decode(text)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\x80"])
def test_bytes_that_are_no_utf_8_are_no_message(text: bytes) -> None:
    with pytest.raises(EnvelopeError, match=r"^the message is not JSON: 'utf-8' codec"):
        Envelope.decode(text)


def changed(**fields: Any) -> dict[str, Any]:
    return {**TASKHAWKS, **fields}


def with_metadata(**fields: Any) -> dict[str, Any]:
    return changed(metadata={**TASKHAWKS["metadata"], **fields})


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in TASKHAWKS.items() if key != name}


MALFORMED: list[tuple[Any, str]] = [
    (None, "the message is null: expected an object"),
    ([], "the message is an array: expected an object"),
    ([TASKHAWKS], "the message is an array: expected an object"),
    ("x", "the message is a string: expected an object"),
    (5, "the message is a whole number: expected an object"),
    (1.5, "the message is a number: expected an object"),
    (True, "the message is a boolean: expected an object"),
    ({}, "id is missing: expected a string"),
    (without("id"), "id is missing: expected a string"),
    (without("metadata"), "metadata is missing: expected an object"),
    (without("headers"), "headers is missing: expected an object"),
    (without("task"), "task is missing: expected a string"),
    (without("args"), "args is missing: expected an array"),
    (without("kwargs"), "kwargs is missing: expected an object"),
    (changed(id=None), "id is null: expected a string"),
    (changed(id=5), "id is a whole number: expected a string"),
    (changed(id=""), "id is empty: expected a string that is not"),
    (changed(task=["a"]), "task is an array: expected a string"),
    (changed(task=""), "task is empty: expected a string that is not"),
    (changed(args="xy"), "args is a string: expected an array"),
    (changed(args=None), "args is null: expected an array"),
    (changed(args={}), "args is an object: expected an array"),
    (changed(kwargs=[]), "kwargs is an array: expected an object"),
    (changed(kwargs=None), "kwargs is null: expected an object"),
    (changed(headers=None), "headers is null: expected an object"),
    (changed(headers="x"), "headers is a string: expected an object"),
    (changed(metadata=None), "metadata is null: expected an object"),
    (changed(metadata=[]), "metadata is an array: expected an object"),
    (changed(metadata={}), "metadata.version is missing: expected a string"),
    (with_metadata(version=1.0), "metadata.version is a number: expected a string"),
    (with_metadata(version=None), "metadata.version is null: expected a string"),
    (with_metadata(timestamp=None), "metadata.timestamp is null: expected a whole number"),
    (with_metadata(timestamp=1.5), "metadata.timestamp is a number: expected a whole number"),
    (with_metadata(timestamp=True), "metadata.timestamp is a boolean: expected a whole number"),
    (with_metadata(timestamp="soon"), "metadata.timestamp is 'soon': expected epoch milliseconds or an ISO 8601 time"),
    (with_metadata(timestamp=""), "metadata.timestamp is '': expected epoch milliseconds or an ISO 8601 time"),
    (with_metadata(priority="urgent"), "metadata.priority is 'urgent': expected one of default, high, low, bulk"),
    (with_metadata(priority="HIGH"), "metadata.priority is 'HIGH': expected one of default, high, low, bulk"),
    (with_metadata(priority=None), "metadata.priority is null: expected a string"),
    (with_metadata(priority=[]), "metadata.priority is an array: expected a string"),
    (with_metadata(priority={}), "metadata.priority is an object: expected a string"),
    (with_metadata(hops="1"), "metadata.hops is a string: expected a whole number"),
    (with_metadata(hops=True), "metadata.hops is a boolean: expected a whole number"),
    (with_metadata(schema="1"), "metadata.schema is a string: expected a whole number"),
    (with_metadata(chain=5), "metadata.chain is a whole number: expected a string"),
    (with_metadata(chain=""), "metadata.chain is empty: expected a string that is not"),
    (with_metadata(parent=[]), "metadata.parent is an array: expected a string"),
    (with_metadata(source=None), "metadata.source is null: expected a string"),
    (with_metadata(group={}), "metadata.group is an object: expected a string"),
]


@pytest.mark.parametrize(("message", "said"), MALFORMED, ids=[said for _, said in MALFORMED])
def test_a_malformed_message_is_one_error_that_names_field_expected_and_found(message: Any, said: str) -> None:
    with pytest.raises(EnvelopeError) as caught:
        Envelope.decode(json.dumps(message))
    assert str(caught.value) == said


@pytest.mark.parametrize("version", ["2.0", "1.1", "0.9", "x"])
def test_another_version_is_a_newer_message(version: str) -> None:
    with pytest.raises(NewerMessageError) as caught:
        Envelope.decode(compact(with_metadata(version=version, priority="from the future")))
    assert not isinstance(caught.value, EnvelopeError)
    assert str(caught.value) == f"metadata.version is {version!r}: this release reads '1.0'"


@pytest.mark.parametrize("field", ["version", "priority", "timestamp"])
def test_an_error_quotes_no_more_than_the_beginning_of_a_value(field: str) -> None:
    with pytest.raises((EnvelopeError, NewerMessageError)) as caught:
        Envelope.decode(compact(with_metadata(**{field: "x" * 1_000_000})))
    assert len(str(caught.value)) < 300


def decoded_or_refused(text: str | bytes) -> None:
    try:
        envelope = Envelope.decode(text)
    except (EnvelopeError, NewerMessageError):
        return
    assert Envelope.decode(envelope.encode()) == envelope


@given(st.text() | st.binary())
def test_arbitrary_text_raises_nothing_else(text: str | bytes) -> None:
    decoded_or_refused(text)


@given(json_values)
def test_arbitrary_json_raises_nothing_else(value: Any) -> None:
    decoded_or_refused(json.dumps(value))


fields = st.sampled_from(["id", "task", "args", "kwargs", "headers", "metadata"])
metadata_fields = st.sampled_from(["priority", "timestamp", "version", "chain", "parent", "hops", "schema", "group"])


@given(st.dictionaries(fields, json_values, max_size=2), st.dictionaries(metadata_fields, json_values, max_size=2))
def test_messages_with_arbitrary_fields_raise_nothing_else(top: dict[str, Any], metadata: dict[str, Any]) -> None:
    decoded_or_refused(json.dumps({**TASKHAWKS, "metadata": {**TASKHAWKS["metadata"], **metadata}, **top}))
