"""The graph of a workflow, with one `Run` for each time that one of its tasks runs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from constructs_lib._manifest import EdgeManifest, TaskManifest
from constructs_lib._workflow_servers import Place
from runtime_lib import contract
from runtime_lib.workflow.names import NodeNames

__all__ = ["Each", "Run", "TooManyRunsError", "unfold"]

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Each:
    """How a run is repeated for the items of a list: how many at once, and what gets all results."""

    max_concurrency: int
    then: "Run | None"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task, with those before and after it.

    Attributes:
        name: its name, of which there is one in the workflow.
        wait: seconds that pass before it starts.
        each: how it is mapped over the list that the run before it returned, None if it is not.
    """

    name: str
    task: TaskManifest
    place: Place
    before: "tuple[Run, ...]"
    after: "tuple[Run, ...]"
    failure: "Run | None"
    wait: float = 0.0
    each: Each | None = None

    def all_runs(self) -> "Iterator[Run]":
        """This run and every one that belongs to it."""
        yield self
        then = (self.each.then,) if self.each else ()
        for run in (*self.before, *self.after, *then, self.failure):
            if run:
                yield from run.all_runs()

    def depth(self) -> int:
        """How many branches are inside one another, at most, where this run and all after it are."""
        side_by_side = 1 if len(self.after) > 1 else 0
        depths = [run.depth() + 1 for run in (*self.before, self.failure) if run]
        for run in self.after:
            depths.append(run.depth() + side_by_side + (1 if run.each else 0))
            if run.each and run.each.then:
                depths.append(run.each.then.depth() + side_by_side)
        return max(depths, default=0)

    def described(self) -> dict[str, Any]:
        """The graph as `contract.METADATA_KEY` says, for tools that show it."""
        described: dict[str, Any] = {
            "name": self.name,
            "task": self.task.name,
            "on": self.place.path,
            "via": self.place.via,
        }
        if self.task.subprocess:
            described["subprocess"] = True
        if self.before:
            described["before"] = [run.described() for run in self.before]
        if self.after:
            described["after"] = [run.described() for run in self.after]
        if self.failure:
            described["failure"] = self.failure.described()
        if self.wait:
            described["wait"] = self.wait
        if self.each:
            described["each"] = {"max_concurrency": self.each.max_concurrency}
            if self.each.then:
                described["each"]["then"] = self.each.then.described()
        return described


class TooManyRunsError(ValueError):
    """A graph whose tasks run more often than a state machine can say."""


def unfold(tasks: Mapping[str, TaskManifest], start: str, place: Callable[[TaskManifest], Place]) -> Run:
    """Every run that a dispatch of ``start`` brings: each edge has its own, as many tasks as share it.

    Raises:
        TooManyRunsError: there are more than a workflow may have; says how many, and what is run so often.
    """
    _check_count(tasks, start)
    return _Unfolding(tasks, place).run(EdgeManifest(start))


class _Unfolding:
    def __init__(self, tasks: Mapping[str, TaskManifest], place: Callable[[TaskManifest], Place]) -> None:
        self._tasks = tasks
        self._place = place
        self._names = NodeNames()

    def run(self, edge: EdgeManifest) -> Run:
        task = self._tasks[edge.task]
        before = tuple(self.run(one) for one in task.run_before)
        name = self._names.of(task.function)
        after = tuple(self._following(one) for one in task.run_after)
        failure = [self.run(one) for one in task.on_failure]
        return Run(name, task, self._place(task), before, after, failure[0] if failure else None, edge.wait)

    def _following(self, edge: EdgeManifest) -> Run:
        run = self.run(edge)
        if edge.max_concurrency is None:
            return run
        then = self.run(EdgeManifest(edge.then)) if edge.then else None
        each = Each(edge.max_concurrency, then)
        return Run(run.name, run.task, run.place, run.before, run.after, run.failure, run.wait, each)


def _check_count(tasks: Mapping[str, TaskManifest], start: str) -> None:
    """Count the runs without making them: of each task as many as there are ways to it from the first."""
    runs = Counter({start: 1})
    for name in _in_order(tasks, start):
        for other in _followers(tasks[name]):
            runs[other] += runs[name]
    count = runs.total()
    if count > contract.WORKFLOW_MAX_RUNS:
        often = ", ".join(f"{name} {times:,} times" for name, times in runs.most_common(_SHOWN))
        raise TooManyRunsError(
            f"the graph of {start!r} has {len(runs)} tasks, and they run {count:,} times, because each task that names "
            f"another one has its own run of it ({often})"
        )


def _in_order(tasks: Mapping[str, TaskManifest], start: str) -> list[str]:
    """The tasks that are reached, each behind all that lead to it."""
    done: dict[str, None] = {}
    waiting = [(start, iter(_followers(tasks[start])))]
    while waiting:
        name, followers = waiting[-1]
        following = next((other for other in followers if other not in done), None)
        if following is None:
            waiting.pop()
            done[name] = None
        else:
            waiting.append((following, iter(_followers(tasks[following]))))
    return [*done][::-1]


def _followers(task: TaskManifest) -> list[str]:
    edges = (*task.run_before, *task.run_after, *task.on_failure)
    return [name for edge in edges for name in (edge.task, edge.then) if name]
