"""QueueTask: one task for the messages of a queue that belongs to others."""

from typing import TYPE_CHECKING, Final, Unpack

import aws_cdk as cdk
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, Loaded, physical_name
from constructs_lib._event_source import (
    QueueSettings,
    check_concurrency,
    check_existing_queue,
    check_fifo_batches,
    check_max_receive_count,
    receive_count_of,
)
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of, timeout_of
from constructs_lib._queue import (
    check_not_its_own_dead_letters,
    dead_letters_of,
    given_dead_letter_queue,
    receive_permissions,
)
from constructs_lib._server import TaskServer
from constructs_lib._validation import named_by
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

if TYPE_CHECKING:
    from constructs_lib.managed_async_task import ManagedAsyncTask

__all__ = ["QueueTask", "QueueTaskOptions"]


class QueueTaskOptions(FunctionOptions, total=False):
    """What `ManagedAsyncTask.from_queue` passes on to `QueueTask`, which describes it."""

    max_concurrency: int | None
    batch_size: int
    max_batching_window: cdk.Duration | None
    max_receive_count: int | None
    dead_letter_queue: sqs.IQueue | sqs.Queue | None
    dead_letter_task: "ManagedAsyncTask | None"
    store: StoreAccess | None
    entry: str | None


class QueueTask(TaskServer):
    """One task with a function that works on a queue that others made and send to, in whatever form.

    The task gets a `runtime_lib.UnmanagedSqsEvent` for each message. It may receive from the queue and delete from it,
    and nothing else; nothing is dispatched there.

    Args:
        code: the asset that has the task.
        task: the task as ``module:name``; it is looked for in the source, without importing it.
        queue: the queue, standard or FIFO, with a visibility timeout of at least the function's timeout. Of a FIFO
            queue each message group keeps its order.
        max_concurrency: how many copies of the function may run at once, 2 to 1,000. Default: no limit of its own.
        batch_size: messages per invocation at most, 1 to 10,000; above 10 with a ``max_batching_window``, and not of a
            FIFO queue. Default: 1, so that an invocation is one task.
        max_batching_window: how long to wait for a full batch, at most 5 minutes. Default: not at all.
        max_receive_count: deliveries after which a message is given up that never got as far as to fail, 1 to 1,000:
            what the queue's redrive policy says, so that the function keeps the reason. Default: that of a queue of
            this app, else 10.
        dead_letter_queue: a queue for what is given up, of the same kind as ``queue``. Default: the one that the
            stack's tasks share; those on FIFO queues share another. What never reports goes where the redrive policy of
            ``queue`` says, if it has one.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        store: where its runs are recorded, with their results. Default: nowhere.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        options: see `FunctionOptions`.

    Attributes:
        function: the function that runs the task.
        queue: the queue it works on.
        dead_letter_queue: where messages go that are given up.
        event_source: what has the function work on the queue.
        alarms: the alarm of the shared dead letter queue; none for a dead letter queue of yours.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        task: str,
        queue: sqs.IQueue | sqs.Queue,
        max_concurrency: int | None = None,
        batch_size: int = 1,
        max_batching_window: cdk.Duration | None = None,
        max_receive_count: int | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: "ManagedAsyncTask | None" = None,
        store: StoreAccess | None = None,
        entry: str | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        timeout, fifo = timeout_of(options), bool(queue.fifo)
        settings = QueueSettings(max_concurrency, batch_size, max_batching_window, queue=queue)
        limit: float | None = receive_count_of(queue) if max_receive_count is None else max_receive_count
        limit = contract.DEFAULT_MAX_RECEIVE_COUNT if limit is None else limit
        with named_by(self):
            definition = code.source.task(task)
        self._require_no_arguments(definition, "UnmanagedSqsEvent")
        handler = handler_of(self, code, entry, default=contract.QUEUE_TASK_HANDLER)
        check_function_options(self, options)
        settings.check(self, timeout, fifo=fifo)
        check_max_receive_count(self, limit)
        check_existing_queue(self, "queue", queue, timeout=timeout, max_receive_count=limit)
        if fifo:
            check_fifo_batches(self, settings, limit)
        check_concurrency(self, options.get("reserved_concurrent_executions"), [max_concurrency])
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task, fifo=fifo)

        self.queue: Final = queue
        self.address = Address.of_trigger(definition.name, store=store)
        self.dead_letter_queue, self.alarms = dead_letters_of(self, dead_letter_queue, fifo=fifo)
        check_not_its_own_dead_letters(self, "queue", queue, self.dead_letter_queue)
        self.function = TaskFunction(
            self,
            construct=QueueTask,
            trigger="queue",
            function_name=physical_name(self),
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=self.dead_letter_queue,
            statements=receive_permissions(queue),
            task_environment={
                contract.ENV_TASK: definition.name,
                contract.ENV_MAX_RECEIVE_COUNT: cdk.Tokenization.stringify_number(limit),
            },
            **options,
        )
        self.event_source: Final = settings.add_mapping(self.function, "Mapping", queue)
