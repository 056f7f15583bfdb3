"""Where the tasks of a workflow run: on a function of its own, or on the construct that serves them already."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib._function import TaskFunction
from constructs_lib._manifest import TaskManifest
from constructs_lib._names import function_arn, queue_arn, require_same, state_machine_arn
from constructs_lib._server import TaskServer
from constructs_lib._validation import refusal, seconds
from constructs_lib.background_task_function import BackgroundTaskFunction
from constructs_lib.managed_async_task import ManagedAsyncTask
from constructs_lib.priority_task_queues import PriorityTaskQueues
from runtime_lib import contract
from runtime_lib.contract import Priority, is_fifo

if TYPE_CHECKING:
    from constructs_lib._workflow_graph import Run

__all__ = ["Place", "Servers", "report_permission", "run_permissions"]

_SERVERS: Final = (BackgroundTaskFunction, ManagedAsyncTask, PriorityTaskQueues)
_REPORTS: Final = tuple(f"states:SendTask{what}" for what in ("Failure", "Success"))
_SECONDS_TO_ANSWER: Final = 10
"""What the engine waits beyond a function's own timeout: it is to learn of that from Lambda."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one task runs.

    Attributes:
        path: the path of the construct.
        via: how Step Functions reaches it: by invoking its function, or through its queue.
        target: the name of the function or queue.
        timeout: seconds after which the engine gives an attempt up.
    """

    path: str
    via: Literal["lambda", "sqs"]
    target: str
    timeout: int


class Servers:
    """The places of a workflow's tasks.

    Args:
        scope: the workflow.
        given: the constructs that serve some of them already.
        own: the name of the function of its own, which runs the others.
        timeout: how long one invocation of that may take.
        queue_timeout: how long a task may be in a queue and run.
    """

    def __init__(
        self,
        scope: Construct,
        given: Sequence[TaskServer],
        *,
        own: str,
        timeout: cdk.Duration,
        queue_timeout: cdk.Duration,
    ) -> None:
        self._scope = scope
        self._given = given
        self._own = own
        self._timeout = timeout
        self._queue_timeout = queue_timeout
        self.used: Final[dict[str, TaskServer]] = {}
        """The given constructs that run something, by their paths."""
        self.own_tasks: Final[dict[str, TaskManifest]] = {}
        """The tasks that run on the workflow's own function, by their names."""
        for server in given:
            self._check(server)

    def modules(self) -> Iterable[str]:
        """The modules that the given constructs load."""
        for server in self._given:
            if isinstance(server.function, TaskFunction):
                yield from server.function.loaded.modules

    def place(self, task: TaskManifest) -> Place:
        """Where a task runs: its own construct before its namespace's, and before the workflow's function.

        Raises:
            ValueError: two of the given constructs serve it, or the one that does would not know it.
        """
        alone = [server for server in self._given if server.address.task == task.name]
        found = alone or self._of_namespace(task)
        if len(found) > 1:
            raise refusal(
                self._scope,
                "served_by",
                given=f"{found[0].node.path} and {found[1].node.path}, which both serve {task.name!r}",
                allowed="one of the two",
                remedy="leave one out",
            )
        if not found:
            self.own_tasks[task.name] = task
            return self._checked(task, Place(self._scope.node.path, "lambda", self._own, self._seconds(self._timeout)))
        [server] = found
        self._require_loaded(server, task)
        self.used[server.node.path] = server
        return self._checked(task, self._at(server, task))

    def _of_namespace(self, task: TaskManifest) -> list[TaskServer]:
        """Those where the first of its namespaces arrives that has any: a dispatch without a namespace goes there."""
        shared = [server for server in self._given if server.address.task is None]
        for name in task.namespaces:
            variable = contract.namespace_route_variable(name)
            if found := [server for server in shared if variable in server.address.routes]:
                return found
        return []

    def _at(self, server: TaskServer, task: TaskManifest) -> Place:
        routes = server.address.by_priority
        route = routes.get(Priority(task.priority), routes[Priority.DEFAULT])
        if route.kind == "lambda":
            timeout = server.function.timeout
            return Place(server.node.path, "lambda", route.target, self._seconds(timeout or self._timeout))
        return Place(server.node.path, "sqs", route.target, round(self._queue_timeout.to_seconds()))

    def _checked(self, task: TaskManifest, place: Place) -> Place:
        function_seconds = place.timeout - _SECONDS_TO_ANSWER
        if place.via == "lambda" and task.timeout and task.timeout > function_seconds:
            raise refusal(
                self._scope,
                "timeout",
                given=f"{task.timeout:g} seconds of task {task.name!r}",
                allowed=f"up to {function_seconds} seconds, the timeout of the function of {place.path}",
                remedy="raise that one's timeout=, or lower the task's",
            )
        return place

    @staticmethod
    def _seconds(timeout: cdk.Duration) -> int:
        return round(seconds(timeout) or contract.LAMBDA_MAX_TIMEOUT_SECONDS) + _SECONDS_TO_ANSWER

    def _check(self, server: TaskServer) -> None:
        if not isinstance(server, _SERVERS):
            raise refusal(
                self._scope,
                "served_by",
                given=f"{server.node.path}, a {type(server).__name__}",
                allowed=", ".join(kind.__name__ for kind in _SERVERS),
                remedy="leave it out, and the task runs on the workflow's own function",
            )
        stack = cdk.Stack.of(server)
        require_same(self._scope, "served_by", server.node.path, account=stack.account, region=stack.region)
        if any(is_fifo(route.target) for route in server.address.by_priority.values()):
            raise refusal(
                self._scope,
                "served_by",
                given=f"{server.node.path}, which has a FIFO queue",
                allowed="a standard queue, or a function",
                remedy="leave it out: what a workflow runs has its order already",
            )

    def _require_loaded(self, server: TaskServer, task: TaskManifest) -> None:
        function = server.function
        if isinstance(function, TaskFunction) and task.module not in function.loaded.known():
            raise refusal(
                self._scope,
                "served_by",
                given=f"{server.node.path}, whose modules do not load {task.module!r}",
                allowed=f"a construct that knows {task.name!r}",
                remedy=f"add {task.module!r} to its modules",
            )


def report_permission(scope: Construct, state_machine: str) -> iam.PolicyStatement:
    """What tells a state machine the end of what it sent through a queue."""
    return iam.PolicyStatement(actions=[*_REPORTS], resources=[state_machine_arn(scope, state_machine)])


def run_permissions(scope: Construct, root: "Run", servers: Iterable[TaskServer]) -> Iterator[iam.PolicyStatement]:
    """What a state machine needs to reach every place of its runs."""
    places = {run.place for run in root.all_runs()}
    functions = sorted(place.target for place in places if place.via == "lambda")
    queues = sorted(place.target for place in places if place.via == "sqs")
    if functions:
        arns = [function_arn(scope, name) for name in functions]
        yield iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=arns)
    if queues:
        yield iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue_arn(scope, name) for name in queues])
    keys = {key.key_arn: key for server in servers for key in server.address.encryption_keys}
    if keys:
        yield iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[*keys])
