"""State machines as Step Functions runs them, where MiniStack does otherwise.

MiniStack writes no history of the states inside branches and iterations, lets branches go on when their execution has
ended or another one has failed, and has all of them share one context. `emulator` runs this file and
`emulator_tasks.py`, which is about the tasks in them, by their paths: they import nothing of this project, and find
each other's functions, as they find MiniStack's, in its module.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
"""
# ruff: noqa: SLF001  (MiniStack's functions call each other by these names)

import copy
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

from ministack.services import stepfunctions  # type: ignore[import-untyped]

engine: Any = stepfunctions

INLINE_CONCURRENCY = 40
"""Iterations of an inline map at once, if it does not say fewer."""
LONGEST_SECONDS = 365 * 86_400
"""How long an execution may take at most. (Step Functions quotas)"""
EXPRESS_SECONDS = 300
_ABORTABLE = {"Task", "Wait", "Parallel", "Map"}

JsonObject = dict[str, Any]
ExecutionError: type[Exception] = engine._ExecutionError

lock = threading.RLock()
scopes: dict[str, "Scope"] = {}
"""Of the executions that run, by their ARN."""
current: "ContextVar[Scope | None]" = ContextVar("current", default=None)
previous: ContextVar[int] = ContextVar("previous", default=0)
"""The event that the next one of this thread follows."""
entered: ContextVar[int] = ContextVar("entered", default=0)
"""The event by which this thread entered the state that it is in."""


class Ended(BaseException):
    """What this thread works on has ended; MiniStack catches every Exception."""


class Scope:
    """What ends together: an execution, or the branches of one of its states."""

    def __init__(self, outer: "Scope | None" = None) -> None:
        self.has_ended = False
        self.outer = outer
        self._inner: list[Scope] = []
        self._waiting: set[threading.Event] = set()
        self._open: dict[tuple[int, int], tuple[JsonObject, str]] = {}
        if outer:
            with lock:
                outer.check()
                outer._inner.append(self)

    def check(self) -> None:
        """Raise Ended if it has ended."""
        if self.has_ended:
            raise Ended

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Whether the event was set within so many seconds; raises Ended as soon as the scope ends."""
        with lock:
            self.check()
            self._waiting.add(event)
        happened = event.wait(seconds)
        with lock:
            self._waiting.discard(event)
            self.check()
        return happened

    def enter(self, execution: JsonObject, event: int, kind: str) -> None:
        """Note that a state was entered."""
        if kind in _ABORTABLE:
            self._open[id(execution), event] = (execution, kind)

    def leave(self, execution: JsonObject, event: int) -> None:
        """Note that the state which was entered by an event was left, or has failed."""
        self._open.pop((id(execution), event), None)

    def end(self, *, aborting: bool) -> None:
        """End it with all scopes in it; ``aborting`` writes which states that interrupts."""
        with lock:
            if not self.has_ended:
                self.has_ended = True
                for inner in self._inner:
                    inner.end(aborting=aborting)
                for (_, event), (execution, kind) in self._open.items() if aborting else ():
                    write(execution, f"{kind}StateAborted", {}, event)
                for waiting in self._waiting:
                    waiting.set()
                if self.outer and not self.outer.has_ended:
                    self.outer._inner.remove(self)


def run_states_as_step_functions_does() -> None:
    """Take the place of MiniStack's walk through branches and iterations, and of what ends an execution."""
    changes: dict[str, Callable[..., Any]] = {
        "_add_event": add_event,
        "_fail_execution": partial(fail_execution, engine._fail_execution),
        "_list_executions": partial(list_executions, engine._list_executions),
        "_run_distributed_map": partial(run_distributed_map, engine._run_distributed_map),
        "_run_execution": partial(run_execution, engine._run_execution),
        "_run_map_items": partial(run_map, engine._run_map_items),
        "_run_parallel_branches": run_parallel,
        "_run_sub_machine": run_states,
        "_scaled_sleep": sleep,
        "_start_execution": partial(start_execution, engine._start_execution),
        "_stop_execution": partial(stop_execution, engine._stop_execution),
        "_wait_for_event": wait_for_event,
    }
    for name, change in changes.items():
        setattr(engine, name, change)


