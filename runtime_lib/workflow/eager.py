"""A workflow that runs where it is dispatched: the same graph, runs and failures as in Step Functions, in threads.

Waits are skipped. What goes from task to task goes through JSON, as there.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from runtime_lib.context import Delivery
from runtime_lib.contract import (
    DEFAULT_MAX_RECEIVE_COUNT,
    FAILURE_CHARACTERS,
    NODE_FAILED,
    NODE_KEY,
    PREREQUISITE_FAILED,
)
from runtime_lib.envelope import Envelope
from runtime_lib.errors import message_of
from runtime_lib.log import logger
from runtime_lib.outcomes import DeadLettered, Discarded, Outcome, Succeeded, TaskRejectedError
from runtime_lib.tracking import receiving_store
from runtime_lib.transports.eager import EagerRun, run_until_done
from runtime_lib.workflow import graph
from runtime_lib.workflow.names import NodeNames
from runtime_lib.workflow.node import envelope_of, result_text

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = ["run_workflow"]

T = TypeVar("T")
_MAX_THREADS = 64
"""For the items of one list."""
_Given = dict[str, Any]
"""What a run is given, as the message of a run says it: see `contract.NODE_KEY`."""


class _Run(NamedTuple):
    """One run of a task, with those that belong to it; ``at_once`` if it is one for each item of a list."""

    task: "Task[..., Any]"
    name: str
    before: "tuple[_Run, ...]"
    after: "tuple[_Run, ...]"
    failure: "_Run | None"
    at_once: int | None = None
    then: "_Run | None" = None


class _End(NamedTuple):
    """How a run ended: with a result, with what ``on_failure`` is told and the exception, or quietly before its end."""

    value: Any = None
    failed: dict[str, Any] | None = None
    error: BaseException | None = None
    is_discarded: bool = False
    reason: str = ""

    @property
    def outcome(self) -> Outcome:
        """What becomes of the message that was dispatched."""
        if self.failed:
            return DeadLettered(self.reason, self.error)
        return Discarded(self.reason) if self.is_discarded else Succeeded(self.value)


def run_workflow(task: "Task[..., Any]", body: str) -> Outcome:
    """Run everything that a message of a task starts; the end of the whole, with what the task itself returned."""
    sent = Envelope.decode(body)
    workflow = _Workflow(sent, json.loads(body))
    start = _planned(task, NodeNames())
    store = receiving_store()
    if store is None:
        return workflow.whole(start, workflow.dispatched).outcome
    from runtime_lib import tracked_run

    begun = tracked_run.begin(store, sent, Delivery(max_receive_count=DEFAULT_MAX_RECEIVE_COUNT, eager=True))
    if not isinstance(begun, tracked_run.TrackedRun):
        return begun
    with begun:
        outcome = workflow.whole(start, workflow.dispatched).outcome
    begun.end(outcome)
    return outcome


def _planned(task: "Task[..., Any]", names: NodeNames) -> _Run:
    """All runs that a task brings, with their names, in the order in which `NodeNames` gives them."""
    found: dict[str, list[_Run]] = {"run_before": [], "run_after": [], "on_failure": []}
    edges = list(graph.edges_of(task))
    found["run_before"] = [_planned(other, names) for option, _, other in edges if option == "run_before"]
    name = names.of(task.definition.__name__)
    for option, edge, other in edges:
        if option == "then":
            mapped = found["run_after"][-1]
            found["run_after"][-1] = mapped._replace(then=_planned(other, names))
        elif option != "run_before":
            at_once = edge.for_each.max_concurrency if edge.for_each else None
            found[option].append(_planned(other, names)._replace(at_once=at_once))
    failure = next(iter(found["on_failure"]), None)
    return _Run(task, name, tuple(found["run_before"]), tuple(found["run_after"]), failure)


class _Workflow:
    """What all runs of one dispatched workflow share: the message that started it."""

    def __init__(self, sent: Envelope, message: dict[str, Any]) -> None:
        self.dispatched: _Given = {"dispatched": message}
        self._run = {"id": sent.id, "headers": sent.headers, "metadata": sent.metadata}

    def whole(self, run: _Run, given: _Given, index: str | None = None, *, is_wanted: bool = True) -> _End:
        """One run with those before and after it, and the one on its failure; what the run itself returned."""
        first = end = self._prepared(run, given, index, is_wanted=is_wanted or bool(run.after))
        while not end.failed and not end.is_discarded:
            if len(run.after) != 1 or run.after[0].at_once:
                followers = [partial(self._follow, other, end.value, index) for other in run.after]
                return _first_failed(_side_by_side(followers)) or first
            [run] = run.after
            end = self._prepared(run, {"result": {"value": end.value}}, index, is_wanted=bool(run.after))
        if end.failed:
            self._fail(run, end.failed, index)
            return end
        return first

    def _prepared(self, run: _Run, given: _Given, index: str | None, *, is_wanted: bool) -> _End:
        """The run after those that have to come before it, which it does not survive if one of them fails."""
        prerequisites = [partial(self.whole, other, {}, index, is_wanted=False) for other in run.before]
        failed = _first_failed(_side_by_side(prerequisites))
        if failed is None:
            return self._itself(run, given, index, is_wanted=is_wanted)
        EagerRun(run.task.name, None, node=run.name, index=index).end(None)
        told = {**_failed(run, PREREQUISITE_FAILED, ""), "prerequisite": failed.failed}
        return failed._replace(value=None, failed=told)

    def _itself(self, run: _Run, given: _Given, index: str | None, *, is_wanted: bool) -> _End:
        message = partial(envelope_of, self._message(run, given, index))
        eager_run = EagerRun(run.task.name, message(), node=run.name, index=index)
        outcome = run_until_done(run.task, message, eager_run)
        value = None
        if isinstance(outcome, Succeeded) and is_wanted:
            try:
                is_list = any(other.at_once for other in run.after)
                value = json.loads(result_text(run.task.name, outcome.result, is_list=is_list))
            except TypeError as unfit:
                outcome = DeadLettered(str(unfit), unfit)
        eager_run.end(outcome)
        match outcome:
            case DeadLettered(reason, raised):
                error = raised or TaskRejectedError(reason)
                return _End(failed=_failed(run, NODE_FAILED, _cause(error)), error=error, reason=reason)
            case Discarded(reason):
                return _End(is_discarded=True, reason=reason)
        return _End(value)

    def _message(self, run: _Run, given: _Given, index: str | None) -> dict[str, Any]:
        said = {"run": self._run, "node": run.name, "task": run.task.name, **given}
        return {NODE_KEY: said if index is None else {**said, "index": index}}

    def _follow(self, run: _Run, value: Any, index: str | None) -> _End:
        """Everything along one edge of ``run_after``."""
        if not run.at_once:
            return self.whole(run, {"result": {"value": value}}, index, is_wanted=False)
        outer = "" if index is None else f"{index}."
        items = [
            partial(self.whole, run, {"result": {"value": item}}, f"{outer}{number}", is_wanted=run.then is not None)
            for number, item in enumerate(value)
        ]
        ends = _side_by_side(items, at_once=run.at_once)
        failed = _first_failed(ends)
        if failed or not run.then:
            return failed or _End()
        results = [{"value": end.value} for end in ends]
        return self.whole(run.then, {"results": results}, index, is_wanted=False)

    def _fail(self, run: _Run, failed: dict[str, Any], index: str | None) -> None:
        if run.failure and self.whole(run.failure, {"failed": failed}, index, is_wanted=False).failed:
            logger.error("what runs on the failure of %s has failed itself, which changes nothing", run.task.name)


def _first_failed(ends: Sequence[_End]) -> _End | None:
    return next((end for end in ends if end.failed), None)


def _failed(run: _Run, error: str, cause: str) -> dict[str, Any]:
    return {"task": run.task.name, "node": run.name, "error": error, "cause": cause}


def _cause(error: BaseException) -> str:
    """What `node.failure_of` reads."""
    described = f"{type(error).__name__}: {message_of(error)}"[:FAILURE_CHARACTERS]
    return json.dumps({"errorType": NODE_FAILED, "errorMessage": described})


def _side_by_side(branches: Sequence[Callable[[], T]], *, at_once: int = _MAX_THREADS) -> list[T]:
    """What they return, in their order; each runs in a thread of its own, a single one in this thread."""
    if len(branches) < 2 or at_once == 1:  # noqa: PLR2004  (one needs no other thread)
        return [branch() for branch in branches]
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with ThreadPoolExecutor(min(len(branches), at_once, _MAX_THREADS)) as threads:
        return [future.result() for future in [threads.submit(copy_context().run, branch) for branch in branches]]
