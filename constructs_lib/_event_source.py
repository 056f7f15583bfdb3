"""How a function works on a queue: batches, concurrency, visibility, and what AWS demands of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import require_same_environment
from constructs_lib._validation import refusal, require_duration, require_number, seconds, warn
from runtime_lib import contract

__all__ = [
    "QueueSettings",
    "check_concurrency",
    "check_existing_queue",
    "check_fifo_batches",
    "check_max_receive_count",
    "lane_concurrency",
    "receive_count_of",
]

# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html: at least 5, and six timeouts.
_LOW_RECEIVE_COUNT: Final = 5
_TIMEOUTS_PER_VISIBILITY: Final = 6
_SQS_VISIBILITY_SECONDS: Final = 30  # where a queue says nothing
_MAX_RECEIVE_COUNT: Final = (1, 1_000)
_MAX_CONCURRENCY: Final = (2, 1_000)
_BATCH_SIZE: Final = (1, 10_000)
_BATCH_SIZE_WITHOUT_WINDOW: Final = 10
_MAX_BATCHING_WINDOW_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How a function works on one queue.

    Attributes:
        max_concurrency: how many copies of the function may work on it at once, 2 to 1,000. Default: no limit.
        batch_size: messages per invocation at most, 1 to 10,000. Default: 10.
        max_batching_window: how long to wait for a full batch, at most 5 minutes. Default: not at all.
        visibility_timeout: how long SQS waits for a report before it delivers again, at least the function's timeout.
            Default: six times the function's timeout and the window.
        queue: an existing standard queue to work on, instead of one made for it. Default: none.
    """

    max_concurrency: int | None = None
    batch_size: int = 10
    max_batching_window: cdk.Duration | None = None
    visibility_timeout: cdk.Duration | None = None
    queue: sqs.IQueue | sqs.Queue | None = None

    def check(self, scope: Construct, timeout: cdk.Duration, *, within: str = "", fifo: bool = False) -> None:
        """Refuse what the event source mapping or the queue would not take.

        ``within`` is what comes before the arguments' names, such as ``priorities[HIGH].``.

        Raises:
            ValueError: a setting is outside what is allowed.
        """
        require_number(
            scope,
            f"{within}max_concurrency",
            self.max_concurrency,
            *_MAX_CONCURRENCY,
            remedy="leave it out for no limit, or use 2, the least that Lambda takes",
        )
        require_number(scope, f"{within}batch_size", self.batch_size, *_BATCH_SIZE, remedy="use a smaller batch")
        require_duration(
            scope,
            f"{within}max_batching_window",
            self.max_batching_window,
            0,
            _MAX_BATCHING_WINDOW_SECONDS,
            remedy="use a shorter window",
        )
        window = seconds(self.max_batching_window) if self.max_batching_window else 0
        if fifo and self.max_batching_window is not None:
            raise refusal(
                scope,
                f"{within}max_batching_window",
                given="set",
                allowed="none for a FIFO queue",
                remedy="leave it out: Lambda waits for no more messages of a FIFO queue",
            )
        if self.batch_size > _BATCH_SIZE_WITHOUT_WINDOW and window is not None and window < 1:
            raise refusal(
                scope,
                f"{within}batch_size",
                given=f"{self.batch_size} without a batching window",
                allowed=f"1 to {_BATCH_SIZE_WITHOUT_WINDOW}",
                remedy="a FIFO queue has no larger batches"
                if fifo
                else f"set {within}max_batching_window to a second or more",
            )
        self._check_visibility(scope, f"{within}visibility_timeout", seconds(timeout), window)

    def _check_visibility(self, scope: Construct, argument: str, timeout: float | None, window: float | None) -> None:
        if self.visibility_timeout is None:
            if self.queue is None and (timeout is None or window is None):
                raise refusal(
                    scope,
                    argument,
                    given="left out, and timeout or max_batching_window is known at deployment only",
                    allowed="six times the timeout, and the window",
                    remedy=f"set {argument}",
                )
            return
        require_duration(
            scope, argument, self.visibility_timeout, 0, contract.SQS_MAX_VISIBILITY_SECONDS, remedy="shorten it"
        )
        visibility = seconds(self.visibility_timeout)
        if visibility is None or timeout is None or window is None:
            return
        if visibility < timeout:
            raise refusal(
                scope,
                argument,
                given=f"{visibility:g} seconds",
                allowed=f"{timeout:g} seconds (the function's timeout) and more",
                remedy="leave it out, or shorten timeout: a running task would be delivered again",
            )
        if visibility < _TIMEOUTS_PER_VISIBILITY * timeout + window:
            warn(
                scope,
                "visibility-timeout",
                f"{argument} is {visibility:g} seconds: while Lambda throttles, messages may be delivered again before "
                f"they ran. Use six times the function's timeout and the batching window: "
                f"{_TIMEOUTS_PER_VISIBILITY * timeout + window:g} seconds",
            )

    def visibility(self, timeout: cdk.Duration) -> cdk.Duration:
        """The queue's visibility timeout."""
        if self.visibility_timeout is not None:
            return self.visibility_timeout
        window = self.max_batching_window.to_seconds() if self.max_batching_window else 0
        return cdk.Duration.seconds(_TIMEOUTS_PER_VISIBILITY * timeout.to_seconds() + window)

    def add_mapping(
        self, function: lambda_.Function, construct_id: str, queue: sqs.IQueue | sqs.Queue
    ) -> lambda_.EventSourceMapping:
        """Have ``function`` work on ``queue``; it reports which messages of a batch failed."""
        return function.add_event_source_mapping(
            construct_id,
            event_source_arn=queue.queue_arn,
            batch_size=self.batch_size,
            max_batching_window=self.max_batching_window,
            max_concurrency=self.max_concurrency,
            report_batch_item_failures=True,
        )


