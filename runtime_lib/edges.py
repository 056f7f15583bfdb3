"""What runs before a task, after it, and when it fails, as its decorator says it: the edges of a workflow's graph."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from runtime_lib.contract import INLINE_CONCURRENCY
from runtime_lib.errors import TaskDefinitionError, seconds

if TYPE_CHECKING:
    from runtime_lib.task import Task

    TaskReference: TypeAlias = str | Task[..., Any]

__all__ = ["Edge", "Edges", "ForEach", "delayed", "for_each"]

_MAX_CONCURRENCY = 10_000
_MAX_WAIT_SECONDS = 365 * 86_400


class ForEach(NamedTuple):
    """How a task is mapped over a list: how many items at once, and what gets the list of all results."""

    max_concurrency: int
    then: "TaskReference | None"


class Edge(NamedTuple):
    """One task that another one starts: by its name or as it is, after a wait, or once for each item of a list."""

    task: "TaskReference"
    wait: float = 0.0
    for_each: ForEach | None = None

    @property
    def name(self) -> str:
        """How it was named; a task by its own name."""
        return _name(self.task)


class Edges(NamedTuple):
    """Everything that a task's decorator says of others."""

    before: tuple[Edge, ...]
    after: tuple[Edge, ...]
    failure: Edge | None

    @classmethod
    def of(cls, task: str, *, run_before: Any, run_after: Any, on_failure: Any) -> "Edges":
        """Read what was given to the decorator of ``task``.

        Raises:
            TaskDefinitionError: something is neither a task nor the name of one, or stands where it cannot.
        """
        before = _edges(task, "run_before", run_before)
        failure = _edges(task, "on_failure", on_failure)
        if len(failure) > 1:
            raise TaskDefinitionError(
                f"{task}: on_failure is one task, given {', '.join(edge.name for edge in failure)}: let that one "
                "dispatch the others, or name them in its run_after"
            )
        for option, edges in (("run_before", before), ("on_failure", failure)):
            for edge in edges:
                if edge.wait or edge.for_each:
                    what = "for_each" if edge.for_each else "delayed"
                    raise TaskDefinitionError(f"{task}: {what}({edge.name!r}) stands in run_after, not in {option}")
        return cls(before, _edges(task, "run_after", run_after), failure[0] if failure else None)


def for_each(
    task: "TaskReference", *, max_concurrency: int = INLINE_CONCURRENCY, then: "TaskReference | None" = None
) -> Edge:
    """In ``run_after``: the task runs once for each item of the list that the one before it returned.

    Each item is passed as a result is: by name if it is a dict of the task's parameters, else as the first argument.
    An item that fails does not keep the others from running; the workflow fails when all have ended.

    Args:
        task: the task, or its name.
        max_concurrency: how many run at once, 1 to 10,000. Above 40, and for lists of more than 1,000 items, each item
            is an execution of its own (a distributed map), for which the workflow needs ``payloads=``. Default: 40.
        then: a task that gets the list of what they returned, in the order of the items, when all have succeeded.

    Raises:
        TaskDefinitionError: an argument is of the wrong type, or out of its range.
    """
    if isinstance(task, Edge):
        raise TaskDefinitionError(f"for_each takes a task or its name, given {task!r}: write delayed(for_each(…), …)")
    if type(max_concurrency) is not int or not 1 <= max_concurrency <= _MAX_CONCURRENCY:
        raise TaskDefinitionError(
            f"for_each({_name(task)!r}): max_concurrency is 1 to {_MAX_CONCURRENCY:,}, given {max_concurrency!r}"
        )
    _require_reference("for_each", task)
    if then is not None:
        _require_reference("for_each(then=…)", then)
    return Edge(task, for_each=ForEach(max_concurrency, then))


def delayed(
    task: "TaskReference | Edge", *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0
) -> Edge:
    """In ``run_after``: the task starts that much later, a year at most. Nothing is paid for while it waits.

    Where tasks run eagerly the wait is skipped.

    Raises:
        TaskDefinitionError: an argument is of the wrong type, or the wait is negative or longer than a year.
    """
    edge = task if isinstance(task, Edge) else Edge(_require_reference("delayed", task))
    try:
        total = _seconds(seconds) + 60 * _seconds(minutes) + 3_600 * _seconds(hours) + 86_400 * _seconds(days)
    except (TypeError, ValueError) as error:
        raise TaskDefinitionError(f"delayed({edge.name!r}): {error}") from None
    if not 0 < total <= _MAX_WAIT_SECONDS:
        raise TaskDefinitionError(f"delayed({edge.name!r}) waits up to a year, given {total:g} seconds")
    return edge._replace(wait=edge.wait + total)


def _edges(task: str, option: str, given: Any) -> tuple[Edge, ...]:
    if given is None:
        return ()
    listed = given if isinstance(given, Iterable) and not isinstance(given, str | Edge) else (given,)
    where = f"{task}: {option}"
    edges = tuple(one if isinstance(one, Edge) else Edge(_require_reference(where, one)) for one in listed)
    names = [edge.name for edge in edges]
    for name in names:
        if names.count(name) > 1:
            raise TaskDefinitionError(f"{task}: {option} names {name!r} twice")
    return edges


def _require_reference(where: str, given: Any) -> "TaskReference":
    from runtime_lib.task import Task

    if isinstance(given, Task) or (isinstance(given, str) and given):
        return given
    raise TaskDefinitionError(f"{where} takes tasks or their names, given {given!r}")


def _name(reference: Any) -> str:
    return reference if isinstance(reference, str) else str(getattr(reference, "name", reference))


_seconds = seconds  # `delayed` has a parameter called seconds