def wait_for_event(event: threading.Event, seconds: float) -> bool:
    """Whether the event was set within so many seconds; raises Ended as soon as what waits for it ends."""
    return (current.get() or Scope()).wait(event, seconds)


def sleep(seconds: float) -> None:
    """Wait so many seconds, or until the execution ends."""
    wait_for_event(threading.Event(), max(0, seconds * engine._SFN_WAIT_SCALE))


# --- Executions ------------------------------------------------------------------------------------------------------


def start_execution(start: Callable[..., Any], data: JsonObject) -> Any:
    """Answer for the execution that runs, if it has this name and this input; refuse an input that is too large."""
    text = data.get("input", "{}")
    if not engine._is_json(text):
        what = "Invalid State Machine Execution Input: JSON of up to 262144 bytes is allowed"
        return engine.error_response_json("InvalidExecutionInput", what, 400)
    machine = engine._state_machines.get(engine._resolve_state_machine_arn(data.get("stateMachineArn", ""))) or {}
    arn = f"{machine.get('stateMachineArn', '').replace(':stateMachine:', ':execution:')}:{data.get('name')}"
    known = engine._executions.get(arn)
    if known and machine["type"] == "EXPRESS":
        # Its names need not be unique.
        engine._executions[f"{arn}:{engine.new_uuid()}"] = engine._executions.pop(arn)
    elif known and known["status"] == "RUNNING" and known["input"] == text:
        return engine.json_response({"executionArn": arn, "startDate": known["startDate"]})
    return start(data)


def run_execution(run: Callable[..., None], arn: str) -> None:
    """Run an execution in a scope of its own, and no longer than its machine allows."""
    copy_context().run(_run_in_its_scope, run, arn)


def _run_in_its_scope(run: Callable[..., None], arn: str) -> None:
    execution = engine._executions.get(arn)
    if not execution:
        return
    machine = engine._state_machines.get(execution["stateMachineArn"], {})
    current.set(None)
    scope = scopes[arn] = Scope()
    timer = threading.Timer(limit_of(machine), copy_context().run, [time_out, execution, scope])
    timer.daemon = True
    timer.start()
    current.set(scope)
    previous.set(1)
    execution["events"][0]["previousEventId"] = 0
    try:
        run(arn)
    except Ended:
        pass
    finally:
        timer.cancel()
        scope.end(aborting=False)
        scopes.pop(arn, None)


def limit_of(machine: JsonObject) -> float:
    """Seconds that an execution of a machine may take: for Express ones five minutes at most."""
    try:
        said: float = json.loads(machine["definition"]).get("TimeoutSeconds", LONGEST_SECONDS)
    except (KeyError, ValueError):
        said = LONGEST_SECONDS
    return min(said, EXPRESS_SECONDS) if machine.get("type") == "EXPRESS" else said


def time_out(execution: JsonObject, scope: Scope) -> None:
    """End an execution that has taken as long as its machine allows."""
    scope.end(aborting=True)
    if execution["status"] == "RUNNING":
        execution.update(status="TIMED_OUT", stopDate=engine.now_iso())
        add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
        engine._emit_execution_status_event(execution)


def stop_execution(stop: Callable[..., Any], data: JsonObject) -> Any:
    """Stop an execution with all its branches; none of them enters another state."""
    if scope := scopes.get(data.get("executionArn", "")):
        scope.end(aborting=True)
    return stop(data)


def fail_execution(fail: Callable[..., None], execution: JsonObject, error: str, cause: str) -> None:
    """Let an execution fail, unless it was stopped meanwhile."""
    if execution["status"] == "RUNNING":
        fail(execution, error, cause)


def list_executions(list_all: Callable[..., Any], data: JsonObject) -> Any:
    """Refuse to list those of an Express machine, of which AWS keeps none."""
    machine = engine._state_machines.get(data.get("stateMachineArn") or "") or {}
    if machine.get("type") == "EXPRESS":
        what = "This operation is not supported by this type of state machine"
        return engine.error_response_json("StateMachineTypeNotSupported", what, 400)
    return list_all(data)


