"""ScheduledTask: a task that runs at times of its own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Unpack, get_args

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded
from constructs_lib._async_invocation import check_async_invocation, configure_async_invocation, refuse_delays
from constructs_lib._delivery import check_delivery
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of
from constructs_lib._names import physical_name, require_same
from constructs_lib._queue import dead_letters_of, given_dead_letter_queue
from constructs_lib._schedule import Schedule
from constructs_lib._schedule_options import check_period, check_window, schedule_of, warn_of_doubts
from constructs_lib._scheduled_arguments import ScheduledArguments, declared_arguments, declared_priority
from constructs_lib._scheduler import ScheduleTarget, find_route
from constructs_lib._server import TaskServer
from constructs_lib._task_definition import TaskDefinition
from constructs_lib._validation import named_by, refusal
from constructs_lib.managed_async_task import ManagedAsyncTask
from constructs_lib.payload_bucket import PayloadAccess
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract
from runtime_lib.contract import Priority, Route

__all__ = ["ScheduledTask"]


class ScheduledTask(TaskServer):
    """A task that EventBridge Scheduler starts, in a function of its own or where a construct serves it.

    A run starts within the minute that it is scheduled for, at least once; a redelivered run has the id of the first.

    Args:
        task: the task as ``module:name``; it is looked for in the source, without importing it. Of a ``target`` that
            is deployed elsewhere, the name it is registered under.
        schedule: a `Schedule`, or what `Schedule.parse` reads. Default: the decorator's ``schedule=``.
        time_zone: the IANA name of the time zone of a ``schedule`` that is a string. Default: UTC.
        code: the asset that has the task, to run it in a function of its own; not with ``target``.
        target: the construct that serves the task; not with ``code``.
        args: the arguments of each run. Default: with no ``kwargs`` either, those of the decorator's ``default_args=``.
        kwargs: the keyword arguments of each run.
        priority: the priority of each run. Default: the decorator's.
        overlap: "skip" leaves out a run while the previous one is going, which takes a ``store``. Default: "allow".
        enabled: whether it runs; False pauses it. Default: True.
        flexible_window: each run may start this much later, 1 to 1,440 minutes. Default: it starts on time.
        start: with its time zone, when it begins to run. Default: at once.
        end: with its time zone, when it ends to run. Default: never.
        delivery_retry_attempts: how often Scheduler tries again to deliver a run, 0 to 185. Default: 185.
        max_delivery_age: for how long, a minute to a day. Default: a day.
        dead_letter_queue: a standard queue for runs that are given up or not delivered. Default: with ``code`` the one
            that the stack's tasks share, with ``target`` its own.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        retry_attempts: how often Lambda runs a task again that failed, 0 to 2, with ``code``. Default: 2.
        max_event_age: how long Lambda keeps trying, 60 seconds to 6 hours, with ``code``. Default: 6 hours.
        entry: with ``code``, a handler of your own as ``module:function``, which calls ours. Default: ours.
        store: with ``code``, where its runs are recorded. Default: nowhere.
        payloads: with ``code``, where arguments wait that are too large for a message, of what is dispatched there.
            Default: nowhere, and such a dispatch is refused.
        options: with ``code``, see `FunctionOptions`.

    Attributes:
        schedule: the schedule.
        task_name: the name that the task is registered under.
        target: the construct that runs the task: this one, or the one it was given.
        function: the function that runs the task; none for a target that is deployed elsewhere.
        dead_letter_queue: where runs go that are given up or not delivered.
        alarms: the alarm of the shared dead letter queue; none for a dead letter queue of yours, or of the target.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        task: str,
        schedule: Schedule | str | None = None,
        time_zone: str | None = None,
        code: TaskCode | None = None,
        target: DispatchTarget | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        priority: Priority | None = None,
        overlap: Literal["allow", "skip"] = "allow",
        enabled: bool = True,
        flexible_window: cdk.Duration | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        delivery_retry_attempts: int | None = None,
        max_delivery_age: cdk.Duration | None = None,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        retry_attempts: int | None = None,
        max_event_age: cdk.Duration | None = None,
        entry: str | None = None,
        store: StoreAccess | None = None,
        payloads: PayloadAccess | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        _check_server(
            self,
            code,
            target,
            {
                "retry_attempts": retry_attempts,
                "max_event_age": max_event_age,
                "entry": entry,
                "store": store,
                "payloads": payloads,
                **options,
            },
        )
        loaded = _loaded(target)
        source = code.source if code else loaded.source if loaded else None
        with named_by(self):
            definition = source.task(task) if source else None
            when = schedule_of(self, source, definition, schedule, time_zone)
            arguments = declared_arguments(source, definition)
            priority = priority or declared_priority(source, definition)
        if args is not None or kwargs is not None:
            arguments = ScheduledArguments(list(args or ()), dict(kwargs or {}))
        if definition:
            arguments.check(self, definition)
        check_window(self, flexible_window)
        check_delivery(self, retry_attempts=delivery_retry_attempts, max_age=max_delivery_age)
        check_period(self, when, start, end)
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task)

        now = datetime.now(UTC)
        name = physical_name(self)
        if code and definition:
            self._serve(
                name,
                code,
                definition,
                trigger=str(when),
                dead_letter_queue=dead_letter_queue,
                retry_attempts=contract.LAMBDA_MAX_ASYNC_RETRIES if retry_attempts is None else retry_attempts,
                max_event_age=max_event_age,
                entry=entry,
                store=store,
                payloads=payloads,
                options=options,
            )
        self.target: Final[DispatchTarget] = target or self
        if target:
            self._use(target, dead_letter_queue)
        self.task_name: Final = definition.name if definition else task
        route = find_route(
            self,
            self.target,
            task=self.task_name,
            namespaces=definition.namespaces if definition else None,
            priority=priority,
        )
        if definition and loaded and definition.module not in loaded.known():
            raise refusal(
                self,
                "target",
                given=f"{self.target.node.path}, whose modules do not load {definition.module!r}",
                allowed="a construct that knows the task",
                remedy=f"add {definition.module!r} to its modules",
            )
        is_workflow = route.kind == "states"
        self._check_overlap(overlap, is_workflow=is_workflow)
        message = arguments.message(
            self,
            schedule=name,
            task=self.task_name,
            priority=priority,
            skips=overlap == "skip",
            is_workflow=is_workflow,
        )
        self.schedule: Final = scheduler.Schedule(
            self,
            "Schedule",
            schedule_name=name,
            description=f"Runs {self.task_name}",
            schedule=scheduler.ScheduleExpression.expression(
                when.expression, cdk.TimeZone.of(when.time_zone) if when.time_zone else cdk.TimeZone.ETC_UTC
            ),
            target=ScheduleTarget(
                self,
                self.target,
                route=route,
                message=message,
                dead_letter_queue=self.dead_letter_queue,
                retry_attempts=delivery_retry_attempts,
                max_event_age=max_delivery_age,
            ),
            enabled=enabled,
            start=start.astimezone(UTC) if start and start > now else None,  # AWS refuses one that has passed
            end=end and end.astimezone(UTC),
            time_window=scheduler.TimeWindow.flexible(flexible_window) if flexible_window else None,
        )
        if self.target is self:
            self.schedule.node.add_dependency(self.function)  # by strings it does not: a run would find no function
        warn_of_doubts(self, when, start=start, end=end, now=now)

    def grant_dispatch(self, grantee: iam.IGrantable, *, delayed: bool = False) -> None:
        """See `DispatchTarget.grant_dispatch`; it leads to where the task is served."""
        if self.target is self:
            super().grant_dispatch(grantee, delayed=delayed)
        else:
            self.target.grant_dispatch(grantee, delayed=delayed)

    def _serve(
        self,
        name: str,
        code: TaskCode,
        definition: TaskDefinition,
        *,
        trigger: str,
        dead_letter_queue: sqs.IQueue | sqs.Queue | None,
        retry_attempts: int,
        max_event_age: cdk.Duration | None,
        entry: str | None,
        store: StoreAccess | None,
        payloads: PayloadAccess | None,
        options: FunctionOptions,
    ) -> None:
        """Run the task in a function of its own."""
        refuse_delays(self, definition, "which runs a scheduled task again after one and two minutes")
        handler = handler_of(self, code, entry, default=contract.SCHEDULED_TASK_HANDLER)
        check_function_options(self, options)
        check_async_invocation(
            self,
            retry_attempts=retry_attempts,
            max_event_age=max_event_age,
            instead="give it target=, a ManagedAsyncTask of the task,",
        )
        self.address = Address.of_task(definition.name, Route("lambda", name), store=store, payloads=payloads)
        self.dead_letter_queue, self.alarms = dead_letters_of(self, dead_letter_queue)
        self.function = TaskFunction(
            self,
            construct=ScheduledTask,
            trigger=trigger,
            function_name=name,
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=self.dead_letter_queue,
            **options,
        )
        configure_async_invocation(
            self.function, self.dead_letter_queue, retry_attempts=retry_attempts, max_event_age=max_event_age
        )

    def _use(self, target: DispatchTarget, dead_letter_queue: sqs.IQueue | sqs.Queue | None) -> None:
        """Have the task run where it is served."""
        stack = cdk.Stack.of(target)
        require_same(self, "target", target.node.path, account=stack.account, region=stack.region)
        self.address = target.address
        if isinstance(target, TaskServer):
            self.function = target.function
            if dead_letter_queue is None:
                self.dead_letter_queue, self.alarms = target.dead_letter_queue, ()
                return
        self.dead_letter_queue, self.alarms = dead_letters_of(self, dead_letter_queue)

    def _check_overlap(self, overlap: str, *, is_workflow: bool) -> None:
        if overlap not in get_args(_Overlap):
            raise refusal(
                self,
                "overlap",
                given=repr(overlap),
                allowed=" or ".join(map(repr, get_args(_Overlap))),
                remedy="use one of these",
            )
        if overlap == "skip" and is_workflow:
            raise refusal(
                self,
                "overlap",
                given="'skip' for a workflow",
                allowed="'allow'",
                remedy="let a ScheduledTask of its own with overlap='skip' dispatch the workflow, and await it",
            )
        if overlap == "skip" and self.address.store is None:
            raise refusal(
                self,
                "overlap",
                given="'skip', and the task is served without a store",
                allowed="a store, which knows whether a run is going",
                remedy="give store=TaskStore(…) to the construct that serves the task",
            )


_Overlap = Literal["allow", "skip"]


def _loaded(target: DispatchTarget | None) -> Loaded | None:
    """What the target's function imports; None for one that is deployed elsewhere."""
    function = target.function if isinstance(target, TaskServer) else None
    if isinstance(function, TaskFunction):
        return function.loaded
    return target.address.loaded if target else None


def _check_server(
    scope: Construct, code: TaskCode | None, target: DispatchTarget | None, of_function: Mapping[str, object]
) -> None:
    if (code is None) == (target is None):
        raise refusal(
            scope,
            "code",
            given="left out, and so is target" if code is None else "given, and so is target",
            allowed="one of the two",
            remedy="give code= for a function of its own, or target= for the construct that serves the task",
        )
    given = [name for name, value in of_function.items() if value is not None]
    if target and given:
        raise refusal(
            scope,
            given[0],
            given="set, and so is target",
            allowed="options of the task's own function",
            remedy=f"give it to {target.node.path}, or code= instead of target=",
        )
