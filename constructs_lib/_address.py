"""Where tasks are dispatched to, and who may: one name, one route and one grant for every construct.

Names are made once from the construct path, and everything about an address is a string built from its name. An
attribute of the resource would tie the sender's function to the receiver's queue, and two constructs that dispatch to
each other (or one to itself) could not be deployed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from constructs_lib._function_routes import FunctionRoutes, allow, collision
from constructs_lib._names import (
    function_arn,
    physical_name,
    queue_arn,
    queue_url_prefix,
    require_same_environment,
    state_machine_arn,
)
from constructs_lib._published import Published, publish, read_published
from constructs_lib._source import SourceTree
from constructs_lib._validation import refusal
from runtime_lib import contract
from runtime_lib.contract import Priority, Route, is_fifo

if TYPE_CHECKING:
    from constructs_lib.payload_bucket import PayloadAccess
    from constructs_lib.task_store import StoreAccess

__all__ = [
    "Address",
    "DispatchTarget",
    "Loaded",
    "function_arn",
    "physical_name",
    "queue_arn",
    "queue_url_prefix",
    "require_same_environment",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The modules that a function imports, and the source they are in."""

    source: SourceTree
    modules: tuple[str, ...]

    def known(self) -> frozenset[str]:
        """Every module whose tasks the function knows: those that are named, and what they import."""
        return self.source.loaded_by(self.modules)


