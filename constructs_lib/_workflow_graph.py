"""The graph of a workflow, with one `Run` for each time that one of its tasks runs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from constructs_lib._manifest import EdgeManifest, TaskManifest
from constructs_lib._workflow_servers import Place
from runtime_lib.workflow.names import NodeNames

__all__ = ["Each", "Run", "unfold"]


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

    def waits(self) -> float:
        """Seconds of all waits along one way through the runs that begin here, at most."""
        then = self.each.then.waits() if self.each and self.each.then else 0.0
        following = max((run.waits() for run in (*self.after, self.failure) if run), default=0.0)
        return self.wait + max((run.waits() for run in self.before), default=0.0) + following + then

    def described(self) -> list[dict[str, Any]]:
        """The graph as `contract.METADATA_KEY` says, for tools that show it."""
        runs = [*self.all_runs()]
        numbers = {run.name: number for number, run in enumerate(runs)}

        def described(run: Run) -> dict[str, Any]:
            each = None
            if run.each:
                then = {"then": numbers[run.each.then.name]} if run.each.then else {}
                each = {"max_concurrency": run.each.max_concurrency, **then}
            optional = {
                "subprocess": run.task.subprocess,
                "before": [numbers[one.name] for one in run.before],
                "after": [numbers[one.name] for one in run.after],
                "failure": numbers[run.failure.name] if run.failure else None,
                "wait": run.wait,
                "each": each,
            }
            known = {"name": run.name, "task": run.task.name, "on": run.place.path, "via": run.place.via}
            return known | {name: value for name, value in optional.items() if value}

        return [described(run) for run in runs]


def unfold(tasks: Mapping[str, TaskManifest], start: str, place: Callable[[TaskManifest], Place]) -> Run:
    """Every run that a dispatch of ``start`` brings: each edge has its own, as many tasks as share it."""
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
