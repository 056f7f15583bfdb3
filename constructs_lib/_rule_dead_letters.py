"""What rules of EventBridge cannot deliver: which of them may write to a dead letter queue."""

from typing import Final, Self, cast

from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib._validation import check_at_synth, refusal, warn

__all__ = ["RuleDeadLetters", "check_rule_dead_letters"]

# So many ARNs of the longest names fit into a policy of 8,192 bytes.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
_MAX_RULES: Final = 60
_KEY_OF_SQS: Final = "alias/aws/sqs"


class RuleDeadLetters(Construct):
    """The rules that may write to one queue.

    One statement of its policy names all of them, because SQS takes 20 statements, and by strings, so that a queue of
    another stack does not depend on them.
    """

    _ID: Final = "TaskRules"

    def __init__(self, queue: sqs.Queue) -> None:
        super().__init__(queue, self._ID)
        service = cast("iam.IPrincipal", iam.ServicePrincipal("events.amazonaws.com"))
        self._path = queue.node.path
        self._rules: list[str] = []
        self._statement = iam.PolicyStatement(
            principals=[service], actions=["sqs:SendMessage"], resources=[queue.queue_arn]
        )
        queue.add_to_resource_policy(self._statement)
        key = queue.encryption_master_key
        if key:
            uses = iam.PolicyStatement(
                principals=[service], actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=["*"]
            )
            if not key.add_to_resource_policy(uses).statement_added:
                warn(
                    self,
                    "queue-policy",
                    f"{key.node.path} is imported, and its policy stays as it is: let events.amazonaws.com use the key "
                    "there, by kms:Decrypt and kms:GenerateDataKey",
                )
        check_at_synth(self, self._check)

    @classmethod
    def of(cls, queue: sqs.Queue) -> Self:
        """The rules of ``queue``, which may be any queue of the app."""
        existing = queue.node.try_find_child(cls._ID)
        return existing if isinstance(existing, cls) else cls(queue)

    def add(self, rule_arn: str) -> None:
        """Let a rule write there."""
        self._rules.append(rule_arn)
        self._statement.add_condition("ArnLike", {"aws:SourceArn": self._rules})

    def _check(self) -> list[str]:
        if len(self._rules) <= _MAX_RULES:
            return []
        error = (
            f"{self._path} is the dead letter queue of {len(self._rules)} EventTasks, and its policy has room for "
            f"{_MAX_RULES}: give some of them a dead_letter_queue of their own"
        )
        return [error]


def check_rule_dead_letters(scope: Construct, queue: sqs.IQueue | sqs.Queue | None) -> None:
    """Refuse a dead letter queue that EventBridge cannot write to, whatever its policy says.

    Raises:
        ValueError: it is encrypted with a key whose policy nobody can change.
    """
    resource = queue.node.default_child if queue else None
    if queue and isinstance(resource, sqs.CfnQueue) and resource.kms_master_key_id == _KEY_OF_SQS:
        raise refusal(
            scope,
            "dead_letter_queue",
            given=f"{queue.node.path}, which is encrypted with {_KEY_OF_SQS}",
            allowed="a queue with a key that EventBridge may use",
            remedy="use QueueEncryption.SQS_MANAGED, or a key of yours",
        )
