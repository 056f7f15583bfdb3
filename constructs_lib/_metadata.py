"""What a function's metadata tells tools that read the template, such as `tasks dispatch`."""

import aws_cdk as cdk
import jsii
from constructs import Construct

from constructs_lib._address import DispatchTarget, Loaded
from runtime_lib import contract

__all__ = ["served_tasks"]


def served_tasks(
    target: DispatchTarget, construct: type[Construct], trigger: str, loaded: Loaded, dead_letters: str
) -> dict[str, object]:
    """The tasks that a function serves, and how to reach them, as `contract.METADATA_KEY` documents it."""
    return {
        "construct": construct.__name__,
        "path": target.node.path,
        "trigger": trigger,
        "modules": list(loaded.modules),
        "tasks": cdk.Lazy.any(_ServedTasks(target, loaded)),
        "routes": target.routes,
        **({"store": target.address.store.environment} if target.address.store else {}),
        "dead_letter_queue": dead_letters,
    }


@jsii.implements(cdk.IStableAnyProducer)
class _ServedTasks:
    """The tasks that arrive at a construct, with the namespace to dispatch them to; read once the app is known."""

    def __init__(self, target: DispatchTarget, loaded: Loaded) -> None:
        self._target = target
        self._loaded = loaded

    def produce(self) -> dict[str, str]:
        address = self._target.address
        if address.task is not None:
            return {address.task: contract.DEFAULT_NAMESPACE}
        known = self._loaded.known()
        return {
            task.name: namespace
            for task in self._loaded.source.tasks()
            if task.module in known
            for namespace in task.namespaces[::-1]
            if contract.namespace_route_variable(namespace) in address.routes
        }
