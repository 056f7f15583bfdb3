"""What may be a streaming handler, what it is given, and what its writer allows; without a Lambda runtime client."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import runtime_lib
from runtime_lib import (
    ApiEvent,
    ResponseStateError,
    ResponseWriter,
    StreamingContext,
    after_response,
    background_handler,
    streaming_handler,
)
from runtime_lib.errors import TaskDefinitionError, TaskError
from runtime_lib.streaming.forms import Collected, Plain, is_http
from runtime_lib.testing import MockLambdaContext
from tests.api_events import api_event
from tests.streaming_code import URL_EVENT
from tests.task_modules import load, run_program


def writer() -> tuple[ResponseWriter, Collected]:
    collected = Collected()
    return ResponseWriter(Plain(collected, lambda value: (json.dumps(value).encode(), "application/json"))), collected


def given(handler: Any, event: Any) -> list[Any]:
    found: list[Any] = handler.given(event, writer()[0], MockLambdaContext())
    return found


def test_a_plain_call_calls_the_function() -> None:
    @background_handler
    def handle(event: dict[str, int], output: ResponseWriter, context: object = None) -> str:
        output.respond({"seen": event})
        return "returned"

    output, collected = writer()
    assert handle({"a": 1}, output) == "returned"
    assert collected.value == {"seen": {"a": 1}}
    assert repr(handle).endswith("test_a_plain_call_calls_the_function.<locals>.handle>")


def test_parameters_are_found_by_name_or_annotation_in_any_order() -> None:
    @streaming_handler
    def by_annotation(invocation: StreamingContext, answer: ResponseWriter, order: dict[str, Any]) -> None: ...

    @streaming_handler
    def by_name(output, context, order) -> None: ...  # type: ignore[no-untyped-def]

    for handler in (by_annotation, by_name):
        kinds = {type(value) for value in given(handler, {"id": 7})}
        assert kinds == {StreamingContext, ResponseWriter, dict}
    assert given(by_annotation, {"id": 7})[2] == {"id": 7}


def test_annotations_that_are_imported_for_type_checkers_alone_are_known_by_their_text() -> None:
    module = load(
        """
        from __future__ import annotations
        from runtime_lib import streaming_handler

        @streaming_handler
        def export(answer: runtime_lib.ResponseWriter, invocation: StreamingContext) -> None: ...
        """
    )
    assert [type(value) for value in given(module.export, {})] == [ResponseWriter, StreamingContext]


def test_parameters_may_be_left_out() -> None:
    @background_handler
    def nothing() -> None: ...

    @background_handler
    def output_alone(output: ResponseWriter) -> None: ...

    assert given(nothing, {}) == []
    assert [type(value) for value in given(output_alone, {})] == [ResponseWriter]


def test_the_event_of_an_api_may_be_an_api_event() -> None:
    @background_handler
    def handle(request: ApiEvent, output: ResponseWriter) -> None: ...

    [request, _] = given(handle, api_event("GET", "/orders/7"))
    assert request.path == "/orders/7"


def two_events(first: int, second: int) -> None: ...


def keyword_only(event: int, *, output: ResponseWriter) -> None: ...


def variadic(*events: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        (two_events, "it has two for the event"),
        (keyword_only, "it has keyword-only or variadic ones"),
        (variadic, "it has keyword-only or variadic ones"),
    ],
)
def test_other_parameters_are_refused_at_decoration(function: Any, wrong: str) -> None:
    with pytest.raises(TaskDefinitionError, match=f"'output' .* 'context' .*; {wrong}"):
        streaming_handler(function)


def test_a_generator_is_a_stream_and_no_early_answer() -> None:
    def rows() -> Iterator[str]:
        yield "row"

    assert streaming_handler(rows).is_generator
    with pytest.raises(TaskDefinitionError, match=r"rows is a generator.*@streaming_handler"):
        background_handler(rows)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="a streaming handler is a function, given a type"):
        streaming_handler(int)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["finish", "finish"], r"finish\(\) is not possible any more: the response is finished"),
        (["write", "start"], r"start\(\) is not possible any more: a part of the response has been written"),
        (["write", "respond"], r"respond\(\) is not possible any more: a part of the response has been written"),
        (["start", "start"], r"start\(\) is not possible any more: start\(\) has been called"),
        (["respond", "write"], r"write\(\) is not possible any more: the response is finished"),
    ],
)
def test_methods_out_of_order_say_why(methods: list[str], message: str) -> None:
    output, _ = writer()
    *before, last = methods
    for method in before:
        getattr(output, method)(*(["part"] if method == "write" else []))
    with pytest.raises(ResponseStateError, match=message):
        getattr(output, last)(*(["part"] if last == "write" else []))


def test_the_state_tells_how_far_an_answer_is() -> None:
    output, collected = writer()
    states = [output.state]
    output.start()
    states.append(output.state)
    output.write("a")
    states.append(output.state)
    output.write(b"b")
    output.finish()
    states.append(output.state)
    assert states == ["new", "started", "streaming", "finished"]
    assert collected.value == b"ab"


def test_what_cannot_be_encoded_leaves_the_answer_open() -> None:
    output, collected = writer()
    with pytest.raises(TypeError):
        output.respond(object())
    output.respond({"ok": True})
    assert collected.value == {"ok": True}


def test_requests_are_told_from_other_events() -> None:
    assert is_http(URL_EVENT)
    assert is_http(api_event("GET", "/"))
    for event in ({}, {"requestContext": "x"}, {"requestContext": {}}, [], "text", None, {"httpMethod": "GET"}):
        assert not is_http(event)


def test_outside_of_a_handler_after_response_is_refused() -> None:
    with pytest.raises(TaskError, match="dispatch a task instead"):
        after_response(print, "nothing waits")


def test_what_does_not_stream_loads_nothing_of_it() -> None:
    printed = run_program(
        """
        import sys
        from runtime_lib import task
        import runtime_lib.handlers._running

        @task
        def send(to: str): ...
        print([name for name in sys.modules if name.startswith("runtime_lib.streaming") or name == "signal"])
        """
    )
    assert printed == "[]\n"


def test_all_that_handlers_need_is_exported() -> None:
    needed = {"ResponseWriter", "StreamingContext", "after_response", "background_handler", "streaming_handler"}
    needed |= {"ResponseRefusedError", "ResponseStateError", "BackgroundTimeoutError"}
    assert needed <= set(runtime_lib.__all__)
    assert all(getattr(runtime_lib, name).__name__ == name for name in needed)
