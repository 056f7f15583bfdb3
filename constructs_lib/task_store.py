"""TaskStore: the table in which tasks are recorded."""

from typing import Final, cast

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from constructs_lib._function_routes import FunctionRoutes, allow
from constructs_lib._names import physical_name
from constructs_lib._validation import refusal, require_duration, seconds
from runtime_lib import contract

__all__ = ["StoreAccess", "TaskStore"]

_TTL_SECONDS: Final = (3_600, 3_650 * 86_400)
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html
_KEY_ACTIONS: Final = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


class StoreAccess(Construct):
    """A table in which tasks are recorded, made by a `TaskStore` here or elsewhere.

    Attributes:
        table_name: its name, a string made from the construct's path.
    """

    table_name: str
    _encryption_key: kms.IKey | kms.Key | None
    _ttl_seconds: int

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which a process of your own finds the records."""
        environment = {contract.ENV_STORE: self.table_name}
        if self._ttl_seconds != contract.DEFAULT_STORE_TTL_SECONDS:
            environment[contract.ENV_STORE_TTL] = str(self._ttl_seconds)
        return environment

    def sender_statements(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What a sender needs besides its route: to record that a task is queued, and to take that back."""
        return self._statements(scope, "dynamodb:PutItem", "dynamodb:DeleteItem")

    def server_statements(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What the function needs that runs the tasks: to record what becomes of them, and leases."""
        return self._statements(scope, "dynamodb:UpdateItem")

    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` read records: ``handle.status()``, ``record()`` and ``result()``, of every task.

        A `lambda_.Function` gets the permission and the table's name. Any other principal gets the permission; set
        `environment` where it runs.

        Raises:
            ValueError: ``grantee`` is a function with another store, or cannot be given a permission.
        """
        self._grant(grantee, "dynamodb:GetItem")

    def grant_write(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` change records: ``handle.cancel()``, and what a worker of its own does. As `grant_read`.

        A construct with ``store=`` has this permission already, for its own function.
        """
        self._grant(grantee, "dynamodb:UpdateItem")

    def _grant(self, grantee: iam.IGrantable, action: str) -> None:
        allow(self, grantee, lambda scope: self._statements(scope, action))
        if isinstance(grantee, lambda_.Function):
            FunctionRoutes.of(grantee).use_store(self)

    def _statements(self, scope: Construct, *actions: str) -> list[iam.PolicyStatement]:
        arn = cdk.Stack.of(scope).format_arn(service="dynamodb", resource="table", resource_name=self.table_name)
        statements = [iam.PolicyStatement(actions=[*actions], resources=[arn])]
        if self._encryption_key:
            statements.append(
                iam.PolicyStatement(
                    actions=[*_KEY_ACTIONS],
                    resources=[self._encryption_key.key_arn],
                    # What else the key encrypts is nobody's business here.
                    conditions={"StringLike": {"kms:ViaService": "dynamodb.*"}},
                )
            )
        return statements


class TaskStore(StoreAccess):
    """A table that records the tasks of the constructs it is given to: ``store=``.

    What a record tells is described in docs/task-store.md. The table is paid for by request, encrypted, and can be
    restored to any second of the last 35 days.

    Args:
        time_to_live: how long a record is kept after it last changed, an hour to ten years: its result can be read for
            that long, and a duplicate of its message is known as one. Default: 14 days, as long as SQS keeps a message.
        encryption_key: key of the table. Default: a key that DynamoDB owns, at no cost.
        removal_policy: what becomes of the table when it leaves the stack. Default: it is deleted; DynamoDB keeps a
            backup for 35 days.

    Attributes:
        table: the table.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        time_to_live: cdk.Duration | None = None,
        encryption_key: kms.IKey | kms.Key | None = None,
        removal_policy: cdk.RemovalPolicy = cdk.RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, construct_id)
        self._ttl_seconds = _ttl_seconds(self, time_to_live)
        self._encryption_key = encryption_key
        self.table_name = physical_name(self)
        self.table: Final = dynamodb.Table(
            self,
            "Table",
            table_name=self.table_name,
            partition_key=dynamodb.Attribute(name=contract.STORE_KEY, type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute=contract.STORE_EXPIRES_AT,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if encryption_key else None,
            encryption_key=cast("kms.IKey | None", encryption_key),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=removal_policy,
        )

    @classmethod
    def from_table_name(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        table_name: str,
        time_to_live: cdk.Duration | None = None,
        encryption_key: kms.IKey | kms.Key | None = None,
    ) -> StoreAccess:
        """The table of a TaskStore that is deployed elsewhere in this account and region.

        Args:
            scope: the scope.
            construct_id: the id.
            table_name: its name.
            time_to_live: as above.
            encryption_key: as above.
        """
        access = StoreAccess(scope, construct_id)
        access.table_name = table_name
        access._encryption_key = encryption_key  # noqa: SLF001  (it is of this module's making)
        access._ttl_seconds = _ttl_seconds(scope, time_to_live)  # noqa: SLF001
        return access


def _ttl_seconds(scope: Construct, given: cdk.Duration | None) -> int:
    if given is None:
        return contract.DEFAULT_STORE_TTL_SECONDS
    require_duration(scope, "time_to_live", given, *_TTL_SECONDS, remedy="choose one in between")
    known = seconds(given)
    if known is None:
        raise refusal(
            scope,
            "time_to_live",
            given="known at deployment only",
            allowed="a duration that is known at synthesis",
            remedy="write it in the code",
        )
    return round(known)
