"""PayloadBucket: where arguments wait that are too large for a message."""

from typing import Final, cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib._function_routes import FunctionRoutes, allow
from constructs_lib._validation import acknowledge, acknowledge_wildcard, refusal, require_duration, seconds
from runtime_lib import contract

__all__ = ["PayloadAccess", "PayloadBucket"]

_NAME_MAX_LENGTH: Final = 63
_LONGEST_REGION: Final = "ap-northeast-1"
_LONGEST_SUFFIX: Final = f"-123456789012-{_LONGEST_REGION}"
_OBJECTS: Final = f"/{contract.PAYLOAD_PREFIX}*"
# A queue keeps a message for 14 days at most, and a dead letter queue for as long again. Days, as S3 counts.
_DAY: Final = 86_400
_SHORTEST_DAYS: Final = 30
_DEFAULT_DAYS: Final = 60
_LONGEST_DAYS: Final = 3_650


class PayloadAccess(Construct):
    """A bucket for large arguments, made by a `PayloadBucket` here or elsewhere.

    Attributes:
        bucket_name: its name, a string made from the construct's path, the account and the region.
    """

    bucket_name: str
    _encryption_key: kms.IKey | kms.Key | None

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which a process of your own finds the bucket."""
        return {contract.ENV_PAYLOADS: self.bucket_name}

    def sender_statements(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What a sender needs besides its route: to put arguments there."""
        return [self._allow(scope, "s3:PutObject", _OBJECTS), *self._key_statements("kms:GenerateDataKey")]

    def server_statements(self, scope: Construct) -> list[iam.PolicyStatement]:
        """What the function needs that runs the tasks: to get them, and to be told of one that is missing."""
        return [
            self._allow(scope, "s3:GetObject", _OBJECTS),
            self._allow(scope, "s3:ListBucket"),  # without it, S3 calls what is missing forbidden
            *self._key_statements("kms:Decrypt"),
        ]

    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Let ``grantee`` run tasks whose arguments are there: a worker of your own, outside these constructs.

        A `lambda_.Function` gets the permission and the bucket's name. Any other principal gets the permission; set
        `environment` where it runs.

        Raises:
            ValueError: ``grantee`` is a function with another bucket, or cannot be given a permission.
        """
        allow(self, grantee, self.server_statements)
        if isinstance(grantee, lambda_.Function):
            FunctionRoutes.of(grantee).use_payloads(self)

    def acknowledge_keys(self, role: iam.IRole) -> None:
        """Say of a role of ours why it may use every key that begins as those of payloads do."""
        acknowledge_wildcard(role, self._arn(self, _OBJECTS), "Each message has an object of its own there.")

    def _allow(self, scope: Construct, action: str, path: str = "") -> iam.PolicyStatement:
        """One action on the bucket of this account: anybody could make one of its name after it is deleted."""
        return iam.PolicyStatement(
            actions=[action],
            resources=[self._arn(scope, path)],
            conditions={"StringEquals": {"aws:ResourceAccount": cdk.Stack.of(scope).account}},
        )

    def _arn(self, scope: Construct, path: str = "") -> str:
        return cdk.Stack.of(scope).format_arn(
            service="s3",
            region="",
            account="",
            resource=self.bucket_name + path,
            arn_format=cdk.ArnFormat.NO_RESOURCE_NAME,
        )

    def _key_statements(self, action: str) -> list[iam.PolicyStatement]:
        key = self._encryption_key
        return [iam.PolicyStatement(actions=[action], resources=[key.key_arn])] if key else []


class PayloadBucket(PayloadAccess):
    """A bucket for what the constructs that it is given to (``payloads=``) get of arguments larger than a message.

    A message holds about a mebibyte. The arguments of a larger one are put here when it is sent, and are read when it
    runs; nothing of it shows in the task or in a dispatch. What fits into a message never comes here.

    Args:
        time_to_live: how long arguments are kept, 30 days to ten years, whole days: their messages may wait in a queue
            for 14 days, and as dead letters for 14 more. Default: 60 days.
        encryption_key: key of the bucket. Default: S3's own, at no cost.
        removal_policy: what becomes of the bucket when it leaves the stack; CloudFormation deletes none that holds
            anything. Default: it is deleted.

    Attributes:
        bucket: the bucket.

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
        require_duration(
            self,
            "time_to_live",
            time_to_live,
            _SHORTEST_DAYS * _DAY,
            _LONGEST_DAYS * _DAY,
            remedy=f"leave it out for {_DEFAULT_DAYS} days: a message and then its dead letter may be kept for 28",
        )
        kept = seconds(time_to_live) if time_to_live else None
        if kept is not None and kept % _DAY:
            raise refusal(
                self,
                "time_to_live",
                given=f"{kept:,.0f} seconds",
                allowed="whole days",
                remedy=f"write Duration.days({-(kept // -_DAY):.0f})",
            )
        self.bucket_name = _bucket_name(self)
        self._encryption_key = encryption_key
        self.bucket: Final = s3.Bucket(
            self,
            "Bucket",
            bucket_name=self.bucket_name,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            bucket_key_enabled=True if encryption_key else None,
            encryption=s3.BucketEncryption.KMS if encryption_key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=cast("kms.IKey | None", encryption_key),
            enforce_ssl=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="Expire",
                    expiration=time_to_live or cdk.Duration.days(_DEFAULT_DAYS),
                    prefix=contract.PAYLOAD_PREFIX,
                )
            ],
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=removal_policy,
        )
        acknowledge(
            self.bucket,
            "AwsSolutions-S1",
            "Functions alone use it, one object a task; CloudTrail can log each of them.",
        )

    @classmethod
    def from_bucket_name(
        cls,
        scope: Construct,
        construct_id: str,
        *,
        bucket_name: str,
        encryption_key: kms.IKey | kms.Key | None = None,
    ) -> PayloadAccess:
        """The bucket of a PayloadBucket that is deployed elsewhere in this account and region.

        Args:
            scope: the scope.
            construct_id: the id.
            bucket_name: its name.
            encryption_key: as above.
        """
        access = PayloadAccess(scope, construct_id)
        access.bucket_name = bucket_name
        access._encryption_key = encryption_key  # noqa: SLF001  (it is of this module's making)
        return access


def _bucket_name(construct: Construct) -> str:
    """A name from the construct's path that no other account or region has: buckets share one space of names."""
    length = _NAME_MAX_LENGTH - len(_LONGEST_SUFFIX)
    stack = cdk.Stack.of(construct)
    name = cdk.Names.unique_resource_name(construct, max_length=length, separator="-").lower()
    return f"{name}-{stack.account}-{stack.region}"
