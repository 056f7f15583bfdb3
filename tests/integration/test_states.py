"""State machines on the local cloud: what Step Functions does with them, and MiniStack by itself does not."""

import json
from collections.abc import Iterator
from contextvars import copy_context
from itertools import count
from typing import Any

import pytest

from tasks_cli.cloud import Cloud
from tasks_cli.local import emulator_states, emulator_tasks
from tasks_cli.local.process import LocalCloud
from tests.deployed import wait_for

pytestmark = pytest.mark.xdist_group("states")
ROLE = "arn:aws:iam::000000000000:role/states"
WAITING = {"Type": "Wait", "Seconds": 60, "End": True}
PASSING = {"Type": "Pass", "End": True}
Machine = dict[str, Any]
Event = dict[str, Any]
_numbers = count()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with LocalCloud() as cloud:
        yield cloud


def machine(cloud: Cloud, states: Machine, **more: Any) -> str:
    """The ARN of a new state machine, whose first state is the first of these."""
    kind = more.pop("type", "STANDARD")
    definition = json.dumps({"StartAt": next(iter(states)), "States": states, **more})
    made: str = cloud.client("stepfunctions").create_state_machine(
        name=f"machine{next(_numbers)}", definition=definition, roleArn=ROLE, type=kind
    )["stateMachineArn"]
    return made


def start(cloud: Cloud, states: Machine, given: Any = None, **more: Any) -> str:
    arn: str = cloud.client("stepfunctions").start_execution(
        stateMachineArn=machine(cloud, states, **more), input=json.dumps(given)
    )["executionArn"]
    return arn


