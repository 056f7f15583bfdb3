"""What one function needs for what it dispatches: its routes, its store and bucket, and the room for them."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct, Node

from constructs_lib._delays import DelayedDispatch
from constructs_lib._names import require_same
from constructs_lib._validation import check_at_synth, refusal, rendered, warn
from runtime_lib import contract

if TYPE_CHECKING:
    from constructs_lib._address import DispatchTarget, Loaded
    from constructs_lib.payload_bucket import PayloadAccess
    from constructs_lib.task_store import StoreAccess

__all__ = ["FunctionRoutes", "allow", "collision"]


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
        loaded: "Loaded | None" = None,
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

    def add(self, target: "DispatchTarget") -> None:
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
            raise ValueError(f"{self._function.node.path}: {collision(variable, there, here)}")
        if target.address.store:
            self.use_store(target.address.store)
        if target.address.payloads:
            self.use_payloads(target.address.payloads)
        for name, value in target.dispatch_environment.items():
            self._function.add_environment(name, value)
        self._targets |= dict.fromkeys(target.address.routes, target)

    def add_delayed(self, target: "DispatchTarget") -> None:
        """Let the function dispatch to ``target`` for later than a queue can delay it."""
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


def collision(variable: str, one: str, other: str) -> str:
    """Two of a function's routes that would have one name."""
    return f"{one} and {other} share the environment variable {variable}: rename one of them"
