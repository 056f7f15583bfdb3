"""StreamTask: one task for the changes of a DynamoDB table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack, cast

import aws_cdk as cdk
import jsii
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._address import Address, Loaded, physical_name, require_same_environment
from constructs_lib._async_invocation import configure_async_invocation, refuse_delays
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of
from constructs_lib._queue import dead_letters_of, given_dead_letter_queue
from constructs_lib._server import TaskServer
from constructs_lib._validation import check_at_synth, named_by, refusal, require_duration, require_number
from constructs_lib.managed_async_task import ManagedAsyncTask
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

__all__ = ["StreamTask"]

Table = dynamodb.ITable | dynamodb.Table | dynamodb.TableV2

# https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
_BATCH_SIZE: Final = (1, 10_000)
_MAX_BATCHING_WINDOW_SECONDS: Final = 300
_PARALLELIZATION: Final = (1, 10)
_RECORD_AGE_SECONDS: Final = (60, 86_400)  # (a stream keeps its records for a day)
_RETRIES: Final = (0, 10_000)
_DEFAULT_BATCH_SIZE: Final = 10
_MAX_FILTERS: Final = 10  # (5 unless the account's quota was raised)


class StreamTask(TaskServer):
    """One task that runs for each change of a table, in the order of the changes of an item.

    The task gets a `runtime_lib.StreamRecord`. A batch stops at the first record that fails: those before it are done,
    and Lambda delivers from it on until it succeeds, or is given up and lies in the dead letter queue with its reason.

    Args:
        code: the asset that has the task.
        task: the task as ``module:name``; it is looked for in the source, without importing it.
        table: the table, which has a stream.
        starting_position: where to start when this is deployed first: at the oldest change that the stream still has
            (a day's), or behind the latest. Default: the oldest.
        batch_size: records per invocation at most, 1 to 10,000. Default: 10.
        max_batching_window: how long to wait for a full batch, at most 5 minutes. Default: not at all.
        parallelization_factor: how many batches of a shard may run at once, 1 to 10; the changes of an item stay in
            their order. Default: 1.
        bisect_batch_on_error: whether Lambda halves a batch whose invocation failed without a report, because it timed
            out or was killed, until the record that does that is alone. Default: it does.
        max_record_age: how old a record may be that failed, a minute to a day. Default: a day.
        retry_attempts: how often Lambda delivers a batch again that did not get to its end, 0 to 10,000; then it drops
            what is left, and the dead letter queue tells which records that was. One record runs as often as the task's
            ``Retry`` says, ten times at most. Default: ten times for each record of a batch.
        filters: which records to run for, as `lambda_.FilterCriteria.filter` makes them; one of them is enough.
            Default: all.
        dead_letter_queue: a standard queue for what is given up. Default: the one that the stack's tasks share.
        dead_letter_task: a task that gets what is given up, each as a `runtime_lib.DeadLetter`: its queue is the dead
            letter queue. Default: none.
        store: where its runs are recorded, with their results. Default: nowhere.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        options: see `FunctionOptions`.

    Attributes:
        function: the function that runs the task.
        dead_letter_queue: where records go that are given up.
        event_source: what has the function work on the stream.
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
        table: Table,
        starting_position: lambda_.StartingPosition = lambda_.StartingPosition.TRIM_HORIZON,
        batch_size: int = _DEFAULT_BATCH_SIZE,
        max_batching_window: cdk.Duration | None = None,
        parallelization_factor: int | None = None,
        bisect_batch_on_error: bool = True,
        max_record_age: cdk.Duration | None = None,
        retry_attempts: int | None = None,
        filters: Sequence[Mapping[str, Any]] = (),
        dead_letter_queue: sqs.IQueue | sqs.Queue | None = None,
        dead_letter_task: ManagedAsyncTask | None = None,
        store: StoreAccess | None = None,
        entry: str | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        with named_by(self):
            definition = code.source.task(task)
        refuse_delays(self, definition, "which delivers the records of a stream again when it can")
        self._require_no_arguments(definition, "StreamRecord")
        handler = handler_of(self, code, entry, default=contract.STREAM_TASK_HANDLER)
        check_function_options(self, options)
        stream_arn = _stream_of(self, table)
        _check_starting_position(self, starting_position)
        self._check_batches(batch_size, max_batching_window, parallelization_factor)
        require_duration(
            self,
            "max_record_age",
            max_record_age,
            *_RECORD_AGE_SECONDS,
            remedy="leave it out for a day, as long as a stream keeps its records",
        )
        require_number(self, "retry_attempts", retry_attempts, *_RETRIES, remedy="leave it out for its default")
        self._check_filters(filters)
        dead_letter_queue = given_dead_letter_queue(self, dead_letter_queue, dead_letter_task)

        self.address = Address.of_trigger(definition.name, store=store)
        self.dead_letter_queue, self.alarms = dead_letters_of(self, dead_letter_queue)
        self.function = TaskFunction(
            self,
            construct=StreamTask,
            trigger=f"stream of {table.node.path}",
            function_name=physical_name(self),
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=self.dead_letter_queue,
            statements=_read_permissions(table, stream_arn),
            task_environment={contract.ENV_TASK: definition.name},
            **options,
        )
        # A dead letter that is sent again arrives by an asynchronous invocation.
        configure_async_invocation(
            self.function,
            self.dead_letter_queue,
            retry_attempts=contract.LAMBDA_MAX_ASYNC_RETRIES,
            max_event_age=None,
        )
        self.event_source: Final = self.function.add_event_source_mapping(
            "Mapping",
            event_source_arn=stream_arn,
            starting_position=starting_position,
            batch_size=batch_size,
            max_batching_window=max_batching_window,
            parallelization_factor=parallelization_factor,
            bisect_batch_on_error=bisect_batch_on_error,
            max_record_age=max_record_age or cdk.Duration.seconds(_RECORD_AGE_SECONDS[1]),
            retry_attempts=_retries(batch_size) if retry_attempts is None else retry_attempts,
            on_failure=cast("lambda_.IEventSourceDlq", _OnFailure(self.dead_letter_queue)),
            filters=[*filters] or None,
            report_batch_item_failures=True,
        )

    def _check_batches(self, size: int, window: cdk.Duration | None, parallelization_factor: int | None) -> None:
        require_number(self, "batch_size", size, *_BATCH_SIZE, remedy="use a smaller batch")
        require_duration(
            self, "max_batching_window", window, 0, _MAX_BATCHING_WINDOW_SECONDS, remedy="use a shorter window"
        )
        require_number(
            self,
            "parallelization_factor",
            parallelization_factor,
            *_PARALLELIZATION,
            remedy="leave it out for one batch of a shard at a time",
        )

    def _check_filters(self, filters: Sequence[Mapping[str, Any]]) -> None:
        """Refuse filters that Lambda does not take, or that the CDK makes none of: all records would pass."""
        if len(filters) > _MAX_FILTERS or not all(map(_is_filter, filters)):
            raise refusal(
                self,
                "filters",
                given=f"{len(filters)} filters" if len(filters) > _MAX_FILTERS else repr(filters),
                allowed=f"up to {_MAX_FILTERS}, each as lambda_.FilterCriteria.filter makes it",
                remedy='write filters=[lambda_.FilterCriteria.filter({"eventName": ["INSERT"]})]; one filter can have '
                "several values",
            )

    def metric_iterator_age(
        self, *, period: cdk.Duration | None = None, statistic: str = "Maximum"
    ) -> cdk.aws_cloudwatch.Metric:
        """Age of the last record that was delivered, in milliseconds. Default: the maximum over 5 minutes."""
        return self.function.metric("IteratorAge", period=period, statistic=statistic)


def _stream_of(scope: Construct, table: Table) -> str:
    require_same_environment(scope, "table", table)
    refused = refusal(
        scope,
        "table",
        given=f"{table.node.path}, which has no stream",
        allowed="a table with a stream",
        remedy="set stream=StreamViewType.NEW_AND_OLD_IMAGES of a Table, dynamo_stream=… of a TableV2, or "
        "table_stream_arn of one that is imported",
    )
    if table.table_stream_arn is None:
        raise refused
    resource = table.node.default_child
    if isinstance(resource, dynamodb.CfnGlobalTable):  # which has the ARN of a stream whether it has a stream or not
        stack = cdk.Stack.of(table)

        def without_stream() -> list[str]:  # (a replica that is added later brings one)
            properties = stack.resolve(resource._cfn_properties)  # noqa: SLF001  (jsii does not read the public one)
            return [] if properties.get("streamSpecification") else [str(refused)]

        check_at_synth(scope, without_stream)
    return table.table_stream_arn


def _check_starting_position(scope: Construct, position: lambda_.StartingPosition) -> None:
    if position == lambda_.StartingPosition.AT_TIMESTAMP:
        raise refusal(
            scope,
            "starting_position",
            given="AT_TIMESTAMP",
            allowed="TRIM_HORIZON or LATEST",
            remedy="DynamoDB's streams cannot be read from a time on; tell old records by StreamRecord.changed_at",
        )


def _is_filter(one: object) -> bool:
    return isinstance(one, Mapping) and one.keys() == {"pattern"}


def _retries(batch_size: int) -> int:
    """As many as the records of a batch need if all of them fail for as long as they may."""
    if cdk.Token.is_unresolved(batch_size):
        return _RETRIES[1]
    return min(batch_size * contract.DEFAULT_MAX_RECEIVE_COUNT, _RETRIES[1])


def _read_permissions(table: Table, stream_arn: str) -> list[iam.PolicyStatement]:
    statements = [
        iam.PolicyStatement(
            actions=[
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
                "dynamodb:ListStreams",
            ],
            resources=[stream_arn],
        )
    ]
    key = table.encryption_key
    if key:
        statements.append(iam.PolicyStatement(actions=["kms:Decrypt"], resources=[key.key_arn]))
    return statements


@jsii.implements(lambda_.IEventSourceDlq)
class _OnFailure:
    """The dead letter queue as the mapping's destination; the function's own policy already lets it write there."""

    def __init__(self, queue: sqs.IQueue | sqs.Queue) -> None:
        self._queue = queue

    def bind(
        self,
        target: lambda_.IEventSourceMapping,  # noqa: ARG002  (names and parameters are those of the interface)
        target_handler: lambda_.IFunction,  # noqa: ARG002
    ) -> lambda_.DlqDestinationConfig:
        return lambda_.DlqDestinationConfig(destination=self._queue.queue_arn)