# --- History ---------------------------------------------------------------------------------------------------------


def add_event(execution: JsonObject, kind: str, details: JsonObject | None = None) -> JsonObject:
    """Write an event after the one before it on its branch; raises Ended if the branch has ended."""
    scope = current.get()
    with lock:
        if scope:
            scope.check()
        event = write(execution, kind, details or {}, previous.get())
        previous.set(event["id"])
        if scope and kind.endswith("StateEntered"):
            scope.enter(execution, event["id"], kind.removesuffix("StateEntered"))
            entered.set(event["id"])
        elif scope and kind.endswith("StateExited"):
            scope.leave(execution, entered.get())
    return event


def write(execution: JsonObject, kind: str, details: JsonObject, after: int) -> JsonObject:
    """Write an event that follows another one."""
    number = len(execution["events"]) + 1
    event = {"id": number, "type": kind, "timestamp": engine.now_iso(), "previousEventId": after} | details
    execution["events"].append(event)
    return event


# --- States in states ------------------------------------------------------------------------------------------------


def run_states(states: JsonObject, start: str, given: Any, execution: JsonObject, ctx: JsonObject) -> Any:
    """Walk through the states of a branch or an iteration, in a context of its own."""
    ctx = {**ctx}
    if "mapRunArn" in execution:
        return run_child(states, start, given, execution, ctx)
    return walk(states, start, given, execution, ctx)


def walk(states: JsonObject, start: str, given: Any, execution: JsonObject, ctx: JsonObject) -> Any:
    """Go from state to state to the end, and write each that is entered and left."""
    name, value = start, copy.deepcopy(given)
    while name:
        state = states[name]
        kind = state["Type"]
        ctx["State"] = {"Name": name, "EnteredTime": engine.now_iso(), "RetryCount": 0}
        details = {"name": name, "input": json.dumps(value)}
        begun = add_event(execution, f"{kind}StateEntered", {"stateEnteredEventDetails": details})["id"]
        try:
            value, following = run_state(state, value, execution, ctx)
        except ExecutionError:
            if scope := current.get():
                scope.leave(execution, begun)
            raise
        details = {"name": name, "output": json.dumps(value)}
        add_event(execution, f"{kind}StateExited", {"stateExitedEventDetails": details})
        name = following
    return value


def run_state(state: JsonObject, value: Any, execution: JsonObject, ctx: JsonObject) -> tuple[Any, Any]:
    """Run one state: what it leaves, and the name of the next, if there is one."""
    kind = state["Type"]
    if kind == "Succeed":
        return engine._apply_output_path(state, engine._apply_input_path(state, value, ctx), ctx), None
    if kind == "Fail":
        raise ExecutionError(*engine._fail_state_error(state, value, ctx))
    execute = getattr(engine, f"_execute_{kind.lower()}")
    arguments = (execution, ctx) if kind in {"Task", "Parallel", "Map"} else (ctx,)
    left: tuple[Any, Any] = execute(state, value, *arguments)
    return left


def run_child(states: JsonObject, start: str, given: Any, execution: JsonObject, ctx: JsonObject) -> Any:
    """Run an item of a distributed map, which is an execution with a history of its own."""
    run = engine._map_runs[execution["mapRunArn"]]
    with lock:
        if not run.get("is_told"):
            run["is_told"] = True
            details = {"mapRunArn": run["mapRunArn"]}
            add_event(engine._executions[run["executionArn"]], "MapRunStarted", {"mapRunStartedEventDetails": details})
    previous.set(0)
    try:
        add_event(execution, "ExecutionStarted", {"executionStartedEventDetails": {"input": json.dumps(given)}})
        output = walk(states, start, given, execution, ctx)
    except ExecutionError as failed:
        add_event(execution, "ExecutionFailed", {"executionFailedEventDetails": engine._described(failed)})
        raise
    except Ended:
        execution.update(status="ABORTED", stopDate=engine.now_iso())
        raise
    add_event(execution, "ExecutionSucceeded", {"executionSucceededEventDetails": {"output": json.dumps(output)}})
    return output


