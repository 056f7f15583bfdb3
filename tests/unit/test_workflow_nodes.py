"""Runs of tasks for Step Functions: what a message is made into, what a task is given, and what the engine is told."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime_lib import (
    Discard,
    MemoryStore,
    Reject,
    Retry,
    RetryLater,
    StoreError,
    TaskContext,
    TaskStatus,
    contract,
    payloads,
    task,
    using_store,
)
from runtime_lib.context import Delivery
from runtime_lib.contract import PAYLOAD_PREFIX
from runtime_lib.dead_letters import read_dead_letter
from runtime_lib.envelope import Envelope, derived_id
from runtime_lib.errors import EnvelopeError
from runtime_lib.execution import Message, admit
from runtime_lib.execution import run as execute
from runtime_lib.handlers import _node
from runtime_lib.handlers._node import TaskDiscarded, TaskFailed, TaskNotBegun, TaskRetry, report
from runtime_lib.handlers.background_task_function import handler as background
from runtime_lib.handlers.task_workflow import handler
from runtime_lib.outcomes import DeadLettered, Discarded, RetryAfter, Succeeded
from runtime_lib.testing import MockLambdaContext
from runtime_lib.workflow import executions
from runtime_lib.workflow.node import bind_result, failure_of, node_id, node_of
from tests.buckets import Answering
from tests.deliveries import TaskQueue

RUN = {
    "id": "6e57bad9-6d92-4eb5-a0a7-4f4e53aa707a",
    "headers": {"request_id": "7"},
    "metadata": {"priority": "high", "timestamp": 1_000, "version": "1.0", "chain": "ancestor", "group": "tenant"},
}
PRIORITY = RUN["metadata"]["priority"]  # type: ignore[index]
seen: list[Any] = []


@task
def plain(value: Any = None, *, context: TaskContext) -> Any:
    seen.append(context)
    return value


@task
def named(left: int, right: int = 2) -> int:
    return left + right


@task
def nothing() -> str:
    return "nothing"


@task
def anything(**given: Any) -> Any:
    return {name: value for name, value in given.items() if name not in {"metadata", "headers"}}


@task
def told(job_failed: dict[str, Any]) -> Any:
    return job_failed


@task
def told_as_text(job_failed: str) -> str:
    return job_failed


@task
def told_otherwise(reason: dict[str, Any], priority: int = 1) -> Any:
    return reason, priority


@task(retry=Retry(2, first_delay=0))
def fails(kind: str) -> None:
    raise {
        "error": ValueError("boom"),
        "reject": Reject("no"),
        "discard": Discard("enough"),
        "later": RetryLater(5),
        "exit": SystemExit(3),
        "long": ValueError("x" * 5_000),
    }[kind]


@task
async def aplain(value: int) -> int:
    return value + 1


def message(made: Any, **said: Any) -> dict[str, Any]:
    return {"workflow": {"run": RUN, "node": "node", "task": made.name, "entered": "2026", "retries": 0, **said}}


def run(made: Any, **said: Any) -> Any:
    return handler(message(made, claim=100_000, **said), MockLambdaContext())


# --- What a task is given --------------------------------------------------------------------------------------------


def test_the_first_task_gets_what_was_dispatched_and_is_the_message_that_was_dispatched() -> None:
    envelope = Envelope.new(plain.name, ["hello"], {}, priority=contract.Priority.LOW, headers={"a": 1}, group="g")
    dispatched = {**json.loads(envelope.encode()), "id": RUN["id"]}
    assert run(plain, dispatched=dispatched) == {"value": "hello"}
    context = seen[-1]
    assert context.id == node_id(str(RUN["id"]), "node") == derived_id(str(RUN["id"]), "node")
    assert (context.headers, context.group, context.priority.value) == ({"a": 1}, "g", "low")
    assert context.chain == RUN["id"]


def test_those_that_follow_are_in_its_chain_group_and_headers_and_have_ids_of_their_own() -> None:
    run(plain, result={"value": 1})
    run(plain, result={"value": 1}, index="4")
    one, item = seen[-2:]
    assert (one.chain, one.group, one.headers, one.priority.value) == (
        "ancestor",
        "tenant",
        {"request_id": "7"},
        "high",
    )
    assert one.envelope.metadata["parent"] == RUN["id"]
    assert item.id == derived_id(str(RUN["id"]), "node", "4") != one.id


@pytest.mark.parametrize(
    ("made", "result", "expected"),
    [
        (plain, {"data": 1}, {"data": 1}),
        (plain, {"value": 1}, 1),
        (plain, 0, 0),
        (plain, None, None),
        (plain, [], []),
        (named, {"left": 1, "right": 5}, 6),
        (named, {"left": 1}, 3),
        (named, 4, 6),
        (nothing, {"left": 1}, "nothing"),
        (anything, {"a": 1}, {"a": 1}),
        (aplain, 0, 1),
    ],
    ids=str,
)
def test_a_result_is_passed_by_name_if_it_fits_else_as_the_first_argument_if_there_is_one(
    made: Any, result: Any, expected: Any
) -> None:
    assert run(made, result={"value": result}) == {"value": expected}


def test_a_dict_that_does_not_fit_by_name_is_the_first_argument() -> None:
    assert bind_result(plain, {"value": 1, "more": 2}) == ([{"value": 1, "more": 2}], {})
    assert bind_result(named, {"left": "no number"}) == ([{"left": "no number"}], {})


FAILED = {"task": "shop.load", "node": "load", "error": "TaskFailed"}


@pytest.mark.parametrize(
    ("failed", "kind", "text"),
    [
        ({"cause": json.dumps({"errorMessage": "ValueError: boom: twice", "errorType": "TaskFailed"})}, "ValueError", "boom: twice"),
        ({"error": "Runtime.ExitError", "cause": json.dumps({"errorMessage": "signal: killed"})}, "Runtime.ExitError", "signal: killed"),
        ({"error": "States.Timeout", "cause": ""}, "States.Timeout", ""),
        ({"error": "States.Runtime", "cause": "no JSON"}, "States.Runtime", "no JSON"),
        ({"error": "X", "cause": "[1]"}, "X", "[1]"),
        (
            {"error": "PrerequisiteFailed", "cause": "", "prerequisite": {**FAILED, "cause": json.dumps({"errorMessage": "OSError: x"})}},
            "PrerequisiteFailed",
            "shop.load failed: OSError: x",
        ),
    ],
)  # fmt: skip
def test_a_failure_is_told_with_its_task_its_type_and_its_message(failed: dict[str, Any], kind: str, text: str) -> None:
    found = failure_of({**FAILED, **failed}, "run")
    assert found._asdict() == {
        "task": "shop.load",
        "node": "load",
        "run": "run",
        "error": {"type": kind, "message": text},
    }


def test_a_failure_goes_to_job_failed_or_to_the_only_argument_and_as_text_where_that_is_asked_for() -> None:
    failed = {**FAILED, "cause": json.dumps({"errorMessage": "ValueError: boom"})}
    known = failure_of(failed, str(RUN["id"]))._asdict()
    assert run(told, failed=failed) == {"value": known}
    assert run(told_as_text, failed=failed) == {"value": "shop.load failed: ValueError: boom"}
    assert run(told_otherwise, failed=failed) == {"value": [known, 1]}
    assert run(anything, failed=failed) == {"value": {"job_failed": known}}
    assert run(nothing, failed=failed) == {"value": "nothing"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"run": "x"}, "has run 'x': expected dict"),
        ({"run": {}}, r"run\.id None: expected str"),
        ({"run": {**RUN, "metadata": []}}, r"has metadata \[\]: expected dict"),
        ({"run": {**RUN, "headers": "x"}}, "has headers 'x': expected dict"),
        ({"retries": "1"}, "has retries '1': expected int"),
        ({"retries": True}, "has retries True: expected int"),
        ({"claim": None}, "has claim None: expected int"),
        ({"token": 5}, "has token 5: expected str"),
        ({"index": 5}, "has index 5: expected str"),
        ({"result": [1]}, r"has result \[1\]: expected dict"),
        ({"results": {}}, "has results {}: expected list"),
        ({"failed": "x"}, "has failed 'x': expected dict"),
        ({"each": {}}, "has node None: expected str"),
        ({"each": {"node": "n", "count": "3"}}, "has count '3': expected int"),
        ({"results": [5]}, "has results 5: expected dict"),
        ({"result": {"key": 5}}, "has key 5: expected str"),
        ({"node": ""}, "has node '': expected str"),
        ({"task": 5}, "has task 5: expected str"),
    ],
)
def test_a_message_that_is_none_is_refused_with_the_field(said: dict[str, Any], expected: str) -> None:
    with pytest.raises(EnvelopeError, match=expected):
        node_of(message(plain, **said))


def test_only_registered_tasks_are_run_and_the_engine_asks_again_for_others() -> None:
    event = message(plain)
    event["workflow"]["task"] = "os.system"
    with pytest.raises(TaskNotBegun, match=r"UnknownTaskError: no task called 'os\.system'"):
        handler(event, MockLambdaContext())


def test_the_workflows_function_takes_nothing_else() -> None:
    with pytest.raises(Exception, match=r"given \['id'\]: start the workflow by dispatching its first task"):
        handler({"id": "x"}, MockLambdaContext())


def test_a_function_that_serves_a_namespace_answers_a_workflow_with_the_result() -> None:
    assert background(message(named, claim=10, result={"value": 1}), MockLambdaContext()) == {"value": 3}


# --- What the engine is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "retries", "error", "text"),
    [
        ("error", 0, TaskRetry, "ValueError: boom"),
        # Without a store, only the engine knows how often an attempt was the task's own.
        ("error", 1, TaskRetry, "ValueError: boom"),
        ("later", 0, TaskRetry, "RetryLater: the task asked to run again later"),
        ("reject", 0, TaskFailed, "Reject: no"),
        ("discard", 0, TaskDiscarded, "enough"),
        ("exit", 1, TaskRetry, "SystemExit: 3"),
    ],
)
def test_the_policy_decides_and_the_error_says_what(kind: str, retries: int, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        run(fails, result={"value": kind}, retries=retries)
    assert str(caught.value) == text
    assert type(caught.value).__name__ in {
        contract.NODE_RETRY,
        contract.NODE_FAILED,
        contract.NODE_NOT_BEGUN,
        contract.NODE_DISCARDED,
    }


@pytest.mark.parametrize(("kind", "text"), [("error", "ValueError: boom"), ("exit", "SystemExit: 3")])
def test_with_a_store_an_attempt_that_was_the_last_is_told_as_that(kind: str, text: str) -> None:
    with using_store(MemoryStore()):
        with pytest.raises(TaskRetry, match=text):
            run(fails, result={"value": kind})
        with pytest.raises(TaskFailed, match=text):
            run(fails, result={"value": kind}, retries=1)


def test_what_failed_is_told_in_brief_without_a_traceback_so_that_many_fit_into_a_state() -> None:
    with pytest.raises(TaskRetry) as caught:
        run(fails, result={"value": "long"}, retries=1)
    assert len(str(caught.value)) == 1_000
    traceback, frames = caught.value.__traceback__, []
    while traceback:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "_fails" not in frames
    assert len([name for name in frames if name != "run" and not name.startswith("test_")]) <= 2
    assert caught.value.__cause__ is None


def test_a_result_that_nobody_wants_is_not_sent() -> None:
    assert handler(message(plain, result={"value": object.__doc__}), MockLambdaContext()) is None


def test_a_result_that_is_no_json_fails_the_task_if_somebody_wants_it() -> None:
    @_registered
    def opens() -> object:
        return object()

    with pytest.raises(TaskFailed, match="returned a object, which cannot be sent as JSON"):
        run(opens)
    assert handler(message(opens), MockLambdaContext()) is None


def _registered(function: Any) -> Any:
    function.__qualname__ = function.__name__
    return task(name=f"{__name__}.{function.__name__}")(function)


# --- Large results ---------------------------------------------------------------------------------------------------


def test_a_large_result_goes_to_the_bucket_and_is_read_from_there(s3: Answering) -> None:
    text = "x" * 200
    answer = handler(message(plain, claim=100, result={"value": text}), MockLambdaContext())
    key = PAYLOAD_PREFIX + node_id(str(RUN["id"]), "node")
    assert answer == {"key": key}
    assert s3.keys() == [key]
    assert run(plain, result={"key": key}) == {"value": text}


def test_results_of_all_items_are_read_in_their_order_and_that_of_one_that_discards_itself_is_none(
    s3: Answering,
) -> None:
    for index in ("0", "2"):
        handler(message(plain, claim=0, index=index, result={"value": f"item {index}"}), MockLambdaContext())
    with pytest.raises(TaskDiscarded):
        handler(message(fails, claim=0, index="1", result={"value": "discard"}), MockLambdaContext())
    each = {"node": "node", "count": 3}
    assert run(plain, each=each) == {"value": ["item 0", None, "item 2"]}
    handler(message(plain, claim=0, index="7.0", result={"value": "inner"}), MockLambdaContext())
    assert run(plain, each={"node": "node", "count": 1, "index": "7"}) == {"value": ["inner"]}
    assert len(s3.keys()) == 4


def test_a_list_of_an_item_whose_result_is_collected_goes_to_its_map_and_to_the_bucket(s3: Answering) -> None:
    answer = handler(
        message(plain, claim=100, items=3, kept=True, inline=True, index="0", result={"value": [1, 2]}),
        MockLambdaContext(),
    )
    assert answer == {"value": [1, 2]}
    with pytest.raises(TaskDiscarded):
        handler(
            message(fails, claim=100, items=3, kept=True, inline=True, index="1", result={"value": "discard"}),
            MockLambdaContext(),
        )
    assert run(plain, each={"node": "node", "count": 2}) == {"value": [[1, 2], None]}
    assert len(s3.keys()) == 2


def test_the_result_of_an_item_that_is_missing_fails_what_collects_them(s3: Answering) -> None:
    handler(message(plain, claim=0, index="0", result={"value": 1}), MockLambdaContext())
    with pytest.raises(TaskFailed, match="PayloadLostError: the result is not in the bucket"):
        run(plain, each={"node": "node", "count": 2})
    assert len(s3.keys()) == 1


def test_a_list_that_no_map_takes_fails_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_node, "MAPPED_ITEMS", 2)
    with pytest.raises(TaskFailed, match="returned 3 items, and a workflow maps 2: return lists of items"):
        handler(message(plain, claim=100, items=5, result={"value": [1, 2, 3]}), MockLambdaContext())


def test_a_list_that_is_longer_than_its_map_takes_goes_to_the_bucket(s3: Answering) -> None:
    short = handler(message(plain, claim=1_000, items=3, result={"value": [1, 2, 3]}), MockLambdaContext())
    assert short == {"value": [1, 2, 3]}
    long = handler(message(plain, claim=1_000, items=2, result={"value": [1, 2, 3]}), MockLambdaContext())
    assert long is not None
    assert list(long) == ["key"]
    assert s3.keys()


@pytest.mark.parametrize(
    ("said", "result", "text"),
    [
        ({"items": 3}, "text", "TypeError: .* returned a str, and for_each takes a list"),
        ({"items": 1, "inline": True}, [1, 2], "2 items, and 10 bytes and 1 items are what can be handed on here"),
        ({"inline": True}, "x" * 20, "22 bytes of JSON, and 10 bytes are what can be handed on here"),
        ({}, "x" * 20, "a result of 22 bytes is too large .* names no bucket here"),
    ],
)
def test_a_result_that_cannot_be_handed_on_fails_its_task_and_says_what_to_do(
    said: dict[str, Any], result: Any, text: str
) -> None:
    with pytest.raises(TaskFailed, match=text):
        handler(message(plain, claim=10, result={"value": result}, **said), MockLambdaContext())


@pytest.mark.parametrize("key", ["payloads/other", "secret", "payloads/../x", "payloads/" + "0" * 36])
def test_only_keys_of_results_are_read(s3: Answering, key: str) -> None:
    with pytest.raises(TaskFailed, match="expected 'payloads/' and an id"):
        run(plain, result={"key": key})
    assert s3.asked == []


# --- With a store ----------------------------------------------------------------------------------------------------


def test_a_run_that_has_succeeded_is_answered_from_its_record() -> None:
    store = MemoryStore()
    with using_store(store):
        assert run(named, result={"value": 1}) == {"value": 3}
        assert run(named, result={"value": 100}, entered="again") == {"value": 3}
    record = store.find(node_id(str(RUN["id"]), "node"))
    assert record is not None
    assert (record.status, record.attempts) == (TaskStatus.SUCCEEDED, 1)


def test_a_run_whose_result_is_not_on_record_fails_with_that_reason() -> None:
    store = MemoryStore()

    @_registered
    def too_large() -> str:
        return "x" * 400_000

    with using_store(store):
        handler(message(too_large), MockLambdaContext())
        assert handler(message(too_large), MockLambdaContext()) is None  # nobody wants it
        with pytest.raises(TaskFailed, match="it has succeeded already, and its result is not on record"):
            run(too_large)


def test_a_run_whose_record_cannot_be_read_now_is_asked_for_again() -> None:
    class Away(MemoryStore):
        def find(self, *_: Any) -> Any:
            raise StoreError("the table is away")

    with using_store(Away()):
        assert run(plain, result={"value": 1}) == {"value": 1}
        with pytest.raises(TaskNotBegun, match="the table is away"):
            run(plain, result={"value": 1})


def test_a_result_that_the_bucket_does_not_take_now_is_asked_for_again(
    s3: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    with using_store(MemoryStore()):
        monkeypatch.setattr(payloads, "client", lambda *_: None)  # as if it were away
        with pytest.raises(TaskNotBegun, match="did not take a result"):
            handler(message(plain, claim=3, node="other", result={"value": "long"}), MockLambdaContext())
    assert s3.keys() == []


def test_a_run_that_comes_once_more_hands_on_the_result_that_is_in_the_bucket(s3: Answering) -> None:
    with using_store(MemoryStore()):
        for _ in range(2):
            assert handler(message(plain, claim=3, result={"value": "long"}), MockLambdaContext()) == {
                "key": s3.keys()[0]
            }


def test_a_run_that_goes_on_elsewhere_is_asked_for_again_and_uses_up_no_attempt() -> None:
    store = MemoryStore()
    store.begin(node_id(str(RUN["id"]), "node"), named.name, owner="other", seconds=30)
    with using_store(store), pytest.raises(TaskNotBegun, match="another delivery"):
        run(named, result={"value": 1}, retries=9)


def test_a_crashed_attempt_counts_and_what_failed_runs_anew_only_when_the_state_is_entered_again() -> None:
    store = MemoryStore()
    with using_store(store):
        with pytest.raises(TaskRetry):
            run(fails, result={"value": "error"}, retries=5)
        with pytest.raises(TaskFailed):
            run(fails, result={"value": "error"}, retries=6)
        with pytest.raises(TaskFailed, match=r"^ValueError: boom$"):
            run(fails, result={"value": "error"}, retries=7)
        with pytest.raises(TaskRetry):
            run(fails, result={"value": "error"}, entered="redriven")


def test_a_store_that_fails_keeps_the_task_from_beginning() -> None:
    class Down(MemoryStore):
        def begin(self, *_: Any, **__: Any) -> Any:
            raise StoreError("the table is away")

    with using_store(Down()), pytest.raises(TaskNotBegun, match="the table is away"):
        run(named, result={"value": 1})


# --- Through a queue -------------------------------------------------------------------------------------------------


class States:
    """What Step Functions was told; a client of it is not needed to see what is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._error = error

    def send_task_success(self, **request: Any) -> None:
        self._tell("success", request)

    def send_task_failure(self, **request: Any) -> None:
        self._tell("failure", request)

    def _tell(self, what: str, request: dict[str, Any]) -> None:
        if self._error:
            raise self._error
        self.told.append((what, request))


