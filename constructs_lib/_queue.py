"""The one place for a queue: its encryption, its policy, its permissions and its dead letters."""

import re
from typing import TYPE_CHECKING, Final, Self, cast

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._names import physical_name, require_same_environment
from constructs_lib._validation import acknowledge, refusal
from runtime_lib import contract

if TYPE_CHECKING:
    from constructs_lib.managed_async_task import ManagedAsyncTask

__all__ = [
    "DeadLetters",
    "TaskQueue",
    "check_dead_letter_queue",
    "check_not_its_own_dead_letters",
    "check_queue_name",
    "dead_letters_of",
    "given_dead_letter_queue",
    "queue_name",
    "receive_permissions",
    "send_permissions",
]

_DEAD_LETTER_RETENTION_DAYS: Final = 14
_QUEUE_NAME: Final = re.compile(
    rf"(?=.{{1,{contract.SQS_QUEUE_NAME_MAX_LENGTH}}}$)[\w-]+({re.escape(contract.SQS_FIFO_SUFFIX)})?", re.ASCII
)


def queue_name(queue: sqs.IQueue | sqs.Queue) -> str:
    """The queue's name as a string where it is known, else the attribute of the resource."""
    resource = queue.node.default_child
    literal = resource.queue_name if isinstance(resource, sqs.CfnQueue) else None
    return queue.queue_name if literal is None else literal


def check_queue_name(scope: Construct, argument: str, name: str) -> None:
    """Refuse what SQS has no queue by that name for: a URL, or an ARN.

    Raises:
        ValueError: it is none.
    """
    if not _QUEUE_NAME.fullmatch(name) and not cdk.Token.is_unresolved(name):
        raise refusal(
            scope,
            argument,
            given=repr(name),
            allowed=f"letters, digits, '-' and '_', up to {contract.SQS_QUEUE_NAME_MAX_LENGTH}, a FIFO queue's "
            f"with {contract.SQS_FIFO_SUFFIX!r} at the end",
            remedy="give the queue's name, the last part of its URL or ARN",
        )


def send_permissions(queue: sqs.IQueue | sqs.Queue) -> list[iam.PolicyStatement]:
    """What a function needs to write to ``queue``."""
    return [
        iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn]),
        *_key_permissions(queue, "kms:Decrypt", "kms:GenerateDataKey"),
    ]


