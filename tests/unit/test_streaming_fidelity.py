"""Under the hook into Lambda's runtime client, a handler has all that an ordinary one has, side by side with one."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime_lib.contract import STREAMING_LAMBDA_HANDLER
from tests.runtime_api import Exchange, FunctionProcess, RuntimeApi
from tests.streaming_code import URL_EVENT, counted, environment, write_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")

HEADERS = {
    "Lambda-Runtime-Aws-Tenant-Id": "blue",
    "Lambda-Runtime-Client-Context": json.dumps({"custom": {"a": 1}}),
    "Lambda-Runtime-Cognito-Identity": json.dumps({"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}),
    "Lambda-Runtime-Trace-Id": "Root=1-2-3;Sampled=1",
}
SNAPPED = """
from snapshot_restore_py import register_after_restore, register_before_snapshot
register_before_snapshot(print, "before the snapshot")
register_after_restore(print, "after the restore")
import hooked
from hooked import handle
from plain import answered
"""
UNKNOWN_CLIENT = """
from awslambdaric import bootstrap
of_before = bootstrap.handle_event_request
bootstrap.handle_event_request = lambda *everything: of_before(*everything)
from runtime_lib.handlers.streaming_lambda import handler
"""
NAMING_CLIENT = """
from awslambdaric import bootstrap
names = bootstrap.handle_event_request.__code__.co_varnames
from runtime_lib.handlers.streaming_lambda import handler
hooked = bootstrap.handle_event_request
bootstrap.handle_event_request = lambda first, *rest: hooked(first, **dict(zip(names[1:], rest)))
"""
STREAMING_CLIENT = """
from awslambdaric import bootstrap
bootstrap.post_streaming_response = print
from runtime_lib.handlers.streaming_lambda import handler
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_code(tmp_path_factory.mktemp("code"))
    (root / "snapped.py").write_text(SNAPPED)
    (root / "unknown_client.py").write_text(UNKNOWN_CLIENT)
    (root / "naming_client.py").write_text(NAMING_CLIENT)
    (root / "streaming_client.py").write_text(STREAMING_CLIENT)
    return root


@pytest.fixture(scope="module")
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as api:
        yield api


def side_by_side(
    api: RuntimeApi, code: Path, event: object, variables: dict[str, str], *, module: str = "hooked"
) -> tuple[tuple[Exchange, str], tuple[Exchange, str]]:
    """The same event at an ordinary handler and at one under the hook: each invocation, and what was printed."""
    plain = "plain" if module == "hooked" else module
    with api.function(f"{plain}.answered", code, variables) as function:
        ordinary = function.exchange(event, headers=HEADERS), function.output()
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment(f"{module}:handle", **variables)) as function:
        hooked = function.exchange(event, headers=HEADERS), function.output()
    return ordinary, hooked


def without_times(output: str, exchange: Exchange) -> str:
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "<time>", output).replace(exchange.request_id, "<id>")


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_the_answer_the_context_and_the_logs_are_those_of_an_ordinary_handler(
    api: RuntimeApi, code: Path, log_format: str
) -> None:
    variables = {"AWS_LAMBDA_LOG_FORMAT": log_format, "AWS_LAMBDA_LOG_LEVEL": "INFO", "LOG_LEVEL": "INFO"}
    (plain, plain_output), (hooked, hooked_output) = side_by_side(api, code, {"order": "größe"}, variables)
    assert hooked.post.body == plain.post.body
    answer = json.loads(plain.post.body)
    assert (answer["tenant"], answer["custom"], answer["identity"]) == ("blue", {"a": 1}, "id")
    assert answer["trace"] == "Root=1-2-3;Sampled=1"
    lower = {name.lower(): value for name, value in plain.post.headers.items()}
    assert lower["content-type"] == hooked.post.headers["Content-Type"] == "application/json"
    assert without_times(hooked_output, hooked) == without_times(plain_output, plain)
    assert ('"order": 7' in plain_output) == (log_format == "JSON")


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_an_error_is_reported_logged_and_traced_as_an_ordinary_handlers(
    api: RuntimeApi, code: Path, log_format: str
) -> None:
    variables = {"AWS_LAMBDA_LOG_FORMAT": log_format}
    (plain, plain_output), (hooked, hooked_output) = side_by_side(api, code, "raise", variables)
    ordinary, error = json.loads(plain.post.body), json.loads(hooked.post.body)
    assert error.keys() == ordinary.keys()
    assert (error["errorType"], error["errorMessage"]) == (ordinary["errorType"], ordinary["errorMessage"])
    assert error["stackTrace"][-1] == ordinary["stackTrace"][-1]
    # One of this library, and that of the test's handler around the ordinary one.
    assert len(error["stackTrace"]) == len(ordinary["stackTrace"]) + 2
    traced, ordinarily = (
        json.loads(one.post.headers["lambda-runtime-function-xray-error-cause"]) for one in (hooked, plain)
    )
    assert traced["exceptions"][0]["type"] == ordinarily["exceptions"][0]["type"] == "LookupError"
    first = re.compile(r"(\[ERROR\] LookupError: [^\r\n]*)|(\"level\": \"ERROR\", \"errorMessage\": \"[^\"]*\")")
    found = first.search(hooked_output)
    assert found
    assert found[0] == first.search(plain_output)[0]  # type: ignore[index]