BODY = json.dumps(message(named, claim=100, token="token"))


@pytest.mark.parametrize(
    ("outcome", "what", "request_"),
    [
        (Succeeded(5), "success", {"output": '{"value": 5}'}),
        (DeadLettered("failed at attempt 3: ValueError: x", ValueError("x")), "failure", {"error": "TaskFailed", "cause": '{"errorType": "TaskFailed", "errorMessage": "ValueError: x"}'}),
        (DeadLettered("2 deliveries ended"), "failure", {"error": "TaskFailed", "cause": '{"errorType": "TaskFailed", "errorMessage": "TaskRejectedError: 2 deliveries ended"}'}),
        (Discarded("enough"), "failure", {"error": "TaskDiscarded", "cause": '{"errorType": "TaskDiscarded", "errorMessage": "enough"}'}),
    ],
)  # fmt: skip
def test_the_end_of_a_queued_task_is_told_to_its_workflow(outcome: Any, what: str, request_: dict[str, Any]) -> None:
    states = States()
    assert report(BODY, outcome, client=states)
    assert states.told == [(what, {"taskToken": "token", **request_})]


def test_a_task_that_is_to_run_again_is_not_told_yet() -> None:
    states = States()
    assert report(BODY, RetryAfter(1, ValueError()), client=states)
    assert states.told == []


