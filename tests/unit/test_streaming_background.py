"""Work after the answer on Lambda's own runtime client: that all of it ends, in time, and what is told of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime_lib.contract import API_TASK_HANDLER, ENV_BACKGROUND_TIMEOUT, STREAMING_LAMBDA_HANDLER
from tests.api_events import api_event
from tests.runtime_api import Exchange, FunctionProcess, RuntimeApi
from tests.streaming_code import counted, environment, write_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")

API_TASKS = """
from runtime_lib import HttpError, after_response, task

def audit(order):
    import time
    time.sleep(0.1)
    print("audited", order)

@task
def place(order: str):
    after_response(audit, order)
    if order == "none":
        raise HttpError(404, "no such order")
    return {"order": order}
"""
LATE_IMPORT = """
from runtime_lib import task

@task
def place(order: str):
    from runtime_lib import after_response
    after_response(print, order)
"""


@pytest.fixture(scope="module")
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as api:
        yield api


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_code(tmp_path_factory.mktemp("code"))
    (root / "orders.py").write_text(API_TASKS)
    (root / "late.py").write_text(LATE_IMPORT)
    return root


@pytest.fixture(scope="module")
def limited(code: Path) -> Iterator[FunctionProcess]:
    variables = environment("shop:do", **{ENV_BACKGROUND_TIMEOUT: "0.3"})
    with RuntimeApi() as api, api.function(STREAMING_LAMBDA_HANDLER, code, variables) as function:
        yield function


@pytest.fixture(scope="module")
def async_function(code: Path) -> Iterator[FunctionProcess]:
    variables = environment("shop:work_async", **{ENV_BACKGROUND_TIMEOUT: "0.5"})
    with RuntimeApi() as api, api.function(STREAMING_LAMBDA_HANDLER, code, variables) as function:
        function.exchange({"do": "queue"})
        function.output()
        yield function


# --- Time ------------------------------------------------------------------------------------------------------------


def test_work_is_asked_to_stop_after_the_background_timeout_and_cleans_up(limited: FunctionProcess) -> None:
    exchange = limited.exchange({"do": "sleep on"})
    assert exchange.post.body == b'"ok"'
    assert 0.25 < exchange.ended_at < 1
    output = limited.output()
    assert "cleaned up" in output
    assert "shop.do was stopped: there was no time left for work after the answer" in output
    assert counted(output) == ["BackgroundTimeouts"]


def test_work_that_ignores_every_exception_is_stopped_all_the_same(limited: FunctionProcess) -> None:
    assert limited.exchange({"do": "ignore Exception"}).ended_at < 1
    assert counted(limited.output()) == ["BackgroundTimeouts"]


def test_queued_work_is_stopped_and_what_is_behind_it_is_named(limited: FunctionProcess) -> None:
    assert limited.exchange({"do": "queued sleep"}).ended_at < 1
    output = limited.output()
    assert "sleep was stopped: there was no time left" in output
    assert "not run after the answer, because there was no time left: audit" in output
    assert "audit too late" not in output


def test_the_answer_itself_is_not_limited(limited: FunctionProcess) -> None:
    exchange = limited.exchange({"do": "rows"})  # 0.45 s of writing
    assert exchange.post.body == b"0\n1\n2\n"
    assert "work after the rows" in limited.output()


def test_work_is_asked_to_stop_shortly_before_the_deadline(api: RuntimeApi, code: Path) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:do")) as function:
        function.exchange({"do": "text"})
        exchange = function.exchange({"do": "sleep on"}, timeout=2)
        assert 0.8 < exchange.ended_at < 1.6
        assert counted(function.output()) == ["BackgroundTimeouts"]
        assert function.exchange({"do": "text"}).post.kind == "response"


def test_what_cannot_be_interrupted_is_reported_before_the_cut(api: RuntimeApi, code: Path) -> None:
    with api.function(STREAMING_LAMBDA_HANDLER, code, environment("shop:do")) as function:
        exchange = function.begin(Exchange({"do": "blocked"}, timeout=2))
        assert not exchange.wait(1.9)
        assert 'shop.py", line ' in (output := function.output())
        assert "in blocked" in output
        # Had it been given the time, the process would have lived.
        function.wait(exchange)
        assert counted(function.output()) == ["BackgroundTimeouts"]
        assert function.exchange({"do": "text"}).post.kind == "response"


# --- asyncio ---------------------------------------------------------------------------------------------------------


def test_asyncio_tasks_that_outlast_an_async_handler_end_before_the_next_event(async_function: FunctionProcess) -> None:
    exchange = async_function.exchange({"do": "outlast"})
    assert exchange.post.at < 0.1
    assert 0.2 < exchange.ended_at < 0.5
    output = async_function.output()
    assert "outlasted the handler" in output
    assert "LookupError: in a task" in output
    assert counted(output) == ["BackgroundFailures"]


def test_async_work_is_cancelled_in_time(async_function: FunctionProcess) -> None:
    exchange = async_function.exchange({"do": "sleep on"})
    assert 0.4 < exchange.ended_at < 1.2
    output = async_function.output()
    assert "cancelled" in output
    assert counted(output) == ["BackgroundTimeouts"]


def test_an_async_handler_that_fails_leaves_nothing_running(async_function: FunctionProcess) -> None:
    exchange = async_function.exchange({"do": "raise"})
    assert exchange.post.kind == "error"
    assert exchange.ended_at < 0.3
    assert "cancelled" in async_function.output()


def test_an_async_handler_that_is_cancelled_has_failed_and_the_process_lives(async_function: FunctionProcess) -> None:
    post = async_function.exchange({"do": "cancelled"}).post
    assert post.kind == "error"
    assert "was cancelled" in json.loads(post.body)["errorMessage"]
    async_function.output()
    assert async_function.exchange({"do": "cancelled after"}).post.body == b'"ok"'
    assert counted(async_function.output()) == ["BackgroundFailures"]


def test_async_work_that_swallows_its_cancellation_is_counted_all_the_same(async_function: FunctionProcess) -> None:
    async_function.output()
    assert async_function.exchange({"do": "swallow"}).ended_at < 1.2
    output = async_function.output()
    assert "swallowed" in output
    assert counted(output) == ["BackgroundTimeouts"]


def test_an_asyncio_task_that_exits_leaves_nothing_to_the_next_invocation(async_function: FunctionProcess) -> None:
    async_function.output()
    assert async_function.exchange({"do": "exit in a task"}).post.body == b'"ok"'
    output = async_function.output()
    assert "ended" in output
    assert counted(output) == ["BackgroundFailures"]
    async_function.exchange({"do": "outlast"})
    assert "this is not of the next invocation" not in async_function.output()


def test_queued_work_that_is_cancelled_has_failed_and_the_rest_runs(limited: FunctionProcess) -> None:
    limited.output()
    assert limited.exchange({"do": "cancelled queue"}).post.body == b'"ok"'
    output = limited.output()
    assert "audit the rest" in output
    assert counted(output) == ["BackgroundFailures"]


def test_the_clean_up_of_asyncio_tasks_is_not_torn(limited: FunctionProcess) -> None:
    limited.output()
    limited.exchange({"do": "queued cleanup"})
    output = limited.output()
    assert "cleaned up" in output
    assert limited.exchange({"do": "text"}).post.kind == "response"
    assert "cleaned up" not in limited.output()


def test_context_variables_of_async_handlers_end_with_them(async_function: FunctionProcess) -> None:
    async_function.output()
    for _ in range(2):
        async_function.exchange({"do": "queue"})
    assert async_function.output().splitlines() == ["seen: nothing", "audit async async"] * 2


# --- ApiTask ---------------------------------------------------------------------------------------------------------


def test_a_task_behind_an_api_answers_before_its_work(api: RuntimeApi, code: Path) -> None:
    variables = {"TASK_MODULES": "orders", "TASK_NAME": "orders.place", "TASK_API_RESPOND": "result"}
    with api.function(API_TASK_HANDLER, code, variables) as function:
        function.exchange(api_event("POST", "/orders", body={"order": "0"}))
        function.output()
        placed = function.exchange(api_event("POST", "/orders", body={"order": "7"}))
        output = function.output()
        missing = function.exchange(api_event("POST", "/orders", body={"order": "none"}))
        output_of_missing = function.output()
    assert json.loads(json.loads(placed.post.body)["body"]) == {"order": "7"}
    assert placed.post.at < 0.1 < placed.ended_at
    assert "audited 7" in output
    assert json.loads(missing.post.body)["statusCode"] == 404
    assert "audited none" in output_of_missing


def test_where_no_answer_is_awaited_after_response_says_so(api: RuntimeApi, code: Path) -> None:
    variables = {"TASK_MODULES": "late", "TASK_NAME": "late.place", "TASK_API_RESPOND": "result"}
    with api.function(API_TASK_HANDLER, code, variables) as function:
        exchange = function.exchange(api_event("POST", "/orders", body={"order": "7"}))
        output = function.output()
    assert json.loads(exchange.post.body)["statusCode"] == 500
    assert "after_response() is for the handlers of an ApiTask and a StreamingLambda" in output
