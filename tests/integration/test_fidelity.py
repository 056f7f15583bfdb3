"""The handlers on Lambda's real runtime client: what Lambda sees of them, and what a queue sees."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime_lib.contract import (
    BACKGROUND_TASK_FUNCTION_HANDLER,
    ENV_DEAD_LETTER_QUEUE,
    ENV_MAX_RECEIVE_COUNT,
    ENV_MODULES,
    MANAGED_ASYNC_TASK_HANDLER,
    PRIORITY_TASK_QUEUES_HANDLER,
)
from tasks_cli.cloud import Cloud
from tasks_cli.local.process import LocalCloud
from tests.deliveries import Event, TaskQueue, body_of
from tests.runtime_api import FunctionProcess, RuntimeApi

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]

ROOT = Path(__file__).parents[2]
MAX_RECEIVE_COUNT = 4

TASKS = """
import asyncio, os, sys, time
from runtime_lib import Discard, Reject, Retry, RetryLater, current_context, task

@task
def runs(name: str) -> None:
    print("ran", name)

@task
async def notes_its_loop(name: str) -> None:
    print("ran", name)
    print("loop", id(asyncio.get_running_loop()))

@task
def fails(name: str) -> None:
    raise LookupError("no such order")

@task
def exits(name: str) -> None:
    sys.exit(3)

@task
def says(name: str) -> None:
    raise ValueError(name)

@task
def rejects(name: str) -> None:
    raise Reject("no such customer")

@task
def kills(name: str) -> None:
    print("killed by", name)
    os._exit(3)

@task
def takes_a_while(name: str) -> None:
    time.sleep(0.4)
    print("ran", name)

@task
def tells_its_chain(name: str) -> None:
    print("chain", current_context().chain)
"""

ENTRY = """
from runtime_lib import LambdaTransport, process_messages_for_lambda_consumer
from runtime_lib.handlers.managed_async_task import handler as ours

def handler(event, context):
    print("theirs")
    return ours(event, context)

def raises(event, context):
    process_messages_for_lambda_consumer(event, context)

def returns(event, context):
    return process_messages_for_lambda_consumer(event, context, return_failures=True)

transport_handler = LambdaTransport("function").lambda_handler
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The function's code."""
    root = tmp_path_factory.mktemp("task")
    (root / "runtime_lib").symlink_to(ROOT / "runtime_lib")
    (root / "shop.py").write_text(TASKS)
    (root / "entry.py").write_text(ENTRY)
    (root / "broken.py").write_text("import numpy_is_not_in_the_asset\n")
    return root


@pytest.fixture
def queue(cloud: Cloud) -> Iterator[TaskQueue]:
    queue = TaskQueue(cloud.client("sqs"), "mail", max_receive_count=MAX_RECEIVE_COUNT)
    yield queue
    queue.delete()


Start = Callable[..., AbstractContextManager[FunctionProcess]]


@pytest.fixture
def start(cloud: Cloud, root: Path, queue: TaskQueue) -> Start:
    """Starts a function that works on the queue: ``start(handler, {"NAME": "value"})``."""

    @contextmanager
    def function(
        handler: str = MANAGED_ASYNC_TASK_HANDLER, environment: Mapping[str, str] | None = None
    ) -> Iterator[FunctionProcess]:
        variables = {
            "AWS_ENDPOINT_URL": str(cloud.url),
            ENV_MODULES: "shop",
            ENV_DEAD_LETTER_QUEUE: queue.dead_letter_queue,
            ENV_MAX_RECEIVE_COUNT: str(MAX_RECEIVE_COUNT),
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            **(environment or {}),
        }
        with RuntimeApi() as api, api.function(handler, root, variables) as function:
            yield function

    return function


def message(name: str, *args: Any, metadata: Mapping[str, Any] | None = None) -> str:
    return body_of(f"shop.{name}", *args, metadata=metadata)


def lines(output: str, kind: str) -> list[str]:
    """The rest of the printed lines that begin with ``kind``."""
    return [line.removeprefix(f"{kind} ") for line in output.splitlines() if line.startswith(f"{kind} ")]