def end(cloud: Cloud, execution: str) -> dict[str, Any]:
    """The execution, once it has ended."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = cloud.client("stepfunctions").describe_execution(executionArn=execution)
        return None if found["status"] == "RUNNING" else found

    found: dict[str, Any] = wait_for(look)
    return found


def history(cloud: Cloud, execution: str) -> list[Event]:
    pages = cloud.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


def named(events: list[Event], kind: str) -> list[str]:
    """The states that events of this kind tell of."""
    details = ("stateEnteredEventDetails", "stateExitedEventDetails")
    return [event[key]["name"] for event in events if event["type"].endswith(kind) for key in details if key in event]


def wait_until_entered(cloud: Cloud, execution: str, *names: str) -> None:
    wait_for(lambda: set(names) <= set(named(history(cloud, execution), "StateEntered")))


def branch(name: str, state: Machine, **others: Machine) -> Machine:
    return {"StartAt": name, "States": {name: state, **others}}


def task(queue: str, **more: Any) -> Machine:
    """A task that whoever has its message must end."""
    message = {"token.$": "$$.Task.Token", "name.$": "$$.State.Name"}
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": queue, "MessageBody": message},
        "End": True,
        **more,
    }


@pytest.fixture
def queue(cloud: Cloud) -> str:
    return cloud.client("sqs").create_queue(QueueName=f"queue{next(_numbers)}")["QueueUrl"]


def receive(cloud: Cloud, queue: str, number: int) -> list[dict[str, str]]:
    """So many messages of the queue, as soon as they are there."""
    found: list[dict[str, str]] = []
    sqs = cloud.client("sqs")

    def look() -> bool:
        found.extend(json.loads(one["Body"]) for one in sqs.receive_message(QueueUrl=queue).get("Messages", []))
        return len(found) >= number

    wait_for(look)
    return found


def test_history_tells_of_states_in_branches_and_iterations(cloud: Cloud) -> None:
    each = {"Type": "Map", "ItemProcessor": branch("double", PASSING), "End": True}
    states = {
        "both": {"Type": "Parallel", "Branches": [branch("left", PASSING), branch("right", each)], "End": True},
    }
    execution = start(cloud, states, [1, 2, 3])
    assert json.loads(end(cloud, execution)["output"]) == [[1, 2, 3], [1, 2, 3]]
    events = history(cloud, execution)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    names = ["both", "double", "double", "double", "left", "right"]
    assert sorted(named(events, "StateEntered")) == sorted(named(events, "StateExited")) == names
    by_id = {event["id"]: event for event in events}
    iterations = [
        by_id[event["previousEventId"]]["mapIterationStartedEventDetails"]
        for event in events
        if event.get("stateEnteredEventDetails", {}).get("name") == "double"
    ]
    assert sorted(one["index"] for one in iterations) == [0, 1, 2]
    assert {one["name"] for one in iterations} == {"right"}
    [begun] = [event for event in events if event["type"] == "MapStateStarted"]
    assert begun["mapStateStartedEventDetails"] == {"length": 3}
    assert by_id[begun["previousEventId"]]["stateEnteredEventDetails"]["name"] == "right"


def test_an_item_of_a_distributed_map_has_a_history_of_its_own(cloud: Cloud) -> None:
    processor = {**branch("double", PASSING), "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
    execution = start(cloud, {"each": {"Type": "Map", "ItemProcessor": processor, "End": True}}, [1, 2])
    end(cloud, execution)
    events = history(cloud, execution)
    [run] = [event["mapRunStartedEventDetails"]["mapRunArn"] for event in events if event["type"] == "MapRunStarted"]
    assert [event["type"] for event in events if event["type"] == "MapRunSucceeded"]
    children = cloud.client("stepfunctions").list_executions(mapRunArn=run)["executions"]
    found = [[event["type"] for event in history(cloud, child["executionArn"])] for child in children]
    assert found == [["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]] * 2


def test_nothing_begins_in_an_execution_that_was_stopped(cloud: Cloud, queue: str) -> None:
    send = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Parameters": {"QueueUrl": queue, "MessageBody": "late"},
        "Next": "fail",
    }
    pause = {"Type": "Wait", "Seconds": 1, "Next": "send"}
    late = branch("pause", pause, send=send, fail={"Type": "Fail", "Error": "Late"})
    deep = {"Type": "Parallel", "Branches": [late], "End": True}
    each = {"Type": "Map", "ItemProcessor": branch("deep", deep), "End": True}
    execution = start(cloud, {"each": each}, [1])
    wait_until_entered(cloud, execution, "pause")
    cloud.client("stepfunctions").stop_execution(executionArn=execution, error="Stopped", cause="by a test")
    end_of_pause = start(cloud, {"pause": {**WAITING, "Seconds": 1}})
    end(cloud, end_of_pause)
    found = end(cloud, execution)
    assert (found["status"], found["error"], found["cause"]) == ("ABORTED", "Stopped", "by a test")
    assert "Messages" not in cloud.client("sqs").receive_message(QueueUrl=queue)
    aborted = ["WaitStateAborted", "ParallelStateAborted", "MapStateAborted", "ExecutionAborted"]
    assert [event["type"] for event in history(cloud, execution)][-4:] == aborted


def test_a_name_with_the_same_input_is_the_execution_that_runs(cloud: Cloud) -> None:
    states = cloud.client("stepfunctions")
    arn = machine(cloud, {"wait": WAITING})
    first, again = (states.start_execution(stateMachineArn=arn, name="one", input='{"a": 1}') for _ in range(2))
    assert (again["executionArn"], again["startDate"]) == (first["executionArn"], first["startDate"])
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(stateMachineArn=arn, name="one", input='{"a": 2}')
    states.stop_execution(executionArn=first["executionArn"])
    with pytest.raises(states.exceptions.ExecutionAlreadyExists):
        states.start_execution(stateMachineArn=arn, name="one", input='{"a": 1}')
    assert len(states.list_executions(stateMachineArn=arn)["executions"]) == 1


def test_an_express_machine_runs_every_execution_and_lists_none(cloud: Cloud) -> None:
    states = cloud.client("stepfunctions")
    arn = machine(cloud, {"pass": PASSING}, type="EXPRESS")
    for given in ("1", "2"):
        states.start_execution(stateMachineArn=arn, name="one", input=given)
    with pytest.raises(states.exceptions.StateMachineTypeNotSupported):
        states.list_executions(stateMachineArn=arn)


@pytest.mark.parametrize("given", ["{", json.dumps("a" * 262_144)], ids=["not JSON", "too large"])
def test_an_input_that_step_functions_refuses_is_refused(cloud: Cloud, given: str) -> None:
    states = cloud.client("stepfunctions")
    with pytest.raises(states.exceptions.InvalidExecutionInput):
        states.start_execution(stateMachineArn=machine(cloud, {"pass": PASSING}), input=given)


def test_a_branch_that_fails_ends_the_others(cloud: Cloud) -> None:
    failing = branch("pause", {"Type": "Wait", "Seconds": 1, "Next": "fail"}, fail={"Type": "Fail", "Error": "Broken"})
    both = {"Type": "Parallel", "Branches": [branch("wait", WAITING), failing], "End": True}
    execution = start(cloud, {"both": both})
    assert end(cloud, execution)["error"] == "Broken"
    events = history(cloud, execution)
    [aborted] = [event for event in events if event["type"] == "WaitStateAborted"]
    assert events[aborted["previousEventId"] - 1]["stateEnteredEventDetails"]["name"] == "wait"


def test_an_execution_takes_no_longer_than_its_machine_allows(cloud: Cloud) -> None:
    execution = start(cloud, {"wait": WAITING}, TimeoutSeconds=1)
    assert end(cloud, execution)["status"] == "TIMED_OUT"
    assert [event["type"] for event in history(cloud, execution)][-2:] == ["WaitStateAborted", "ExecutionTimedOut"]


def test_tasks_of_branches_have_tokens_of_their_own(cloud: Cloud, queue: str) -> None:
    branches = [branch(f"task{number}", task(queue)) for number in range(20)]
    execution = start(cloud, {"all": {"Type": "Parallel", "Branches": branches, "End": True}})
    for message in receive(cloud, queue, 20):
        cloud.client("stepfunctions").send_task_success(taskToken=message["token"], output=json.dumps(message["name"]))
    assert json.loads(end(cloud, execution)["output"]) == [f"task{number}" for number in range(20)]


def test_a_task_that_has_ended_takes_no_answer(cloud: Cloud, queue: str) -> None:
    states = cloud.client("stepfunctions")
    again = {"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 1}
    execution = start(cloud, {"task": task(queue, TimeoutSeconds=1, Retry=[again])})
    first, second = (message["token"] for message in receive(cloud, queue, 2))
    assert first != second
    with pytest.raises(states.exceptions.InvalidOutput):
        states.send_task_success(taskToken=second, output="{")
    states.send_task_success(taskToken=second, output="1")
    assert end(cloud, execution)["output"] == "1"
    for token in (first, second):
        with pytest.raises(states.exceptions.TaskTimedOut):
            states.send_task_success(taskToken=token, output="2")
        with pytest.raises(states.exceptions.TaskTimedOut):
            states.send_task_failure(taskToken=token)
        with pytest.raises(states.exceptions.TaskTimedOut):
            states.send_task_heartbeat(taskToken=token)
    with pytest.raises(states.exceptions.TaskDoesNotExist):
        states.send_task_success(taskToken="unknown", output="2")
    kinds = [event["type"] for event in history(cloud, execution) if event["type"].startswith("Task")]
    attempt = ["TaskScheduled", "TaskStarted", "TaskSubmitted"]
    assert kinds == ["TaskStateEntered", *attempt, "TaskTimedOut", *attempt, "TaskSucceeded", "TaskStateExited"]


def test_a_task_of_an_execution_that_was_stopped_takes_no_answer(cloud: Cloud, queue: str) -> None:
    states = cloud.client("stepfunctions")
    execution = start(cloud, {"task": task(queue)})
    [message] = receive(cloud, queue, 1)
    states.stop_execution(executionArn=execution)

    def is_refused() -> bool:
        try:
            states.send_task_heartbeat(taskToken=message["token"])
        except states.exceptions.TaskTimedOut:
            return True
        return False

    wait_for(is_refused)


def test_a_task_that_shows_no_sign_of_life_has_failed(cloud: Cloud, queue: str) -> None:
    caught = {"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "silent"}
    states = {"task": task(queue, HeartbeatSeconds=1, TimeoutSeconds=60, Catch=[caught]), "silent": PASSING}
    assert json.loads(end(cloud, start(cloud, states))["output"]) == {"Error": "States.HeartbeatTimeout", "Cause": ""}


def test_a_result_that_is_too_large_is_not_caught_with_everything_else(cloud: Cloud) -> None:
    many = {"Type": "Pass", "Parameters": {"text.$": "States.Format('{}{}', $, $)"}, "End": True}
    both = {
        "Type": "Parallel",
        "Branches": [branch("many", many)],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "caught"}],
        "End": True,
    }
    execution = start(cloud, {"both": both, "caught": PASSING}, "a" * 150_000)
    assert end(cloud, execution)["error"] == "States.DataLimitExceeded"


def test_a_retry_waits_no_longer_than_its_retrier_says(cloud: Cloud) -> None:
    send = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "End": True}
    again = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "BackoffRate": 60, "MaxAttempts": 2}
    absent = {"QueueUrl": "http://127.0.0.1/000000000000/absent", "MessageBody": "lost"}
    states = {"send": {**send, "Parameters": absent, "Retry": [{**again, "MaxDelaySeconds": 1}]}}
    execution = start(cloud, states)
    assert end(cloud, execution)["status"] == "FAILED"
    assert [event["type"] for event in history(cloud, execution)].count("TaskFailed") == 3


def test_a_branch_has_a_context_of_its_own() -> None:
    about: dict[str, Any] = {"State": {"Name": "around"}}
    assert emulator_states.run_states({"pass": PASSING}, "pass", 1, {"events": []}, about) == 1
    assert about == {"State": {"Name": "around"}}


def test_nothing_is_written_and_no_state_entered_once_a_scope_has_ended() -> None:
    execution: dict[str, Any] = {"events": []}

    def go_on() -> None:
        scope = emulator_states.Scope()
        emulator_states.current.set(scope)
        scope.end(aborting=False)
        emulator_states.run_states({"pass": PASSING}, "pass", 1, execution, {})

    with pytest.raises(emulator_states.Ended):
        copy_context().run(go_on)
    assert execution["events"] == []


def test_an_execution_that_was_stopped_does_not_fail_afterwards() -> None:
    failed: list[str] = []
    for status in ("ABORTED", "RUNNING"):
        emulator_states.fail_execution(lambda *told: failed.append(told[0]["status"]), {"status": status}, "Late", "")
    assert failed == ["RUNNING"]


def test_the_wait_before_a_retry_grows_to_its_longest_and_is_spread_if_asked_for() -> None:
    retrier = {"IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 10}
    assert [emulator_tasks.delay_before(retrier, retries) for retries in range(3)] == [2, 6, 10]
    assert emulator_tasks.delay_before({"IntervalSeconds": 100}, 1) == 200
    spread = [emulator_tasks.delay_before({**retrier, "JitterStrategy": "FULL"}, 2) for _ in range(200)]
    assert 0 <= min(spread) < 5 < max(spread) <= 10


@pytest.mark.parametrize(
    ("listed", "error", "matches"),
    [
        ("States.ALL", "Anything", True),
        ("States.ALL", "States.Timeout", True),
        ("States.ALL", "States.Runtime", False),
        ("States.ALL", "States.DataLimitExceeded", False),
        ("States.DataLimitExceeded", "States.DataLimitExceeded", True),
        ("States.TaskFailed", "Anything", True),
        ("States.TaskFailed", "States.Timeout", False),
        ("States.Timeout", "States.HeartbeatTimeout", True),
        ("States.HeartbeatTimeout", "States.Timeout", False),
        ("TaskFailed", "TaskRetry", False),
    ],
)
def test_errors_match_what_they_match_on_aws(listed: str, error: str, matches: bool) -> None:
    assert emulator_tasks.error_matches([listed], error) is matches
