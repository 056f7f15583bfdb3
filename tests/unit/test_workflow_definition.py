"""What a graph becomes in the Amazon States Language: its states, their order, their size, and that they are valid."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cfnlint.api import lint

from constructs_lib._manifest import EdgeManifest
from constructs_lib._workflow_definition import definition_of
from constructs_lib._workflow_graph import Run
from constructs_lib._workflow_states import INTEGRATIONS
from runtime_lib import contract
from tests.workflow_apps import task_manifest, unfolded

SUBSTITUTIONS = {
    **{name: f"arn:aws:states:::{action}" for name, action in INTEGRATIONS.items()},
    "QueueUrlPrefix": "https://sqs.us-east-1.amazonaws.com/123456789012/",
    "PayloadBucket": "bucket",
}
ROLE = "arn:aws:iam::123456789012:role/states"


def problems(definition: dict[str, Any]) -> list[str]:
    """What cfn-lint, which has a schema of the Amazon States Language, says of a state machine."""
    text = json.dumps(definition)
    used = {name: value for name, value in SUBSTITUTIONS.items() if f"${{{name}}}" in text}
    properties = {"DefinitionString": text, "RoleArn": ROLE, "DefinitionSubstitutions": used}
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    return [str(found) for found in lint(json.dumps({"Resources": {"Machine": machine}}), regions=["us-east-1"])]


def scopes(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The state machine and every one inside it."""
    yield definition
    for state in definition["States"].values():
        for inner in (*state.get("Branches", ()), *([state["ItemProcessor"]] if "ItemProcessor" in state else ())):
            yield from scopes(inner)


def check(definition: dict[str, Any]) -> list[str]:
    """The names of all states, of which each leads to another in its scope and there is one of each."""
    found: list[str] = []
    for scope in scopes(definition):
        states = scope["States"]
        reached = {scope["StartAt"]}
        for state in states.values():
            choices = [one["Next"] for one in (*state.get("Choices", ()), *state.get("Catch", ()))]
            reached |= {*choices, *(state[key] for key in ("Next", "Default") if key in state)}
        assert reached == states.keys()
        found += states
    assert len(found) == len(set(found))
    assert max(map(len, found)) <= contract.STATES_NAME_MAX_LENGTH
    assert problems(definition) == []
    return found


def everything() -> Run:
    """A graph with each kind of edge, at each kind of place."""
    return unfolded(
        [
            task_manifest(
                "first", run_before=["one", "two"], run_after=["each", "later", "queued"], on_failure=["tell"]
            ),
            task_manifest("one", run_before=["two"]),
            task_manifest("two", max_attempts=1),
            task_manifest(
                "each", run_after=[EdgeManifest("item", 0.0, 5, "all_of_them"), EdgeManifest("again", 60.0, 90)]
            ),
            task_manifest("item", run_after=["two"], on_failure=["tell"], run_before=["one"]),
            task_manifest("again", run_after=[EdgeManifest("two", 0.0, 3, "two")]),
            task_manifest("all_of_them", max_attempts=None),
            task_manifest("later", run_after=[EdgeManifest("two", 1.5)]),
            task_manifest("queued", run_after=["tell"], subprocess=True),
            task_manifest("tell", on_failure=["two"]),
        ]
    )


@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize("table", ["Records", None])
def test_every_kind_of_edge_makes_a_valid_definition_whose_states_all_have_a_way_in(
    bucket: bool, table: str | None
) -> None:
    check(definition_of(everything(), bucket=bucket, table=table))


def test_the_check_itself_finds_what_is_wrong() -> None:
    definition = definition_of(everything(), bucket=True)
    definition["States"]["first"]["TimeoutSeconds"] = "long"
    assert any("E3601" in one for one in problems(definition))
    definition = definition_of(everything(), bucket=True)
    definition["States"]["first"]["Next"] = "nowhere"
    with pytest.raises(AssertionError):
        check(definition)


