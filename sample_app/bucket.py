"""The shop's bucket: what is in it, for how long, and how a function is allowed its part of it."""

from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

__all__ = ["FilesBucket"]


class FilesBucket(s3.Bucket):
    """The bucket of invoices, reports and audits, which outlives the stack, and of the ledger."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            lifecycle_rules=[
                s3.LifecycleRule(prefix="orders/", expiration=cdk.Duration.days(400)),
                s3.LifecycleRule(prefix="sales-lists/", expiration=cdk.Duration.days(14)),
            ],
        )
        self._explain_to_cdk_nag()

    @property
    def environment(self) -> dict[str, str]:
        """What a function needs to find it."""
        return {"SHOP_BUCKET": self.bucket_name}

    def may(self, path: str, *actions: str) -> iam.PolicyStatement:
        """A function may do this with the objects of a path."""
        return iam.PolicyStatement(actions=[*actions], resources=[self.arn_for_objects(path)])

    def may_list(self, *paths: str) -> iam.PolicyStatement:
        """A function may see which objects there are."""
        return iam.PolicyStatement(
            actions=["s3:ListBucket"],
            resources=[self.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [*paths]}},
        )

    def _explain_to_cdk_nag(self) -> None:
        """Say why its rules do not apply: an app of yours may run cdk-nag, as the tests of this one do."""
        stack = cdk.Stack.of(self)
        files = f"<{stack.get_logical_id(cast('cdk.CfnElement', self.node.default_child))}.Arn>"
        reasons = {
            "S1": "Only functions read and write here, and CloudTrail can record their calls.",
            f"IAM5[Resource::{files}/audit/*]": "Audits are named by exports that are yet to come.",
            f"IAM5[Resource::{files}/invoices/*]": "Invoices are named by orders that are yet to come.",
            f"IAM5[Resource::{files}/orders/*]": "So are the entries for accepted orders.",
            f"IAM5[Resource::{files}/reports/*]": "Reports are named by nights that are yet to come.",
            f"IAM5[Resource::{files}/sales/*]": "Sales reports are named by runs that are yet to come.",
            f"IAM5[Resource::{files}/sales-lists/*]": "So is what such a run starts from.",
        }
        for rule, reason in reasons.items():
            cdk.Validations.of(stack).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason))
