"""Where tasks are dispatched to, and who may: one name, one route and one grant for every construct.

Names are made once from the construct path, and everything about an address is a string built from its name. An
attribute of the resource would tie the sender's function to the receiver's queue, and two constructs that dispatch to
each other (or one to itself) could not be deployed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct, Node

from constructs_lib._source import SourceTree
from constructs_lib._validation import check_at_synth, refusal, rendered, warn
from runtime_lib import contract
from runtime_lib.contract import Priority, Route

if TYPE_CHECKING:
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


def physical_name(construct: Construct, suffix: str = "") -> str:
    """The name of a construct's queue or function: its path, shortened, with a hash of the whole path.

    The path starts with the stack's name, so that one app deployed under two stack names does not collide.
    """
    length = contract.PHYSICAL_NAME_MAX_LENGTH - len(suffix)
    return cdk.Names.unique_resource_name(construct, max_length=length, separator="-") + suffix


def queue_arn(scope: Construct, name: str) -> str:
    """ARN of a queue in the account and region of ``scope``."""
    return cdk.Stack.of(scope).format_arn(service="sqs", resource=name)


def function_arn(scope: Construct, name: str) -> str:
    """ARN of a function in the account and region of ``scope``."""
    return cdk.Stack.of(scope).format_arn(
        service="lambda", resource="function", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )


def queue_url_prefix(scope: Construct) -> str:
    """What a queue's name is appended to for its URL, in the account and region of ``scope``."""
    stack = cdk.Stack.of(scope)
    return f"https://sqs.{stack.region}.{stack.url_suffix}/{stack.account}/"


def require_same_environment(scope: Construct, argument: str, resource: cdk.IResource) -> None:
    """Refuse a resource of another account or region, which routes and dead letters do not reach.

    Raises:
        ValueError: the account or region is known and another one than that of ``scope``.
    """
    _require_same(scope, argument, resource.node.path, account=resource.env.account, region=resource.env.region)


def _require_same(scope: Construct, argument: str, described: str, **theirs: str | None) -> None:
    stack = cdk.Stack.of(scope)
    for what, value in theirs.items():
        own = stack.account if what == "account" else stack.region
        if value is None or value == own or cdk.Token.is_unresolved(value) or cdk.Token.is_unresolved(own):
            continue
        raise refusal(
            scope,
            argument,
            given=f"{described} in {what} {value}",
            allowed=f"{what} {own}",
            remedy=f"routes, dead letters and records do not cross {what}s: give that {what} a stack of its own",
        )


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
    """

    routes: Mapping[str, Route]
    serves: Mapping[str, str]
    encryption_keys: tuple[kms.IKey | kms.Key, ...] = ()
    task: str | None = None
    loaded: Loaded | None = None
    store: "StoreAccess | None" = None

    @classmethod
    def of_task(
        cls,
        task: str,
        route: Route,
        *,
        encryption_key: kms.IKey | kms.Key | None = None,
        store: "StoreAccess | None" = None,
    ) -> Self:
        """The address of a construct that serves one task."""
        variable = contract.task_route_variable(task)
        keys = (encryption_key,) if encryption_key else ()
        return cls({variable: route}, {variable: f"task {task!r}"}, keys, task, store=store)

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
        return cls(found, serves, tuple(encryption_keys), loaded=loaded, store=store)

    def permissions(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What a sender in the account and region of ``scope`` must be allowed, and no more."""
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
        stored = self.address.store is not None
        return {variable: str(route._replace(stored=stored)) for variable, route in self.address.routes.items()}

    @property
    def dispatch_environment(self) -> dict[str, str]:
        """Environment variables with which a process of your own can dispatch here."""
        environment = self.routes
        if any(route.kind == "sqs" for route in self.address.routes.values()):
            environment[contract.ENV_QUEUE_URL_PREFIX] = queue_url_prefix(self)
        if self.address.store:
            environment |= self.address.store.environment
        return environment

    def grant_dispatch(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` dispatch here.

        A `lambda_.Function`, of this library or not, gets the permission and the route. Any other principal gets the
        permission; set `dispatch_environment` where it runs.

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
    _require_same(target, "grantee", described, account=account)
    stack = cdk.Stack.of(scope)
    _require_same(target, "grantee", described, account=stack.account, region=stack.region)
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


class FunctionRoutes(Construct):
    """The routes of one function, and the checks of its environment."""

    _ID: Final = "TaskRoutes"

    def __init__(
        self,
        function: lambda_.Function,
        *,
        policy: iam.PolicyDocument | None = None,
        loaded: Loaded | None = None,
    ) -> None:
        super().__init__(function, self._ID)
        self.policy: Final = policy
        """Inline policy of a function of ours, None for any other function."""
        self._function = function
        self._loaded = loaded
        self._targets: dict[str, DispatchTarget] = {}
        self._store: StoreAccess | None = None
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
        for name, value in target.dispatch_environment.items():
            self._function.add_environment(name, value)
        self._targets |= dict.fromkeys(target.address.routes, target)

    def use_store(self, store: "StoreAccess") -> None:
        """Have the function record its tasks, and those it dispatches, in ``store``.

        Raises:
            ValueError: it uses another one, or this one is in another account or region.
        """
        stack = cdk.Stack.of(store)
        _require_same(self._function, "store", store.node.path, account=stack.account, region=stack.region)
        if self._store and self._store.environment != store.environment:
            raise ValueError(
                f"{self._function.node.path} would use two task stores, {self._store.node.path} and "
                f"{store.node.path}: give one store to itself and to everything it dispatches to"
            )
        self._store = store
        for name, value in store.environment.items():
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