def check_existing_queue(
    scope: Construct,
    argument: str,
    queue: sqs.IQueue | sqs.Queue,
    *,
    timeout: cdk.Duration,
    max_receive_count: float,
) -> None:
    """Refuse an existing queue that a function cannot work on as on one made for it, as far as this is known.

    Raises:
        ValueError: it is in another account or region, its visibility timeout is below the function's timeout, or its
            redrive policy contradicts ``max_receive_count``.
    """
    require_same_environment(scope, argument, queue)
    resource = queue.node.default_child
    if not isinstance(resource, sqs.CfnQueue):
        return
    visibility = _SQS_VISIBILITY_SECONDS if resource.visibility_timeout is None else resource.visibility_timeout
    limit = seconds(timeout)
    if limit is not None and visibility < limit and not cdk.Token.is_unresolved(visibility):
        raise refusal(
            scope,
            argument,
            given=f"{queue.node.path}, whose visibility timeout is {visibility:g} seconds",
            allowed=f"a visibility timeout of {limit:g} seconds (the function's timeout) and more",
            remedy=f"set it to {_TIMEOUTS_PER_VISIBILITY * limit:g} seconds, or shorten timeout",
        )
    known = receive_count_of(queue)
    if known is not None and known != max_receive_count:
        raise refusal(
            scope,
            "max_receive_count",
            given=f"{max_receive_count:g}",
            allowed=f"{known:g}, as the redrive policy of {queue.node.path} says",
            remedy="give the same number at both places: the function keeps a dead letter's reason by it",
        )


def receive_count_of(queue: sqs.IQueue | sqs.Queue) -> float | None:
    """The ``max_receive_count`` of a queue's redrive policy; None where this app does not know one."""
    redrive = queue.dead_letter_queue if isinstance(queue, sqs.Queue) else None
    return redrive.max_receive_count if redrive else None