@pytest.mark.parametrize("length", [1, 60, 200])
def test_names_of_states_stay_below_the_limit(length: int) -> None:
    name = "n" * length
    tasks = [
        task_manifest("first", run_after=[EdgeManifest(name, 0.0, 90, name), EdgeManifest("other", 3.0)]),
        task_manifest("other", run_before=[name], on_failure=[name]),
        task_manifest(name),
    ]
    check(definition_of(unfolded(tasks), bucket=True))


def chain(count: int) -> Run:
    """Tasks one after the other, every fifth with two before it and one for its failure."""
    tasks = [
        task_manifest(
            f"step_{number}",
            run_after=[f"step_{number + 1}"] if number + 1 < count else [],
            run_before=[f"a_{number}", f"b_{number}"] if number % 5 == 4 else [],
            on_failure=[f"tell_{number}"] if number % 5 == 4 else [],
        )
        for number in range(count)
    ]
    tasks += [
        task_manifest(f"{kind}_{number}") for number in range(count) if number % 5 == 4 for kind in ("a", "b", "tell")
    ]
    return unfolded(tasks)


def test_the_definition_grows_with_the_number_of_runs_and_stays_below_the_limit() -> None:
    sizes = {}
    for count in (5, 50, 200):
        graph = chain(count)
        definition = definition_of(graph, bucket=False)
        check(definition)
        sizes[len(list(graph.all_runs()))] = len(json.dumps(definition, separators=(",", ":")))
    assert list(sizes) == [8, 80, 320]
    assert max(sizes.values()) < contract.STATES_DEFINITION_MAX_BYTES
    assert max(sizes.values()) * 1.2 < contract.WORKFLOW_MAX_TEMPLATE_BYTES  # as JSON inside JSON
    per_run = [size / runs for runs, size in sizes.items()]
    assert max(per_run) / min(per_run) < 1.3


def test_each_edge_has_a_run_of_its_own_numbered_in_the_order_of_the_graph() -> None:
    graph = everything()
    names = [run.name for run in graph.all_runs()]
    assert names[0] == "first"
    assert {name for name in names if name.startswith("two")} == {
        "two",
        *(f"two ({number})" for number in range(2, 11)),
    }
    assert [run.name for run in graph.before] == ["one", "two (2)"]


def test_the_depth_is_that_of_the_scopes_in_the_definition() -> None:
    def deepest(states: dict[str, Any]) -> int:
        inner = [
            scope["States"]
            for state in states.values()
            for scope in (*state.get("Branches", ()), *([state["ItemProcessor"]] if "ItemProcessor" in state else ()))
        ]
        return max((deepest(one) + 1 for one in inner), default=0)

    for graph in (everything(), chain(5), chain(50), chain(1)):
        assert graph.depth() == deepest(definition_of(graph, bucket=False)["States"])


# --- Single states ---------------------------------------------------------------------------------------------------


def states_of(*tasks: Any, **options: Any) -> dict[str, Any]:
    definition = definition_of(unfolded(tasks), **{"bucket": False, **options})
    return definition["States"]


def test_the_policy_of_a_task_is_that_of_its_state() -> None:
    state = states_of(task_manifest("load", max_attempts=5, first_delay=2.4, multiplier=3, max_delay=60))["load"]
    backoff = {
        "IntervalSeconds": 2,
        "BackoffRate": 3,
        "MaxDelaySeconds": 60,
        "MaxAttempts": 4,
        "JitterStrategy": "FULL",
    }
    by_error = {retrier["ErrorEquals"][0]: retrier for retrier in state["Retry"]}
    assert by_error["TaskRetry"] == {"ErrorEquals": ["TaskRetry"], **backoff}
    assert by_error["Lambda.Unknown"] == {
        "ErrorEquals": [
            "Lambda.Unknown",
            "Sandbox.Timedout",
            "Runtime.ExitError",
            "Runtime.OutOfMemory",
            "States.Timeout",
        ],
        **backoff,
    }
    assert list(by_error) == ["TaskNotBegun", "TaskRetry", "Lambda.ClientExecutionTimeoutException", "Lambda.Unknown"]
    assert state["TimeoutSeconds"] == 70


