"""What is deployed: functions as their constructs describe them in the template, and queues."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from runtime_lib.contract import ENV_ROUTE_PREFIX, METADATA_KEY, Priority, task_route_variable
from tasks_cli import stacks
from tasks_cli.cloud import Cloud
from tasks_cli.errors import CliError, UsageError

_PRIORITY_SUFFIX = re.compile(f"__({'|'.join(Priority.__members__)})$")


class Function(NamedTuple):
    """A function of a stack; ``construct`` and what follows only of one that this library's constructs made."""

    name: str
    stack: str
    construct: str
    path: str
    trigger: str
    modules: tuple[str, ...]
    tasks: dict[str, str]
    """Names of the tasks that arrive here, with the namespace to dispatch them to."""
    routes: dict[str, str]
    store: dict[str, str]
    """The environment variables that say where its tasks are recorded; none if they are not."""
    dead_letter_queue: str

    @property
    def own_routes(self) -> dict[str, str]:
        """The tasks that have a route of their own to here, with its variable; none of a server of namespaces."""
        return {task: variable for task in self.tasks if (variable := task_route_variable(task)) in self.routes}


class Queue(NamedTuple):
    """A queue of a stack, and how many messages it holds."""

    name: str
    stack: str
    url: str
    waiting: int
    delayed: int
    in_flight: int


def stack_names(cloud: Cloud, given: str | None) -> list[str]:
    """The stack that was named; on the local cloud every one, if none was.

    Raises:
        UsageError: on AWS none was named.
        CliError: there is no stack of this name.
    """
    if given is None:
        if not cloud.is_local:
            raise UsageError("on AWS, name the stack: --stack NAME")
        return [stack["StackName"] for stack in stacks.top_level(cloud)]
    if stacks.describe(cloud, given) is None:
        raise CliError(f"there is no stack {given!r} on {cloud}")
    return [given]


def functions(cloud: Cloud, names: Iterable[str]) -> list[Function]:
    """The functions of stacks and of their nested stacks."""
    return [
        _function(resource.physical_id, name, resource.metadata.get(METADATA_KEY, {}))
        for name in names
        for resource in stacks.resources(cloud, name)
        if resource.kind == "AWS::Lambda::Function"
    ]


def targets(cloud: Cloud, names: Iterable[str]) -> list[Function]:
    """What tasks can be dispatched to: the functions of stacks, and their state machines, which start workflows."""
    names = list(names)
    machines = [
        _function(resource.physical_id.rpartition(":")[2], name, resource.metadata[METADATA_KEY])
        for name in names
        for resource in stacks.resources(cloud, name)
        if resource.kind == "AWS::StepFunctions::StateMachine" and METADATA_KEY in resource.metadata
    ]
    return [*functions(cloud, names), *machines]


def queues(cloud: Cloud, names: Iterable[str]) -> list[Queue]:
    """The queues of stacks and of their nested stacks; the numbers of messages are approximate on AWS."""
    urls = [
        (name, resource.physical_id)
        for name in names
        for resource in stacks.resources(cloud, name)
        if resource.kind == "AWS::SQS::Queue"
    ]
    found = []
    for stack, url in urls:
        counts = cloud.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        found.append(
            Queue(
                name=url.rpartition("/")[2],
                stack=stack,
                url=url,
                waiting=int(counts["ApproximateNumberOfMessages"]),
                delayed=int(counts["ApproximateNumberOfMessagesDelayed"]),
                in_flight=int(counts["ApproximateNumberOfMessagesNotVisible"]),
            )
        )
    return found


def routes(deployed: Iterable[Function]) -> dict[str, str]:
    """The routes to all of them, as the environment of a sender holds them, and where tasks are recorded."""
    return {
        variable: value
        for function in deployed
        for variable, value in (*function.routes.items(), *function.store.items())
    }