def receive_permissions(queue: sqs.IQueue | sqs.Queue) -> list[iam.PolicyStatement]:
    """What a function needs to work on ``queue``, to delay its messages and to delete what is done."""
    return [
        iam.PolicyStatement(
            actions=[
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            resources=[queue.queue_arn],
        ),
        *_key_permissions(queue, "kms:Decrypt"),
    ]


def _key_permissions(queue: sqs.IQueue | sqs.Queue, *actions: str) -> list[iam.PolicyStatement]:
    key = queue.encryption_master_key
    return [iam.PolicyStatement(actions=[*actions], resources=[key.key_arn])] if key else []


def check_dead_letter_queue(
    scope: Construct,
    queue: sqs.IQueue | sqs.Queue | None,
    *,
    fifo: bool = False,
    argument: str = "dead_letter_queue",
) -> None:
    """Refuse a dead letter queue that AWS would not deliver to; ``fifo``: what it serves is a FIFO queue.

    Raises:
        ValueError: it is of the other kind, or in another account or region.
    """
    if queue is None:
        return
    if bool(queue.fifo) is not fifo:
        served = "a FIFO queue" if fifo else "a standard queue or a function"
        raise refusal(
            scope,
            argument,
            given=f"the {'FIFO' if queue.fifo else 'standard'} queue {queue.node.path}",
            allowed="a FIFO queue" if fifo else "a standard queue",
            remedy=f"it is for {served}, and SQS and Lambda move messages between equals only",
        )
    require_same_environment(scope, argument, queue)


def given_dead_letter_queue(
    scope: Construct,
    queue: sqs.IQueue | sqs.Queue | None,
    task: "ManagedAsyncTask | None",
    *,
    fifo: bool = False,
) -> sqs.IQueue | sqs.Queue | None:
    """The dead letter queue that a construct is given: a queue, or that of a task, which is told to expect letters.

    Raises:
        ValueError: both are given, AWS would not deliver there, or it is no task that takes a letter.
    """
    if task is None:
        check_dead_letter_queue(scope, queue, fifo=fifo)
        return queue
    from constructs_lib.managed_async_task import ManagedAsyncTask  # noqa: PLC0415  (its queue is made here)

    if not isinstance(task, ManagedAsyncTask):
        raise refusal(
            scope,
            "dead_letter_task",
            given=f"a {type(task).__name__}",
            allowed="a ManagedAsyncTask",
            remedy="serve the task that takes a DeadLetter by one; a queue is a dead_letter_queue",
        )
    if queue is not None:
        raise refusal(
            scope,
            "dead_letter_task",
            given=f"{task.node.path}, and dead_letter_queue is {queue.node.path}",
            allowed="one of the two",
            remedy="the queue of a dead_letter_task is the dead letter queue: leave dead_letter_queue out",
        )
    check_dead_letter_queue(scope, task.queue, fifo=fifo, argument="dead_letter_task")
    task._take_dead_letters()  # noqa: SLF001  (nothing for users to call)
    return task.queue


def check_not_its_own_dead_letters(
    scope: Construct, argument: str, queue: sqs.IQueue | sqs.Queue, dead_letter_queue: sqs.IQueue | sqs.Queue
) -> None:
    """Refuse an existing queue to which what is given up there would be sent again, and so on for ever.

    Raises:
        ValueError: it is its own dead letter queue.
    """
    if queue_name(queue) == queue_name(dead_letter_queue):
        raise refusal(
            scope,
            argument,
            given=f"{queue.node.path}, which is the dead letter queue as well",
            allowed="another queue than the one for what is given up",
            remedy="give another dead_letter_queue; or have a ManagedAsyncTask get dead letters, by dead_letter_task",
        )


def dead_letters_of(
    scope: Construct, given: sqs.IQueue | sqs.Queue | None, *, fifo: bool = False
) -> tuple[sqs.IQueue | sqs.Queue, tuple[cloudwatch.Alarm, ...]]:
    """The dead letter queue of a task: the one given, or the one that the tasks of a stack share, with its alarm."""
    if given is not None:
        return given, ()
    shared = DeadLetters.of_stack(scope, fifo=fifo)
    return shared.queue, (shared.alarm,)


class TaskQueue(sqs.Queue):
    """A queue, encrypted at rest, that takes messages over TLS only; a FIFO queue if its name is that of one.

    It is under the one policy of its stack until it needs statements of its own.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        queue_name: str,
        own_policy: bool = False,
        encryption_key: kms.IKey | kms.Key | None = None,
        visibility_timeout: cdk.Duration | None = None,
        retention_period: cdk.Duration | None = None,
        dead_letter_queue: sqs.DeadLetterQueue | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            queue_name=queue_name,
            fifo=contract.is_fifo(queue_name) or None,
            encryption=sqs.QueueEncryption.KMS if encryption_key else sqs.QueueEncryption.SQS_MANAGED,
            encryption_master_key=cast("kms.IKey | None", encryption_key),
            visibility_timeout=visibility_timeout,
            retention_period=retention_period,
            dead_letter_queue=dead_letter_queue,
            removal_policy=removal_policy,
        )
        self._shared_policy: _TlsOnlyPolicy | None = None
        if own_policy:
            super().add_to_resource_policy(_tls_only(self.queue_arn))
        else:
            self._shared_policy = _TlsOnlyPolicy.of_stack(scope)
            self._shared_policy.add(self)

    def add_to_resource_policy(self, statement: iam.PolicyStatement) -> iam.AddToResourcePolicyResult:
        """Add a statement to the queue's own policy, which takes the place of the shared one.

        SQS keeps one policy for a queue: of two policy resources, the one deployed last would win.
        """
        shared, self._shared_policy = self._shared_policy, None
        if shared is not None:
            super().add_to_resource_policy(_tls_only(self.queue_arn))
            shared.remove(self)
            # Leaving the shared policy clears the queue's: the own one has to be set after that.
            self.node.find_child("Policy").node.add_dependency(shared)
        return super().add_to_resource_policy(statement)


class _TlsOnlyPolicy(Construct):
    """The one policy of the task queues of a stack."""

    _ID: Final = "TaskQueuePolicy"

    def __init__(self, stack: cdk.Stack) -> None:
        super().__init__(stack, self._ID)
        self._urls: list[str] = []
        self._policy: sqs.CfnQueuePolicy | None = None

    @classmethod
    def of_stack(cls, scope: Construct) -> Self:
        stack = cdk.Stack.of(scope)
        existing = stack.node.try_find_child(cls._ID)
        return existing if isinstance(existing, cls) else cls(stack)

    def add(self, queue: TaskQueue) -> None:
        self._urls.append(queue.queue_url)
        if self._policy is None:
            # One document for several queues cannot name one of them.
            document = iam.PolicyDocument(statements=[_tls_only("*")])
            self._policy = sqs.CfnQueuePolicy(self, "Resource", policy_document=document, queues=self._urls)
        self._policy.queues = self._urls

    def remove(self, queue: TaskQueue) -> None:
        self._urls.remove(queue.queue_url)
        if self._policy is not None and self._urls:
            self._policy.queues = self._urls
        elif self._policy is not None:
            self.node.try_remove_child("Resource")
            self._policy = None


def _tls_only(resource: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        effect=iam.Effect.DENY,
        principals=[cast("iam.IPrincipal", iam.AnyPrincipal())],
        actions=["sqs:*"],
        resources=[resource],
        conditions={"Bool": {"aws:SecureTransport": "false"}},
    )


class DeadLetters(Construct):
    """A queue for what is given up, kept 14 days, and the alarm that says so."""

    _STACK_IDS: Final = {False: "TaskDeadLetters", True: "TaskFifoDeadLetters"}

    def __init__(
        self,
        scope: Construct,
        construct_id: str = "DeadLetters",
        *,
        encryption_key: kms.IKey | kms.Key | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
        fifo: bool = False,
    ) -> None:
        super().__init__(scope, construct_id)
        name = physical_name(self, contract.SQS_FIFO_SUFFIX if fifo else "")
        self.queue: Final = TaskQueue(
            self,
            "Queue",
            queue_name=name,
            encryption_key=encryption_key,
            retention_period=cdk.Duration.days(_DEAD_LETTER_RETENTION_DAYS),
            removal_policy=removal_policy,
        )
        acknowledge(self.queue, "AwsSolutions-SQS3", "It is a dead letter queue, be it of a function.")
        self.alarm: Final = self.queue.metric_approximate_number_of_messages_visible(
            period=cdk.Duration.minutes(1), statistic="Maximum"
        ).create_alarm(
            self,
            "Alarm",
            alarm_description=f"Tasks were given up: see the dead letters in {name}",
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            threshold=1,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    @classmethod
    def of_stack(cls, scope: Construct, *, fifo: bool = False) -> Self:
        """The dead letters that the ManagedAsyncTasks of a stack share; those on FIFO queues have others."""
        stack = cdk.Stack.of(scope)
        existing = stack.node.try_find_child(cls._STACK_IDS[fifo])
        return existing if isinstance(existing, cls) else cls(stack, cls._STACK_IDS[fifo], fifo=fifo)
