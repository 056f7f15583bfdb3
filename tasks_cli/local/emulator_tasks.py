"""The tasks of state machines as Step Functions runs them, where MiniStack does otherwise.

MiniStack lets all attempts at a task have one token, and takes answers for tasks that have ended; it knows no
heartbeats, no ``MaxDelaySeconds``, no jitter and no limit of size, and asks who answers for permission on ``*``.
`emulator` runs this file by its path, as it runs `emulator_states.py`.

https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html
https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
"""
# ruff: noqa: SLF001  (MiniStack's functions call each other by these names)

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ministack.core import iam_actions  # type: ignore[import-untyped]
from ministack.services import stepfunctions  # type: ignore[import-untyped]

engine: Any = stepfunctions

MAX_BYTES = 262_144
"""Input or result of a task, state or execution. (Step Functions quotas)"""
CALLBACK = ".waitForTaskToken"
LONGEST_SECONDS = 99_999_999
"""How long a task may take that does not say: the default of ``TimeoutSeconds``."""
_TERMINAL = {"States.Runtime", "States.DataLimitExceeded"}
_TIMEOUTS = {"States.Timeout", "States.HeartbeatTimeout"}

JsonObject = dict[str, Any]
ExecutionError: type[Exception] = engine._ExecutionError

lock = threading.RLock()


def run_tasks_as_step_functions_does() -> None:
    """Take the place of how MiniStack attempts, retries, catches and ends a task."""
    answers = ("_send_task_success", "_send_task_failure", "_send_task_heartbeat")
    changes: dict[str, Callable[..., Any]] = {
        "_described": described,
        "_error_matches": error_matches,
        "_execute_task": execute_task,
        "_is_json": is_json,
        "_left_by": left_by,
        "_with_retry_and_catch": with_retry_and_catch,
        **{name: partial(answer_task, getattr(engine, name)) for name in answers},
    }
    for name, change in changes.items():
        setattr(engine, name, change)
    iam_actions.extract_resource_arn = partial(machine_of_answer, iam_actions.extract_resource_arn)


def machine_of_answer(extract: Callable[..., str], service: str, *arguments: Any) -> str:
    """The state machine whose task is answered, which is what a permission to answer names."""
    arn = extract(service, *arguments)
    if service != "states" or arn != "*":
        return arn
    body = next((one for one in arguments if isinstance(one, bytes)), b"")
    try:
        token = json.loads(body)["taskToken"]
    except (ValueError, KeyError, TypeError):
        return arn
    machine: str = engine._task_tokens.get(token, {}).get("machine", arn)
    return machine


def execute_task(state: JsonObject, value: Any, execution: JsonObject, ctx: JsonObject) -> tuple[Any, Any]:
    """Run a task, as often as its retriers say."""
    attempt = partial(attempt_task, state, value, execution, ctx)
    left: tuple[Any, Any] = with_retry_and_catch(state, value, ctx, attempt)
    return left


def attempt_task(state: JsonObject, value: Any, execution: JsonObject, ctx: JsonObject) -> tuple[Any, Any]:
    """Run a task once; one that waits to be told of its end has a token for each attempt."""
    resource: str = state["Resource"]
    if CALLBACK in resource:
        ctx["Task"] = {"Token": engine.new_uuid()}
    if engine._state_query_language(state, ctx) == "JSONata":
        given = engine._apply_jsonata_arguments(state, value, ctx)
    else:
        given = engine._apply_parameters(state, engine._apply_input_path(state, value, ctx), ctx)
    tell = partial(add_task_event, execution, resource)
    tell("Scheduled", **{"input" if ":function:" in resource else "parameters": json.dumps(given)})
    tell("Started")
    limit = seconds_of(state, "TimeoutSeconds", value, ctx)
    try:
        if CALLBACK in resource:
            heartbeat = seconds_of(state, "HeartbeatSeconds", value, ctx)
            token = ctx["Task"]["Token"]
            machine = ctx["StateMachine"]["Id"]
            result = call_back(resource, given, token, machine, limit=limit, heartbeat=heartbeat, tell=tell)
        elif limit < LONGEST_SECONDS and ":activity:" not in resource:
            result = engine._invoke_resource_with_timeout(resource, given, limit)
        else:
            result = engine._invoke_resource(resource, given)
        check_size(result)
    except ExecutionError as failed:
        error = described(failed)
        tell("TimedOut" if error["error"] in _TIMEOUTS else "Failed", **error)
        raise
    tell("Succeeded", output=json.dumps(result))
    return left_by(state, value, result, ctx)


def call_back(
    resource: str,
    given: Any,
    token: str,
    machine: str,
    *,
    limit: float,
    heartbeat: float,
    tell: Callable[..., JsonObject],
) -> Any:
    """Give a task to someone with its token, and wait to be told how it ended."""
    task: JsonObject = {"event": threading.Event(), "result": None, "error": None, "heartbeat": None}
    task |= {"alive_at": time.monotonic(), "machine": machine}
    deadline = task["alive_at"] + limit
    engine._task_tokens[token] = task
    try:
        given_to = engine._invoke_resource(resource.replace(CALLBACK, ""), given)
        tell("Submitted", output=json.dumps(given_to))
        while not is_told(task, min(deadline, task["alive_at"] + heartbeat)):
            name = "States.Timeout" if deadline <= time.monotonic() else "States.HeartbeatTimeout"
            with lock:
                if not task["event"].is_set() and (name == "States.Timeout" or is_silent(task, heartbeat)):
                    task["has_ended"] = True
                    raise ExecutionError(name, "")
    finally:
        task["has_ended"] = True
    if task["error"]:
        raise ExecutionError(task["error"]["Error"], task["error"]["Cause"])
    return json.loads(task["result"])


