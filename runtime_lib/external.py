"""Tasks of other applications: their signatures here, to dispatch by."""

from collections.abc import Callable, Sequence
from typing import NoReturn, ParamSpec, TypeVar

from runtime_lib.contract import DEFAULT_NAMESPACE, Priority
from runtime_lib.errors import TaskDefinitionError, TaskError
from runtime_lib.task import Task

__all__ = ["ExternalTask", "external_task"]

P = ParamSpec("P")
R = TypeVar("R")


class ExternalTask(Task[P, R]):
    """A task that runs in another application. It is not registered, so that no message runs it here."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:  # noqa: ARG002  (those of the task)
        """Refuse: the function here has no body.

        Raises:
            TaskError: always.
        """
        raise TaskError(f"{self.name} runs in another application: dispatch it")


def external_task(
    *,
    name: str,
    namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
    priority: Priority = Priority.DEFAULT,
    schema_version: int | None = None,
) -> Callable[[Callable[P, R]], ExternalTask[P, R]]:
    """Make a function without a body the stub of another application's task: dispatched as any other, never run here.

    Args:
        name: the name it is registered under there.
        namespace: what serves it there, as for `task`; the first counts.
        priority: what it is dispatched with unless ``with_priority`` says otherwise.
        schema_version: the version of its arguments that this signature is.

    Raises:
        TaskDefinitionError: (a TypeError) the function cannot be a task, or an option is of the wrong type.
    """
    if not isinstance(name, str):
        raise TaskDefinitionError(f"@external_task takes name='<the task there>', given {name!r}")

    def decorate(function: Callable[P, R]) -> ExternalTask[P, R]:
        return ExternalTask(function, name=name, namespace=namespace, priority=priority, schema_version=schema_version)

    return decorate
