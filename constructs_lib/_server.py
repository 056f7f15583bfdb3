"""What all constructs that run tasks have in common."""

from collections.abc import Iterable

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs

from constructs_lib._address import DispatchTarget, Loaded
from constructs_lib._task_definition import TaskDefinition
from constructs_lib._validation import check_at_synth, refusal

__all__ = ["TaskServer"]


class TaskServer(DispatchTarget):
    """A construct whose function runs tasks.

    Attributes:
        function: the function that runs the tasks.
        dead_letter_queue: where tasks go that are given up.
        alarms: the alarms of the dead letter queue; none when it is a queue of yours.
    """

    function: lambda_.Function
    dead_letter_queue: sqs.IQueue | sqs.Queue
    alarms: tuple[cloudwatch.Alarm, ...]

    def metric_errors(self, *, period: cdk.Duration | None = None, statistic: str = "Sum") -> cloudwatch.Metric:
        """Invocations that ended in an error. Default: the sum over 5 minutes."""
        return self.function.metric_errors(period=period, statistic=statistic)

    def metric_dead_letters(
        self, *, period: cdk.Duration | None = None, statistic: str = "Maximum"
    ) -> cloudwatch.Metric:
        """Tasks in the dead letter queue. Default: the maximum over 5 minutes."""
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(period=period, statistic=statistic)

    def _require_no_arguments(self, definition: TaskDefinition, event: str) -> None:
        """Refuse a task that would be dead-lettered each time, because what starts it has no arguments.

        ``event`` is the type by which it gets what it has.

        Raises:
            ValueError: a parameter has neither a default nor a type that the library passes.
        """
        missing = definition.required()
        if missing:
            raise refusal(
                self,
                "task",
                given=f"{definition.name!r} ({definition.path.name}:{definition.line}), which takes "
                f"{', '.join(map(repr, missing))}",
                allowed=f"a task that takes a {event}, a TaskContext, or nothing",
                remedy=f"annotate the parameter with {event}, or give it a default",
            )

    def _check_namespaces_at_synth(self, namespaces: Iterable[str], loaded: Loaded, *, delays: bool = True) -> None:
        """Fail the synthesis when a task of ``namespaces`` would reach this function, which cannot run it.

        It does not know the task, or the task asks for delays that this construct does not have.
        """
        served = frozenset(namespaces)

        def refused_tasks() -> list[str]:
            known = loaded.known()
            refused = {
                task: problem
                for task in loaded.source.tasks()
                if not served.isdisjoint(task.namespaces)
                and (problem := _unknown(task) if task.module not in known else _delayed(task, delays=delays))
            }
            # The app's tree, or the stage's, is walked only for tasks that need a server of their own.
            tree = (cdk.Stage.of(self) or self.node.root).node.find_all() if refused else ()
            targets = [target for target in tree if isinstance(target, DispatchTarget)]
            served_alone = {name for target in targets for name in (target.address.task, *target.also_serves)}
            return [
                f"{self.node.path} serves namespace {min(served.intersection(task.namespaces))!r} with its task "
                f"{task.name!r} ({task.path.name}:{task.line}), {problem}, or serve the task by a ManagedAsyncTask"
                for task, problem in refused.items()
                if task.name not in served_alone
            ]

        check_at_synth(self, refused_tasks)


def _unknown(task: TaskDefinition) -> str:
    return f"but its modules do not load {task.module!r}: add {task.module!r} to modules"


def _delayed(task: TaskDefinition, *, delays: bool) -> str | None:
    if delays or not task.delays:
        return None
    return f"which uses {task.delays}, and an asynchronous invocation has no delays: remove that"