@pytest.mark.parametrize(
    ("error", "is_done"),
    [
        (ClientError({"Error": {"Code": "TaskTimedOut"}}, "SendTaskSuccess"), True),
        (ClientError({"Error": {"Code": "TaskDoesNotExist"}}, "SendTaskSuccess"), True),
        (ClientError({"Error": {"Code": "InvalidToken"}}, "SendTaskSuccess"), False),
        (ConnectionError("away"), False),
    ],
    ids=repr,
)
def test_a_workflow_that_does_not_wait_any_more_is_no_reason_to_run_again_and_one_that_cannot_be_told_is(
    error: Exception, is_done: bool
) -> None:
    assert report(BODY, Succeeded(5), client=States(error)) is is_done


def test_a_queued_task_whose_result_the_bucket_does_not_take_now_is_told_later(
    s3: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = States()
    body = json.dumps(message(plain, claim=3, token="token"))
    with using_store(MemoryStore()):
        with monkeypatch.context() as away:
            away.setattr(payloads, "client", lambda *_: None)
            assert not report(body, Succeeded("long"), client=states)
        assert report(body, Succeeded("long"), client=states)
    assert [what for what, _ in states.told] == ["success"]
    assert len(s3.keys()) == 1


def test_what_fails_for_good_is_in_no_dead_letters_and_the_log_does_not_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(TaskFailed):
        run(fails, result={"value": "reject"})
    assert f"{fails.name} failed: no" in caplog.text
    assert "dead-lettered" not in caplog.text


def test_an_execution_whose_result_is_no_key_of_the_bucket_has_none_and_says_why() -> None:
    value, missing = executions._result({"key": "elsewhere"})
    assert value is None
    assert missing is not None
    assert "the key of a result is 'elsewhere'" in missing


def test_a_message_of_others_that_looks_like_one_is_told_to_nobody() -> None:
    assert report('{"workflow": "of somebody else"}', Succeeded(5), client=States(ConnectionError()))
    assert report('{"workflow": no JSON', Succeeded(5), client=States(ConnectionError()))


@pytest.mark.parametrize("said", [{"run": "x", "result": {"value": "injected"}}, [], "x"])
def test_an_envelope_of_others_that_says_it_is_a_run_is_run_as_what_it_is(
    said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_lib.handlers.pure_task import handler as pure  # noqa: PLC0415

    envelope = json.loads(Envelope.new(plain.name, ["hello"], {}, priority=contract.Priority.LOW).encode())
    envelope["metadata"]["workflow"] = said
    for body in (json.dumps(envelope), json.dumps({"Type": "Notification", "Message": json.dumps(envelope)})):
        found = admit(body, Delivery())
        assert isinstance(found, Message)
        assert execute(found.task, found.envelope, Delivery()) == Succeeded("hello")
    monkeypatch.setenv(contract.ENV_TASK, plain.name)
    assert pure(envelope, MockLambdaContext()) == "hello"


def test_a_queued_task_is_deleted_only_when_its_workflow_was_told(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_lib.handlers.managed_async_task import handler as queue_handler  # noqa: PLC0415

    monkeypatch.setattr(_node, "report", lambda *_, **__: False)
    queue.send(json.dumps(message(named, claim=100, result={"value": 1}, token="token")))
    event = queue.event()
    [record] = event["Records"]
    answer = queue_handler(event, MockLambdaContext())
    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    monkeypatch.setattr(_node, "report", lambda *_, **__: True)
    assert queue_handler(event, MockLambdaContext()) == {"batchItemFailures": []}


def test_a_given_up_node_whose_workflow_is_not_told_comes_again_without_a_dead_letter(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_lib.handlers.managed_async_task import handler as queue_handler  # noqa: PLC0415

    monkeypatch.setattr(_node, "report", lambda *_, **__: False)
    queue.send(json.dumps(message(fails, result={"value": "reject"}, token="token")))
    assert queue_handler(queue.event(), MockLambdaContext())["batchItemFailures"]
    assert queue.dead_letters() == []


def test_a_node_sent_to_a_task_that_takes_dead_letters_is_run_as_that(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_lib.handlers._dead_letters import admit_letter  # noqa: PLC0415

    monkeypatch.setenv(contract.ENV_TASK, named.name)
    queue.send(json.dumps(message(named, result={"value": 1}, token="token")))
    [record] = queue.event()["Records"]
    found = admit_letter(record["body"], Delivery(event=record))
    assert isinstance(found, Message)
    assert execute(found.task, found.envelope, Delivery()) == Succeeded(3)


def test_a_task_for_dead_letters_tells_workflows_of_its_own_runs_and_of_no_letters(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_lib.handlers.managed_async_task import handler as queue_handler  # noqa: PLC0415

    reported: list[tuple[Any, Any]] = []
    monkeypatch.setattr(_node, "report", lambda _, outcome, **__: not reported.append(outcome))
    monkeypatch.setenv(contract.ENV_TASK, plain.name)
    monkeypatch.setenv(contract.ENV_TAKES_DEAD_LETTERS, "1")
    body = json.dumps(message(plain, result={"value": 1}, token="token"))
    queue.send(body)
    own = queue.event()
    assert queue_handler(own, MockLambdaContext()) == {"batchItemFailures": []}
    assert reported == [Succeeded(1)]
    for more in ({"DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-1:000000000000:other"}, {}):
        [record] = own["Records"]
        letter = {**record, "attributes": {**record["attributes"], **more}}
        if not more:
            letter["body"] = json.dumps(message(named, result={"value": 1}, token="token"))
        assert queue_handler({"Records": [letter]}, MockLambdaContext()) == {"batchItemFailures": []}
    assert len(reported) == 1


def test_a_given_up_node_keeps_its_message_as_it_was_in_its_dead_letter(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_lib.handlers.managed_async_task import handler as queue_handler  # noqa: PLC0415

    monkeypatch.setattr(_node, "report", lambda *_, **__: True)
    body = json.dumps(message(fails, result={"value": "reject"}, token="token"))
    queue.send(body)
    queue_handler(queue.event(), MockLambdaContext())
    [letter] = queue.dead_letters()
    assert letter["Body"] == body
    found = read_dead_letter(letter)
    assert found.failure.error_type == "Reject"
    assert (found.task, found.envelope_id, found.group, found.failure.chain) == (
        fails.name,
        RUN["id"],
        "tenant",
        "ancestor",
    )