def check_fifo_batches(scope: Construct, settings: QueueSettings, max_receive_count: float) -> None:
    """Warn where messages of a FIFO queue could reach the dead letter queue without having run."""
    wanted = settings.batch_size * contract.DEFAULT_MAX_RECEIVE_COUNT
    if settings.batch_size > 1 and max_receive_count < wanted:
        warn(
            scope,
            "fifo-batch-size",
            f"batch_size is {settings.batch_size}, and max_receive_count {max_receive_count:g}: when a message fails, "
            "those behind it in its group are received with it and do not run, until no receive is left and they are "
            f"dead-lettered. Use a batch_size of 1, or a max_receive_count of {wanted} or more",
        )


def lane_concurrency(
    scope: Construct, lanes: int | Sequence[int | None], max_concurrency: int | None
) -> list[int | None]:
    """The ``max_concurrency`` of each lane.

    Raises:
        ValueError: there is no lane, or a limit is given twice.
    """
    if isinstance(lanes, int):
        if lanes < 1:
            raise refusal(
                scope, "lanes", given=lanes, allowed="1 or more", remedy="the first lane is the task's own queue"
            )
        return [max_concurrency] * lanes
    if not lanes or isinstance(lanes, str) or not isinstance(lanes, Sequence):
        raise refusal(
            scope,
            "lanes",
            given=repr(lanes),
            allowed="how many, or a max_concurrency for each",
            remedy="write lanes=3, or lanes=[5, 2, None], where None is no limit",
        )
    if max_concurrency is not None:
        raise refusal(
            scope,
            "max_concurrency",
            given=f"{max_concurrency}, and lanes has one for each lane",
            allowed="one of the two",
            remedy="leave max_concurrency out, or give the number of lanes",
        )
    for lane, limit in enumerate(lanes):
        require_number(
            scope,
            f"lanes[{lane}]",
            limit,
            *_MAX_CONCURRENCY,
            remedy="None is no limit, and 2 the least that Lambda takes",
        )
    return list(lanes)


def check_max_receive_count(scope: Construct, value: float) -> None:
    """Refuse what SQS does not take, and warn when throttling could lose tasks to the dead letter queue.

    Raises:
        ValueError: it is outside 1 to 1,000.
    """
    require_number(
        scope,
        "max_receive_count",
        value,
        *_MAX_RECEIVE_COUNT,
        remedy=f"leave it out for {contract.DEFAULT_MAX_RECEIVE_COUNT}",
    )
    if 0 < value < _LOW_RECEIVE_COUNT:
        warn(
            scope,
            "max-receive-count",
            f"max_receive_count is {value:g}: SQS counts receives that Lambda throttled too, so that tasks may reach "
            f"the dead letter queue without having run. Use {_LOW_RECEIVE_COUNT} or more; the task's Retry limits its "
            "runs",
        )


def check_concurrency(scope: Construct, reserved: float | None, limits: Sequence[int | None]) -> None:
    """Refuse mappings that would start more copies of a function than are reserved for it.

    SQS counts the receives that Lambda then throttles, until the task is in the dead letter queue unrun.

    Raises:
        ValueError: the sum of the mappings' ``max_concurrency`` is above what is reserved.
    """
    if reserved is None or cdk.Token.is_unresolved(reserved):
        return
    known = [limit for limit in limits if limit is not None and not cdk.Token.is_unresolved(limit)]
    if sum(known) > reserved:
        raise refusal(
            scope,
            "reserved_concurrent_executions",
            given=f"{reserved:g}",
            allowed=f"{sum(known)} (max_concurrency in all) and more",
            remedy="raise it, or lower max_concurrency",
        )
    if len(known) < len(limits):
        warn(
            scope,
            "reserved-concurrency",
            f"reserved_concurrent_executions is {reserved:g}, and not every queue has a max_concurrency: SQS counts "
            "receives that Lambda throttles. Set max_concurrency on each, in all at most what is reserved",
        )
