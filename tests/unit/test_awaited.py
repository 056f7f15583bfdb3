"""Tasks that are awaited: dispatched, and waited for, without starting anew what has started."""

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.backends import get_backend

from runtime_lib import (
    ArgumentError,
    Discard,
    DispatchError,
    EagerTransport,
    MemoryStore,
    NoRouteError,
    Retry,
    SqsTransport,
    TaskCancelledError,
    TaskContext,
    TaskFailedError,
    TaskStatus,
    clients,
    dispatch_batch,
    queues,
    task,
    using_store,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.envelope import Envelope
from runtime_lib.execution import Outcome, RetryAfter, Succeeded, run_async
from runtime_lib.task_record import Ending, RecordedError
from runtime_lib.testing import RecordedWorkflows, record_workflows
from runtime_lib.transports import RouteTransport, Transport
from tests.deliveries import TaskQueue, body_of

ran: list[Any] = []
SUCCEEDED = Ending(TaskStatus.SUCCEEDED, result='"computed"')
FAILED = Ending(TaskStatus.FAILED, error=RecordedError("ValueError", "no"))
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:etl"


@task(name="awaited.after")
def after(data: Any) -> None: ...


@task(name="awaited.compute", run_after=after, retry="never")
async def compute(data: Any) -> Any:
    ran.append(data)
    match data:
        case "fails":
            raise ValueError("no such data")
        case "fails once" if ran.count(data) == 1:
            raise ValueError("not yet")
        case "discards":
            raise Discard("done already")
        case float():
            await asyncio.sleep(data)
    return (data,)


@task(name="awaited.plain", run_after=after)
def plain(data: Any) -> Any:
    return data


@task(name="awaited.alone")
async def alone(data: Any) -> Any:
    return data


@task(name="awaited.apart", subprocess=True)
async def apart(data: Any = None) -> str:
    raise AssertionError("dispatched, not run")


@task(name="awaited.parent", retry=Retry(4))
async def parent(what: list[Any], context: TaskContext, failures: int = 0) -> list[Any]:
    results = [await compute(one) for one in what]
    if context.attempt <= failures:
        raise ConnectionError(f"attempt {context.attempt}")
    return results


@task(name="awaited.waits", retry=Retry(4))
async def waits(times: int = 1) -> list[Any]:
    return list(await asyncio.gather(*(apart("x") for _ in range(times))))


@pytest.fixture(autouse=True)
def runs() -> Iterator[RecordedWorkflows]:
    ran.clear()
    with record_workflows() as runs:
        yield runs


async def value_of(of: Any, *args: Any, **kwargs: Any) -> Any:
    return await of(*args, **kwargs)


# --- A call ----------------------------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_refused_by_the_call_itself() -> None:
    with pytest.raises(ArgumentError, match="missing 1 required positional argument: 'data'"):
        _ = compute()  # type: ignore[call-arg]
    with pytest.raises(ArgumentError):
        _ = compute(object())


def test_any_other_plain_call_runs_the_function_here(runs: RecordedWorkflows) -> None:
    with using_transport(EagerTransport()):
        assert plain(1) == 1
        assert asyncio.run(value_of(alone, (1, 2))) == (1, 2)
    assert runs.tasks == []


# --- Where tasks run when they are dispatched ------------------------------------------------------------------------


def test_eagerly_it_gives_the_result_as_json_without_a_store(runs: RecordedWorkflows) -> None:
    with using_transport(EagerTransport()):
        assert asyncio.run(value_of(compute, data=1)) == [1]
    runs.assert_order("awaited.compute", "awaited.after")


def test_without_a_route_and_outside_lambda_it_runs_here(runs: RecordedWorkflows) -> None:
    assert asyncio.run(value_of(compute, 1)) == [1]
    runs.assert_ran("compute", times=1)


def test_without_a_route_inside_lambda_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop-worker")
    with pytest.raises(NoRouteError, match=r"'shop-worker' has no route to 'awaited\.compute', which starts"):
        asyncio.run(value_of(compute, 1))
    assert ran == []


def test_eagerly_the_event_loop_goes_on_and_awaits_overlap(runs: RecordedWorkflows) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def main() -> tuple[Any, ...]:
        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(compute(0.2), compute(0.2))
        ticking.cancel()
        return results

    with using_transport(EagerTransport()):
        assert list(asyncio.run(main())) == [[0.2], [0.2]]
    assert len(ticks) > 5
    runs.assert_overlapped("compute")


def test_a_failure_is_raised_as_a_handle_raises_it(runs: RecordedWorkflows) -> None:
    with using_transport(EagerTransport()):
        with pytest.raises(TaskFailedError, match=r"^awaited.compute .* failed: ValueError: no such data$") as caught:
            asyncio.run(value_of(compute, "fails"))
        assert caught.value.failure == RecordedError("ValueError", "no such data")
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(TaskCancelledError, match="was cancelled: done already"):
            asyncio.run(value_of(compute, "discards"))


def test_a_retried_task_awaits_what_has_run_already_without_running_it_again(runs: RecordedWorkflows) -> None:
    with using_transport(EagerTransport()), using_store(MemoryStore()):
        handle = parent.dispatch([1, 1, 2], failures=2)  # type: ignore[call-arg]
        assert handle.result() == [[1], [1], [2]]
    assert ran == [1, 1, 2]
    runs.assert_ran("after", times=3)
    assert runs.of("parent")[0].attempts == 3


@pytest.mark.parametrize("store", [None, MemoryStore()])
def test_a_retried_task_starts_anew_what_has_failed(runs: RecordedWorkflows, store: MemoryStore | None) -> None:
    with using_transport(EagerTransport()), using_store(store) if store else using_transport(EagerTransport()):
        parent.dispatch([1, "fails once"])  # type: ignore[call-arg]
    assert ran == [1, "fails once", "fails once"]
    assert runs.of("parent")[0].result == [[1], ["fails once"]]
    assert runs.of("parent")[0].attempts == 2


def test_what_another_run_awaits_is_run_for_it(runs: RecordedWorkflows) -> None:
    with using_transport(EagerTransport()):
        parent.dispatch([1])  # type: ignore[call-arg]
        parent.dispatch([1])  # type: ignore[call-arg]
    runs.assert_ran("compute", times=2)


def test_what_is_awaited_inside_of_a_batch_is_not_kept_until_its_end() -> None:
    async def main() -> Any:
        with dispatch_batch():
            return await compute(1)

    with using_transport(EagerTransport()):
        assert asyncio.run(asyncio.wait_for(main(), 5)) == [1]


# --- Through a queue -------------------------------------------------------------------------------------------------


class Waiting:
    """Runs of `waits` in a worker, each attempt in a thread."""

    def __init__(self, store: MemoryStore, queue: TaskQueue) -> None:
        self.store, self.queue = store, queue
        self.envelope = Envelope.decode(body_of(waits.name))

    def attempt(
        self, meanwhile: Callable[[], None] = lambda: None, envelope: Envelope | None = None, **delivery: Any
    ) -> Outcome:
        """How one attempt ends, during which ``meanwhile`` is called."""
        found: list[Outcome] = []
        delivered = Delivery(**{"source": "sqs:other", **delivery})

        def work() -> None:
            found.append(asyncio.run(run_async(waits, envelope or self.envelope, delivered)))

        def with_store() -> None:
            with using_store(self.store):
                work()

        thread = threading.Thread(target=with_store)
        self.store._records.pop(self.envelope.id, None)  # (that of `waits` itself is no matter of these tests)
        thread.start()
        try:
            meanwhile()
        finally:
            thread.join(10)
        [outcome] = found
        return outcome

    def ids(self) -> list[str]:
        """The ids of the recorded runs of `apart`, when there is one."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            found = [record.id for record in list(self.store._records.values()) if record.task == apart.name]
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError("nothing was dispatched")

    def end(self, ending: Ending) -> None:
        """Let the run that was dispatched last end so."""
        task_id = self.ids()[-1]
        self.store.begin(task_id, apart.name, owner="server", seconds=60)
        self.store.end(task_id, ending, owner="server")

    def sent(self) -> list[Envelope]:
        """What is in the queue."""
        return [Envelope.decode(record["body"]) for record in self.queue.event()["Records"]]


@pytest.fixture
def waiting(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    monkeypatch.setenv("TASK_ROUTE__AWAITED_APART", f"sqs+store:{queue.url}")
    return Waiting(MemoryStore(), queue)


def test_it_is_dispatched_along_its_route_and_its_result_is_waited_for(waiting: Waiting) -> None:
    assert waiting.attempt(lambda: waiting.end(SUCCEEDED)) == Succeeded(["computed"])
    [envelope] = waiting.sent()
    assert (envelope.task, envelope.args) == (apart.name, ["x"])
    assert (envelope.metadata["parent"], envelope.metadata["source"]) == (waiting.envelope.id, waits.name)
    assert waiting.ids() == [envelope.id]


def test_a_failed_one_fails_the_attempt_and_the_next_starts_it_anew(waiting: Waiting) -> None:
    first = waiting.attempt(lambda: waiting.end(FAILED))
    assert isinstance(first, RetryAfter)
    assert isinstance(first.error, TaskFailedError)

    def end_second() -> None:
        while len(waiting.ids()) < 2:
            time.sleep(0.01)
        waiting.end(SUCCEEDED)

    assert waiting.attempt(end_second, attempt=2) == Succeeded(["computed"])
    assert len({envelope.id for envelope in waiting.sent()}) == 2


def test_one_that_has_ended_in_the_meantime_is_not_sent_again(waiting: Waiting) -> None:
    waiting.attempt(deadline=time.time() + 1.2)
    waiting.end(SUCCEEDED)
    assert len(waiting.sent()) == 1
    assert waiting.attempt(attempt=2) == Succeeded(["computed"])
    assert waiting.sent() == []


def test_one_that_runs_is_waited_for_by_the_next_attempt(waiting: Waiting) -> None:
    def begin() -> None:
        waiting.store.begin(waiting.ids()[0], apart.name, owner="server", seconds=60)

    waiting.attempt(begin, deadline=time.time() + 1.2)
    assert len(waiting.sent()) == 1
    end = threading.Timer(0.1, lambda: waiting.store.end(waiting.ids()[0], SUCCEEDED, owner="server"))
    assert waiting.attempt(end.start, attempt=2) == Succeeded(["computed"])
    end.join()
    assert waiting.sent() == []


def test_one_that_was_recorded_and_perhaps_never_sent_is_sent_again_as_the_same(waiting: Waiting) -> None:
    waiting.attempt(deadline=time.time() + 1.2)
    waiting.attempt(lambda: _when(lambda: waiting.end(SUCCEEDED)), attempt=2)
    assert [envelope.id for envelope in waiting.sent()] == waiting.ids() * 2


def _when(do: Callable[[], None]) -> None:
    time.sleep(0.2)
    do()


def test_the_second_await_of_the_same_is_another_run(waiting: Waiting) -> None:
    envelope = waiting.envelope._replace(kwargs={"times": 2})

    def end_both() -> None:
        while len(waiting.ids()) < 2:
            time.sleep(0.01)
        for task_id in waiting.ids():
            waiting.store.begin(task_id, apart.name, owner="server", seconds=60)
            waiting.store.end(task_id, SUCCEEDED, owner="server")

    assert waiting.attempt(end_both, envelope) == Succeeded(["computed"] * 2)


def test_a_wait_ends_before_the_deadline_of_the_function_and_says_so(waiting: Waiting) -> None:
    deadline = time.time() + 1.5
    outcome = waiting.attempt(deadline=deadline)
    assert 0.5 < deadline - time.time() < 1.1
    assert isinstance(outcome, RetryAfter)
    assert type(outcome.error) is TimeoutError
    assert str(outcome.error).startswith(f"awaited.waits has waited for awaited.apart {waiting.ids()[0]} until 1 s ")


def test_whoever_waits_for_a_shorter_time_ends_the_waiting_alone(waiting: Waiting) -> None:
    async def main() -> None:
        await asyncio.wait_for(apart("x"), 0.3)

    with using_store(waiting.store), pytest.raises(TimeoutError):
        asyncio.run(main())
    assert len(waiting.sent()) == 1
    assert waiting.store.find(waiting.ids()[0]).status is TaskStatus.QUEUED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("route", "source"),
    [
        ("sqs+store:mail", "sqs:mail"),
        ("sqs+store+payloads:https://sqs.us-east-1.amazonaws.com/123456789012/mail", "sqs:mail"),
        ("lambda+store:shop-worker", "lambda:shop-worker"),
        ("lambda+store:shop-worker:live", "lambda:shop-worker"),
        ("lambda+store:arn:aws:lambda:us-east-1:123456789012:function:shop-worker:live", "lambda:shop-worker"),
    ],
)
def test_what_the_same_queue_or_function_serves_is_not_awaited(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, route: str, source: str
) -> None:
    monkeypatch.setenv("TASK_ROUTE__AWAITED_APART", route)
    outcome = waiting.attempt(source=source)
    assert isinstance(outcome, RetryAfter)
    assert isinstance(outcome.error, DispatchError)
    kind = "queue" if source.startswith("sqs") else "function"
    assert str(outcome.error).startswith(
        f"awaited.waits awaits awaited.apart, which the same {kind} serves ({source}): it would hold a place there"
    )
    assert [record for record in waiting.store._records.values() if record.task == apart.name] == []
    assert waiting.sent() == []


def test_what_records_nothing_is_not_awaited(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_ROUTE__AWAITED_APART", f"sqs:{waiting.queue.url}")
    with using_store(waiting.store), pytest.raises(DispatchError, match=r"leads to what records nothing.*store=TaskSt"):
        asyncio.run(value_of(apart))
    assert waiting.sent() == []


def test_without_a_store_nothing_is_dispatched_that_nobody_could_wait_for(waiting: Waiting) -> None:
    transports: tuple[Transport, ...] = (RouteTransport(), SqsTransport(waiting.queue.url))
    for transport in transports:
        expected = r"^awaited.apart cannot be awaited through .*: no task store: "
        with using_transport(transport), pytest.raises(DispatchError, match=expected):
            asyncio.run(value_of(apart))
    assert waiting.sent() == []


def test_through_a_transport_of_ones_own_it_is_recorded_before_it_is_sent(waiting: Waiting) -> None:
    with using_transport(SqsTransport(waiting.queue.url)):
        envelope = waiting.envelope

        async def main() -> Any:
            return await asyncio.wait_for(apart("x"), 5)

        timer = threading.Timer(0.1, lambda: waiting.end(SUCCEEDED))
        timer.start()
        with using_store(waiting.store):
            assert asyncio.run(main()) == "computed"
        timer.join()
    assert [one.id for one in waiting.sent()] == waiting.ids() != [envelope.id]


# --- Through a state machine -----------------------------------------------------------------------------------------


class Machine:
    """A state machine whose executions end when the test says so."""

    def __init__(self, states: Any) -> None:
        self._states = states
        role = "arn:aws:iam::123456789012:role/etl"
        states.create_state_machine(name="etl", definition='{"StartAt": "a", "States": {}}', roleArn=role)
        self._machine = get_backend("stepfunctions")["123456789012"]["us-east-1"].describe_state_machine(MACHINE)

    @property
    def executions(self) -> list[Any]:
        return list(self._machine.executions)

    def end(self, status: str, **told: Any) -> None:
        """Let the execution that was started last end."""
        while not (running := [one for one in self.executions if one.status == "RUNNING"]):
            time.sleep(0.01)
        running[-1].output = json.dumps({"value": "computed"}) if status == "SUCCEEDED" else None
        for name, value in told.items():
            setattr(running[-1], name, value)
        running[-1].status = status


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with mock_aws():
        states = boto3.client("stepfunctions")
        monkeypatch.setattr(clients, "_clients", {"stepfunctions": states})
        monkeypatch.setattr(queues, "_urls", {})
        monkeypatch.setenv("TASK_ROUTE__AWAITED_COMPUTE", f"states:{MACHINE}")
        yield Machine(states)
        get_backend("stepfunctions")["123456789012"]["us-east-1"].reset()


def attempt_with(machine: Machine, envelope: Envelope, end: Callable[[], None] | None = None, **delivery: Any) -> Any:
    timer = threading.Timer(0.05, end or (lambda: None))
    timer.start()
    try:
        return asyncio.run(run_async(parent, envelope, Delivery(source="lambda:shop-worker", **delivery)))
    finally:
        timer.join()


def test_a_workflow_is_started_and_its_execution_waited_for(machine: Machine) -> None:
    envelope = Envelope.decode(body_of(parent.name, ["x"]))
    outcome = attempt_with(machine, envelope, lambda: machine.end("SUCCEEDED"))
    assert outcome == Succeeded(["computed"])
    [execution] = machine.executions
    message = json.loads(execution.execution_input)
    assert message["id"] == execution.name
    assert (message["args"], message["metadata"]["parent"]) == (["x"], envelope.id)


def test_a_workflow_that_runs_or_has_ended_is_not_started_again(machine: Machine) -> None:
    envelope = Envelope.decode(body_of(parent.name, ["x"]))
    assert isinstance(attempt_with(machine, envelope, deadline=time.time() + 1.2), RetryAfter)
    assert attempt_with(machine, envelope, lambda: machine.end("SUCCEEDED"), attempt=2) == Succeeded(["computed"])
    assert attempt_with(machine, envelope, attempt=3) == Succeeded(["computed"])
    assert len(machine.executions) == 1


@pytest.mark.parametrize("status", ["FAILED", "ABORTED", "TIMED_OUT"])
def test_a_workflow_that_has_failed_is_started_anew_by_the_next_attempt(machine: Machine, status: str) -> None:
    envelope = Envelope.decode(body_of(parent.name, ["x"]))
    first = attempt_with(machine, envelope, lambda: machine.end(status, error="TaskFailed", cause="{}"))
    assert isinstance(first, RetryAfter)
    assert isinstance(first.error, TaskFailedError | TaskCancelledError)
    second = attempt_with(machine, envelope, lambda: machine.end("SUCCEEDED"), attempt=2)
    assert second == Succeeded(["computed"])
    assert len({execution.name for execution in machine.executions}) == 2


def test_step_functions_may_tell_late_of_what_it_has_started(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    states, unknown = clients.client("stepfunctions"), [True, True]
    describe = states.describe_execution

    def late(**request: Any) -> Any:
        if unknown:
            unknown.pop()
            request["executionArn"] += "-unknown"
        return describe(**request)

    monkeypatch.setattr(states, "describe_execution", late)
    envelope = Envelope.decode(body_of(parent.name, ["x"]))
    assert attempt_with(machine, envelope, lambda: machine.end("SUCCEEDED")) == Succeeded(["computed"])


def test_the_call_gives_a_coroutine_as_that_of_any_async_def_does() -> None:
    coroutine = compute(1)
    assert inspect.iscoroutine(coroutine)
    coroutine.close()