@dataclass(frozen=True, slots=True)
class Address:
    """The routes to one construct and what its senders need besides.

    Attributes:
        routes: routes by the environment variable that holds them.
        serves: what each variable stands for, in words for error messages.
        encryption_keys: the user's keys of the queues; none for queues that SQS encrypts with its own.
        task: the one task that is served, None for a namespace's server.
        loaded: what the server's function imports, None for a construct deployed elsewhere.
        store: where the server records its tasks, None if it does not.
        payloads: where arguments wait for it that are too large for a message, None if it takes none.
        by_priority: the routes by their priorities, those of lanes left out; empty if nothing is dispatched there.
        published: the parameter that the routes are read from at deployment, None for routes that are known here.
    """

    routes: Mapping[str, Route]
    serves: Mapping[str, str]
    encryption_keys: tuple[kms.IKey | kms.Key, ...] = ()
    task: str | None = None
    loaded: Loaded | None = None
    store: "StoreAccess | None" = None
    payloads: "PayloadAccess | None" = None
    by_priority: Mapping[Priority, Route] = field(default_factory=dict)
    published: Published | None = None

    @classmethod
    def of_task(
        cls,
        task: str,
        route: Route,
        *,
        lanes: Iterable[Route] = (),
        encryption_key: kms.IKey | kms.Key | None = None,
        store: "StoreAccess | None" = None,
        payloads: "PayloadAccess | None" = None,
    ) -> Self:
        """The address of a construct that serves one task; ``lanes`` are the routes of its lanes from 1."""
        variable = contract.task_route_variable(task)
        routes, serves = {variable: route}, {variable: f"task {task!r}"}
        for lane, other in enumerate(lanes, 1):
            variable = contract.lane_route_variable(task, lane)
            routes[variable], serves[variable] = other, f"lane {lane} of task {task!r}"
        keys = (encryption_key,) if encryption_key else ()
        by_priority = {Priority.DEFAULT: route}
        return cls(routes, serves, keys, task, store=store, payloads=payloads, by_priority=by_priority)

    @classmethod
    def of_trigger(cls, task: str, *, store: "StoreAccess | None" = None) -> Self:
        """The address of a construct whose task is run by what happens elsewhere: nothing is dispatched there."""
        return cls({}, {}, task=task, store=store)

    @classmethod
    def of_namespaces(
        cls,
        scope: Construct,
        namespaces: Iterable[str],
        routes: Mapping[Priority, Route],
        *,
        encryption_keys: Iterable[kms.IKey | kms.Key] = (),
        loaded: Loaded | None = None,
        store: "StoreAccess | None" = None,
        payloads: "PayloadAccess | None" = None,
    ) -> Self:
        """The address of a construct that serves namespaces.

        ``routes`` has `Priority.DEFAULT`, to which a dispatch goes whose priority has no route of its own.

        Raises:
            ValueError: two namespaces would share a variable.
        """
        found: dict[str, Route] = {}
        serves: dict[str, str] = {}
        for namespace in namespaces:
            for priority, route in routes.items():
                own = None if priority is Priority.DEFAULT else priority
                variable = contract.namespace_route_variable(namespace, own)
                label = f"namespace {namespace!r}" + (f" at priority {priority.value!r}" if own else "")
                if variable in serves:
                    raise ValueError(f"{scope.node.path}: {collision(variable, serves[variable], label)}")
                found[variable], serves[variable] = route, label
        keys = tuple(encryption_keys)
        return cls(found, serves, keys, loaded=loaded, store=store, payloads=payloads, by_priority=routes)

    def permissions(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What a sender in the account and region of ``scope`` must be allowed, and no more."""
        if self.published:
            return [self.published.permission]
        targets = {
            kind: sorted({r.target for r in self.routes.values() if r.kind == kind})
            for kind in ("sqs", "lambda", "states")
        }
        statements = []
        if targets["sqs"]:
            arns = [queue_arn(scope, name) for name in targets["sqs"]]
            statements.append(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=arns))
        if targets["lambda"]:
            arns = [function_arn(scope, name) for name in targets["lambda"]]
            statements.append(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=arns))
        if targets["states"]:
            arns = [state_machine_arn(scope, name) for name in targets["states"]]
            statements.append(iam.PolicyStatement(actions=["states:StartExecution"], resources=arns))
        if self.encryption_keys:
            arns = [key.key_arn for key in self.encryption_keys]
            statements.append(iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=arns))
        if self.store and self.routes:
            statements += self.store.sender_statements(scope)
        if self.payloads:
            statements += self.payloads.sender_statements(scope)
        return statements


class DispatchTarget(Construct):
    """A construct that tasks can be dispatched to.

    Attributes:
        address: the routes to here, and what senders need besides.
        also_serves: the tasks that run here without being dispatched here.
    """

    address: Address
    also_serves: frozenset[str] = frozenset()

    @classmethod
    def imported(cls, scope: Construct, construct_id: str, address: Address) -> "DispatchTarget":
        """A target that is deployed elsewhere in the account and region of ``scope``."""
        target = DispatchTarget(scope, construct_id)
        target.address = address
        return target

    @property
    def routes(self) -> dict[str, str]:
        """The routes to here by the environment variables that hold them."""
        stored, payloads = self.address.store is not None, self.address.payloads is not None
        return {
            variable: str(route._replace(stored=stored, payloads=payloads))
            for variable, route in self.address.routes.items()
        }

    @property
    def dispatch_environment(self) -> dict[str, str]:
        """Environment variables with which a process of your own can dispatch here."""
        environment = self.routes
        if any(route.kind != "lambda" for route in self.address.routes.values()):  # which kind may be known later
            environment[contract.ENV_QUEUE_URL_PREFIX] = queue_url_prefix(self)
        for shared in (self.address.store, self.address.payloads):
            if shared:
                environment |= shared.environment
        return environment

    def grant_dispatch(self, grantee: iam.IGrantable, *, delayed: bool = False) -> None:
        """Let ``grantee`` dispatch here.

        A `lambda_.Function`, of this library or not, gets the permission and the route. Any other principal gets the
        permission; set `dispatch_environment` where it runs.

        Args:
            grantee: the function or principal.
            delayed: a function may also dispatch for later than 15 minutes, by schedules. Default: False.

        Raises:
            ValueError: ``grantee`` is in another account or region, cannot be given a permission, or has a route to
                another server of the same task or namespace; or nothing is dispatched here.
        """
        if not self.address.routes and self.address.task is None:
            raise ValueError(
                f"{self.node.path}: it serves no task, and nothing is dispatched here: invoke its function"
            )
        if not self.address.routes:
            raise ValueError(
                f"{self.node.path}: {self.address.task!r} is run by what happens, and nothing is dispatched here: "
                "serve the task by a ManagedAsyncTask as well"
            )
        allow(self, grantee, self.address.permissions)
        if isinstance(grantee, lambda_.Function):
            FunctionRoutes.of(grantee).add(self)
        if delayed:
            self._grant_delayed(grantee)

    def _grant_delayed(self, grantee: iam.IGrantable) -> None:
        if not isinstance(grantee, lambda_.Function):
            raise refusal(
                self,
                "delayed",
                given=f"True for a {type(grantee).__name__}",
                allowed="a lambda_.Function",
                remedy="let a task of such a function dispatch for later",
            )
        if any(is_fifo(route.target) for route in self.address.by_priority.values()):
            raise refusal(
                self,
                "delayed",
                given="True for a FIFO queue",
                allowed="a standard queue, or a function",
                remedy="serve the task by one: EventBridge Scheduler gives messages no deduplication id",
            )
        FunctionRoutes.of(grantee).add_delayed(self)

    def publish_route(self, parameter_name: str) -> ssm.StringParameter:
        """Let other applications in this account and region dispatch here, by `from_published_route`.

        They use no lanes and no payload bucket, and do not record what they dispatch in this construct's task store.

        Args:
            parameter_name: a name in AWS Systems Manager's Parameter Store, such as ``/images/resize``.

        Raises:
            ValueError: nothing is dispatched here, or it has queues with several keys.
        """
        routes = self.address.by_priority
        if any(route.kind == "states" for route in routes.values()):
            raise refusal(
                self,
                "parameter_name",
                given=f"{parameter_name!r} for a workflow",
                allowed="the route of a queue or function",
                remedy="publish the route of a task that dispatches the workflow",
            )
        published = Address({str(one): route for one, route in routes.items()}, {}, self.address.encryption_keys)
        return publish(self, parameter_name, routes, published.permissions(self))

    @classmethod
    def from_published_route(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        parameter_name: str,
        task: str | None = None,
        namespace: str | None = None,
    ) -> "DispatchTarget":
        """A target of another application, which published its route; it has to be deployed before this stack.

        Args:
            scope: the scope.
            construct_id: the id.
            parameter_name: the name that it is published under.
            task: the one task that is served there, by its name.
            namespace: or the namespace.

        Raises:
            ValueError: neither ``task`` nor ``namespace`` is given, or both.
        """
        target = DispatchTarget(scope, construct_id)
        published = read_published(target, parameter_name)
        if task and not namespace:
            address = Address.of_task(task, published.routes[Priority.DEFAULT])
        elif namespace and not task:
            address = Address.of_namespaces(target, [namespace], published.routes)
        else:
            raise refusal(
                target,
                "task",
                given=f"{task!r}, and namespace {namespace!r}",
                allowed="one of the two",
                remedy="say which task or which namespace is served there",
            )
        target.address = replace(address, published=published)
        return target
