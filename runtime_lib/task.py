"""`@task`, and the function that it makes a task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from runtime_lib import hooks, registry, transports
from runtime_lib.arguments import Signature, check_json, unwrapped
from runtime_lib.contract import DEFAULT_MAX_HOPS, DEFAULT_NAMESPACE, Priority
from runtime_lib.errors import ArgumentError, TaskDefinitionError, seconds
from runtime_lib.handle import TaskHandle
from runtime_lib.invocation import Call, Invocation, checked_priority, new_call
from runtime_lib.retry import Retry

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from typing import TypeAlias

    from runtime_lib.edges import Edge, Edges, TaskReference
    from runtime_lib.hooks import Middleware
    from runtime_lib.task_group import TaskGroup

    Following: TypeAlias = TaskReference | Edge
    """What `run_after` names: a task, or one with `for_each` or `delayed` around it."""

__all__ = ["Call", "Invocation", "Task", "TaskOptions", "dispatch_task", "task"]

P = ParamSpec("P")
R = TypeVar("R")
_ASYNC = 0x80  # CO_COROUTINE
_GENERATORS = 0x20 | 0x200  # CO_GENERATOR, CO_ASYNC_GENERATOR
_DESCRIBED = ("__module__", "__name__", "__qualname__", "__doc__")


class TaskOptions(TypedDict, total=False):
    """The options of `@task`, which describes them."""

    name: str | None
    priority: Priority
    namespace: str | Sequence[str]
    retry: Retry | str | None
    schema_version: int | None
    max_hops: int
    middleware: "Sequence[Middleware]"
    schedule: str | None
    default_args: Mapping[str, Any] | None
    run_before: "TaskReference | Sequence[TaskReference] | None"
    run_after: "Following | Sequence[Following] | None"
    on_failure: "TaskReference | None"
    timeout: "float | timedelta | None"
    subprocess: bool


class Task(Generic[P, R]):
    """A function that can run in the background. Calling it runs it here and now."""

    __wrapped__: Callable[P, R]
    __name__: str
    takes_batches = False
    """Whether one call is for several messages."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        priority: Priority = Priority.DEFAULT,
        namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
        retry: Retry | str | None = None,
        schema_version: int | None = None,
        max_hops: int = DEFAULT_MAX_HOPS,
        middleware: "Sequence[Middleware]" = (),
        schedule: str | None = None,
        default_args: Mapping[str, Any] | None = None,
        run_before: "TaskReference | Sequence[TaskReference] | None" = None,
        run_after: "Following | Sequence[Following] | None" = None,
        on_failure: "TaskReference | None" = None,
        timeout: "float | timedelta | None" = None,
        subprocess: bool = False,
    ) -> None:
        self.function = _function(function)
        # (not what other decorators left in its __dict__: it could hide what a task has)
        update_wrapper(self, function, assigned=_DESCRIBED, updated=())
        self.name = _name(f"{function.__module__}.{function.__name__}" if name is None else name)
        self.definition = unwrapped(self.function)
        """The function below all decorators, whose signature and place count."""
        self.namespaces = (namespace,) if isinstance(namespace, str) else tuple(namespace or ())
        if not self.namespaces or not all(isinstance(one, str) and one for one in self.namespaces):
            raise TaskDefinitionError(f"{self.name}: namespace is a name or several, given {namespace!r}")
        try:
            self.priority = checked_priority(priority)
            self.retry = Retry.of(retry)
            self.timeout = None if timeout is None else seconds(timeout)
        except (TypeError, ValueError) as error:
            raise TaskDefinitionError(f"{self.name}: {error}") from None
        for option, least, value in (("schema_version", 1, schema_version), ("max_hops", 0, max_hops)):
            if value is not None and (type(value) is not int or value < least):
                raise TaskDefinitionError(f"{self.name}: {option} is a whole number from {least}, given {value!r}")
        if self.timeout == 0 or type(subprocess) is not bool:
            option, given = ("timeout", timeout) if self.timeout == 0 else ("subprocess", subprocess)
            allowed = "more than 0 seconds, or None" if self.timeout == 0 else "True or False"
            raise TaskDefinitionError(f"{self.name}: {option} is {allowed}, given {given!r}")
        self.schema_version = schema_version
        self.max_hops = max_hops
        self.is_async = bool(self.function.__code__.co_flags & _ASYNC)
        self.middleware = hooks.checked_middleware(self.name, middleware)
        if self.middleware:
            from runtime_lib.middleware_chain import require_kinds

            require_kinds(self, self.middleware)
        self.group: TaskGroup | None = None
        self.subprocess = subprocess
        self.edges: Edges | None = None
        """What runs before and after it, and when it fails; None if nothing does."""
        if run_before is not None or run_after is not None or on_failure is not None:
            from runtime_lib import edges

            self.edges = edges.Edges.of(self.name, run_before=run_before, run_after=run_after, on_failure=on_failure)
        self.signature = self._signature()
        if schedule is not None or default_args is not None:
            from runtime_lib.occurrence import check_declared

            check_declared(self, schedule, default_args)

    def _signature(self) -> Signature:
        """What a message of it holds."""
        return Signature(self.definition, self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now; an ``async def`` gives its coroutine.

        That of one with tasks before or after it, or with a process of its own, dispatches it when it is awaited, and
        waits for its result.

        Raises:
            ArgumentError: (a TypeError) the arguments of such a one do not fit the signature or cannot be sent.
        """
        if self.is_async and (self.edges or self.subprocess):
            from runtime_lib.awaited import result_of

            return result_of(self, args, kwargs)  # type: ignore[return-value]  # R of an async def is a coroutine
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """See `Invocation.call`."""
        return Invocation(self).call(*args, **kwargs)

    def dispatch(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """See `Invocation.dispatch`."""
        return Invocation(self).dispatch(*args, **kwargs)

    fire_and_forget = dispatch

    async def adispatch(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """See `Invocation.adispatch`."""
        return await Invocation(self).adispatch(*args, **kwargs)

    def dispatch_many(self, calls: Iterable[Call]) -> list[TaskHandle]:
        """Dispatch what `call` made of this task, ten messages and 1 MiB a request.

        Raises:
            ArgumentError: one is a call of another task; nothing is sent.
            DispatchError: some messages are not with AWS; ``failed`` says which and why.
        """
        calls = list(calls)
        for call in calls:
            if not isinstance(call, Call) or call.envelope.task != self.name:
                given = call.envelope.task if isinstance(call, Call) else type(call).__name__
                raise ArgumentError(f"dispatch_many takes calls of {self.name} (made by its .call(…)), given {given}")
        transports.send(calls)
        return [call.handle for call in calls]

    def with_headers(self, /, **headers: Any) -> Invocation[P, R]:
        """See `Invocation.with_headers`."""
        return Invocation(self).with_headers(**headers)

    def with_priority(self, priority: Priority) -> Invocation[P, R]:
        """See `Invocation.with_priority`."""
        return Invocation(self).with_priority(priority)

    def with_delay(self, delay: "float | timedelta" = 0, *, seconds: float = 0, minutes: float = 0) -> Invocation[P, R]:
        """See `Invocation.with_delay`."""
        return Invocation(self).with_delay(delay, seconds=seconds, minutes=minutes)

    def at(self, moment: "datetime") -> Invocation[P, R]:
        """See `Invocation.at`."""
        return Invocation(self).at(moment)

    def with_group(self, group: str) -> Invocation[P, R]:
        """See `Invocation.with_group`."""
        return Invocation(self).with_group(group)

    def with_lane(self, lane: int) -> Invocation[P, R]:
        """See `Invocation.with_lane`."""
        return Invocation(self).with_lane(lane)


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: "Unpack[TaskOptions]") -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(function: Callable[P, R] | None = None, /, **options: Any) -> Any:  # noqa: D417  (options are spelled above)
    """Make a function at the top level of a module a task: ``@task`` or ``@task(…)``.

    Args:
        function: ``def`` or ``async def``; its arguments are JSON types, or types that msgspec or pydantic knows.
        name: what messages call it; ``module.function`` by default. Give a function that moves the name it had.
        priority: what it is dispatched with unless ``with_priority`` says otherwise.
        namespace: which construct serves it, one or several; the first is where a dispatch goes.
        retry: a `Retry`, or 'retry_once', 'retry_always', 'always', 'never'; by default three attempts with backoff.
        schema_version: version of its arguments, raised when they change incompatibly: an older worker then leaves
            newer messages in the queue for a newer one.
        max_hops: how many tasks may dispatch one another before one of this name is dead-lettered as a loop.
        middleware: functions of (context, call_next) around this task alone, inside those of its group and of all
            tasks, the first outermost.
        schedule: when a ScheduledTask of it runs that says nothing else: ``rate(15 minutes)``, or cron's fields. It is
            read when the app is synthesized.
        default_args: what it is then called with: ``{"args": […], "kwargs": {…}}``.
        run_before: tasks, or their names, that run first, side by side; they take no arguments. A name without a dot
            is that of a task of the same module, or else of the one task that is called so.
        run_after: tasks that run with what it returned, side by side, when it has succeeded: by name if that is a dict
            of their parameters, else as the first argument. `for_each` and `delayed` say more.
        on_failure: a task that runs once, with ``job_failed``, when this one has failed for good, or what runs before
            it has.
        timeout: seconds (or a timedelta) after which an attempt has failed. Default: as long as its function may run.
        subprocess: whether each attempt runs in a process of its own.

    Raises:
        TaskDefinitionError: (a TypeError) a worker could not find or call this function; says why.
    """
    return decorated(Task, function, options)


def decorated(kind: "type[Task[..., Any]]", function: Any, options: dict[str, Any]) -> Any:
    """The registered task of this kind, or the decorator that makes one of a function.

    Raises:
        TaskDefinitionError: there is no such option; says which there are.
    """
    known = Task.__init__.__kwdefaults__ or {}
    for option in options:
        if option not in known:
            raise TaskDefinitionError(f"@task has no option {option!r}: it takes {', '.join(known)}")

    def decorate(function: Any) -> "Task[..., Any]":
        made = kind(function, **options)
        registry.register(made)
        return made

    return decorate if function is None else decorate(function)


def dispatch_task(task_name: str, /, *args: Any, **kwargs: Any) -> TaskHandle:
    """Dispatch a task by name, without importing it; its arguments are checked only if it is registered here.

    Raises:
        DispatchError: the message is not with AWS; says why.
    """
    known = registry.find(_name(task_name))
    if known:
        return known.dispatch(*args, **kwargs)
    for key, value in (*enumerate(args, 1), *kwargs.items()):
        check_json(f"{task_name}() argument {key!r}", value)
    call = new_call(task_name, list(args), kwargs, namespace=DEFAULT_NAMESPACE, priority=Priority.DEFAULT)
    transports.send([call])
    return call.handle


def _function(function: Any) -> FunctionType:
    """The function itself, if a worker could find it by its module and name.

    Raises:
        TaskDefinitionError: it could not; says why and what to do.
    """
    if isinstance(function, Task):
        raise TaskDefinitionError(f"{function.name} is a task already: decorate it once")
    if not isinstance(function, FunctionType):
        named = getattr(function, "__qualname__", None)
        given = f"the {type(function).__name__} {named}" if named else repr(function)
        raise TaskDefinitionError(
            f"@task takes a function at the top level of a module, given {given}: put @task above every other "
            "decorator, and let those return functions (its own options are keywords: @task(name='…'))"
        )
    name = function.__qualname__
    if function.__name__ == "<lambda>":
        raise TaskDefinitionError("a lambda has no name by which a worker could find it: use def")
    if "<locals>" in name:
        raise TaskDefinitionError(
            f"{name} is nested in a function, where no worker finds it: move it to the top level (a decorator below "
            "@task keeps the name of its function with functools.wraps)"
        )
    if "." in name:
        raise TaskDefinitionError(f"{name} is a method: a task is a function at the top level of its module")
    if function.__code__.co_flags & _GENERATORS:
        raise TaskDefinitionError(f"{name} is a generator: a task is called once and returns")
    return function


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise TaskDefinitionError(f"the name of a task is a str that is not empty, given {name!r}")
    return name
