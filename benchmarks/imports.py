"""Time and memory of imports, each in fresh processes; the minimum of them is what the import itself takes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure

_ROOT = Path(__file__).parents[1]
# -S: what site-packages load at the start of every process would be missing from the figures.
_PYTHON = [sys.executable, "-I", "-S", "-c"]
_MEASURE = """
import sys, time
root, statement = sys.argv[1:]
sys.path.insert(0, root)
code = compile(statement, "<measured>", "exec")
started = time.perf_counter()
exec(code)
elapsed = time.perf_counter() - started
try:
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
except FileNotFoundError:
    peak = "nan"
print(elapsed * 1000, float(peak) / 1024)
"""
_ONE_TASK = """
from runtime_lib import task

@task
def send_email(to: str, subject: str, from_email: str | None = None) -> None: ...
"""
_FLOOR = "import json"
_LIBRARY = "import runtime_lib"
_STATEMENTS = {
    _FLOOR: _FLOOR,
    _LIBRARY: _LIBRARY,
    "one decorated task": _ONE_TASK,
    "handler of BackgroundTaskFunction, one task": "import runtime_lib.handlers.background_task_function",
    "handler of ManagedAsyncTask, one task": "import runtime_lib.handlers.managed_async_task",
    "handler of PriorityTaskQueues, one task": "import runtime_lib.handlers.priority_task_queues",
    "handler of TaskWorkflow, one task": "import runtime_lib.handlers.task_workflow",
}
_MOST_TIMES_THE_FLOOR = 25 / 6
_MOST_MEBIBYTES = 14


class _Cost(NamedTuple):
    milliseconds: float
    mebibytes: float


def measure(processes: int) -> Iterator[Figure]:
    """Each import in ``processes`` fresh processes."""
    for statement in _STATEMENTS.values():
        _in_fresh_process(statement)  # writes the bytecode, so that no measured process compiles
    costs: dict[str, list[_Cost]] = {name: [] for name in _STATEMENTS}
    for _ in range(processes):
        for name, statement in _STATEMENTS.items():
            costs[name].append(_in_fresh_process(statement))
    best = {name: _Cost(*map(min, zip(*found, strict=True))) for name, found in costs.items()}
    floor = best.pop(_FLOOR)
    for name, cost in best.items():
        promise = _MOST_TIMES_THE_FLOOR if name == _LIBRARY else None
        yield Figure(name, "ms", cost.milliseconds, floor.milliseconds, promise)
    if isnan(floor.mebibytes):
        return
    yield Figure(f"{_FLOOR}, memory", "MiB", floor.mebibytes)
    for name, cost in best.items():
        yield Figure(f"{name}, memory", "MiB", cost.mebibytes, promise=_MOST_MEBIBYTES if name == _LIBRARY else None)


def _in_fresh_process(statement: str) -> _Cost:
    done = subprocess.run(
        [*_PYTHON, _MEASURE, str(_ROOT), statement],
        env={**os.environ, "TASK_MODULES": "benchmarks.one_task"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return _Cost(*map(float, done.stdout.split()))
