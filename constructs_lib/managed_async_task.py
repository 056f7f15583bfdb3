"""ManagedAsyncTask: one task, one function, one queue."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded, physical_name
from constructs_lib._event_source import (
    QueueSettings,
    check_concurrency,
    check_fifo_batches,
    check_max_receive_count,
    lane_concurrency,
)
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of, timeout_of
from constructs_lib._queue import (
    TaskQueue,
    check_queue_name,
    dead_letters_of,
    given_dead_letter_queue,
    receive_permissions,
)
from constructs_lib._queue_extras import age_alarm, check_age_alarm, check_queue_extras, queue_extras
from constructs_lib._server import TaskServer
from constructs_lib._validation import named_by
from constructs_lib.payload_bucket import PayloadAccess
from constructs_lib.queue_task import QueueTask, QueueTaskOptions
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract
from runtime_lib.contract import Route

__all__ = ["ManagedAsyncTask"]


class ManagedAsyncTask(TaskServer):
    """One task with a function and a queue of its own: five resources.

    The tasks of a stack share a dead letter queue, its alarm, and one policy by which their queues take messages over
    TLS only.

    Args:
        code: the asset that has the task.
        task: the task as ``module:name``; it is looked for in the source, without importing it.
        fifo: whether its tasks run in the order in which they were dispatched, each group (`with_group`) in its own,
            those without one in one. Such a queue has no delays, and batches of at most 10. Default: no.
        lanes: how many queues the task has, to which ``with_lane(0)``, ``with_lane(1)`` and so on dispatch, or the
            ``max_concurrency`` of each, None for no limit: ``[5, 2, None]``. Default: one queue.
        max_concurrency: how many copies of the function may run at once, 2 to 1,000; for each of several lanes.
            Default: no limit of its own.
        batch_size: messages per invocation at most, 1 to 10,000; above 10 with a ``max_batching_window``. Default: 1,
            so that an invocation is one task.
        max_batching_window: how long to wait for a full batch, at most 5 minutes. Default: not at all.
        max_receive_count: deliveries after which SQS itself moves a message to the dead letter queue, 1 to 1,000.
            Default: 10; the task's retry policy gives up before that, and keeps the reason.
        visibility_timeout: how long SQS waits for a report before it delivers again, at least the function's timeout.
            Default: six times the function's timeout and the batching window.
        dead_letter_queue: a queue for what is given up, of the same kind. Default: the one that the stack's tasks
            share; those with ``fifo`` share another.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        encryption_key: key of the queue, not of the shared dead letter queue: give a ``dead_letter_queue`` with it.
            Default: a key that SQS manages.
        store: where its tasks are recorded, with their results. Default: nowhere.
        payloads: where arguments go that are too large for a message. Default: they are refused.
        queue_age_alarm: age of a queue's oldest message that sets off an alarm, up to four days. Default: no alarm.
        managed_queue_extras: further CloudFormation resources, such as alarms of the queue, each with ``Type`` and
            ``Properties``; anywhere in them ``$QUEUEID`` is replaced by the queue's logical id, ``$EXTRA0`` by that of
            the first of them, and so on. Default: none.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        options: see `FunctionOptions`.

    Attributes:
        function: the function that runs the task.
        queue: the queue it works on; of several lanes the first.
        queues: the queues of all lanes.
        dead_letter_queue: where tasks go that are given up.
        event_source: what has the function work on the queue.
        event_sources: what has it work on the queue of each lane.
        alarms: the alarm of the shared dead letter queue, none for a dead letter queue of yours; then that of the
            queue's age, if there is one. Add an action to each to hear of it.
        managed_queue_extras: the further resources.

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
        fifo: bool = False,
        lanes: int | Sequence[int | None] = 1,
        max_concurrency: int | None = None,
        batch_size: int = 1,
        max_batching_window: cdk.Duration | None = None,
        max_receive_count: int = contract.DEFAULT_MAX_RECEIVE_COUNT,
        visibility_timeout: cdk.Duration | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: "ManagedAsyncTask | None" = None,
        encryption_key: kms.IKey | kms.Key | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        queue_age_alarm: cdk.Duration | None = None,
        managed_queue_extras: Sequence[Mapping[str, Any]] = (),
        entry: str | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        timeout = timeout_of(options)
        settings = [
            QueueSettings(concurrency, batch_size, max_batching_window, visibility_timeout)
            for concurrency in lane_concurrency(self, lanes, max_concurrency)
        ]
        with named_by(self):
            definition = self._definition = code.source.task(task)
        handler = handler_of(self, code, entry, default=contract.MANAGED_ASYNC_TASK_HANDLER)
        check_function_options(self, options)
        for one in settings:
            one.check(self, timeout, fifo=fifo)
        check_max_receive_count(self, max_receive_count)
        if fifo:
            check_fifo_batches(self, settings[0], max_receive_count)
        reserved = options.get("reserved_concurrent_executions")
        check_concurrency(self, reserved, [one.max_concurrency for one in settings])
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task, fifo=fifo)
        check_age_alarm(self, queue_age_alarm)
        check_queue_extras(self, managed_queue_extras)

        name = physical_name(self)
        queue_names = [_lane_name(name, lane, fifo=fifo) for lane in range(len(settings))]
        first, *others = (Route("sqs", queue_name) for queue_name in queue_names)
        self.address = Address.of_task(
            definition.name, first, lanes=others, encryption_key=encryption_key, store=store, payloads=payloads
        )
        self.dead_letter_queue, self.alarms = dead_letters_of(self, dead_letter_queue, fifo=fifo)
        redrive = sqs.DeadLetterQueue(queue=self.dead_letter_queue, max_receive_count=max_receive_count)
        self.queues: Final = tuple(
            TaskQueue(
                self,
                _lane_id(lane, "Queue"),
                queue_name=queue_name,
                encryption_key=encryption_key,
                visibility_timeout=settings[lane].visibility(timeout),
                dead_letter_queue=redrive,
                removal_policy=options.get("removal_policy"),
            )
            for lane, queue_name in enumerate(queue_names)
        )
        self.queue: Final = self.queues[0]
        self.function = TaskFunction(
            self,
            construct=ManagedAsyncTask,
            trigger="queue",
            function_name=name,
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=self.dead_letter_queue,
            statements=[statement for queue in self.queues for statement in receive_permissions(queue)],
            task_environment={contract.ENV_MAX_RECEIVE_COUNT: cdk.Tokenization.stringify_number(max_receive_count)},
            **options,
        )
        self.event_sources: Final = tuple(
            one.add_mapping(self.function, _lane_id(lane, "Mapping"), self.queues[lane])
            for lane, one in enumerate(settings)
        )
        self.event_source: Final = self.event_sources[0]
        if queue_age_alarm is not None:
            for lane, queue in enumerate(self.queues):
                alarm = age_alarm(self, queue, queue_age_alarm, construct_id=_lane_id(lane, "AgeAlarm"))
                self.alarms = (*self.alarms, alarm)
        self.managed_queue_extras: Final = queue_extras(self, self.queue, managed_queue_extras)

    @classmethod
    def from_queue(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        task: str,
        queue: sqs.IQueue | sqs.Queue,
        **options: Unpack[QueueTaskOptions],
    ) -> QueueTask:
        """A task for the messages that others send to a queue of theirs, in whatever form: see `QueueTask`.

        Args:
            scope: the scope.
            construct_id: the id.
            code: the asset that has the task.
            task: the task as ``module:name``.
            queue: the queue, standard or FIFO.
            options: see `QueueTask`.
        """
        return QueueTask(scope, construct_id, code=code, task=task, queue=queue, **options)

    @classmethod
    def from_queue_name(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        task: str,
        queue_name: str,
        encryption_key: kms.IKey | kms.Key | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
    ) -> DispatchTarget:
        """A task that is deployed elsewhere in this account and region, to dispatch to; of several lanes to the first.

        Args:
            scope: the scope.
            construct_id: the id.
            task: the name it is registered under there, such as ``shop.tasks.invoice``.
            queue_name: the name of its queue, with ``.fifo`` if it is a FIFO queue.
            encryption_key: the key of its queue. Default: a key that SQS manages.
            store: where it records its tasks. Default: nowhere.
            payloads: where it takes arguments from that are too large for a message. Default: it takes none.
        """
        check_queue_name(scope, "queue_name", queue_name)
        address = Address.of_task(
            task, Route("sqs", queue_name), encryption_key=encryption_key, store=store, payloads=payloads
        )
        return cls.imported(scope, construct_id, address)

    def _take_dead_letters(self) -> None:
        """Have the function expect dead letters of others in its queue.

        Raises:
            ValueError: its task cannot run for one.
        """
        self._require_no_arguments(self._definition, "DeadLetter")
        self.function.add_environment(contract.ENV_TASK, self._definition.name)
        self.function.add_environment(contract.ENV_TAKES_DEAD_LETTERS, "1")

    def metric_waiting(
        self, lane: int = 0, *, period: cdk.Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Messages that wait to be received. Default: the maximum over 5 minutes."""
        return self.queues[lane].metric_approximate_number_of_messages_visible(period=period, statistic=statistic)

    def metric_oldest_age(
        self, lane: int = 0, *, period: cdk.Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Age of the oldest message in the queue, in seconds. Default: the maximum over 5 minutes."""
        return self.queues[lane].metric_approximate_age_of_oldest_message(period=period, statistic=statistic)


def _lane_name(name: str, lane: int, *, fifo: bool) -> str:
    """The name of a lane's queue: the first one has the task's."""
    return name + (f"-lane-{lane}" if lane else "") + (contract.SQS_FIFO_SUFFIX if fifo else "")


def _lane_id(lane: int, construct_id: str) -> str:
    return f"Lane{lane}{construct_id}" if lane else construct_id
