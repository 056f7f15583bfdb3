"""What the decorators of a workflow's tasks name: which tasks are meant, and what cannot be meant."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime_lib import (
    EagerTransport,
    TaskDefinitionError,
    contract,
    delayed,
    for_each,
    registry,
    task,
    using_transport,
)
from runtime_lib.testing import record_workflows
from runtime_lib.workflow import graph
from runtime_lib.workflow.names import NodeNames
from tests.task_modules import load

Module = Callable[[str], Any]
IMPORTS = "from runtime_lib import batch_task, delayed, for_each, task\n"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Loads a module of tasks, which are forgotten when the test ends."""
    monkeypatch.setattr(registry, "_tasks", {})
    return lambda source: load(IMPORTS + source)


def refusal(of: Any) -> str:
    with pytest.raises(TaskDefinitionError) as caught:
        graph.check(of)
    return str(caught.value)


# --- Names -----------------------------------------------------------------------------------------------------------


def test_a_bare_name_is_that_of_a_task_of_the_same_module_first(module: Module) -> None:
    other = module("@task\ndef load(): ...")
    here = module("@task(run_after='load')\ndef extract(): ...\n@task\ndef load(): ...")
    assert graph.target(here.extract, "load") is here.load
    assert graph.target(other.load, "extract") is here.extract


def test_a_function_of_the_same_module_comes_before_a_task_that_is_registered_under_its_name(module: Module) -> None:
    other = module("@task(name='load')\ndef anything(): ...")
    here = module("@task(run_after='load')\ndef extract(): ...\n@task\ndef load(): ...")
    assert graph.target(here.extract, "load") is here.load
    assert graph.target(other.anything, "load") is other.anything


def test_a_bare_name_is_that_of_the_one_task_of_another_module(module: Module) -> None:
    other = module("@task\ndef load(): ...")
    here = module("@task(run_after='load')\ndef extract(): ...")
    assert graph.target(here.extract, "load") is other.load


def test_a_task_is_named_by_its_whole_name_as_well_or_is_there_itself(module: Module) -> None:
    other = module("@task(name='shop.load')\ndef anything(): ...")
    here = module("@task\ndef extract(): ...\n@task\ndef load(): ...")
    for reference in ("shop.load", "shop:load", other.anything, "anything"):
        assert graph.target(here.extract, reference) is other.anything


def test_a_name_may_be_defined_after_the_task_that_names_it(module: Module) -> None:
    here = module("@task(run_before='prepare')\ndef extract(): ...\n@task\ndef prepare(): ...")
    assert [(option, found) for option, _, found in graph.edges_of(here.extract)] == [("run_before", here.prepare)]


def test_an_unknown_name_is_refused_with_the_nearest_one(module: Module) -> None:
    here = module("@task(run_after='lod')\ndef extract(): ...\n@task\ndef load(): ...")
    said = f"{here.extract.name} names 'lod', and no task that is loaded is called so: "
    assert refusal(here.extract) == said + "did you mean 'load'?"
    here = module("@task(on_failure='xyz')\ndef extract(): ...")
    assert refusal(here.extract).endswith("called so: check the name, or load the module that has it")


def test_a_name_that_several_tasks_of_other_modules_have_is_refused_with_theirs(module: Module) -> None:
    one, two = (module("@task\ndef load(): ...") for _ in range(2))
    here = module("@task(run_after='load')\ndef extract(): ...")
    expected = f"several tasks are called so: write {one.load.name} or {two.load.name}"
    assert refusal(here.extract).endswith(expected)


def test_names_are_checked_however_far_from_the_first_task(module: Module) -> None:
    here = module(
        "@task(on_failure='b')\ndef a(): ...\n@task(run_before='c')\ndef b(): ...\n"
        "@task(run_after=for_each('a1', then='nobody'))\ndef c(): ...\n@task\ndef a1(x): ..."
    )
    assert "names 'nobody'" in refusal(here.a)


# --- What cannot be --------------------------------------------------------------------------------------------------


def test_a_circle_is_refused_with_its_path(module: Module) -> None:
    here = module(
        "@task(run_after='a')\ndef start(): ...\n@task(run_after=delayed('b', days=1))\ndef a(): ...\n"
        "@task(on_failure='c')\ndef b(): ...\n@task(run_after=for_each('a'))\ndef c(): ..."
    )
    path = " -> ".join(f"{here.start.name.partition('.')[0]}.{name}" for name in "abca")
    assert refusal(here.start) == f"tasks follow one another in a circle: {path}: remove one of these edges"


def test_a_task_that_names_itself_is_a_circle(module: Module) -> None:
    here = module("@task(on_failure='a')\ndef a(): ...")
    assert f"circle: {here.a.name} -> {here.a.name}:" in refusal(here.a)


def test_two_ways_to_one_task_are_no_circle(module: Module) -> None:
    here = module(
        "@task(run_after=['b', 'c'])\ndef a(): ...\n@task(run_after='d')\ndef b(): ...\n"
        "@task(run_after='d')\ndef c(): ...\n@task\ndef d(): ..."
    )
    graph.check(here.a)


