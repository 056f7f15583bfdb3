"""What streaming handlers answer on Lambda's own runtime client: to whom, when, and what becomes of each error."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime_lib.contract import ENV_URL_BUFFERED, STREAMING_LAMBDA_HANDLER
from tests.runtime_api import Exchange, FunctionProcess, Post, RuntimeApi
from tests.streaming_code import URL_EVENT, counted, environment, write_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")


@pytest.fixture(scope="module")
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as api:
        yield api


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_code(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def shop(code: Path) -> Iterator[FunctionProcess]:
    """One process for all that must leave the next invocation clean: any order of the tests shows it."""
    with RuntimeApi() as api, api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:do")) as function:
        function.exchange({"do": "pid"})
        function.output()
        yield function


@pytest.fixture(autouse=True)
def _the_next_invocation_is_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "shop" in request.fixturenames:
        shop = request.getfixturevalue("shop")
        shop.output()
        seen = json.loads(shop.exchange({"do": "context"}).post.body)["seen"]
        assert (seen, shop.output()) == ("nothing", "")


def do(function: FunctionProcess, what: str, **options: Any) -> Exchange:
    return function.exchange({"do": what}, **options)


def ask(function: FunctionProcess, what: str, **options: Any) -> Exchange:
    return function.exchange({**URL_EVENT, "headers": {"do": what}}, **options)


def head_and_body(post: Post) -> tuple[dict[str, Any], bytes]:
    assert post.headers["Content-Type"] == "application/vnd.awslambda.http-integration-response"
    assert post.is_streamed
    head, _, body = post.body.partition(b"\0" * 8)
    return json.loads(head), body


# --- The ways of an answer -------------------------------------------------------------------------------------------


def test_an_early_answer_is_out_before_the_work_and_the_next_event_is_asked_for_after_it(
    api: RuntimeApi, code: Path
) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:greet")) as function:
        exchange = function.exchange({"message": "Hello!"})
        output = function.output()
    assert exchange.post.kind == "response"
    assert not exchange.post.is_streamed
    assert exchange.post.headers["Content-Type"] == "application/json"
    assert exchange.post.body == b'{"echoedMessage": "Hello!"}'
    assert exchange.post.at < 0.15
    assert exchange.ended_at > 0.2
    assert output.splitlines() == ["loading", "slow work begins", "slow work ends"]


def test_the_parts_of_a_stream_arrive_as_they_are_written_and_its_end_before_the_work_after_it(
    shop: FunctionProcess,
) -> None:
    exchange = do(shop, "rows")
    post = exchange.post
    assert [chunk.data for chunk in post.chunks] == [b"0\n", b"1\n", b"2\n"]
    assert [round(chunk.at, 1) for chunk in post.chunks] == pytest.approx([0, 0.15, 0.3], abs=0.1)
    assert post.is_streamed
    assert post.headers["Trailer"] == "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
    assert post.trailers == {}
    assert post.at + 0.15 < exchange.ended_at
    assert shop.output() == "work after the rows\n"


def test_a_request_gets_status_headers_and_cookies_ahead_of_the_body_and_nobody_else_does(
    shop: FunctionProcess,
) -> None:
    head, body = head_and_body(ask(shop, "rows").post)
    assert head == {
        "statusCode": 201,
        "headers": {"content-type": "text/csv", "x-shop": "1"},
        "cookies": ["a=1", "b=2; Secure"],
    }
    assert body == b"0\n1\n2\n"
    plain = do(shop, "rows").post
    assert plain.headers["Content-Type"] == "text/csv"
    assert plain.body == b"0\n1\n2\n"


@pytest.mark.parametrize(
    ("what", "status", "headers", "body"),
    [
        ("json response", 202, {"Content-Type": "application/json"}, b'{"ok":true}'),
        ("proxy dict", 302, {"location": "/"}, "bä".encode()),
        ("bytes", 200, {"Content-Type": "application/octet-stream"}, b"\x89PNG"),
        ("text", 200, {"Content-Type": "text/plain; charset=utf-8"}, "größe".encode()),
        ("head alone", 204, {"Content-Type": "application/octet-stream"}, b""),
        (
            "http error",
            404,
            {"X-Shop": "1", "Content-Type": "application/json"},
            b'{"message":"there is no such order"}',
        ),
    ],
)
def test_a_request_is_answered_with_what_a_response_says(
    shop: FunctionProcess, what: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    head, found = head_and_body(ask(shop, what).post)
    assert (head["statusCode"], head["headers"], found) == (status, headers, body)


def test_a_url_that_is_not_in_streaming_mode_gets_a_whole_answer(api: RuntimeApi, code: Path) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:do", **{ENV_URL_BUFFERED: "1"})) as function:
        streamed, image = ask(function, "rows").post, ask(function, "bytes").post
        failed = ask(function, "raise during").post
        balanced = {"httpMethod": "GET", "headers": {"do": "rows"}, "requestContext": {"elb": {}}}
        load_balancer = function.exchange(balanced).post
    assert not streamed.is_streamed
    assert json.loads(streamed.body) == {
        "statusCode": 201,
        "headers": {"content-type": "text/csv", "x-shop": "1"},
        "cookies": ["a=1", "b=2; Secure"],
        "body": "0\n1\n2\n",
        "isBase64Encoded": False,
    }
    assert json.loads(image.body)["body"] == "iVBORw=="
    assert json.loads(image.body)["isBase64Encoded"] is True
    assert failed.kind == "error"
    assert json.loads(load_balancer.body)["multiValueHeaders"] == {"Set-Cookie": ["a=1", "b=2; Secure"]}


def test_an_http_api_which_takes_no_stream_gets_a_whole_answer(shop: FunctionProcess) -> None:
    context = URL_EVENT["requestContext"] | {"domainName": "x.execute-api.us-east-1.amazonaws.com"}  # type: ignore[operator]
    post = shop.exchange({**URL_EVENT, "headers": {"do": "rows"}, "requestContext": context}).post
    assert not post.is_streamed
    assert json.loads(post.body)["body"] == "0\n1\n2\n"
    shop.output()


def test_a_url_gets_several_values_of_a_header_as_it_takes_them_and_an_api_as_they_are(shop: FunctionProcess) -> None:
    head, _ = head_and_body(ask(shop, "several").post)
    assert head == {"statusCode": 200, "headers": {"Vary": "a, b"}, "cookies": ["c=1", "d=2"]}
    request = {"httpMethod": "GET", "headers": {"do": "several"}, "requestContext": {"resourceId": "x"}}
    head, _ = head_and_body(shop.exchange(request).post)
    assert head["multiValueHeaders"] == {"Vary": ["a", "b"], "Set-Cookie": ["c=1", "d=2"]}


def test_nothing_written_sends_no_empty_chunk(shop: FunctionProcess) -> None:
    assert [chunk.data for chunk in do(shop, "empty writes").post.chunks] == [b"one", b"two"]
    head, body = head_and_body(ask(shop, "empty writes").post)
    assert (head["statusCode"], body) == (200, b"onetwo")


@pytest.mark.parametrize("handler", ["shop:generated", "shop:generated_async"])
def test_what_a_generator_yields_is_a_stream(api: RuntimeApi, code: Path, handler: str) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment(handler)) as function:
        function.exchange({"rows": []})
        post = function.exchange({"rows": ["a", "ö"]}).post
        nothing = function.exchange({"rows": []}).post
    assert [chunk.data for chunk in post.chunks] == [b"a", "ö".encode()]
    assert post.chunks[0].at < 0.1 < post.chunks[1].at
    assert (nothing.kind, nothing.body) == ("response", b"")


def test_a_generator_that_fails_or_whose_client_goes_is_closed(api: RuntimeApi, code: Path) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:generated")) as function:
        failed = function.exchange({"rows": ["a"], "fail": True}).post
        assert function.output().count("closed") == 1
        function.exchange({"rows": ["a", "b", "c", "d"]}, refuse="disconnect")
        output = function.output()
    assert failed.error["errorMessage"] == "no such row"
    assert output.count("closed") == 1
    assert "WARNING" in output


def test_a_handler_may_return_its_answer_typed(api: RuntimeApi, code: Path) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:returning")) as function:
        assert function.exchange({}).post.body == b'{"message": "hello", "times": 2}'


def test_a_typed_event_is_the_invocations_or_the_body_of_a_request(api: RuntimeApi, code: Path) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:greet")) as function:
        wrong = function.exchange({"message": 1}).post
        request = function.exchange({**URL_EVENT, "body": '{"message": "Hello!"}'}).post
        refused = function.exchange({**URL_EVENT, "body": '{"times": 1}'}).post
        no_json = function.exchange({**URL_EVENT, "body": "e30", "isBase64Encoded": False}).post
        nested = function.exchange({**URL_EVENT, "body": "[" * 100_000}).post
        encoded = function.exchange({**URL_EVENT, "body": "eyJtZXNzYWdlIjogIkhpIn0=", "isBase64Encoded": True}).post
    assert wrong.kind == "error"
    assert json.loads(wrong.body)["errorType"] == "ArgumentError"
    assert head_and_body(request)[1] == b'{"echoedMessage":"Hello!"}'
    assert head_and_body(encoded)[1] == b'{"echoedMessage":"Hi"}'
    head, body = head_and_body(refused)
    assert head["statusCode"] == 400
    assert "greet() argument 'event'" in json.loads(body)["message"]
    assert head_and_body(no_json)[0]["statusCode"] == 400
    assert head_and_body(nested)[0]["statusCode"] == 400


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_an_error_before_the_first_write_is_the_invocations_error(shop: FunctionProcess) -> None:
    for exchange in (do(shop, "raise before"), ask(shop, "raise before")):
        assert exchange.post.kind == "error"
        error = json.loads(exchange.post.body)
        assert (error["errorType"], error["errorMessage"]) == ("LookupError", "no such order: größe")
        assert error["requestId"] == exchange.request_id
    assert shop.output().count("[ERROR] LookupError: no such order: größe") == 2


def test_an_error_amid_a_stream_is_in_its_trailers(shop: FunctionProcess) -> None:
    post = do(shop, "raise during").post
    assert (post.kind, post.body) == ("response", b"first")
    assert post.trailers["lambda-runtime-function-error-type"] == "LookupError"
    assert post.error["errorMessage"] == "no such order: größe"
    assert post.error["stackTrace"]
    assert "[ERROR] LookupError: no such order: größe" in shop.output()


def test_an_error_after_the_answer_is_logged_and_counted_and_the_process_lives(shop: FunctionProcess) -> None:
    exchange = do(shop, "raise after")
    assert (exchange.post.kind, exchange.post.body, exchange.post.trailers) == ("response", b"all", {})
    output = shop.output()
    assert "[ERROR] LookupError: the audit failed" in output
    assert counted(output) == ["BackgroundFailures"]


def test_work_that_exits_after_the_answer_does_not_end_the_process(shop: FunctionProcess) -> None:
    assert do(shop, "exit after").post.body == b'"ok"'
    output = shop.output()
    assert "called sys.exit(3) after its answer" in output
    assert counted(output) == ["BackgroundFailures"]


def test_a_handler_that_writes_nothing_is_an_error_that_says_so(shop: FunctionProcess) -> None:
    post = do(shop, "nothing").post
    assert post.kind == "error"
    assert "shop.do returned without an answer: call respond() or write()" in json.loads(post.body)["errorMessage"]
    shop.output()


def test_a_second_finish_and_a_write_after_it_say_what_is_wrong(shop: FunctionProcess) -> None:
    assert do(shop, "finish twice").post.body == b'"ok"'
    assert shop.output().splitlines() == [
        "refused: finish() is not possible any more: the response is finished",
        "refused: write() is not possible any more: the response is finished",
    ]


def test_a_status_after_the_first_write_is_an_error_of_the_stream(shop: FunctionProcess) -> None:
    post = do(shop, "start late").post
    assert post.error["errorType"] == "ResponseStateError"
    assert "start() is not possible any more: a part of the response has been written" in post.error["errorMessage"]
    shop.output()


def test_a_part_that_is_neither_text_nor_bytes_is_an_error_that_says_so(shop: FunctionProcess) -> None:
    post = do(shop, "no text").post
    assert post.kind == "error"
    assert "a part of an answer is str or bytes, given the int 3" in json.loads(post.body)["errorMessage"]
    post = do(shop, "one cookie").post
    assert "start() takes a list of cookies, given the str 'a=1'" in json.loads(post.body)["errorMessage"]
    shop.output()


def test_an_error_after_a_refused_answer_is_logged_and_nothing_more_is_sent(shop: FunctionProcess) -> None:
    exchange = do(shop, "fail after refusal", refuse="gone")
    assert [post.kind for post in exchange.posts] == ["response"]
    assert "[ERROR] LookupError: no such order" in shop.output()
    assert do(shop, "text").post.kind == "response"


@pytest.mark.parametrize("what", ["rows", "text", "raise before", "raise during", "write on after refusal"])
def test_a_stale_invocation_is_logged_and_the_process_lives(shop: FunctionProcess, what: str) -> None:
    exchange = do(shop, what, refuse="gone")
    assert len(exchange.posts) == 1
    output = shop.output()
    assert "WARNING" in output
    if what != "raise before":
        assert "the invocation has timed out, and its answer is not awaited any more (410)" in output


def test_a_thread_that_outlasts_its_invocation_does_not_meet_the_answer_of_the_next(shop: FunctionProcess) -> None:
    failed = do(shop, "leave a thread")
    rows = do(shop, "rows")  # 0.45 s of writing
    assert failed.post.kind == "error"
    assert (rows.post.body, rows.post.trailers) == (b"0\n1\n2\n", {})
    assert "too late" in shop.output()


def test_a_client_that_went_away_ends_the_stream(shop: FunctionProcess) -> None:
    exchange = do(shop, "stream on", refuse="disconnect")
    assert exchange.posts == []
    output = shop.output()
    assert "the response was refused" in output
    assert "nobody stopped it" not in output


# --- after_response --------------------------------------------------------------------------------------------------


def test_queued_work_runs_in_order_after_the_answer_and_before_the_next_event(shop: FunctionProcess) -> None:
    exchange = do(shop, "queue")
    assert exchange.post.at < exchange.ended_at
    output = shop.output()
    printed = [line for line in output.splitlines() if line.startswith(("still", "audit"))]
    assert printed == ["still in the handler", "audit 1", "audit async 2", "audit later"]
    assert "ZeroDivisionError" in output
    assert counted(output) == ["BackgroundFailures"]


def test_queued_work_runs_whatever_the_answer_is_unless_nobody_takes_it(shop: FunctionProcess) -> None:
    assert do(shop, "queue and fail").post.kind == "error"
    assert "audit failed" in shop.output()
    do(shop, "queue", refuse="gone")
    output = shop.output()
    assert "audit 1" not in output
    assert "not run after the answer, because nobody takes the answer: audit, audit_async" in output


# --- The context -----------------------------------------------------------------------------------------------------


def test_the_context_tells_ids_the_deadline_and_has_a_logger_at_the_level(api: RuntimeApi, code: Path) -> None:
    headers = {
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
        "Lambda-Runtime-Client-Context": json.dumps({"custom": {"a": 1}}),
        "Lambda-Runtime-Trace-Id": "Root=1-2-3;Sampled=1",
    }
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:do", LOG_LEVEL="DEBUG")) as function:
        exchange = do(function, "context", headers=headers, timeout=5)
        output = function.output()
    found = json.loads(exchange.post.body)
    assert found["request_id"] == exchange.request_id
    assert (found["tenant_id"], found["client"], found["trace_id"]) == ("blue", {"a": 1}, "Root=1-2-3;Sampled=1")
    assert 3 < found["left"] <= 5
    assert found["until"] == pytest.approx(found["left"], abs=0.1)
    assert f"{exchange.request_id}\ta debug line" in output
