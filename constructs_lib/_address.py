"""Where tasks are dispatched to, and who may: one name, one route and one grant for every construct.

Names are made once from the construct path, and everything about an address is a string built from its name. An
attribute of the resource would tie the sender's function to the receiver's queue, and two constructs that dispatch to
each other (or one to itself) could not be deployed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct, Node

from constructs_lib._names import (
    function_arn,
    physical_name,
    queue_arn,
    queue_url_prefix,
    require_same,
    require_same_environment,
)
from constructs_lib._published import Published, publish, read_published
from constructs_lib._source import SourceTree
from constructs_lib._validation import check_at_synth, refusal, rendered, warn
from runtime_lib import contract
from runtime_lib.contract import Priority, Route, is_fifo

if TYPE_CHECKING:
    from constructs_lib._delays import DelayedDispatch
    from constructs_lib.payload_bucket import PayloadAccess
    from constructs_lib.task_store import StoreAccess

__all__ = [
    "Address",
    "DispatchTarget",
    "FunctionRoutes",
    "Loaded",
    "allow",
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
                    raise ValueError(f"{scope.node.path}: {_collision(variable, serves[variable], label)}")
                found[variable], serves[variable] = route, label
        keys = tuple(encryption_keys)
        return cls(found, serves, keys, loaded=loaded, store=store, payloads=payloads, by_priority=routes)

    def permissions(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What a sender in the account and region of ``scope`` must be allowed, and no more."""
        if self.published:
            return [self.published.permission]
        targets = {
            kind: sorted({r.target for r in self.routes.values() if r.kind == kind}) for kind in ("sqs", "lambda")
        }
        statements = []
        if targets["sqs"]:
            arns = [queue_arn(scope, name) for name in targets["sqs"]]
            statements.append(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=arns))
        if targets["lambda"]:
            arns = [function_arn(scope, name) for name in targets["lambda"]]
            statements.append(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=arns))
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
    """

    address: Address

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

        They use no lanes, and do not record what they dispatch in this construct's task store.

        Args:
            parameter_name: a name in AWS Systems Manager's Parameter Store, such as ``/images/resize``.

        Raises:
            ValueError: nothing is dispatched here.
        """
        routes = self.address.by_priority
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


def allow(
    target: Construct, grantee: iam.IGrantable, statements: Callable[[Construct], Iterable[iam.PolicyStatement]]
) -> None:
    """Give ``grantee`` the ``statements`` for something of ``target``, as they are in the grantee's stack.

    Raises:
        ValueError: ``grantee`` is in another account or region, or cannot be given a permission.
    """
    # What is imported reaches Python as a proxy of no class, and a service principal has no node.
    node: Node | None = getattr(grantee, "node", None)
    scope = node.scope if node and node.scope else target
    described = node.path if node else f"a {type(grantee).__name__}"
    account = getattr(grantee.grant_principal, "principal_account", None)
    require_same(target, "grantee", described, account=account)
    stack = cdk.Stack.of(scope)
    require_same(target, "grantee", described, account=stack.account, region=stack.region)
    routes = FunctionRoutes.of(grantee) if isinstance(grantee, lambda_.Function) else None
    if routes and routes.policy:
        routes.policy.add_statements(*statements(stack))
        return
    for statement in statements(stack):
        if not grantee.grant_principal.add_to_principal_policy(statement).statement_added:
            raise refusal(
                target,
                "grantee",
                given=described,
                allowed="a principal that policies can be attached to",
                remedy="grant to the function, role or user that needs it",
            )


_MANY: Final = {"store": "task stores", "payloads": "payload buckets"}


