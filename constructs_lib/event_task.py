"""EventTask: one task for events of EventBridge, those of S3 among them."""

from collections.abc import Sequence
from typing import Final, Unpack, cast

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, Loaded, physical_name, require_same_environment
from constructs_lib._async_invocation import check_async_invocation, configure_async_invocation, refuse_delays
from constructs_lib._bucket_events import S3EventKind, pattern_of, send_to_event_bridge
from constructs_lib._delivery import check_delivery
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of
from constructs_lib._queue import dead_letters_of, given_dead_letter_queue
from constructs_lib._rule_dead_letters import RuleDeadLetters, check_rule_dead_letters
from constructs_lib._server import TaskServer
from constructs_lib._validation import named_by, refusal, warn
from constructs_lib.managed_async_task import ManagedAsyncTask
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

__all__ = ["EventTask"]

_KINDS: Final[Sequence[S3EventKind]] = ("Object Created",)
_OF_BUCKET: Final = ("bucket", "prefix", "suffix", "kinds")
_OF_PATTERN: Final = ("event_pattern", "event_bus")


class EventTask(TaskServer):
    """One task that runs for each event that matches a pattern, or for what happens to the objects of a bucket.

    The task gets a `runtime_lib.BusEvent`; that of a bucket's event tells the object by ``.s3``. Each event is one
    asynchronous invocation.

    Args:
        code: the asset that has the task.
        task: the task as ``module:name``; it is looked for in the source, without importing it.
        event_pattern: which events. Either this or ``bucket``.
        event_bus: the bus of the ``event_pattern``. Default: the account's default one.
        bucket: a bucket, whose events are sent to EventBridge from now on; one that is imported has to do so already.
        prefix: how the keys of the bucket's objects begin. Default: any.
        suffix: how they end. Default: any.
        kinds: what happened to them, with ``bucket``. Default: ``Object Created``, which also is said of one that is
            written over.
        retry_attempts: how often Lambda runs the task again that failed, 0 to 2. Default: 2.
        max_event_age: how long Lambda keeps trying, 60 seconds to 6 hours. Default: 6 hours.
        delivery_retry_attempts: how often EventBridge tries to hand an event to Lambda, 0 to 185. Default: 185.
        max_delivery_age: for how long, a minute to a day. Default: a day.
        dead_letter_queue: a standard queue for what is given up, by the task, by Lambda or by EventBridge. Default: the
            one that the stack's tasks share.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        store: where its runs are recorded, with their results. Default: nowhere.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        options: see `FunctionOptions`.

    Attributes:
        function: the function that runs the task.
        dead_letter_queue: where events go that are given up.
        rule: what has the function invoked.
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
        event_pattern: events.EventPattern | None = None,
        event_bus: events.IEventBus | events.EventBus | None = None,
        bucket: s3.IBucket | s3.Bucket | None = None,
        prefix: str = "",
        suffix: str = "",
        kinds: Sequence[S3EventKind] | None = None,
        retry_attempts: int = contract.LAMBDA_MAX_ASYNC_RETRIES,
        max_event_age: cdk.Duration | None = None,
        delivery_retry_attempts: int | None = None,
        max_delivery_age: cdk.Duration | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        store: StoreAccess | None = None,
        entry: str | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        with named_by(self):
            definition = code.source.task(task)
        refuse_delays(self, definition, "which runs an event's task again after one and two minutes")
        self._require_no_arguments(definition, "BusEvent")
        handler = handler_of(self, code, entry, default=contract.EVENT_TASK_HANDLER)
        check_function_options(self, options)
        check_async_invocation(
            self,
            retry_attempts=retry_attempts,
            max_event_age=max_event_age,
            instead="send the events to a queue, which a QueueTask serves,",
        )
        check_delivery(self, retry_attempts=delivery_retry_attempts, max_age=max_delivery_age)
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task)
        check_rule_dead_letters(self, dead_letter_queue)
        self._check_source(
            event_pattern=event_pattern, event_bus=event_bus, bucket=bucket, prefix=prefix, suffix=suffix, kinds=kinds
        )
        if event_bus is not None:
            require_same_environment(self, "event_bus", event_bus)
        if bucket is not None:
            require_same_environment(self, "bucket", bucket)
            kinds = _KINDS if kinds is None else kinds
            event_pattern, source = pattern_of(self, bucket, prefix, suffix, kinds), bucket.node.path
            send_to_event_bridge(self, bucket)
        else:
            source = event_bus.node.path if event_bus else "the default bus"

        name = physical_name(self)
        self.address = Address.of_trigger(definition.name, store=store)
        self.dead_letter_queue, self.alarms = dead_letters_of(self, dead_letter_queue)
        self.function = TaskFunction(
            self,
            construct=EventTask,
            trigger=f"events of {source}",
            function_name=name,
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=self.dead_letter_queue,
            task_environment={contract.ENV_TASK: definition.name},
            **options,
        )
        configure_async_invocation(
            self.function, self.dead_letter_queue, retry_attempts=retry_attempts, max_event_age=max_event_age
        )
        self.rule: Final = events.Rule(self, "Rule", rule_name=name, event_pattern=event_pattern, event_bus=event_bus)
        target = targets.LambdaFunction(
            cast("lambda_.IFunction", self.function),
            retry_attempts=delivery_retry_attempts,
            max_event_age=max_delivery_age,
        )
        self.rule.add_target(cast("events.IRuleTarget", target))
        self._keep_undelivered(name if event_bus is None else f"*{name}")  # (the name of a bus is before it)

    def _check_source(self, **given: object) -> None:
        """Refuse what names no events, or two kinds of them.

        Raises:
            ValueError: neither a pattern nor a bucket is given, or what goes with the other one is.
        """
        named = [argument for argument, value in given.items() if value is not None and value != ""]
        main = "bucket" if given["bucket"] is not None else "event_pattern"
        allowed = _OF_BUCKET if main == "bucket" else _OF_PATTERN
        if main not in named or not set(named) <= {*allowed}:
            raise refusal(
                self,
                "bucket" if main == "bucket" else "event_pattern",
                given=f"given with {', '.join(one for one in named if one not in allowed)}"
                if main in named
                else "left out",
                allowed="event_pattern with event_bus, or bucket with prefix, suffix and kinds",
                remedy="say by one of the two which events to run the task for; give the other an EventTask of its own",
            )

    def _keep_undelivered(self, rule: str) -> None:
        """Have EventBridge write to the dead letter queue what it cannot hand to Lambda.

        The CDK's target would add a statement for each rule to the queue's policy, which refers to the rule.
        """
        queue, resource = self.dead_letter_queue, self.rule.node.default_child
        assert isinstance(resource, events.CfnRule)
        resource.add_property_override("Targets.0.DeadLetterConfig.Arn", queue.queue_arn)
        if isinstance(queue, sqs.Queue):
            stack = cdk.Stack.of(self)
            RuleDeadLetters.of(queue).add(stack.format_arn(service="events", resource="rule", resource_name=rule))
            return
        warn(
            self,
            "queue-policy",
            f"{queue.node.path} is imported, and its policy stays as it is: let the rule {self.rule.node.path} send to "
            "it there",
        )