@pytest.mark.parametrize(("attempts", "retries"), [(None, 9), (50, 9), (2, 1)])
def test_a_policy_without_a_limit_has_that_of_a_queue(attempts: int | None, retries: int) -> None:
    state = states_of(task_manifest("load", max_attempts=attempts, first_delay=0.0, max_delay=0.0, jitter="none"))[
        "load"
    ]
    [retrier] = [one for one in state["Retry"] if one["ErrorEquals"] == ["TaskRetry"]]
    assert retrier["MaxAttempts"] == retries
    assert retrier["IntervalSeconds"] == 1 < retrier["MaxDelaySeconds"]


def test_a_task_that_is_never_retried_is_not_retried_after_a_crash_either() -> None:
    state = states_of(task_manifest("load", max_attempts=1))["load"]
    errors = {error for retrier in state["Retry"] for error in retrier["ErrorEquals"]}
    assert not errors & {"TaskRetry", "Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "States.Timeout"}
    assert {"TaskNotBegun", "Lambda.TooManyRequestsException"} <= errors


def test_a_task_in_a_queue_is_sent_with_a_token_and_retried_there() -> None:
    state = states_of(task_manifest("first", run_after=["queued"]), task_manifest("queued"))["queued"]
    assert state["Resource"] == "${SendMessage}"
    assert state["Parameters"]["QueueUrl"] == "${QueueUrlPrefix}Shop-Queue"
    assert state["Parameters"]["MessageBody"]["workflow"]["token.$"] == "$$.Task.Token"
    assert [error for retrier in state["Retry"] for error in retrier["ErrorEquals"] if error.startswith("Task")] == []


def test_only_results_that_somebody_gets_are_asked_for() -> None:
    states = states_of(
        task_manifest("first", run_after=["middle"]), task_manifest("middle", run_after=["last"]), task_manifest("last")
    )
    said = {name: states[name]["Parameters"]["Payload"]["workflow"] for name in ("first", "middle", "last")}
    assert [said[name].get("claim") for name in said] == [100_000, 100_000, None]
    assert states["last"]["ResultPath"] is None
    assert said["middle"]["result.$"] == "$.returned.answer"
    assert said["last"]["result.$"] == "$.result.answer"
    assert states[": done"]["InputPath"] == "$.returned.answer"


def test_a_long_list_is_read_from_the_bucket_where_there_is_one() -> None:
    tasks = [
        task_manifest("first", run_after=[EdgeManifest("item", 0.0, 90, "then")]),
        task_manifest("item"),
        task_manifest("then"),
    ]
    states = states_of(*tasks, bucket=True)
    assert states["first"]["Parameters"]["Payload"]["workflow"]["items"] == 0
    assert states["item: each apart"]["ItemReader"]["Parameters"]["Bucket"] == "${PayloadBucket}"
    assert states["item: each apart"]["MaxConcurrency"] == 90
    assert states["item: each"]["MaxConcurrency"] == 40
    assert states["then"]["Parameters"]["Payload"]["workflow"]["each"] == {"node": "item", "count.$": "$.each.count"}
    without = states_of(*tasks)
    assert "item: each apart" not in without
    assert without["first"]["Parameters"]["Payload"]["workflow"]["inline"] is True
    assert without["then"]["Parameters"]["Payload"]["workflow"]["results.$"] == "$.each.results"


def test_a_wait_is_in_whole_seconds_before_the_task() -> None:
    states = states_of(task_manifest("first", run_after=[EdgeManifest("later", 1.2)]), task_manifest("later"))
    assert states["first"]["Next"] == "later: wait"
    assert states["later: wait"] == {"Type": "Wait", "Seconds": 2, "Next": "later"}