def logs(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def reported(event: Event, body: Any) -> list[str]:
    bodies = {record["messageId"]: record["body"] for record in event["Records"]}
    return [bodies[one["itemIdentifier"]] for one in body["batchItemFailures"]]


# --- Queues ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [MANAGED_ASYNC_TASK_HANDLER, PRIORITY_TASK_QUEUES_HANDLER, "entry.handler"])
def test_lambda_gets_the_messages_that_failed_and_the_others_are_done(
    handler: str, queue: TaskQueue, start: Start
) -> None:
    bad = [message("fails", "f"), message("exits", "e"), message("sned", "s"), message("says", "\ud83d")]
    given_up = ["order 7", message("rejects", "r"), message("runs", 7.5)]
    queue.send(*bad, message("runs", "a"), *given_up, message("notes_its_loop", "b"))
    with start(handler) as function:
        event = queue.event()
        result = function.invoke(event)
    assert result.kind == "response", result.output
    assert sorted(reported(event, result.body)) == sorted(bad)
    assert lines(result.output, "ran") == ["a", "b"]
    failures = queue.failures()
    assert sorted(failures) == sorted(given_up)
    assert failures[given_up[1]]["reason"] == "no such customer"
    assert ("theirs" in result.output) == (handler == "entry.handler")


def test_logs_are_json_that_tells_which_message_and_not_what_is_in_it(queue: TaskQueue, start: Start) -> None:
    metadata = {"chain": "the-chain", "hops": 1}
    queue.send(message("runs", "s3cret", metadata=metadata), message("fails", "s3cret", metadata=metadata))
    with start() as function:
        result = function.invoke(queue.event(ApproximateReceiveCount=2))
    succeeded, failed = sorted(logs(result.output), key=lambda log: log["level"])
    assert [succeeded["message"].rpartition(" in ")[0], succeeded["level"]] == ["shop.runs succeeded", "INFO"]
    assert failed["message"].startswith("shop.fails failed at attempt 2 and runs again in ")
    assert (failed["level"], failed["errorType"], failed["errorMessage"]) == ("WARNING", "LookupError", "no such order")
    assert any("raise LookupError" in frame for frame in failed["stackTrace"])
    for log in (succeeded, failed):
        assert (log["task"], log["attempt"], log["chain"]) == (log["message"].split()[0], 2, "the-chain")
        assert len(log["id"]) == 36
        assert log["requestId"]
    assert "s3cret" not in result.output.replace("ran s3cret", "")


def test_log_level_is_that_of_the_environment(queue: TaskQueue, start: Start) -> None:
    queue.send(message("runs", "a"))
    with start(environment={"LOG_LEVEL": "WARNING"}) as function:
        assert logs(function.invoke(queue.event()).output) == []


def test_async_tasks_of_all_invocations_run_on_one_loop(queue: TaskQueue, start: Start) -> None:
    found: list[str] = []
    with start() as function:
        for names in ("ab", "c", "d"):
            queue.send(*(message("notes_its_loop", name) for name in names))
            found += lines(function.invoke(queue.event()).output, "loop")
    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_chain_of_one_invocation_does_not_reach_the_next(queue: TaskQueue, start: Start) -> None:
    with start() as function:
        queue.send(message("tells_its_chain", "a", metadata={"chain": "first"}))
        assert lines(function.invoke(queue.event()).output, "chain") == ["first"]
        second = message("tells_its_chain", "b")
        queue.send(second)
        assert lines(function.invoke(queue.event()).output, "chain") == [json.loads(second)["id"]]


def test_what_does_not_start_before_the_deadline_goes_back(queue: TaskQueue, start: Start) -> None:
    bodies = [message("takes_a_while", name) for name in "abcdefgh"]
    with start() as function:
        queue.send(message("fails", "warm"))
        queue.deliver(lambda event: function.invoke(event).body)  # so that the time is spent on the tasks
        queue.clear()
        queue.send(*bodies)
        event = queue.event()
        result = function.invoke(event, timeout=2.5)
        assert result.kind == "response", result.output
        ran, back = lines(result.output, "ran"), reported(event, result.body)
        assert 1 <= len(ran) < len(bodies)
        assert len(ran) + len(back) == len(bodies)
        assert sorted(one["body"] for one in queue.event()["Records"]) == sorted(back), "not visible at once"


def test_a_record_that_kills_the_process_takes_no_neighbour_with_it(queue: TaskQueue, start: Start) -> None:
    killer = message("kills", "5")
    queue.send(*(killer if number == 5 else message("runs", str(number)) for number in range(1, 11)))
    output = ""
    kinds = []
    while queue.left():
        assert len(kinds) < 10, output
        with start() as function:

            def deliver(event: Event, function: FunctionProcess = function) -> Any:
                nonlocal output
                result = function.invoke(event)
                output += result.output
                kinds.append(result.kind)
                return result.body

            queue.deliver(deliver)
    assert Counter(lines(output, "ran")) == {str(number): 1 for number in range(1, 11) if number != 5}
    assert kinds == ["crash"] * (MAX_RECEIVE_COUNT - 1) + ["response"]
    [(body, failure)] = queue.failures().items()
    assert body == killer
    assert failure["reason"] == "3 deliveries ended without a report: timeout, out of memory or killed"


# --- Asynchronous invocations ----------------------------------------------------------------------------------------

FOPS = json.loads((ROOT / "tests" / "unit" / "golden" / "fops_event.json").read_text())["all given"]


@pytest.mark.parametrize("handler", [BACKGROUND_TASK_FUNCTION_HANDLER, "entry.transport_handler"])
def test_lambda_gets_the_true_error_to_retry(handler: str, start: Start) -> None:
    with start(handler) as function:
        done = function.invoke(json.loads(message("runs", "a")))
        assert (done.kind, done.body, lines(done.output, "ran")) == ("response", None, ["a"])
        result = function.invoke(json.loads(message("fails", "f")))
        assert (result.kind, result.error_type, result.body["errorMessage"]) == (
            "error",
            "LookupError",
            "no such order",
        )
        assert any("raise LookupError" in frame for frame in result.body["stackTrace"])
        unknown = function.invoke({**FOPS, "target": "os:system"})
        assert (unknown.kind, unknown.error_type) == ("error", "UnknownTaskError")
        old = function.invoke({**FOPS, "target": "shop:runs", "payload": {"body": '{"name": "b"}', "is_celery": False}})
        assert (old.kind, lines(old.output, "ran")) == ("response", ["b"])
        ended = function.invoke(json.loads(message("exits", "e")))
        assert (ended.kind, ended.error_type) == ("error", "TaskRejectedError")


def test_a_rejected_invocation_is_dead_lettered_and_not_retried(queue: TaskQueue, start: Start) -> None:
    body = message("rejects", "r")
    with start(BACKGROUND_TASK_FUNCTION_HANDLER) as function:
        assert function.invoke(json.loads(body)).kind == "response"
    [(found, failure)] = queue.failures().items()
    assert json.loads(found) == json.loads(body)
    assert (failure["reason"], failure["source"]) == ("no such customer", "lambda:function")


# --- Handlers of one's own -------------------------------------------------------------------------------------------


def test_a_consumer_without_partial_failures_deletes_what_succeeded_and_raises(queue: TaskQueue, start: Start) -> None:
    failing = message("fails", "f")
    queue.send(message("runs", "a"), failing, message("notes_its_loop", "b"))
    with start("entry.raises") as function:
        event = queue.event()
        result = function.invoke(event)
    assert (result.kind, result.error_type) == ("error", "UnfinishedMessagesError")
    assert queue.left() == 1


def test_a_consumer_with_partial_failures_returns_them(queue: TaskQueue, start: Start) -> None:
    failing = message("fails", "f")
    queue.send(message("runs", "a"), failing)
    with start("entry.returns") as function:
        event = queue.event()
        result = function.invoke(event)
        assert (result.kind, reported(event, result.body)) == ("response", [failing])
        notification = {"EventSource": "aws:sns", "Sns": {"Message": message("runs", "b")}}
        assert lines(function.invoke({"Records": [notification]}).output, "ran") == ["b"]


# --- INIT ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "handler", [BACKGROUND_TASK_FUNCTION_HANDLER, MANAGED_ASYNC_TASK_HANDLER, PRIORITY_TASK_QUEUES_HANDLER]
)
@pytest.mark.parametrize(("modules", "named"), [("shop,absent", "absent"), ("broken", "numpy_is_not_in_the_asset")])
def test_a_module_that_cannot_be_imported_is_named_before_the_first_event(
    handler: str, modules: str, named: str, start: Start
) -> None:
    with start(handler, {ENV_MODULES: modules}) as function:
        result = function.invoke({"Records": []})
    assert (result.kind, result.error_type) == ("error", "TaskDefinitionError")
    assert f"No module named '{named}'" in result.body["errorMessage"]
    assert f"{modules.rpartition(',')[2]!r} cannot be imported" in result.body["errorMessage"]
