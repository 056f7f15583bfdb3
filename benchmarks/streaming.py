"""Answers on Lambda's own runtime client: processor time of an early one, first byte, memory of a large one.

Each beside an ordinary handler on the same client, in turns. What is measured is the function's process; the Lambda
Runtime API that drives it is in this one.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure
from runtime_lib.contract import ENV_STREAMING_HANDLER, STREAMING_LAMBDA_HANDLER
from tests.runtime_api import FunctionProcess, RuntimeApi

_ROOT = Path(__file__).parents[1]
_CODE = """
import time

def ordinary(event, context):
    if event == "cpu":
        return time.process_time()
    return {"echoedMessage": event["message"]}
"""
_IMPORTING_CODE = """
import time
import runtime_lib

started = time.perf_counter()
from runtime_lib.streaming import answering, handlers, hook
hook.install()
elapsed = time.perf_counter() - started

def ordinary(event, context):
    return elapsed
"""
_STREAMING_CODE = """
import time
from runtime_lib import background_handler, streaming_handler

@background_handler
def early(event, output):
    output.respond(time.process_time() if event == "cpu" else {"echoedMessage": event["message"]})

_PART = b"x" * 65_536

@streaming_handler
def large(event, output):
    if event == "cpu":
        output.respond(time.process_time())
    elif event == "peak":
        with open("/proc/self/status") as status:
            output.respond(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    else:
        for _ in range(event["parts"]):
            output.write(_PART)

@streaming_handler
def first(event, output):
    output.write(repr(time.time()))
    time.sleep(0.005)
    output.write("more")
"""
_EVENT = {"message": "Hello Background Tasks"}
_ROUNDS, _STARTS = 40, 5
_MEBIBYTES = 200
_PARTS = 16 * _MEBIBYTES
"""Of 64 KiB each."""
_MOST_TIMES_ORDINARY, _MOST_MILLISECONDS, _MOST_MEBIBYTES, _MOST_IMPORT_MILLISECONDS = 1.1, 2, 20, 10


def measure(invocations: int) -> Iterator[Figure]:
    """An early answer in ``invocations`` for each of several rounds; the others as often as is enough."""
    if sys.platform != "linux":
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, ExitStack() as stack:
        root = Path(name)
        (root / "ordinary.py").write_text(_CODE)
        (root / "importing.py").write_text(_IMPORTING_CODE)
        (root / "shop.py").write_text(_STREAMING_CODE)
        (root / "runtime_lib").symlink_to(_ROOT / "runtime_lib")

        def function(handler: str, streaming: str = "") -> FunctionProcess:
            api = stack.enter_context(RuntimeApi())
            return stack.enter_context(api.function(handler, root, {ENV_STREAMING_HANDLER: streaming}))

        def streaming(name: str) -> FunctionProcess:
            return function(STREAMING_LAMBDA_HANDLER, f"shop:{name}")

        yield _early_answer(function("ordinary.ordinary"), streaming("early"), invocations)
        yield _first_byte(streaming("first"), invocations)
        yield from _large_answer(streaming("large"))
        seconds = [float(function("importing.ordinary").exchange({}).post.body) for _ in range(_STARTS)]
        # (the first writes the bytecode)
        yield Figure(
            "hook into the runtime client, import", "ms", min(seconds) * 1e3, promise=_MOST_IMPORT_MILLISECONDS
        )


def _early_answer(ordinary: FunctionProcess, early: FunctionProcess, invocations: int) -> Figure:
    pairs = [(_cost(ordinary, invocations), _cost(early, invocations)) for _ in range(_ROUNDS)]
    floor = statistics.median(floor for floor, _ in pairs) * 1e6
    # What else the machine does slows both of a pair: their ratio is steadier than either.
    ratio = statistics.median(cost / floor for floor, cost in pairs)
    return Figure("early answer, processor time", "µs", floor * ratio, floor, _MOST_TIMES_ORDINARY)


def _cost(function: FunctionProcess, invocations: int) -> float:
    """Seconds of processor time of one invocation."""
    before = _processor_time(function)
    for _ in range(invocations):
        function.exchange(_EVENT)
    return (_processor_time(function) - before) / (invocations + 1)


def _first_byte(first: FunctionProcess, invocations: int) -> Figure:
    """From the first write to its arrival."""
    found = []
    for _ in range(max(invocations // 5, 1)):
        exchange = first.exchange({})
        arrived = exchange.started_at + exchange.post.chunks[0].at
        found.append(arrived - float(exchange.post.chunks[0].data))
    return Figure(
        "first byte after the first write, median", "ms", statistics.median(found) * 1e3, promise=_MOST_MILLISECONDS
    )


def _large_answer(large: FunctionProcess) -> Iterator[Figure]:
    large.exchange({"parts": 1}, keeps_bodies=False)
    before = _processor_time(large)
    large.exchange({"parts": _PARTS}, keeps_bodies=False, timeout=60)
    seconds = _processor_time(large) - before
    peak = json.loads(large.exchange("peak").post.body)
    yield Figure(f"{_MEBIBYTES} MiB streamed, memory", "MiB", int(peak) / 1024, promise=_MOST_MEBIBYTES)
    yield Figure("100 MiB streamed, processor time", "ms", seconds * 1e3 * 100 / _MEBIBYTES)


def _processor_time(function: FunctionProcess) -> float:
    return float(json.loads(function.exchange("cpu").post.body))