def test_what_runs_before_a_task_takes_no_arguments_that_it_needs(module: Module) -> None:
    here = module("@task(run_before='prepare')\ndef extract(): ...\n@task\ndef prepare(a, b, c=1): ...")
    assert "has " + here.prepare.name + " in run_before, which takes 'a', 'b'" in refusal(here.extract)
    here = module(
        "@task(run_before='prepare')\ndef extract(): ...\n@task\ndef prepare(c=1, *, metadata: dict, **more): ..."
    )
    graph.check(here.extract)


@pytest.mark.parametrize("options", ["run_before='b'", "run_after=for_each('b')", "on_failure='b'"])
def test_a_batch_task_follows_no_other(module: Module, options: str) -> None:
    here = module(f"@task({options})\ndef a(): ...\n@batch_task\ndef b(items: list): ...")
    assert "a batch task, which takes several messages at once" in refusal(here.a)


# --- What is refused at the decorator --------------------------------------------------------------------------------


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_after": 7}, r"run_after takes tasks or their names, given 7"),
        ({"run_after": [""]}, r"run_after takes tasks or their names, given ''"),
        ({"run_before": [nothing]}, r"run_before takes tasks or their names, given <function nothing"),
        ({"run_after": ["a", "b", "a"]}, r"run_after names 'a' twice"),
        ({"run_before": delayed("a", hours=1)}, r"delayed\('a'\) stands in run_after, not in run_before"),
        ({"on_failure": for_each("a")}, r"for_each\('a'\) stands in run_after, not in on_failure"),
        ({"on_failure": ["a", "b"]}, r"on_failure is one task, given a, b"),
    ],
)
def test_an_option_that_names_no_task_or_stands_in_the_wrong_place_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskDefinitionError, match=message):
        task(**options)(nothing)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: for_each("a", max_concurrency=0), r"max_concurrency is 1 to 10,000, given 0"),
        (lambda: for_each("a", max_concurrency=True), r"max_concurrency is 1 to 10,000, given True"),
        (lambda: for_each(delayed("a", days=1)), r"for_each takes a task or its name, given .*write delayed\(for_each"),  # type: ignore[arg-type]
        (lambda: for_each("a", then=3), r"for_each\(then=…\) takes tasks or their names, given 3"),  # type: ignore[arg-type]
        (lambda: delayed("a"), r"waits up to a year, given 0 seconds"),
        (lambda: delayed("a", days=366), r"waits up to a year"),
        (lambda: delayed("a", seconds=-1), r"delayed\('a'\)"),
        (lambda: delayed(3, days=1), r"delayed takes tasks or their names, given 3"),  # type: ignore[arg-type]
    ],
)
def test_for_each_and_delayed_say_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(TaskDefinitionError, match=message):
        make()


def test_a_wait_around_for_each_and_around_a_wait_adds_up() -> None:
    edge = delayed(delayed(for_each("a", max_concurrency=3, then="b"), minutes=1), seconds=2)
    assert (edge.task, edge.wait, edge.for_each) == ("a", 62, (3, "b"))


def test_a_batch_task_has_edges_as_well(module: Module) -> None:
    here = module("@batch_task(run_after='nobody')\ndef a(items: list): ...")
    assert "names 'nobody'" in refusal(here.a)


# --- Names of runs ---------------------------------------------------------------------------------------------------


def test_runs_of_one_function_are_numbered() -> None:
    names = NodeNames()
    assert [names.of(one) for one in ("load", "fetch", "load", "load")] == ["load", "fetch", "load (2)", "load (3)"]


def test_long_names_are_shortened_and_still_differ() -> None:
    names = NodeNames()
    one, two, again = (names.of("x" * 70 + end) for end in ("a", "b", "a"))
    assert len(one) == len(two) <= 60
    assert one != two
    assert again == f"{one} (2)"


def test_a_graph_that_explodes_through_what_its_tasks_share_is_refused_with_the_count(module: Module) -> None:
    layers = 40
    source = "\n".join(
        ("@task" if n + 1 == layers else f"@task(run_before=['a{n + 1}', 'b{n + 1}'])") + f"\ndef {kind}{n}(): ..."
        for n in range(layers)
        for kind in "ab"
    )
    message = refusal(module(source).a0)
    assert "has 79 tasks, and they run 1,099,511,627,775 times" in message
    assert "a39 274,877,906,944 times" in message
    assert "400 runs are allowed" in message


def chain(length: int) -> str:
    """Tasks one after another, `step_0` first."""
    return "\n".join(
        (f"@task(run_after='step_{n + 1}')" if n + 1 < length else "@task") + f"\ndef step_{n}(x=0): return x + 1"
        for n in range(length)
    )


def test_as_many_tasks_one_after_another_as_are_allowed_are_run_and_one_more_is_refused(module: Module) -> None:
    assert contract.WORKFLOW_MAX_LENGTH == 250
    with using_transport(EagerTransport()), record_workflows() as runs:
        module(chain(250)).step_0.dispatch(0)
    assert [run.result for run in runs.of("step_249")] == [250]
    message = refusal(module(chain(251)).step_0)
    assert "has 251 tasks one after another, and 250 are allowed: dispatch a part of it" in message
