"""What a workflow costs when it is synthesized, by its size, and a task in a process of its own beside a bare one."""

import json
import subprocess
import sys
import timeit
from collections.abc import Iterator
from statistics import median

from benchmarks.computing import compute
from benchmarks.figures import Figure
from constructs_lib._manifest import EdgeManifest, TaskManifest
from constructs_lib._workflow_definition import definition_of
from constructs_lib._workflow_graph import unfold
from constructs_lib._workflow_servers import Place
from constructs_lib._workflow_states import INTEGRATIONS
from runtime_lib import EagerTransport, using_transport
from runtime_lib.contract import STATES_DEFINITION_MAX_BYTES

_SIZES = (5, 50, 200)
_MILLISECONDS = 1_000
_MEBIBYTE = 1_048_576
_PROCESSES = 11
_MOST_TIMES_LINEAR = 1.5
_MOST_TIMES_A_PROCESS = 8
_PLACE = Place("Shop/Etl", "lambda", "Shop-Etl", 70)


def measure(rounds: int) -> Iterator[Figure]:
    """Definitions of several sizes in ``rounds`` rounds each, and processes."""
    smallest = 0.0
    for size in _SIZES:
        tasks = _tasks(size)
        text = _definition(tasks)
        seconds = min(timeit.repeat(lambda tasks=tasks: _definition(tasks), number=1, repeat=rounds))  # type: ignore[misc]
        smallest = smallest or seconds / size
        milliseconds, linear = _MILLISECONDS * seconds, _MILLISECONDS * smallest * size
        yield Figure(
            f"definition of {size} tasks, beside {size} / 5 of that of 5",
            "ms",
            milliseconds,
            linear,
            _MOST_TIMES_LINEAR,
        )
        yield Figure(
            f"definition of {size} tasks, size",
            "MiB",
            len(text) / _MEBIBYTE,
            promise=STATES_DEFINITION_MAX_BYTES / _MEBIBYTE,
        )
        yield Figure(f"definition of {size} tasks, findings of cfn-lint", "", len(_findings(text)), promise=0)
    yield from _processes()


def _processes() -> Iterator[Figure]:
    bare, own = [], []
    with using_transport(EagerTransport()):
        for _ in range(_PROCESSES):
            bare.append(timeit.timeit(lambda: subprocess.run([sys.executable, "-c", ""], check=True), number=1))
            own.append(timeit.timeit(lambda: compute.dispatch(7), number=1))
    yield Figure(
        "a task in a process of its own, beside a bare one",
        "ms",
        _MILLISECONDS * median(own),
        _MILLISECONDS * median(bare),
        _MOST_TIMES_A_PROCESS,
    )


def _definition(tasks: dict[str, TaskManifest]) -> str:
    root = unfold(tasks, "shop.etl.step_0", lambda _: _PLACE)
    return json.dumps(definition_of(root, bucket=True), separators=(",", ":"))


def _tasks(count: int) -> dict[str, TaskManifest]:
    """So many tasks: of each five, one has two before it, one follows it, and one is told of its failure."""
    tasks = {}
    for number in range(0, count, 5):
        following = [EdgeManifest(f"shop.etl.step_{number + 5}")] if number + 5 < count else []
        names = [f"{kind}_{number}" for kind in ("one", "two", "tell", "beside")]
        one, two, tell, beside = (EdgeManifest(f"shop.etl.{name}") for name in names)
        for name in names:
            tasks[f"shop.etl.{name}"] = _task(name)
        name = f"step_{number}"
        tasks[f"shop.etl.{name}"] = _task(name, before=[one, two], after=[beside, *following], failure=[tell])
    return tasks


def _task(
    name: str,
    *,
    before: list[EdgeManifest] | None = None,
    after: list[EdgeManifest] | None = None,
    failure: list[EdgeManifest] | None = None,
) -> TaskManifest:
    return TaskManifest(
        name=f"shop.etl.{name}",
        function=name,
        module="shop.etl",
        namespaces=["DEFAULT"],
        priority="default",
        max_attempts=3,
        first_delay=1,
        multiplier=2,
        max_delay=900,
        jitter="full",
        timeout=None,
        subprocess=False,
        run_before=before or [],
        run_after=after or [],
        on_failure=failure or [],
    )


def _findings(text: str) -> list[object]:
    """What cfn-lint, which has a schema of the Amazon States Language, says of a definition."""
    from cfnlint.api import lint  # noqa: PLC0415  (slow to import)

    sys.setrecursionlimit(10_000)  # it follows branches inside branches by calling itself
    substitutions = {name: f"arn:aws:states:::{action}" for name, action in INTEGRATIONS.items()}
    used = {name: value for name, value in substitutions.items() if f"${{{name}}}" in text}
    role = "arn:aws:iam::123456789012:role/states"
    properties = {"DefinitionString": text, "RoleArn": role, "DefinitionSubstitutions": used}
    template = {"Resources": {"Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}}
    return list(lint(json.dumps(template), regions=["us-east-1"]))
