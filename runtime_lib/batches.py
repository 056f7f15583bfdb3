"""`@batch_task`: one call for many messages, each of which is settled by itself.

Every message goes its own way through `execution`, with its own attempts, hooks, middleware and log lines, up to the
call of its function. There the messages wait for one another; the last to arrive calls the function for all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, TypeVar, Unpack, overload

from runtime_lib.arguments import Signature
from runtime_lib.context import TaskContext, running
from runtime_lib.envelope import Envelope
from runtime_lib.errors import TaskDefinitionError, TaskError
from runtime_lib.execution import Outcome, run_async
from runtime_lib.task import Task, TaskOptions, decorated

if TYPE_CHECKING:
    from asyncio import Future

    from runtime_lib.context import Delivery

__all__ = ["BatchFailures", "BatchTask", "batch_task"]

T = TypeVar("T")
R = TypeVar("R")

_SHARED = ("chain", "group", "lane")
"""What a dispatch inside a batch task inherits if all of its messages have the same."""


class BatchFailures(Exception):  # noqa: N818  (an instruction, not an error)
    """Raised by a batch task: the items with these numbers, from 0, failed; the others succeeded.

    Each has the exception that it failed with, of which `RetryLater`, `Reject` and `Discard` mean what they mean when a
    task raises them.
    """

    def __init__(self, failures: Mapping[int, BaseException]) -> None:
        for number, error in failures.items():
            if type(number) is not int or number < 0 or not isinstance(error, BaseException):
                raise TypeError(
                    "BatchFailures takes a dict of items' numbers, from 0, and their exceptions, given "
                    f"{{{number!r}: {error!r}}}"
                )
        super().__init__(f"items {', '.join(map(str, sorted(failures)))} failed")
        self.failures = dict(failures)


class BatchTask(Task[[T], R], Generic[T, R]):
    """A task whose function takes a list of what is dispatched one by one."""

    takes_batches = True

    def __init__(self, function: Callable[Concatenate[list[T], ...], R], **options: Unpack[TaskOptions]) -> None:
        super().__init__(function, **options)  # type: ignore[arg-type]  # dispatched are the items
        if self.subprocess:
            raise TaskDefinitionError(
                f"{self.name}: subprocess=True is for tasks that run one by one: a batch task cannot have it; make it "
                "@task, or leave the option out"
            )
        if self.timeout:
            raise TaskDefinitionError(
                f"{self.name}: timeout= is for tasks that run one by one: one call of a batch task is for many messages"
            )
        match self.signature.parameters:
            case [field] if field.required and not self.definition.__code__.co_flags & _VARIADIC:
                self._field = field
            case fields:
                given = ", ".join(field.name for field in fields) or "none"
                raise TaskDefinitionError(
                    f"{self.name}: a batch task takes one list, without a default, and besides it only lists of what "
                    f"the library passes (list[TaskContext]), given {given}: dispatch several values as one dict or "
                    "dataclass"
                )
        self._whole = self.function
        self._awaits = self.is_async
        # Alone, as where it is dispatched eagerly, or by a worker.
        self.function = self._run_alone  # type: ignore[assignment]
        self.is_async = True

    def _signature(self) -> Signature:
        return Signature(_of_one(self.definition, self.name), self.name)

    def __call__(self, items: list[T], /, *args: Any, **kwargs: Any) -> R:  # type: ignore[override]
        """Run the function here and now, with a whole list."""
        return self.__wrapped__(items, *args, **kwargs)  # type: ignore[arg-type]

    async def run_together(self, messages: "Sequence[tuple[Envelope, Delivery]]") -> list[Outcome]:
        """Run messages by one call, and say what becomes of each."""
        from asyncio import gather

        joint = _JointCall(self, messages)
        return list(await gather(*(joint.run(number) for number in range(len(messages)))))

    async def _run_alone(self, *args: Any, **kwargs: Any) -> Any:
        [result] = await self.run_whole([(args, kwargs)])
        if isinstance(result, BaseException):
            raise result
        return result

    async def run_whole(self, items: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[Any]:
        """Call the function for items (their arguments as a call has them); the result of each, or its exception."""
        fields = [args[0] if args else kwargs[self._field.name] for args, kwargs in items]
        passed = {name: [kwargs[name] for _, kwargs in items] for name in self.signature.injected}
        try:
            if self._field.positional_only:
                result = self._whole(fields, **passed)
            else:
                result = self._whole(**{self._field.name: fields}, **passed)
            if self._awaits:
                result = await result
        except BatchFailures as raised:
            failures = raised.failures
            if max(failures, default=0) < len(items):
                return [failures.get(number) for number in range(len(items))]
            error: BaseException = TaskError(
                f"{self.name} raised BatchFailures for item {max(failures)} of {len(items)}: they are numbered from 0"
            )
            return [error] * len(items)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  (also sys.exit(): each message is settled by it)
            return [error] * len(items)
        if isinstance(result, list) and len(result) == len(items):
            return result
        return [result] * len(items)


class _JointCall:
    """The one call in which messages end that `execution` runs one by one."""

    def __init__(self, task: BatchTask[Any, Any], messages: "Sequence[tuple[Envelope, Delivery]]") -> None:
        from contextvars import copy_context

        self._task = task
        self._messages = messages
        self._under_way = set(range(len(messages)))
        self._waiting: dict[int, tuple[Sequence[Any], Mapping[str, Any], Future[Any]]] = {}
        self._outside = copy_context()
        self._call: Any = None  # (the event loop alone would not keep it)

    async def run(self, number: int) -> Outcome:
        """Run one message, whose function is to wait for the others."""
        envelope, delivery = self._messages[number]
        task = copy(self._task)

        async def join(*args: Any, **kwargs: Any) -> Any:
            return await self._join(number, args, kwargs)

        task.function = join  # type: ignore[assignment]
        try:
            return await run_async(task, envelope, delivery)
        finally:
            self._under_way.discard(number)
            self._call_if_complete()

    async def _join(self, number: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        from asyncio import get_running_loop

        future: Future[Any] = get_running_loop().create_future()
        self._waiting[number] = args, kwargs, future
        self._call_if_complete()
        try:
            result, traceback = await future
        finally:  # also if its middleware waits no longer
            self._waiting.pop(number, None)
        if isinstance(result, BaseException):
            raise result.with_traceback(traceback)  # (one exception may be that of many, and grows when it is raised)
        return result

    def _call_if_complete(self) -> None:
        """Call the function once nothing else is under way: what did not get so far has its outcome."""
        if self._waiting and self._waiting.keys() == self._under_way:
            from asyncio import create_task

            together, self._waiting = self._waiting, {}
            # In no message's context: what it dispatches is not the work of whichever happened to arrive last.
            self._call = create_task(self._run(together), context=self._outside.copy())

    async def _run(self, together: "Mapping[int, tuple[Sequence[Any], Mapping[str, Any], Future[Any]]]") -> None:
        numbers = sorted(together)
        running.set(_joint_context([self._messages[number] for number in numbers]))
        results = await self._task.run_whole([together[number][:2] for number in numbers])
        for number, result in zip(numbers, results, strict=True):
            future = together[number][2]
            if not future.done():
                future.set_result((result, getattr(result, "__traceback__", None)))


def _joint_context(messages: "Sequence[tuple[Envelope, Delivery]]") -> TaskContext:
    """The context of one call for several messages, which has what they agree on."""
    (envelope, delivery), *others = messages
    if not others:
        return TaskContext(envelope, delivery)
    envelopes = [envelope for envelope, _ in messages]
    joint = Envelope.new(envelope.task, [], {}, priority=envelope.priority)
    joint.metadata["hops"] = max(one.hops for one in envelopes)
    for name in _SHARED:
        values = {one.metadata.get(name) for one in envelopes}
        if len(values) == 1 and (value := values.pop()) is not None:
            joint.metadata[name] = value
    return TaskContext(joint, delivery._replace(receipt=None, event=None, message_id=None, group=None))


_VARIADIC = 0x04 | 0x08  # *args, **kwargs


def _of_one(function: FunctionType, name: str) -> FunctionType:
    """A function that takes one of what this one takes lists of.

    Raises:
        TaskDefinitionError: a parameter is no list.
    """
    one = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    one.__kwdefaults__ = function.__kwdefaults__
    one.__annotations__ = {
        parameter: _item(annotation, f"{name}: parameter {parameter!r}")
        for parameter, annotation in function.__annotations__.items()
        if parameter != "return"
    }
    return one


def _item(annotation: Any, where: str) -> Any:
    """Of ``list[X]`` X, also if it is written as text; a default of None may stand beside it."""
    if isinstance(annotation, str):
        item = _item_written(annotation)
    else:
        from typing import get_args

        members = [one for one in (annotation, *get_args(annotation)) if getattr(one, "__origin__", one) is list]
        item = (*get_args(members[0]), Any)[0] if members else None
    if item is None:
        raise TaskDefinitionError(
            f"{where} of a batch task is annotated list[<what is dispatched>], given {annotation!r}"
        )
    return item


def _item_written(annotation: str) -> str | None:
    import ast

    try:
        nodes = list(ast.walk(ast.parse(annotation, mode="eval")))
    except SyntaxError:
        return None
    for node in nodes:
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] in {"list", "List"}:
            return ast.unparse(node.slice)
    return "object" if any(isinstance(node, ast.Name) and node.id == "list" for node in nodes) else None


@overload
def batch_task(function: Callable[Concatenate[list[T], ...], R], /) -> BatchTask[T, R]: ...
@overload
def batch_task(
    **options: Unpack[TaskOptions],
) -> Callable[[Callable[Concatenate[list[T], ...], R]], BatchTask[T, R]]: ...
def batch_task(function: Any = None, /, **options: Any) -> Any:
    """Make a function a task that takes a list: ``@batch_task`` or ``@batch_task(…)``, with the options of `task`.

    It is dispatched item by item; what a queue delivers at once is one call. Raising `BatchFailures` settles the items
    one by one, and so does returning a list with the result, or exception, of each; any other exception is that of all
    of them, any other result as well. An item that was delivered before is alone in its list, so
    that no other one pays for it again.

    Raises:
        TaskDefinitionError: as for `task`, or its parameters are not lists.
    """
    return decorated(BatchTask, function, options)
