"""Dispatching: what is sent, with which options, and what is refused at the caller."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from runtime_lib import (
    ArgumentError,
    DispatchError,
    PayloadTooLargeError,
    Priority,
    RecordingTransport,
    TaskDefinitionError,
    TaskHandle,
    contract,
    dispatch_task,
    task,
    using_transport,
)
from runtime_lib.envelope import Envelope
from runtime_lib.task import Call


@task
def send_email(to: str, subject: str, from_email: str | None = None) -> None: ...


@task(priority=Priority.LOW, namespace=["mail", "news"], schema_version=3)
def send_news(to: Any, /, *topics: str, at: float = 0) -> None: ...


@task
async def resize(width: int) -> int:
    return width


@task
def anything(*args: Any, **named: Any) -> None: ...


@pytest.fixture(autouse=True)
def recording() -> Iterator[RecordingTransport]:
    with using_transport(RecordingTransport()) as transport:
        yield transport


def sent(recording: RecordingTransport) -> Envelope:
    (call,) = recording.sent
    assert Envelope.decode(call.body) == call.envelope
    return call.envelope


# --- What is sent ----------------------------------------------------------------------------------------------------


def test_a_dispatch_sends_one_envelope_and_returns_its_id(recording: RecordingTransport) -> None:
    handle = send_email.dispatch("a@b.c", "Hi", from_email="x@y.z")
    envelope = sent(recording)
    assert handle == TaskHandle(envelope.id, send_email.name)
    assert str(UUID(handle.id)) == handle.id
    assert (UUID(handle.id).version, UUID(handle.id).variant) == (4, RFC_4122)
    assert (envelope.task, envelope.args, envelope.kwargs) == (
        send_email.name,
        ["a@b.c", "Hi"],
        {"from_email": "x@y.z"},
    )
    assert envelope.headers == {}
    assert envelope.metadata.keys() == {"priority", "timestamp", "version"}
    assert (envelope.priority, envelope.metadata["version"]) == (Priority.DEFAULT, "1.0")


def test_the_timestamp_is_in_epoch_milliseconds(recording: RecordingTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_460_868_253_255_999_999)
    resize.dispatch(1)
    assert sent(recording).metadata["timestamp"] == 1_460_868_253_255


def test_defaults_are_not_sent(recording: RecordingTransport) -> None:
    send_email.dispatch("a@b.c", "Hi")
    assert sent(recording).kwargs == {}


def test_a_tasks_options_are_sent(recording: RecordingTransport) -> None:
    send_news.dispatch("a@b.c", "x", "y", at=1)
    (call,) = recording.sent
    assert call.namespace == "mail"
    assert call.envelope.args == ["a@b.c", "x", "y"]
    assert call.envelope.kwargs == {"at": 1}
    assert call.envelope.metadata["priority"] == "low"
    assert call.envelope.metadata["schema"] == 3


def test_every_dispatch_has_an_id_of_its_own() -> None:
    assert len({resize.dispatch(1).id for _ in range(50)}) == 50


def test_fire_and_forget_is_dispatch(recording: RecordingTransport) -> None:
    handle = send_email.fire_and_forget("a@b.c", "Hi")
    assert sent(recording).id == handle.id
    assert send_email.with_headers(a=1).fire_and_forget("a@b.c", "Hi").task == send_email.name


def test_what_is_sent_is_what_the_arguments_were_at_the_dispatch(recording: RecordingTransport) -> None:
    rows = [{"a": 1}]
    anything.dispatch(rows)
    rows[0]["a"] = 2
    assert Envelope.decode(recording.sent[0].body).args == [[{"a": 1}]]


def test_adispatch_sends_without_blocking_the_event_loop() -> None:
    threads: list[int] = []

    class Noting(RecordingTransport):
        def send(self, calls: Any) -> None:
            threads.append(threading.get_ident())
            super().send(calls)

    async def main() -> list[TaskHandle]:
        return [await resize.adispatch(1), await resize.with_priority(Priority.HIGH).adispatch(2)]

    with using_transport(Noting()) as noting:
        handles = asyncio.run(main())
    assert threading.get_ident() not in threads
    assert [call.handle for call in noting.sent] == handles
    assert [call.envelope.priority for call in noting.sent] == [Priority.DEFAULT, Priority.HIGH]


# --- Chaining --------------------------------------------------------------------------------------------------------


def test_options_of_one_dispatch_are_chained(recording: RecordingTransport) -> None:
    (
        send_email.with_headers(request_id="1")
        .with_priority(Priority.HIGH)
        .with_delay(minutes=5)
        .with_group("tenant-7")
        .with_headers(trace="x")
        .dispatch("a@b.c", "Hi")
    )
    (call,) = recording.sent
    assert call.envelope.headers == {"request_id": "1", "trace": "x"}
    assert call.envelope.priority is Priority.HIGH
    assert call.delay == 300
    assert call.envelope.metadata["group"] == "tenant-7"


def test_a_saved_invocation_keeps_nothing_of_its_uses(recording: RecordingTransport) -> None:
    saved = send_email.with_headers(request_id="1")
    saved.with_headers(request_id="2", other="x").with_priority(Priority.LOW).dispatch("a@b.c", "1")
    saved.dispatch("a@b.c", "2")
    saved.dispatch("a@b.c", "3")
    send_email.dispatch("a@b.c", "4")
    assert [call.envelope.headers for call in recording.sent] == [
        {"request_id": "2", "other": "x"},
        {"request_id": "1"},
        {"request_id": "1"},
        {},
    ]
    assert [call.envelope.metadata["priority"] for call in recording.sent] == ["low", "default", "default", "default"]


def test_headers_may_have_any_name(recording: RecordingTransport) -> None:
    send_email.with_headers(self="me", headers={"a": [None]}).dispatch("a@b.c", "Hi")
    assert sent(recording).headers == {"self": "me", "headers": {"a": [None]}}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"a": object()}, r"headers\['a'\] takes a JSON value .*, given object"),
        ({"a": {"b": {1: 2}}}, r"headers\['a'\]\['b'\] takes a dict with str keys .*, given int"),
        ({"a": math.nan}, "header 'a' cannot be sent as JSON: Out of range float values"),
    ],
)
def test_headers_that_are_no_json_are_refused(recording: RecordingTransport, headers: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        send_email.with_headers(**headers).dispatch("a@b.c", "Hi")
    assert recording.sent == []


@pytest.mark.parametrize(
    ("invoke", "seconds"),
    [
        (lambda: resize.with_delay(0), 0),
        (lambda: resize.with_delay(5), 5),
        (lambda: resize.with_delay(0.2), 1),
        (lambda: resize.with_delay(timedelta(minutes=2)), 120),
        (lambda: resize.with_delay(seconds=1, minutes=1), 61),
        (lambda: resize.with_delay(minutes=15), 900),
        (lambda: resize.with_delay(60).with_delay(5), 5),
    ],
)
def test_a_delay_is_in_whole_seconds_and_no_shorter_than_asked(invoke: Callable[[], Any], seconds: int) -> None:
    assert invoke().call(1).delay == seconds


@pytest.mark.parametrize(
    ("delay", "error", "message"),
    [
        (timedelta(days=40_000), ValueError, "a delay is a century at most, given "),
        (-1, ValueError, "a duration is 0 seconds or more, given -1"),
        (math.nan, ValueError, "a duration is 0 seconds or more, given nan"),
        ("5", TypeError, "a duration is a number of seconds or a timedelta, given '5'"),
    ],
)
def test_a_delay_that_cannot_be_kept_is_refused(delay: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resize.with_delay(delay)


@pytest.mark.parametrize("group", ["a", "tenant-7", "~!", "x" * 128])
def test_a_group_may_be_what_sqs_takes(group: str) -> None:
    assert resize.with_group(group).call(1).envelope.metadata["group"] == group


@pytest.mark.parametrize("group", ["", " ", "a b", "größe", "x" * 129, "a\n"])
def test_a_group_that_sqs_does_not_take_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="a group is 1 to 128 ASCII letters, digits and punctuation, given "):
        resize.with_group(group)


def test_a_group_is_a_str() -> None:
    with pytest.raises(TypeError, match="a group is a str, given 7"):
        resize.with_group(7)  # type: ignore[arg-type]


def test_a_priority_is_a_priority() -> None:
    with pytest.raises(TypeError, match=r"a priority is one of Priority\.DEFAULT, .*, given 'high'"):
        resize.with_priority("high")  # type: ignore[arg-type]


# --- What is refused -------------------------------------------------------------------------------------------------

CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("a",), {}),
    (("a", "b", "c", "d"), {}),
    (("a", "b"), {"other": 1}),
    (("a", "b"), {"to": "c"}),
    ((), {"subject": "a"}),
]


@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_a_wrong_call_is_refused_at_the_caller_in_pythons_words(
    recording: RecordingTransport, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError) as plain:
        send_email(*args, **kwargs)
    with pytest.raises(ArgumentError) as dispatched:
        send_email.dispatch(*args, **kwargs)
    assert str(dispatched.value) == str(plain.value)
    assert recording.sent == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (object(), r"anything\(\) argument 'args' takes a JSON value \(annotate .*\), given object"),
        (b"x", "given bytes"),
        ({1}, "given set"),
        (
            {"a": [1, {2: 3}]},
            r"argument 'args'\['a'\]\[1\] takes a dict with str keys \(JSON knows no others\), given int",
        ),
        ([[object()]], r"argument 'args'\[0\]\[0\] takes a JSON value"),
        (math.nan, "anything.* argument 1 cannot be sent as JSON: Out of range float values"),
        ([math.inf], "argument 1 cannot be sent as JSON: Out of range float values"),
        pytest.param(10**5000, "argument 1 cannot be sent as JSON: Exceeds the limit", id="too many digits"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_its_name(
    recording: RecordingTransport, argument: object, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        anything.dispatch(argument)
    assert recording.sent == []


def test_nan_in_a_keyword_argument_is_refused_by_its_name() -> None:
    with pytest.raises(ArgumentError, match="argument 'at' cannot be sent as JSON"):
        send_news.dispatch("a", at=math.nan)


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ArgumentError, match="argument 'args' is nested too deeply, or holds itself"):
        anything.dispatch(nested(100_000))
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(ArgumentError, match="is nested too deeply, or holds itself"):
        anything.dispatch(itself)


def test_lone_surrogates_arrive_as_they_are(recording: RecordingTransport) -> None:
    anything.with_headers(name="\ud800").dispatch("\udcff", **{"\ud800": ["\udfff\ud800"]})
    (call,) = recording.sent
    assert call.body.isascii()
    assert Envelope.decode(call.body) == call.envelope


def test_too_large_a_message_is_refused_with_its_size_and_the_limit(recording: RecordingTransport) -> None:
    limit = contract.SQS_MAX_BYTES - contract.FAILURE_MAX_BYTES
    size = len(anything.call("").body)
    assert len(anything.call("x" * (limit - size)).body) == limit
    with pytest.raises(PayloadTooLargeError) as caught:
        anything.dispatch("x" * (limit - size + 1))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, DispatchError)
    assert "makes a message of 1,044,481 bytes, and AWS takes 1,044,480" in str(caught.value)
    assert "store the data in S3 and send its key" in str(caught.value)
    with pytest.raises(PayloadTooLargeError):
        anything.dispatch("ö" * (limit // 6))  # six bytes each in a message
    assert recording.sent == []


# --- Several at once, and by name ------------------------------------------------------------------------------------


def test_dispatch_many_hands_all_calls_over_at_once(recording: RecordingTransport) -> None:
    handles = resize.dispatch_many(resize.call(width) for width in range(25))
    assert [call.envelope.args for call in recording.sent] == [[width] for width in range(25)]
    assert [call.handle for call in recording.sent] == handles


def test_dispatch_many_keeps_the_options_of_each_call(recording: RecordingTransport) -> None:
    resize.dispatch_many([resize.with_delay(5).call(1), resize.with_priority(Priority.BULK).call(2)])
    assert [(call.delay, call.envelope.priority) for call in recording.sent] == [
        (5, Priority.DEFAULT),
        (0, Priority.BULK),
    ]


@pytest.mark.parametrize(
    ("other", "given"),
    [
        (lambda: send_email.call("a", "b"), r"test_task\.send_email$"),
        (lambda: resize, "Task$"),
        (lambda: (1,), "tuple$"),
    ],
)
def test_dispatch_many_takes_calls_of_its_own_task_only(
    recording: RecordingTransport, other: Callable[[], Call], given: str
) -> None:
    with pytest.raises(
        ArgumentError, match=rf"dispatch_many takes calls of .*resize \(made by its \.call\(…\)\), given .*{given}"
    ):
        resize.dispatch_many([resize.call(1), other()])
    assert recording.sent == []


def test_a_task_is_dispatched_by_name_without_importing_it(recording: RecordingTransport) -> None:
    handle = dispatch_task("other_app.tasks.resize", 1, width=2)
    envelope = sent(recording)
    assert handle == (envelope.id, "other_app.tasks.resize")
    assert (envelope.task, envelope.args, envelope.kwargs) == ("other_app.tasks.resize", [1], {"width": 2})
    assert (recording.sent[0].namespace, envelope.priority) == ("DEFAULT", Priority.DEFAULT)


def test_a_task_that_is_registered_here_is_checked_when_it_is_dispatched_by_name(recording: RecordingTransport) -> None:
    with pytest.raises(ArgumentError, match="takes int, given str"):
        dispatch_task(resize.name, "wide")
    dispatch_task(send_news.name, "a")
    assert recording.sent[0].namespace == "mail"


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((object(),), {}, r"other\.resize\(\) argument 1 takes a JSON value .*, given object"),
        ((), {"width": {1: 2}}, r"other\.resize\(\) argument 'width' takes a dict with str keys"),
        ((), {"width": math.nan}, "argument 'width' cannot be sent as JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_when_dispatched_by_name(
    recording: RecordingTransport, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        dispatch_task("other.resize", *args, **kwargs)
    assert recording.sent == []


@pytest.mark.parametrize("name", ["", None, resize])
def test_the_name_to_dispatch_is_a_str(name: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="the name of a task is a str that is not empty, given "):
        dispatch_task(name)
