"""The graph of a task: which tasks its edges lead to, and whether they can be what they are named as."""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from runtime_lib import registry
from runtime_lib.contract import WORKFLOW_MAX_LENGTH, WORKFLOW_MAX_RUNS
from runtime_lib.errors import TaskDefinitionError

if TYPE_CHECKING:
    from runtime_lib.edges import Edge
    from runtime_lib.task import Task

__all__ = ["check", "edges_of", "target"]

_SHOWN = 3
_checked: "set[Task[..., Any]]" = set()


def target(task: "Task[..., Any]", reference: "str | Task[..., Any]") -> "Task[..., Any]":
    """The task that an edge of ``task`` names: itself, its registered name, or the bare name of a function.

    Of several functions of that name the one in the module of ``task`` is meant.

    Raises:
        TaskDefinitionError: no task that is loaded is called so, or several are, in other modules.
    """
    if not isinstance(reference, str):
        return reference
    name = reference.replace(":", ".")
    tasks = [registry.resolve(known) for known in registry.names()]
    bare = [one for one in tasks if one.definition.__name__ == name]
    here = [one for one in bare if one.definition.__module__ == task.definition.__module__]
    exact = registry.find(name)
    found = here or ([exact] if exact else bare)
    if len(found) == 1:
        return found[0]
    if found:
        raise TaskDefinitionError(
            f"{task.name} names {reference!r}, and several tasks are called so: write {' or '.join(map(_name, found))}"
        )
    known = {one.definition.__name__ for one in tasks} | {one.name for one in tasks}
    near = get_close_matches(name, sorted(known), 1)
    raise TaskDefinitionError(
        f"{task.name} names {reference!r}, and no task that is loaded is called so"
        + (f": did you mean {near[0]!r}?" if near else ": check the name, or load the module that has it")
    )


def edges_of(task: "Task[..., Any]") -> "Iterator[tuple[str, Edge, Task[..., Any]]]":
    """Each edge with the option that it stands in, and where it leads; a `for_each` has one more for its ``then``.

    Raises:
        TaskDefinitionError: one leads nowhere.
    """
    if task.edges is None:
        return
    for edge in task.edges.before:
        yield "run_before", edge, target(task, edge.task)
    for edge in task.edges.after:
        yield "run_after", edge, target(task, edge.task)
        if edge.for_each and edge.for_each.then is not None:
            yield "then", edge, target(task, edge.for_each.then)
    if task.edges.failure:
        yield "on_failure", task.edges.failure, target(task, task.edges.failure.task)


def check(task: "Task[..., Any]") -> None:
    """Check everything that is reached from a task, once.

    Raises:
        TaskDefinitionError: a name is unknown, tasks follow one another in a circle (with the path), a task that runs
            before another one takes arguments, which nothing gives it, or there are more runs, or more one after
            another, than a workflow may have.
    """
    if task not in _checked:
        reached: dict[str, Task[..., Any]] = {}
        _check(task, (), reached)
        _check_length(task, [*reached.values()])
        _check_count(task, [*reached.values()][::-1])
        _checked.add(task)


def _check(task: "Task[..., Any]", path: "tuple[Task[..., Any], ...]", done: "dict[str, Task[..., Any]]") -> None:
    if task in path:
        circle = " -> ".join(map(_name, (*path[path.index(task) :], task)))
        raise TaskDefinitionError(f"tasks follow one another in a circle: {circle}: remove one of these edges")
    if task.name in done:
        return
    for option, _, found in edges_of(task):
        if found.takes_batches:
            raise TaskDefinitionError(
                f"{task.name} has {found.name} in {option}, a batch task, which takes several messages at once: use "
                "for_each with a task that takes one item"
            )
        if option == "run_before":
            _require_no_arguments(task, found)
        _check(found, (*path, task), done)
    done[task.name] = task


def _check_length(start: "Task[..., Any]", tasks: "list[Task[..., Any]]") -> None:
    """Count the tasks one after another; each of ``tasks`` stands before all that lead to it."""
    lengths: dict[str, int] = {}
    for task in tasks:
        lengths[task.name] = 1 + max((lengths[found.name] for _, _, found in edges_of(task)), default=0)
    if lengths[start.name] > WORKFLOW_MAX_LENGTH:
        raise TaskDefinitionError(
            f"the workflow of {start.name} has {lengths[start.name]} tasks one after another, and "
            f"{WORKFLOW_MAX_LENGTH} are allowed: dispatch a part of it as a workflow of its own"
        )


def _check_count(start: "Task[..., Any]", tasks: "list[Task[..., Any]]") -> None:
    """Count the runs without making them; each of ``tasks`` stands behind all that lead to it."""
    runs = Counter({start.name: 1})
    for task in tasks:
        for _, _, found in edges_of(task):
            runs[found.name] += runs[task.name]
    if runs.total() > WORKFLOW_MAX_RUNS:
        often = ", ".join(f"{name} {times:,} times" for name, times in runs.most_common(_SHOWN))
        raise TaskDefinitionError(
            f"the workflow of {start.name} has {len(runs)} tasks, and they run {runs.total():,} times, because each "
            f"task that names another one has its own run of it ({often}); {WORKFLOW_MAX_RUNS} runs are allowed: let "
            "fewer tasks name what they share, or dispatch a part of it as a workflow of its own"
        )


def _require_no_arguments(task: "Task[..., Any]", prerequisite: "Task[..., Any]") -> None:
    required = [parameter.name for parameter in prerequisite.signature.parameters if parameter.required]
    if required:
        raise TaskDefinitionError(
            f"{task.name} has {prerequisite.name} in run_before, which takes {', '.join(map(repr, required))}: what "
            "runs before a task is given no arguments; give these defaults"
        )


def _name(task: "Task[..., Any]") -> str:
    return task.name