def namespace_of_task(deployed: Sequence[Function], task: str) -> str:
    """The namespace to dispatch a task to.

    Raises:
        CliError: no construct serves the task, or several do in different namespaces.
    """
    targets = [function for function in deployed if function.routes]
    servers = [function for function in targets if task in function.tasks]
    # A task's own route comes before that of its namespace, whatever the namespace.
    own = [function for function in servers if task in function.own_routes]
    found = {function.tasks[task] for function in own or servers}
    if len(found) == 1:
        return found.pop()
    if found:
        raise CliError(f"several constructs serve {task!r}: choose one by --namespace {' or '.join(sorted(found))}")
    triggers = [function.trigger for function in deployed if task in function.tasks]
    inside = next((trigger for trigger in triggers if trigger.startswith("in workflow ")), None)
    if inside:
        raise CliError(f"{task!r} runs {inside}, and not alone: dispatch the first task of that, or `tasks invoke` it")
    known = sorted({name for function in targets for name in function.tasks})
    near = [name for name in known if name.rpartition(".")[2] == task] or get_close_matches(task, known, 1)
    raise CliError(
        f"no deployed construct takes dispatches of {task!r}"
        + (f": did you mean {near[0]!r}?" if near else f"; served are {', '.join(known) or '(none)'}")
        + " (a task that its source does not show is dispatched by --namespace)"
    )


def find_function(deployed: Sequence[Function], name: str) -> Function:
    """The function of this name, of the construct of this path, or that serves the task of this name.

    Raises:
        CliError: there is none, or several constructs serve the task.
    """
    named = [function for function in deployed if name in {function.name, function.path}]
    task = name.replace(":", ".")
    servers = [function for function in deployed if task in function.tasks]
    # As for a dispatch, a task's own route comes before that of its namespace.
    found = named or [function for function in servers if task in function.own_routes] or servers
    if len(found) == 1:
        return found[0]
    if found:
        paths = " or ".join(sorted(function.path for function in found))
        raise CliError(f"several constructs serve {task!r}: name one of them instead, {paths}")
    known = {one for function in deployed for one in (*function.tasks, function.path or function.name)}
    near = get_close_matches(name, known, 1) or get_close_matches(task, known, 1)
    raise CliError(
        f"no deployed function serves a task {name!r}, or has that name or path"
        + (f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known)) or '(none)'}")
    )


def find_namespace(deployed: Sequence[Function], module: str) -> str:
    """The namespace of the construct that serves the tasks of a module.

    Raises:
        CliError: none does, or more than one.
    """
    # A server of several namespaces serves all of them from the same queues: any will do.
    servers = [_namespaces(function) for function in deployed if module in function.modules]
    found = {min(namespaces) for namespaces in servers if namespaces}
    if len(found) == 1:
        return found.pop()
    if found:
        raise CliError(f"several constructs serve {module!r}: choose one by --namespace {' or '.join(sorted(found))}")
    modules = {module for function in deployed if _namespaces(function) for module in function.modules}
    tasks = {variable for function in deployed for variable in function.own_routes.values()}
    raise CliError(
        f"no deployed construct serves a namespace with tasks of {module!r}; served are the modules "
        f"{', '.join(sorted(modules)) or '(none)'} and, by their routes, the tasks "
        f"{', '.join(sorted(tasks)) or '(none)'}: check the name, deploy one, or name the namespace by --namespace"
    )


def _namespaces(function: Function) -> set[str]:
    """The namespaces that a function's routes are for, as they are spelled in the routes' variables."""
    if function.own_routes:
        return set()
    return {_PRIORITY_SUFFIX.sub("", variable.removeprefix(ENV_ROUTE_PREFIX)) for variable in function.routes}


def _function(name: str, stack: str, described: dict[str, object]) -> Function:
    modules, tasks, routes = described.get("modules", []), described.get("tasks", {}), described.get("routes", {})
    store = described.get("store", {})
    assert isinstance(modules, list)
    assert isinstance(tasks, dict)
    assert isinstance(routes, dict)
    assert isinstance(store, dict)
    return Function(
        name=name,
        stack=stack,
        construct=str(described.get("construct", "")),
        path=str(described.get("path", "")),
        trigger=str(described.get("trigger", "")),
        modules=tuple(modules),
        tasks=dict(tasks),
        routes=dict(routes),
        store=dict(store),
        dead_letter_queue=str(described.get("dead_letter_queue", "")),
    )
