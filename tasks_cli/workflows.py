"""Workflows as their state machines tell of them: where they start, and what runs before and after what."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.contract import METADATA_KEY, Route
from tasks_cli.errors import CliError
from tasks_cli.templates import read_templates

if TYPE_CHECKING:
    from tasks_cli.cloud import Cloud

__all__ = ["Each", "Node", "Workflow", "deployed_workflows", "find_workflow", "synthesized_workflows"]

_MACHINE = "AWS::StepFunctions::StateMachine"


class Each(NamedTuple):
    """How a node is repeated for the items of a list, and what gets all results."""

    max_concurrency: int
    then: "Node | None"


class Node(NamedTuple):
    """One run of a task in a workflow, with what runs before it, after it, and when it fails."""

    name: str
    """There is one node of this name in the workflow; its state in the state machine is called so."""
    task: str
    on: str
    """Path of the construct that runs it."""
    via: str
    subprocess: bool = False
    before: "tuple[Node, ...]" = ()
    after: "tuple[Node, ...]" = ()
    failure: "Node | None" = None
    wait: float = 0.0
    """Seconds that pass before it starts."""
    each: Each | None = None

    @classmethod
    def read(cls, graph: Sequence[Mapping[str, Any]]) -> "Node":
        """The graph that the metadata of a state machine describes."""
        nodes: dict[int | None, Node] = {}
        for number, described in reversed([*enumerate(graph)]):  # each stands before those that it names
            each = described.get("each")
            nodes[number] = cls(
                described["name"],
                described["task"],
                described["on"],
                described["via"],
                subprocess=described.get("subprocess", False),
                before=tuple(nodes[one] for one in described.get("before", ())),
                after=tuple(nodes[one] for one in described.get("after", ())),
                failure=nodes.get(described.get("failure")),
                wait=described.get("wait", 0.0),
                each=Each(each["max_concurrency"], nodes.get(each.get("then"))) if each else None,
            )
        return nodes[0]

    def walk(self) -> "Iterator[Node]":
        """Every node of the graph that begins with this one, in the order of their names."""
        for node in self.before:
            yield from node.walk()
        yield self
        for node in self.after:
            yield from node.walk()
        if self.failure:
            yield from self.failure.walk()
        if self.each and self.each.then:
            yield from self.each.then.walk()


class Workflow(NamedTuple):
    """A state machine that a TaskWorkflow made."""

    path: str
    machine: str
    """Name of the state machine."""
    stack: str
    task: str
    """The task whose dispatch starts it."""
    graph: Node
    is_express: bool
    store: dict[str, str]
    """The environment variables that say where its tasks are recorded; none if they are not."""
    arn: str = ""
    """Empty if it is only synthesized."""

    def __str__(self) -> str:
        return f"{self.path} ({self.task})"


def synthesized_workflows(folder: Path) -> list[Workflow]:
    """The workflows of the assembly in ``folder``, by path."""
    found = [
        _workflow(template.stack, described)
        for template in read_templates(folder)
        for resource in template.resources.values()
        if resource["Type"] == _MACHINE and (described := resource.get("Metadata", {}).get(METADATA_KEY))
    ]
    return sorted(found, key=lambda one: one.path)


def deployed_workflows(cloud: "Cloud", names: Iterable[str]) -> list[Workflow]:
    """The workflows of stacks and of their nested stacks, by path."""
    from tasks_cli import stacks  # noqa: PLC0415  (boto3 is slow to import)

    found = [
        _workflow(name, described)._replace(arn=resource.physical_id, machine=resource.physical_id.rpartition(":")[2])
        for name in names
        for resource in stacks.resources(cloud, name)
        if resource.kind == _MACHINE and (described := resource.metadata.get(METADATA_KEY))
    ]
    return sorted(found, key=lambda one: one.path)


def find_workflow(workflows: Iterable[Workflow], name: str) -> Workflow:
    """The workflow of this path, of the state machine of this name, or that the task of this name starts.

    A function's name alone will do for its task, if no other workflow starts with one of this name.

    Raises:
        CliError: there is none, or several start with the task.
    """
    known = list(workflows)
    task = name.replace(":", ".")
    found = (
        [one for one in known if name in {one.path, one.machine, one.arn}]
        or [one for one in known if one.task == task]
        or [one for one in known if _function(one.task) == task]
    )
    if len(found) == 1:
        return found[0]
    if found:
        tasks = {one.task for one in found}
        if len(tasks) == len(found) and task not in tasks:
            raise CliError(
                f"several workflows start with a task {task!r}: name one of them, {' or '.join(sorted(tasks))}"
            )
        paths = " or ".join(one.path for one in found)
        raise CliError(f"several workflows start with {task!r}: name one of them instead, {paths}")
    if not known:
        raise CliError("there are no workflows: a TaskWorkflow makes one of a task and what runs before and after it")
    names = {one for workflow in known for one in (workflow.path, workflow.task, workflow.machine)}
    functions = {_function(one.task) for one in known}
    tried = ((name, names), (task, names), (task, functions))
    near = [one for given, there in tried for one in get_close_matches(given, there, 1)]
    inside = next((one for one in known if task in _inside(one)), None)
    hint = f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(map(str, known))}"
    if inside:
        hint = f": it runs in {inside}, by whose name it is found"
    raise CliError(f"no workflow starts with a task {name!r}, or has that path or name{hint}")


def _function(task: str) -> str:
    return task.rpartition(".")[2]


def _inside(workflow: Workflow) -> set[str]:
    """What the tasks that run in a workflow are called."""
    return {name for node in workflow.graph.walk() for name in (node.task, _function(node.task))}


def _workflow(stack: str, described: Mapping[str, Any]) -> Workflow:
    [task] = described["tasks"]
    [(variable, route)] = described["routes"].items()
    return Workflow(
        path=described["path"],
        machine=Route.parse(route, variable=variable).target,
        stack=stack,
        task=task,
        graph=Node.read(described["graph"]),
        is_express=described.get("express", False),
        store=dict(described.get("store", {})),
    )
