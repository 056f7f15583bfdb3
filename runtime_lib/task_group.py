"""Tasks that share options and middleware."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from runtime_lib import hooks
from runtime_lib.errors import TaskDefinitionError
from runtime_lib.task import Task, TaskOptions, decorated

if TYPE_CHECKING:
    from runtime_lib.batches import BatchTask
    from runtime_lib.contract import Priority
    from runtime_lib.hooks import Middleware
    from runtime_lib.retry import Retry

__all__ = ["TaskGroup"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TaskGroup:
    """Options and middleware that several tasks share; a task is put into it by ``@group.task``.

    ::

        mail = TaskGroup(namespace="mail", retry=Retry(5), middleware=[with_connection])

        @mail.task
        def send(to: str) -> None: ...

        @mail.task(priority=Priority.HIGH)          # what a task says itself comes before its group
        async def welcome(user: int) -> None: ...

    Args:
        parent: the group around it, whose options apply where this one has none, and whose middleware is outside.
        namespace: see `task`.
        priority: see `task`.
        retry: see `task`.
        name_prefix: what comes before its tasks' names, behind the parent's own: with ``"mail."`` a task is called
            ``mail.<function>``, or ``mail.`` and its ``name=``. Default: tasks have the names they would have without.
        middleware: functions of (context, call_next) around each of its tasks, the first outermost.

    Raises:
        TaskDefinitionError: an argument is of the wrong type.
    """

    def __init__(
        self,
        *,
        parent: "TaskGroup | None" = None,
        namespace: str | Sequence[str] | None = None,
        priority: "Priority | None" = None,
        retry: "Retry | str | None" = None,
        name_prefix: str = "",
        middleware: "Sequence[Middleware]" = (),
    ) -> None:
        if parent is not None and not isinstance(parent, TaskGroup):
            raise TaskDefinitionError(f"the parent of a TaskGroup is a TaskGroup, given {parent!r}")
        if not isinstance(name_prefix, str):
            raise TaskDefinitionError(f"the name_prefix of a TaskGroup is a str, given {name_prefix!r}")
        own = {"namespace": namespace, "priority": priority, "retry": retry}
        self.parent = parent
        self.options: dict[str, Any] = {
            **(parent.options if parent else {}),
            **{option: value for option, value in own.items() if value is not None},
        }
        self.name_prefix: str = (parent.name_prefix if parent else "") + name_prefix
        self.middleware = hooks.checked_middleware("TaskGroup", middleware)

    def __repr__(self) -> str:
        options = {**self.options, **({"name_prefix": self.name_prefix} if self.name_prefix else {})}
        return f"TaskGroup({', '.join(f'{option}={value!r}' for option, value in options.items())})"

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, function: Callable[P, R] | None = None, /, **options: Any) -> Any:
        """Make a function a task of this group: `task`, with the group's options where it gives none.

        Raises:
            TaskDefinitionError: as for `task`.
        """
        return self._decorated(Task, function, options)

    @overload
    def batch_task(self, function: "Callable[Concatenate[list[T], ...], R]", /) -> "BatchTask[T, R]": ...
    @overload
    def batch_task(
        self, /, **options: Unpack[TaskOptions]
    ) -> "Callable[[Callable[Concatenate[list[T], ...], R]], BatchTask[T, R]]": ...
    def batch_task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a function that takes a list a task of this group: `batch_task`, as `task` otherwise.

        Raises:
            TaskDefinitionError: as for `batch_task`.
        """
        from runtime_lib.batches import BatchTask

        return self._decorated(BatchTask, function, options)

    def _decorated(self, kind: type[Task[..., Any]], function: Any, options: dict[str, Any]) -> Any:
        def decorate(function: Any) -> Task[..., Any]:
            given = {**self.options, **options}
            name = given.get("name") or getattr(function, "__name__", None)
            if self.name_prefix and isinstance(name, str):
                given["name"] = self.name_prefix + name
            made: Task[..., Any] = decorated(kind, function, given)
            made.group = self
            return made

        return decorate if function is None else decorate(function)

    def include(self, group: "TaskGroup", *, middleware: "Sequence[Middleware]" = ()) -> None:
        """Put this group's middleware around another's, and ``middleware`` between the two.

        Names, namespaces, priorities and retry policies of tasks are settled when they are decorated, before this: a
        group that has such options is made the ``parent`` of another, not to include it.

        Raises:
            TaskDefinitionError: the other one is in a group already, or around this one; or this one has options.
        """
        if not isinstance(group, TaskGroup):
            raise TaskDefinitionError(f"a TaskGroup includes a TaskGroup, given {group!r}")
        around: TaskGroup | None = self
        while around is not None:
            if around is group:
                raise TaskDefinitionError(f"{group!r} cannot be included in itself, or in a group that is inside it")
            around = around.parent
        if group.parent is not None:
            raise TaskDefinitionError(f"{group!r} is in {group.parent!r} already: a group is in one other at most")
        if self.options or self.name_prefix:
            raise TaskDefinitionError(
                f"{self!r} has options, and an included group's tasks have theirs already: write "
                "TaskGroup(parent=…) where that group is made, or include it in a group with middleware only"
            )
        group.middleware = (*hooks.checked_middleware("include", middleware), *group.middleware)
        group.parent = self

    def around(self) -> "tuple[Middleware, ...]":
        """The middleware around its tasks, the outermost first."""
        return (*(self.parent.around() if self.parent else ()), *self.middleware)