def test_hooks_around_a_snapshot_run_as_an_ordinary_handlers(api: RuntimeApi, code: Path) -> None:
    variables = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    outputs = [output for _, output in side_by_side(api, code, {}, variables, module="snapped")]
    for output in outputs:
        assert output.splitlines()[:2] == ["before the snapshot", "after the restore"]


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("broken:handle", "No module named 'numpy_is_not_in_the_asset'"),
        ("shop:missing", "shop:missing is missing: expected a function decorated with @background_handler"),
        ("plain:answered", "plain:answered is a function: expected a function decorated with @background_handler"),
        ("shop", "TASK_STREAMING_HANDLER is 'shop': expected 'module:function'"),
    ],
)
def test_what_is_wrong_with_the_function_is_an_init_error(code: Path, handler: str, message: str) -> None:
    with RuntimeApi() as api, api.function(STREAMING_LAMBDA_HANDLER, code, environment(handler)) as function:
        result = function.invoke({})
        [posted] = api.init_errors
    assert result.kind == "error"
    assert message in json.loads(posted.body)["errorMessage"]


def test_several_workers_of_one_environment_do_not_meet(api: RuntimeApi, code: Path) -> None:
    variables = environment("shop:do", AWS_LAMBDA_MAX_CONCURRENCY="2")
    with api.function(STREAMING_LAMBDA_HANDLER, code, variables) as function:
        exchanges = [function.begin(Exchange({"do": "pid"})) for _ in range(4)]
        answers = [json.loads(function.wait(one).post.body) for one in exchanges]
        streams = [function.begin(Exchange({"do": "rows"})) for _ in range(2)]
        bodies = [function.wait(one).post.body for one in streams]
        overlap = max(one.started for one in streams) < min(one.started + one.ended_at for one in streams)
    assert [answer["id"] for answer in answers] == [one.request_id for one in exchanges]
    assert len({answer["pid"] for answer in answers}) == 2
    assert bodies == [b"0\n1\n2\n"] * 2
    assert overlap


def test_a_client_that_polls_from_a_thread_is_hooked_into_as_well(api: RuntimeApi, code: Path) -> None:
    variables = environment("shop:do", AWS_EXECUTION_ENV="AWS_Lambda_python3.13", TASK_BACKGROUND_TIMEOUT="0.2")
    with api.function(STREAMING_LAMBDA_HANDLER, code, variables) as function:
        assert function.exchange({"do": "empty writes"}).post.is_streamed
        assert function.exchange({"do": "sleep on"}).ended_at < 1
        assert counted(function.output()) == ["BackgroundTimeouts"]
        assert function.exchange({"do": "text"}).post.kind == "response"


# --- Other runtime clients -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fallback(code: Path) -> Iterator[FunctionProcess]:
    with RuntimeApi() as api, api.function("unknown_client.handler", code, environment("shop:do")) as function:
        first = function.exchange({"do": "text"}).post
        assert first.body == '"größe"'.encode() or json.loads(first.body) == "größe"
        assert (
            function.output().count("answers are collected, and sent when all work has ended: this runtime client is")
            == 1
        )
        yield function


def test_an_unknown_runtime_client_gets_the_answer_when_all_work_has_ended(fallback: FunctionProcess) -> None:
    exchange = fallback.exchange({"do": "rows"})
    assert exchange.post.body == b"0\n1\n2\n"
    assert exchange.post.at > 0.6
    assert fallback.output() == "work after the rows\n"
    queued = fallback.exchange({"do": "queue"})
    assert json.loads(queued.post.body) == "ok"
    output = fallback.output()
    assert [line for line in output.splitlines() if line.startswith("audit")] == [
        "audit 1",
        "audit async 2",
        "audit later",
    ]
    assert counted(output) == ["BackgroundFailures"]


def test_an_unknown_runtime_client_gets_errors_as_errors(fallback: FunctionProcess) -> None:
    def found(what: str) -> tuple[str, Any]:
        post = fallback.exchange({"do": what}).post
        return post.kind, json.loads(post.body)["errorType"] if post.kind == "error" else post.body

    assert found("raise before") == ("error", "LookupError")
    assert found("raise during") == ("error", "LookupError")
    assert found("nothing") == ("error", "ResponseStateError")
    assert found("raise after") == ("response", b"all")
    output = fallback.output()
    assert "LookupError: the audit failed" in output
    assert counted(output) == ["BackgroundFailures"]


def test_an_unknown_runtime_client_runs_queued_work_whatever_the_answer_is(fallback: FunctionProcess) -> None:
    fallback.output()
    assert fallback.exchange({"do": "queue and fail"}).post.kind == "error"
    assert "audit failed" in fallback.output()


def test_a_runtime_client_may_name_its_arguments(api: RuntimeApi, code: Path) -> None:
    with api.function("naming_client.handler", code, environment("shop:do")) as function:
        exchange = function.exchange({"do": "rows"})
    assert exchange.post.is_streamed
    assert exchange.post.body == b"0\n1\n2\n"


def test_an_unknown_runtime_client_gets_requests_answered(fallback: FunctionProcess) -> None:
    post = fallback.exchange({**URL_EVENT, "headers": {"do": "rows"}}).post
    assert json.loads(post.body)["statusCode"] == 201
    assert json.loads(post.body)["body"] == "0\n1\n2\n"


def test_a_runtime_client_that_streams_by_itself_is_left_alone(api: RuntimeApi, code: Path) -> None:
    with api.function("streaming_client.handler", code, environment("shop:do")) as function:
        assert function.exchange({"do": "rows"}).post.body == b"0\n1\n2\n"
        assert "this runtime client streams by itself (post_streaming_response)" in function.output()
