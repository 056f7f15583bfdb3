"""What docs/workflows.md and docs/testing.md say of workflows: the samples run, limits and costs are those of the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from constructs_lib._manifest import EdgeManifest
from constructs_lib._workflow_definition import definition_of
from constructs_lib._workflow_states import retriers
from runtime_lib import EagerTransport, contract, registry, using_transport
from runtime_lib.testing import record_workflows
from runtime_lib.workflow import graph
from tests.task_modules import load
from tests.workflow_apps import task_manifest, unfolded

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "workflows.md").read_text()


@pytest.fixture(autouse=True)
def nothing_else_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tasks", {})


def sample(page: str, heading: str) -> str:
    """The first sample below a heading."""
    text = (DOCS / page).read_text()
    found = re.search(r"^```python\n(.*?)^```", text[text.index(f"{heading}\n") :], re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


# --- Samples ---------------------------------------------------------------------------------------------------------


def test_the_first_sample_is_a_graph_that_runs() -> None:
    results = {"extract": '{"data": {"a": 1}}', "transform": "{'data': data}", "check": '["x", "y"]', "load": "[]"}
    results |= {"resize": 'f"{picture}.png"', "publish": "pictures"}
    source = sample("workflows.md", "# Workflows").replace("subprocess=True, ", "")
    for name, result in results.items():
        source = re.sub(rf"(def {name}\(.*): \.\.\..*", rf"\1: return {result}", source)
    module = load(source)
    graph.check(module.extract)
    with using_transport(EagerTransport()), record_workflows() as runs:
        module.extract.dispatch(url="https://stats")
    runs.assert_order("extract", "transform", "load")
    runs.assert_order("prepare_db", "load")
    runs.assert_order("warm_cache", "load")
    runs.assert_order("transform", "check", "resize", "publish")
    runs.assert_ran("resize", times=2)
    runs.assert_result("publish", ["x.png", "y.png"])
    runs.assert_not_ran("notify")


def test_the_sample_of_recorded_workflows_holds_for_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "coming-from-easyjobs.md").read_text()
    found = re.search(r"^`company/etl.py`:\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found
    monkeypatch.delenv("WORKER_TASK_DIR", raising=False)
    example = found[1].replace("sleep(1)", "sleep(0.1)").replace("subprocess=True, ", "")
    load(example + sample("testing.md", "## Workflows"))


# --- Numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ("runs of tasks in a workflow", contract.WORKFLOW_MAX_RUNS),
        ("tasks one after another", contract.WORKFLOW_MAX_LENGTH),
        ("items of one list", contract.MAPPED_ITEMS),
        ("branches inside one another", contract.WORKFLOW_MAX_DEPTH),
        ("a state's name", contract.STATES_NAME_MAX_LENGTH),
        ("arguments of the dispatch, the whole message", contract.WORKFLOW_INPUT_MAX_BYTES),
        ("a result that something takes, and the first task's", contract.RESULT_CLAIM_BYTES),
        ("items of a list inside the execution", contract.INLINE_ITEMS),
        ("items at once inside the execution", contract.INLINE_CONCURRENCY),
    ],
)
def test_limits_are_those_of_the_code(row: str, number: int) -> None:
    found = re.search(rf"^\| {row} \| ([\d,]+)", PAGE, re.MULTILINE)
    assert found
    assert int(found[1].replace(",", "")) == number


def test_tries_are_those_of_the_state_machine() -> None:
    [root] = unfolded([task_manifest("load", max_attempts=None)]).all_runs()
    not_begun, policy, lost, crashed = retriers(root)
    assert (policy["MaxAttempts"], crashed["MaxAttempts"]) == (9, 9)
    assert (lost["MaxAttempts"], lost["IntervalSeconds"]) == (6, 2)
    assert sum(2 * 2**number for number in range(6)) == pytest.approx(120, abs=10)  # two minutes in all
    waits = [min(60, 5 * 1.5**number) for number in range(not_begun["MaxAttempts"])]
    assert (len(waits), not_begun["IntervalSeconds"], not_begun["MaxDelaySeconds"]) == (30, 5, 60)
    assert sum(waits) / 60 == pytest.approx(25, abs=1)


def transitions(*tasks: Any, items: int = 0, bucket: bool = False, failing: str = "") -> int:
    """How many states an execution enters, in which one task may fail."""
    definition = definition_of(unfolded(tasks), bucket=bucket)
    return _walk(definition, items, failing)[0]


def _walk(scope: dict[str, Any], items: int, failing: str) -> tuple[int, bool]:
    """How many states are entered, and whether a task among them has failed."""
    entered, has_failed, name = 0, False, scope["StartAt"]
    while name:
        state = scope["States"][name]
        entered += 1
        inner: list[tuple[int, bool]] = []
        match state["Type"]:
            case "Parallel":
                inner = [_walk(branch, items, failing) for branch in state["Branches"]]
            case "Map":
                inner = [_walk(state["ItemProcessor"], items, failing) for _ in range(items)]
        entered += sum(count for count, _ in inner)
        is_caught = state["Type"] == "Task" and name == failing
        has_failed |= is_caught or any(failed for _, failed in inner)
        following = state.get("Next", "")
        if state["Type"] == "Choice":
            told = has_failed and "errors" in state["Choices"][0]["Variable"]
            following = state["Choices"][0]["Next"] if told else state["Default"]
        name = state["Catch"][-1]["Next"] if is_caught else following
    return entered, has_failed


@pytest.mark.parametrize(
    ("tasks", "more", "expected"),
    [
        (["a"], {}, 2 + 1),
        ([{"a": {"run_before": ["b"]}}, "b"], {}, 2 + 2 + 2 + 1),
        ([{"a": {"run_before": ["b", "c"]}}, "b", "c"], {}, 2 + 3 + 2 + 2),
        ([{"a": {"run_after": ["b"]}}, "b"], {}, 2 + 2),
        ([{"a": {"run_after": ["b", "c"]}}, "b", "c"], {}, 2 + 3 + 2 + 2),
        ([{"a": {"run_after": [EdgeManifest("b", 60.0)]}}, "b"], {}, 2 + 2 + 1),
        ([{"a": {"run_after": [EdgeManifest("b", 0.0, 5)]}}, "b"], {"items": 4}, 2 + 1 + 2 + 4 * (1 + 1)),
        ([{"a": {"run_after": [EdgeManifest("b", 0.0, 5)]}}, "b"], {"items": 4, "bucket": True}, 2 + 1 + 3 + 4 * (1 + 1)),
        (["a"], {"failing": "a"}, 2 + 1 + 1),
        ([{"a": {"on_failure": ["b"]}}, "b"], {"failing": "a"}, 2 + 1 + 1 + 2 + 1),
    ],
)  # fmt: skip
def test_transitions_are_as_many_as_the_page_counts(tasks: list[Any], more: dict[str, Any], expected: int) -> None:
    named = [one if isinstance(one, dict) else {one: {}} for one in tasks]
    assert (
        transitions(*(task_manifest(name, **edges) for one in named for name, edges in one.items()), **more) == expected
    )
