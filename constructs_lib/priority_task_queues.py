"""PriorityTaskQueues: namespaces of tasks on one queue per priority."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar, Unpack

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, physical_name, queue_arn
from constructs_lib._event_source import (
    QueueSettings,
    check_concurrency,
    check_existing_queue,
    check_max_receive_count,
)
from constructs_lib._function import (
    FunctionOptions,
    TaskFunction,
    check_function_options,
    handler_of,
    loaded_modules,
    timeout_of,
)
from constructs_lib._queue import (
    DeadLetters,
    TaskQueue,
    check_not_its_own_dead_letters,
    check_queue_name,
    given_dead_letter_queue,
    queue_name,
    receive_permissions,
)
from constructs_lib._server import TaskServer
from constructs_lib._validation import names, refusal, warn
from constructs_lib.managed_async_task import ManagedAsyncTask
from constructs_lib.payload_bucket import PayloadAccess
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract
from runtime_lib.contract import DEFAULT_NAMESPACE, Priority, Route

__all__ = ["PriorityTaskQueues"]


class PriorityTaskQueues(TaskServer):
    """One worker function for the tasks of its namespaces, and one queue for each priority.

    SQS knows no priorities: a queue of its own, with a cap of its own, is what keeps bulk tasks from delaying urgent
    ones.

    Args:
        code: the asset that has the tasks.
        modules: the modules to import at start, so that their tasks are known.
        namespace: one namespace or several that are served here. Default: ``DEFAULT``.
        priorities: the queues to make, `Priority.DEFAULT` among them: tasks of a priority without a queue go there.
            Default: one for each of the four priorities, without a cap.
        max_receive_count: deliveries after which SQS itself moves a message to the dead letter queue, 1 to 1,000.
            Default: 10; the task's retry policy gives up before that, and keeps the reason.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        dead_letter_queue: a standard queue for what is given up. Default: one of its own, kept 14 days, with an alarm.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        encryption_key: key of the queues made here. Default: a key that SQS manages.
        store: where their tasks are recorded, with their results. Default: nowhere.
        payloads: where arguments go that are too large for a message. Default: they are refused.
        options: see `FunctionOptions`.

    Attributes:
        function: the worker function.
        queues: the queue of each priority.
        dead_letter_queue: where tasks go that are given up.
        event_sources: what has the function work on the queue of each priority.
        alarms: the alarm of the dead letter queue; none for a dead letter queue of yours.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        modules: Sequence[str],
        namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
        priorities: Mapping[Priority, QueueSettings] | None = None,
        max_receive_count: int = contract.DEFAULT_MAX_RECEIVE_COUNT,
        entry: str | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        encryption_key: kms.IKey | kms.Key | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        timeout = timeout_of(options)
        settings = dict.fromkeys(Priority, QueueSettings()) if priorities is None else _with_default(self, priorities)
        namespaces = names(self, "namespace", namespace)
        loaded = loaded_modules(self, code, modules)
        handler = handler_of(self, code, entry, default=contract.PRIORITY_TASK_QUEUES_HANDLER)
        check_function_options(self, options)
        check_max_receive_count(self, max_receive_count)
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task)
        self._check_settings(settings, timeout, max_receive_count, dead_letter_queue)
        reserved = options.get("reserved_concurrent_executions")
        check_concurrency(self, reserved, [one.max_concurrency for one in settings.values()])

        if dead_letter_queue is None:
            own = DeadLetters(self, encryption_key=encryption_key, removal_policy=options.get("removal_policy"))
            self.dead_letter_queue, self.alarms = own.queue, (own.alarm,)
        else:
            self.dead_letter_queue, self.alarms = dead_letter_queue, ()
        redrive = sqs.DeadLetterQueue(queue=self.dead_letter_queue, max_receive_count=max_receive_count)
        self.queues: Final[Mapping[Priority, sqs.IQueue | sqs.Queue]] = {
            priority: one.queue
            or TaskQueue(
                self,
                f"{priority.name.title()}Queue",
                queue_name=physical_name(self, f"-{priority.value}"),
                # Topics are subscribed and unsubscribed: the policy stays where it is then.
                own_policy=True,
                encryption_key=encryption_key,
                visibility_timeout=one.visibility(timeout),
                dead_letter_queue=redrive,
                removal_policy=options.get("removal_policy"),
            )
            for priority, one in settings.items()
        }
        self.address = Address.of_namespaces(
            self,
            namespaces,
            {priority: Route("sqs", queue_name(queue)) for priority, queue in self.queues.items()},
            encryption_keys=dict.fromkeys(
                filter(None, (queue.encryption_master_key for queue in self.queues.values()))
            ),
            loaded=loaded,
            store=store,
            payloads=payloads,
        )
        self.function = TaskFunction(
            self,
            construct=PriorityTaskQueues,
            trigger=f"queues {', '.join(self.queues)}",
            function_name=physical_name(self),
            code=code,
            handler=handler,
            loaded=loaded,
            dead_letter_queue=self.dead_letter_queue,
            statements=[statement for queue in self.queues.values() for statement in receive_permissions(queue)],
            task_environment={contract.ENV_MAX_RECEIVE_COUNT: cdk.Tokenization.stringify_number(max_receive_count)},
            **options,
        )
        self.event_sources: Final = {
            priority: one.add_mapping(self.function, f"{priority.name.title()}Mapping", self.queues[priority])
            for priority, one in settings.items()
        }
        self._check_namespaces_at_synth(namespaces, loaded)

    def _check_settings(
        self,
        settings: Mapping[Priority, QueueSettings],
        timeout: cdk.Duration,
        max_receive_count: int,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None,
    ) -> None:
        for priority, one in settings.items():
            within = f"priorities[{priority.name}]."
            one.check(self, timeout, within=within)
            if one.queue is not None and one.queue.fifo:
                raise refusal(
                    self,
                    f"{within}queue",
                    given=f"the FIFO queue {one.queue.node.path}",
                    allowed="a standard queue",
                    remedy="each priority has a queue of its own, so that its tasks have no order that one could keep: "
                    "serve those that need one by a ManagedAsyncTask(fifo=True) each",
                )
            if one.queue is not None:
                check_existing_queue(
                    self, f"{within}queue", one.queue, timeout=timeout, max_receive_count=max_receive_count
                )
            if one.queue is not None and dead_letter_queue is not None:
                check_not_its_own_dead_letters(self, f"{within}queue", one.queue, dead_letter_queue)

    @classmethod
    def from_queues(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        queues: Mapping[Priority, sqs.IQueue | sqs.Queue],
        code: TaskCode,
        modules: Sequence[str],
        max_receive_count: int,
        namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
        entry: str | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        **options: Unpack[FunctionOptions],
    ) -> "PriorityTaskQueues":
        """A worker for queues that exist already; for caps and batches of each, give `QueueSettings` their queue.

        Args:
            scope: the scope.
            construct_id: the id.
            queues: the standard queue of each priority, with a visibility timeout of at least the function's timeout.
            code: as above, and so are ``modules``, ``namespace``, ``entry``, ``dead_letter_queue`` and ``options``.
            modules: as above.
            max_receive_count: what the queues' redrive policies say: the function gives a message up before SQS does.
            namespace: as above.
            entry: as above.
            dead_letter_queue: as above.
            dead_letter_task: as above.
            store: as above.
            payloads: as above.
            options: as above.
        """
        return cls(
            scope,
            construct_id,
            code=code,
            modules=modules,
            namespace=namespace,
            priorities={priority: QueueSettings(queue=queue) for priority, queue in queues.items()},
            max_receive_count=max_receive_count,
            entry=entry,
            dead_letter_queue=dead_letter_queue,
            dead_letter_task=dead_letter_task,
            store=store,
            payloads=payloads,
            **options,
        )

    @classmethod
    def from_taskhawk_app(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        code: TaskCode,
        modules: Sequence[str],
        max_receive_count: int,
        namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
        entry: str | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        **options: Unpack[FunctionOptions],
    ) -> "PriorityTaskQueues":
        """A worker for the four queues of a taskhawk app, ``TASKHAWK-<APP>`` and so on, as `from_queues`.

        Args:
            scope: the scope.
            construct_id: the id.
            app: the app's ``TASKHAWK_QUEUE``, such as ``shop``.
            code: as above.
            modules: as above.
            max_receive_count: what the queues' redrive policies say.
            namespace: as above.
            entry: as above.
            dead_letter_queue: as above.
            dead_letter_task: as above.
            store: as above.
            payloads: as above.
            options: as above.
        """
        queues = {
            priority: sqs.Queue.from_queue_arn(
                scope,
                f"{construct_id}{priority.name.title()}Queue",
                queue_arn(scope, contract.taskhawk_queue_name(app, priority)),
            )
            for priority in Priority
        }
        return cls.from_queues(
            scope,
            construct_id,
            queues=queues,
            code=code,
            modules=modules,
            max_receive_count=max_receive_count,
            namespace=namespace,
            entry=entry,
            dead_letter_queue=dead_letter_queue,
            dead_letter_task=dead_letter_task,
            store=store,
            payloads=payloads,
            **options,
        )

    @classmethod
    def from_queue_names(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        queue_names: Mapping[Priority, str],
        namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
        encryption_key: kms.IKey | kms.Key | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
    ) -> DispatchTarget:
        """Queues that are worked on elsewhere in this account and region, to dispatch to.

        Args:
            scope: the scope.
            construct_id: the id.
            queue_names: the name of each priority's queue, `Priority.DEFAULT` among them.
            namespace: one namespace or several that are served there. Default: ``DEFAULT``.
            encryption_key: the key of the queues. Default: a key that SQS manages.
            store: where their tasks are recorded. Default: nowhere.
            payloads: where it takes arguments from that are too large for a message. Default: it takes none.
        """
        for priority, name in queue_names.items():
            check_queue_name(scope, f"queue_names[{priority.name}]", name)
        address = Address.of_namespaces(
            scope,
            names(scope, "namespace", namespace),
            {priority: Route("sqs", name) for priority, name in _with_default(scope, queue_names).items()},
            encryption_keys=(encryption_key,) if encryption_key else (),
            store=store,
            payloads=payloads,
        )
        return cls.imported(scope, construct_id, address)

    def subscribe_topic(
        self,
        topic: sns.ITopic | sns.Topic,
        *,
        priority: Priority = Priority.DEFAULT,
        filter_policy: Mapping[str, sns.SubscriptionFilter] | None = None,
        raw_message_delivery: bool = False,
    ) -> sns.Subscription:
        """Have what is published to a topic run as tasks.

        Args:
            topic: the topic; its messages are envelopes.
            priority: the queue that gets them. Default: `Priority.DEFAULT`.
            filter_policy: which messages, by their attributes. Default: all.
            raw_message_delivery: send them without SNS's wrapping; the function understands both. Default: wrapped.

        Raises:
            ValueError: the priority has no queue here.
        """
        if priority not in self.queues:
            raise refusal(
                self,
                "priority",
                given=priority.name,
                allowed=", ".join(known.name for known in self.queues),
                remedy="add it to priorities, or choose another",
            )
        queue = self.queues[priority]
        if not isinstance(queue, sqs.Queue):
            warn(
                self,
                "queue-policy",
                f"{queue.node.path} is imported, and its policy stays as it is: let {topic.node.path} send to it there",
            )
        return topic.add_subscription(
            subscriptions.SqsSubscription(queue, filter_policy=filter_policy, raw_message_delivery=raw_message_delivery)
        )

    def metric_waiting(
        self, priority: Priority = Priority.DEFAULT, *, period: cdk.Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Messages of one priority that wait to be received. Default: the maximum over 5 minutes."""
        return self.queues[priority].metric_approximate_number_of_messages_visible(period=period, statistic=statistic)

    def metric_oldest_age(
        self, priority: Priority = Priority.DEFAULT, *, period: cdk.Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Age of one priority's oldest message, in seconds. Default: the maximum over 5 minutes."""
        return self.queues[priority].metric_approximate_age_of_oldest_message(period=period, statistic=statistic)


_Value = TypeVar("_Value")


def _with_default(scope: Construct, priorities: Mapping[Priority, _Value]) -> dict[Priority, _Value]:
    if Priority.DEFAULT in priorities:
        return dict(priorities)
    raise refusal(
        scope,
        "priorities",
        given=", ".join(priority.name for priority in priorities) or "empty",
        allowed="DEFAULT, and any of the others",
        remedy="add Priority.DEFAULT: tasks whose priority has no queue go there",
    )