def run_distributed_map(run: Callable[..., Any], *arguments: Any) -> Any:
    """Run a distributed map, and write in its execution's history how that ended."""
    *_, execution, _ = arguments
    scope = current.get()
    try:
        left = run(*arguments)
        if scope and scope.has_ended:
            begun = [one for one in engine._map_runs.values() if one["executionArn"] == execution["executionArn"]]
            begun[-1].update(status="ABORTED")
    except ExecutionError as failed:
        add_event(execution, "MapRunFailed", {"mapRunFailedEventDetails": engine._described(failed)})
        raise
    add_event(execution, "MapRunSucceeded")
    return left


def run_parallel(state: JsonObject, value: Any, execution: JsonObject, ctx: JsonObject) -> tuple[Any, Any]:
    """Run the branches side by side until all have ended, or one has failed."""
    given = engine._apply_parameters(state, engine._apply_input_path(state, value, ctx), ctx)
    add_event(execution, "ParallelStateStarted")
    branches = [
        partial(engine._run_sub_machine, branch["States"], branch["StartAt"], given, execution, ctx)
        for branch in state["Branches"]
    ]
    results = run_side_by_side(branches, len(branches))
    add_event(execution, "ParallelStateSucceeded")
    left: tuple[Any, Any] = engine._left_by(state, value, results, ctx)
    return left


def run_map(run: Callable[..., Any], state: JsonObject, value: Any, execution: JsonObject, ctx: JsonObject) -> Any:
    """Run the iterations of an inline map until all have ended, or one has failed; MiniStack runs distributed ones."""
    processor = state.get("ItemProcessor") or state["Iterator"]
    is_jsonata = engine._state_query_language(state, ctx) == "JSONata"
    if processor.get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED" or is_jsonata:
        return run(state, value, execution, ctx)
    given = engine._apply_input_path(state, value, ctx)
    items = engine._resolve_path_or_ctx(state.get("ItemsPath", "$"), given, ctx)
    if not isinstance(items, list):
        raise ExecutionError("States.Runtime", f"What ItemsPath refers to is not an array: {json.dumps(items):.200}")
    selector = state.get("ItemSelector") or state.get("Parameters")
    name = ctx["State"]["Name"]

    def iterate(index: int) -> Any:
        context = {**copy.deepcopy(ctx), "Map": {"Item": {"Index": index, "Value": items[index]}}}
        item = engine._resolve_params_obj(selector, given, context) if selector else items[index]
        details = {"name": name, "index": index}
        add_event(execution, "MapIterationStarted", {"mapIterationStartedEventDetails": details})
        try:
            result = engine._run_sub_machine(processor["States"], processor["StartAt"], item, execution, context)
        except ExecutionError:
            add_event(execution, "MapIterationFailed", {"mapIterationFailedEventDetails": details})
            raise
        add_event(execution, "MapIterationSucceeded", {"mapIterationSucceededEventDetails": details})
        return result

    add_event(execution, "MapStateStarted", {"mapStateStartedEventDetails": {"length": len(items)}})
    at_once = min(state.get("MaxConcurrency") or INLINE_CONCURRENCY, INLINE_CONCURRENCY)
    results = run_side_by_side([partial(iterate, index) for index in range(len(items))], at_once)
    add_event(execution, "MapStateSucceeded")
    return engine._left_by(state, value, results, ctx)


def run_side_by_side(jobs: Sequence[Callable[[], Any]], at_once: int) -> list[Any]:
    """What the jobs return; the first that fails ends the others, and is raised."""
    outer = current.get()
    scope = Scope(outer)

    def in_scope(job: Callable[[], Any]) -> Any:
        current.set(scope)
        return job()

    # Not in a `with`: that would wait for functions which nobody can interrupt.
    pool = ThreadPoolExecutor(max(at_once, 1))
    futures = [pool.submit(copy_context().run, in_scope, job) for job in jobs]
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    failed = [error for future in futures if future in done and (error := future.exception())]
    scope.end(aborting=True)
    pool.shutdown(wait=False, cancel_futures=True)
    if outer:
        outer.check()
    if failed:
        raise next((error for error in failed if isinstance(error, ExecutionError)), failed[0])
    return [future.result() for future in futures]