class FunctionRoutes(Construct):
    """The routes of one function, and the checks of its environment."""

    _ID: Final = "TaskRoutes"

    def __init__(
        self,
        function: lambda_.Function,
        *,
        policy: iam.PolicyDocument | None = None,
        loaded: Loaded | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
    ) -> None:
        super().__init__(function, self._ID)
        self.policy: Final = policy
        """Inline policy of a function of ours, None for any other function."""
        self._function = function
        self._loaded = loaded
        self._dead_letter_queue = dead_letter_queue
        self._delays: DelayedDispatch | None = None
        self._targets: dict[str, DispatchTarget] = {}
        self._shared: dict[str, StoreAccess | PayloadAccess] = {}
        check_at_synth(self, self._check)

    @classmethod
    def of(cls, function: lambda_.Function) -> "FunctionRoutes":
        """The routes of ``function``, which may be any function of the app."""
        existing = function.node.try_find_child(cls._ID)
        return existing if isinstance(existing, FunctionRoutes) else cls(function)

    def add(self, target: DispatchTarget) -> None:
        """Add the routes to ``target``.

        Raises:
            ValueError: one of its variables already leads somewhere else.
        """
        for variable, label in target.address.serves.items():
            other = self._targets.get(variable)
            if other is None or other is target:
                continue
            label_there = other.address.serves[variable]
            if label == label_there:
                raise ValueError(
                    f"{self._function.node.path} gets routes to two servers of {label}: {other.node.path} and "
                    f"{target.node.path}: grant one of them only"
                )
            there, here = f"{label_there} of {other.node.path}", f"{label} of {target.node.path}"
            raise ValueError(f"{self._function.node.path}: {_collision(variable, there, here)}")
        if target.address.store:
            self.use_store(target.address.store)
        if target.address.payloads:
            self.use_payloads(target.address.payloads)
        for name, value in target.dispatch_environment.items():
            self._function.add_environment(name, value)
        self._targets |= dict.fromkeys(target.address.routes, target)

    def add_delayed(self, target: DispatchTarget) -> None:
        """Let the function dispatch to ``target`` for later than a queue can delay it."""
        from constructs_lib._delays import DelayedDispatch  # noqa: PLC0415  (it has queues, which have names)

        if self._delays is None:
            delays = self._delays = DelayedDispatch(self._function, self._dead_letter_queue)
            allow(target, self._function, lambda _: delays.statements)
        self._delays.add(target)

    def use_store(self, store: "StoreAccess") -> None:
        """Have the function record its tasks, and those it dispatches, in ``store``.

        Raises:
            ValueError: it uses another one, or this one is in another account or region.
        """
        self._use("store", store)

    def use_payloads(self, payloads: "PayloadAccess") -> None:
        """Have the function put arguments that are too large for a message into ``payloads``, and look for them there.

        Raises:
            ValueError: it uses another one, or this one is in another account or region.
        """
        self._use("payloads", payloads)
        if self.policy and self._function.role:
            payloads.acknowledge_keys(self._function.role)

    def _use(self, argument: str, shared: "StoreAccess | PayloadAccess") -> None:
        stack = cdk.Stack.of(shared)
        require_same(self._function, argument, shared.node.path, account=stack.account, region=stack.region)
        other = self._shared.setdefault(argument, shared)
        if other.environment != shared.environment:
            raise ValueError(
                f"{self._function.node.path} would use two {_MANY[argument]}, {other.node.path} and "
                f"{shared.node.path}: give one to itself and to everything it dispatches to"
            )
        for name, value in shared.environment.items():
            self._function.add_environment(name, value)

    def _check(self) -> list[str]:
        for message in self._misrouted():
            warn(self._function, "task-without-route", message)
        return self._oversize()

    def _oversize(self) -> list[str]:
        resource = self._function.node.default_child
        if not isinstance(resource, lambda_.CfnFunction):
            return []
        # The public property reads as empty in Python: jsii takes its token for a structure.
        environment = cdk.Stack.of(self).resolve(resource._cfn_properties.get("environment"))  # noqa: SLF001
        variables = {name: rendered(value) for name, value in (environment or {}).get("variables", {}).items()}
        size = contract.environment_bytes(variables)
        if size <= contract.LAMBDA_ENVIRONMENT_MAX_BYTES:
            return []
        routes = {name: value for name, value in variables.items() if name in self._targets}
        error = (
            f"environment of {self._function.node.path} is {size:,} bytes, {contract.environment_bytes(routes):,} of "
            f"them for {len(routes)} routes, allowed is {contract.LAMBDA_ENVIRONMENT_MAX_BYTES:,} bytes: grant fewer "
            "targets, shorten variables, or let several tasks share a namespace's server"
        )
        return [error]

    def _misrouted(self) -> list[str]:
        """Tasks that this function knows and may dispatch, but whose namespace's server does not know them."""
        if self._loaded is None:
            return []
        messages = []
        known = self._loaded.known()
        for task in self._loaded.source.tasks():
            if task.module not in known or contract.task_route_variable(task.name) in self._targets:
                continue
            for namespace in task.namespaces:
                server = self._targets.get(contract.namespace_route_variable(namespace))
                loaded = server.address.loaded if server else None
                if server and loaded and task.module not in loaded.known():
                    messages.append(
                        f"{self._function.node.path} knows task {task.name!r}, and would dispatch it to the server of "
                        f"its namespace {namespace!r}, {server.node.path}, which does not load {task.module!r}: add "
                        "the module there, or grant the task's own ManagedAsyncTask if this function dispatches it"
                    )
        return messages


def _collision(variable: str, one: str, other: str) -> str:
    return f"{one} and {other} share the environment variable {variable}: rename one of them"