def is_told(task: JsonObject, until: float) -> bool:
    """Whether it is told by then how a task ended."""
    told: bool = engine._wait_for_event(task["event"], max(0, until - time.monotonic()))
    return told


def is_silent(task: JsonObject, heartbeat: float) -> bool:
    """Whether a task has shown no sign of life for that long."""
    silent: bool = task["alive_at"] + heartbeat <= time.monotonic()
    return silent


def answer_task(answer: Callable[..., Any], data: JsonObject) -> Any:
    """Take what is told of a task, as long as it waits for that."""
    with lock:
        task = engine._task_tokens.get(data.get("taskToken"))
        if task and (task.get("has_ended") or task["event"].is_set()):
            what = "Task Timed Out: 'Provided task does not exist anymore'"
            return engine.error_response_json("TaskTimedOut", what, 400)
        if not is_json(data.get("output", "{}")):
            what = f"Invalid Output: JSON of up to {MAX_BYTES} bytes is allowed"
            return engine.error_response_json("InvalidOutput", what, 400)
        if task:
            task["alive_at"] = time.monotonic()
        return answer(data)


def add_task_event(execution: JsonObject, resource: str, what: str, **details: str) -> JsonObject:
    """Write what happened to a task, as AWS spells it for functions and for everything else."""
    if ":function:" in resource:
        kind, where = "LambdaFunction", {"resource": resource} if what == "Scheduled" else {}
    else:
        service, _, action = resource.partition(":::")[2].rpartition(":")
        kind, where = "Task", {"resourceType": service, "resource": action}
        if what == "Scheduled":
            where["region"] = engine.get_region()
    told = {f"{kind[0].lower()}{kind[1:]}{what}EventDetails": where | details} if where or details else None
    event: JsonObject = engine._add_event(execution, f"{kind}{what}", told)
    return event


def with_retry_and_catch(state: JsonObject, value: Any, ctx: JsonObject, attempt: Callable[[], Any]) -> Any:
    """Make attempts at a state as its retriers say, and go where its catchers say if the last one fails."""
    about = ctx["State"]
    counts: dict[int, int] = {}
    while True:
        ctx["State"] = {**about, "RetryCount": sum(counts.values())}
        try:
            return attempt()
        except ExecutionError as failed:
            error, cause = described(failed).values()
            retrier, index = engine._find_matching_retrier(state.get("Retry", []), error, counts)
            if retrier is not None:
                engine._scaled_sleep(delay_before(retrier, counts.get(index, 0)))
                counts[index] = counts.get(index, 0) + 1
                continue
            catcher = engine._find_matching_catcher(state.get("Catch", []), error)
            if catcher is None:
                raise
            language = engine._state_query_language(state, ctx)
            left = engine._apply_catcher(catcher, value, ctx, language, {"Error": error, "Cause": cause})
            return left, catcher["Next"]


def delay_before(retrier: JsonObject, retries: int) -> float:
    """Seconds before a retry, after so many of them."""
    seconds: float = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** retries
    seconds = min(seconds, retrier.get("MaxDelaySeconds", seconds))
    return random.uniform(0, seconds) if retrier.get("JitterStrategy") == "FULL" else seconds  # noqa: S311


def error_matches(listed: Sequence[str], error: str) -> bool:
    """Whether a retrier's or a catcher's errors have this one among them."""
    if error in listed or (error in _TIMEOUTS and "States.Timeout" in listed):
        return True
    if error in _TERMINAL:
        return False
    return "States.ALL" in listed or ("States.TaskFailed" in listed and error not in _TIMEOUTS)


def seconds_of(state: JsonObject, name: str, value: Any, ctx: JsonObject) -> float:
    """A time limit of a task, as it says it or finds it in its input."""
    path = state.get(f"{name}Path")
    found: float = engine._resolve_path_or_ctx(path, value, ctx) if path else state.get(name, LONGEST_SECONDS)
    return found


def left_by(state: JsonObject, value: Any, result: Any, ctx: JsonObject) -> tuple[Any, Any]:
    """What a state leaves that has this result, and the name of the next."""
    if engine._state_query_language(state, ctx) == "JSONata":
        output = engine._apply_jsonata_output(state, value, ctx, result=result, default=result)
        engine._apply_state_assign(state, value, ctx, result=result)
    else:
        output = engine._apply_result_path(state, value, engine._apply_result_selector(state, result))
        output = engine._apply_output_path(state, output, ctx)
    check_size(output)
    return output, engine._next_or_end(state)


def check_size(value: Any) -> None:
    """Raise what Step Functions raises for a value that is too large."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_BYTES:
        what = (
            f"The state/task returned a result with a size exceeding the maximum number of bytes service limit: {size}"
        )
        raise ExecutionError("States.DataLimitExceeded", what)


def described(failed: BaseException) -> dict[str, str]:
    """An error's name and cause."""
    return {"error": getattr(failed, "error", ""), "cause": getattr(failed, "cause", "")}


def is_json(text: Any) -> bool:
    """Whether it is a text of JSON that is not too large."""
    try:
        json.loads(text)
    except (TypeError, ValueError):
        return False
    return len(text.encode()) <= MAX_BYTES
