"""BackgroundTaskFunction: namespaces of tasks on Lambda's asynchronous invocation."""

from collections.abc import Sequence
from typing import Unpack

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, physical_name
from constructs_lib._async_invocation import check_async_invocation, configure_async_invocation
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of, loaded_modules
from constructs_lib._queue import DeadLetters, given_dead_letter_queue
from constructs_lib._server import TaskServer
from constructs_lib._validation import names
from constructs_lib.managed_async_task import ManagedAsyncTask
from constructs_lib.payload_bucket import PayloadAccess
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract
from runtime_lib.contract import DEFAULT_NAMESPACE, Priority, Route

__all__ = ["BackgroundTaskFunction"]


class BackgroundTaskFunction(TaskServer):
    """A function that runs the tasks of its namespaces, each dispatched by one asynchronous invocation.

    The cheapest way: no queue, and Lambda's own two retries, about one and two minutes later. For retries at times of
    your own, delays, priorities or a cap on concurrency without lost attempts, use a construct with queues.

    Args:
        code: the asset that has the tasks.
        modules: the modules to import at start, so that their tasks are known.
        namespace: one namespace or several that this function serves. Default: ``DEFAULT``.
        retry_attempts: how often Lambda runs a task again that failed, 0 to 2. Default: 2.
        max_event_age: how long Lambda keeps trying, 60 seconds to 6 hours. Default: 6 hours.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        dead_letter_queue: a standard queue for what is given up. Default: one of its own, kept 14 days, with an alarm.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        encryption_key: key of the dead letter queue of its own. Default: a key that SQS manages.
        store: where its tasks are recorded, with their results. Default: nowhere.
        payloads: where arguments go that are too large for a message. Default: they are refused.
        options: see `FunctionOptions`.

    Attributes:
        function: the function that runs the tasks.
        dead_letter_queue: where tasks go that are given up.
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
        retry_attempts: int = contract.LAMBDA_MAX_ASYNC_RETRIES,
        max_event_age: cdk.Duration | None = None,
        entry: str | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        encryption_key: kms.IKey | kms.Key | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        namespaces = names(self, "namespace", namespace)
        loaded = loaded_modules(self, code, modules)
        handler = handler_of(self, code, entry, default=contract.BACKGROUND_TASK_FUNCTION_HANDLER)
        check_function_options(self, options)
        check_async_invocation(
            self,
            retry_attempts=retry_attempts,
            max_event_age=max_event_age,
            instead="serve the namespace by PriorityTaskQueues",
        )
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task)

        name = physical_name(self)
        routes = {Priority.DEFAULT: Route("lambda", name)}
        self.address = Address.of_namespaces(self, namespaces, routes, loaded=loaded, store=store, payloads=payloads)
        if dead_letter_queue is None:
            own = DeadLetters(self, encryption_key=encryption_key, removal_policy=options.get("removal_policy"))
            self.dead_letter_queue, self.alarms = own.queue, (own.alarm,)
        else:
            self.dead_letter_queue, self.alarms = dead_letter_queue, ()
        self.function = TaskFunction(
            self,
            construct=BackgroundTaskFunction,
            trigger="asynchronous invocation",
            function_name=name,
            code=code,
            handler=handler,
            loaded=loaded,
            dead_letter_queue=self.dead_letter_queue,
            **options,
        )
        configure_async_invocation(
            self.function, self.dead_letter_queue, retry_attempts=retry_attempts, max_event_age=max_event_age
        )
        self._check_namespaces_at_synth(namespaces, loaded, delays=False)

    @classmethod
    def from_function_name(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        function_name: str,
        namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
    ) -> DispatchTarget:
        """A function that is deployed elsewhere in this account and region, to dispatch to.

        Args:
            scope: the scope.
            construct_id: the id.
            function_name: its name.
            namespace: one namespace or several that it serves. Default: ``DEFAULT``.
            store: where it records its tasks. Default: nowhere.
            payloads: where it takes arguments from that are too large for a message. Default: it takes none.
        """
        routes = {Priority.DEFAULT: Route("lambda", function_name)}
        address = Address.of_namespaces(
            scope, names(scope, "namespace", namespace), routes, store=store, payloads=payloads
        )
        return cls.imported(scope, construct_id, address)
