"""What ran eagerly: recorded, to be asserted on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from runtime_lib.transports.eager import EagerRun

__all__ = ["RecordedRun", "RecordedWorkflows", "record_workflows"]

_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run of a task, of all its attempts.

    ``node``: the name of the run, which is the function's; the second one in a workflow is ``load (2)``. ``index``: the
    number of the item of a list that it is for, as text. ``started`` and ``ended``: seconds since the block began;
    ``ended`` is None while it runs. ``status``: a task that was ``skipped`` did not run, because one before it failed.
    ``args``, ``kwargs``: what it was given, as JSON values. ``result``: what it returned. ``error``: what its last
    attempt raised.
    """

    task: str
    node: str
    index: str | None
    started: float
    ended: float | None
    attempts: int
    status: Literal["running", "succeeded", "failed", "skipped", "discarded"]
    args: list[Any]
    kwargs: dict[str, Any]
    result: Any
    error: BaseException | None

    def __str__(self) -> str:
        item = "" if self.index is None else f"[{self.index}]"
        times = f"{self.started:7.3f}  …      " if self.ended is None else f"{self.started:7.3f}  {self.ended:7.3f}"
        told = {"succeeded": repr(self.result), "failed": repr(self.error)}.get(self.status, "")
        attempts = f" at attempt {self.attempts}" if self.attempts > 1 else ""
        return f"{times}  {self.node}{item}  {self.status}{attempts}  {told[:_SHOWN_CHARACTERS]}".rstrip()


class RecordedWorkflows:
    """The tasks that ran, which are called by the name of their function, or by their own whole name.

    Each assertion that fails prints when what ran.
    """

    def __init__(self) -> None:
        from time import monotonic

        self._began = monotonic()
        self._runs: list[EagerRun] = []
        self._lock = Lock()

    def __str__(self) -> str:
        runs = self.tasks
        return "\n".join(["  began    ended  run", *map(str, runs)]) if runs else "no task ran"

    def note(self, run: "EagerRun") -> None:
        """Take down a run that begins."""
        with self._lock:
            self._runs.append(run)

    @property
    def tasks(self) -> list[RecordedRun]:
        """Every run so far, in the order in which they started."""
        with self._lock:
            return [_recorded(run, self._began) for run in self._runs]

    def of(self, name: str) -> list[RecordedRun]:
        """The runs of one task, or the one run that is called so (``load (2)``), in the order of their starts.

        Raises:
            AssertionError: no task is called so, as far as is loaded: a name with a mistake in it would never have run.
        """
        found = [run for run in self.tasks if name in {run.task, run.node, _function(run.task)}]
        if not found and name not in (known := _names()):
            from difflib import get_close_matches

            near = get_close_matches(name, sorted(known), 1)
            raise AssertionError(f"no task is called {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
        return found

    def assert_ran(self, name: str, *, times: int | None = None) -> None:
        """It ran (at least once, or so many times), whatever came of it."""
        ran = len(self._begun(name))
        expected = ran > 0 if times is None else ran == times
        self._require(expected, f"{name} ran {ran} times" + ("" if times is None else f", expected {times}"))

    def assert_not_ran(self, name: str) -> None:
        """It did not run."""
        ran = len(self._begun(name))
        self._require(not ran, f"{name} ran {ran} times, expected not to")

    def assert_order(self, *names: str) -> None:
        """Each of them had ended before the next one started; of a task that ran several times, all of its runs."""
        for first, second in pairwise(names):
            ended = [run.ended for run in self._ran(first)]
            started = min(run.started for run in self._ran(second))
            in_order = all(one is not None and one <= started for one in ended)
            self._require(in_order, f"{second} started before {first} had ended")

    def assert_overlapped(self, *names: str) -> None:
        """All of them had started before one of them ended."""
        runs = [run for name in names for run in self._ran(name)]
        started = max(run.started for run in runs)
        overlapped = all(run.ended is None or run.ended > started for run in runs)
        self._require(overlapped, f"{' and '.join(names)} did not run at the same time")

    def assert_result(self, name: str, result: Any) -> None:
        """It succeeded, with this result; of a task that ran several times, each run."""
        for run in self._ran(name):
            self._require(run.status == "succeeded", f"{name} has {run.status}, expected it to succeed")
            self._require(run.result == result, f"{name} returned {run.result!r}, expected {result!r}")

    def assert_failed(self, name: str, error: type[BaseException] | None = None) -> None:
        """It failed for good, with an exception of this class if one is given."""
        failed = [run for run in self._ran(name) if run.status == "failed"]
        self._require(bool(failed), f"{name} did not fail")
        for run in failed:
            of_class = error is None or isinstance(run.error, error)
            wanted = error.__name__ if error else ""
            self._require(of_class, f"{name} failed with {run.error!r}, expected {wanted}")

    def assert_skipped(self, name: str) -> None:
        """It did not run because what runs before it failed."""
        skipped = any(run.status == "skipped" for run in self.of(name))
        self._require(skipped, f"{name} was not skipped")

    def _begun(self, name: str) -> list[RecordedRun]:
        return [run for run in self.of(name) if run.status != "skipped"]

    def _ran(self, name: str) -> list[RecordedRun]:
        self.assert_ran(name)
        return self._begun(name)

    def _require(self, condition: bool, otherwise: str) -> None:  # noqa: FBT001  (that is what it is about)
        if not condition:
            raise AssertionError(f"{otherwise}\n{self}")


@contextmanager
def record_workflows() -> Iterator[RecordedWorkflows]:
    """Record every task that runs eagerly in this process inside the block, with or without tasks before and after it.

    ::

        with using_transport(EagerTransport()), record_workflows() as runs:
            extract.dispatch(url)
        runs.assert_order("extract", "transform", "load")
    """
    from runtime_lib.transports.eager import watchers

    runs = RecordedWorkflows()
    watchers.append(runs.note)
    try:
        yield runs
    finally:
        watchers.remove(runs.note)


def _names() -> set[str]:
    from runtime_lib import registry

    return {called for name in registry.names() for called in (name, _function(name))}


def _function(task: str) -> str:
    from runtime_lib import registry

    return registry.resolve(task).definition.__name__


def _recorded(run: "EagerRun", began: float) -> RecordedRun:
    from runtime_lib.outcomes import DeadLettered, Discarded, Succeeded, TaskRejectedError

    status: Literal["running", "succeeded", "failed", "skipped", "discarded"] = "running"
    result: Any = None
    error: BaseException | None = None
    match run.outcome:
        case Succeeded(result):
            status = "succeeded"
        case DeadLettered(reason, raised):
            status, error = "failed", raised or TaskRejectedError(reason)
        case Discarded():
            status = "discarded"
        case None if run.envelope is None:
            status = "skipped"
    args, kwargs = _arguments(run)
    ended = None if run.ended is None else run.ended - began
    return RecordedRun(
        run.task,
        run.node,
        run.index,
        run.started - began,
        ended,
        run.attempts,
        status,
        args,
        kwargs,
        result,
        error,
    )


def _arguments(run: "EagerRun") -> tuple[list[Any], dict[str, Any]]:
    from runtime_lib import registry
    from runtime_lib.contract import NODE_KEY

    task = registry.find(run.task)
    if run.envelope is None:
        return [], {}
    if task and NODE_KEY in run.envelope.metadata:
        from runtime_lib.workflow import node

        return node.arguments(task, run.envelope)
    return run.envelope.args, run.envelope.kwargs
