"""The stack of the back office: what each task runs on, and what it may do.

::

    rows of an export
      |  Intake       ManagedAsyncTask         ten rows at a time, from a queue
      |-- Mail        PriorityTaskQueues       confirmations and refunds; newsletters in a queue of their own
      `-- Invoice     ManagedAsyncTask         one by one, at most two at once
            `-- Receipts   BackgroundTaskFunction   no queue at all
"""

from typing import Final, cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_ses as ses
from constructs import Construct

from constructs_lib import (
    BackgroundTaskFunction,
    ManagedAsyncTask,
    Priority,
    PriorityTaskQueues,
    QueueSettings,
    TaskCode,
)

__all__ = ["BackOffice"]

_NOT_FOR_LAMBDA = ["app.py", "stack.py", "orders.csv"]


class BackOffice(cdk.Stack):
    """The shop's back office.

    Args:
        sender: the address that mail comes from. SES asks its owner for consent at the first deployment.
    """

    def __init__(self, scope: Construct, construct_id: str, *, sender: str) -> None:
        super().__init__(scope, construct_id)
        self.files: Final = self._make_bucket()
        self._explain_to_cdk_nag()
        self.sender: Final = ses.EmailIdentity(self, "Sender", identity=ses.Identity.email(sender))
        # One asset for all functions; each loads the modules that it needs.
        code = TaskCode.from_package("sample_app", exclude=_NOT_FOR_LAMBDA)
        send_mail = self._may_send_mail(sender)
        bucket, mailing = {"SHOP_BUCKET": self.files.bucket_name}, {"SHOP_SENDER": sender}

        self.receipts: Final = BackgroundTaskFunction(
            self,
            "Receipts",
            code=code,
            modules=["sample_app.receipts"],
            namespace="receipts",
            memory_size=256,
            environment=bucket | mailing,
            policy_statements=[send_mail, self._may("invoices/*", "s3:GetObject")],
        )
        self.mail: Final = PriorityTaskQueues(
            self,
            "Mail",
            code=code,
            modules=["sample_app.mail"],
            namespace="mail",
            priorities={
                Priority.HIGH: QueueSettings(max_concurrency=4),
                Priority.DEFAULT: QueueSettings(max_concurrency=2),
                # However many newsletters wait, they get two copies of the function and no more.
                Priority.BULK: QueueSettings(max_concurrency=2),
            },
            memory_size=256,
            environment=mailing,
            policy_statements=[send_mail],
        )
        self.invoice: Final = ManagedAsyncTask(
            self,
            "Invoice",
            code=code,
            task="sample_app.invoices:render",
            max_concurrency=2,
            memory_size=256,
            environment=bucket,
            policy_statements=[self._may("invoices/*", "s3:PutObject")],
        )
        self.intake: Final = ManagedAsyncTask(
            self,
            "Intake",
            code=code,
            task="sample_app.intake:accept",
            batch_size=10,
            max_concurrency=2,
            # More than a refund waits for its order, so that it is the task which gives up, and says why.
            max_receive_count=30,
            memory_size=256,
            environment=bucket,
            policy_statements=[self._may("orders/*", "s3:GetObject", "s3:PutObject"), self._may_list("orders/*")],
        )
        # Who dispatches to whom: permission and route in one word.
        self.mail.grant_dispatch(self.intake.function)
        self.invoice.grant_dispatch(self.intake.function)
        self.receipts.grant_dispatch(self.invoice.function)

        cdk.CfnOutput(
            self, "Bucket", value=self.files.bucket_name, description="Bucket of invoices and accepted orders"
        )

    def _make_bucket(self) -> s3.Bucket:
        """The bucket of invoices, which outlives the stack, and of the ledger."""
        return s3.Bucket(
            self,
            "Files",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            lifecycle_rules=[s3.LifecycleRule(prefix="orders/", expiration=cdk.Duration.days(400))],
        )

    def _explain_to_cdk_nag(self) -> None:
        """Say why its rules do not apply: an app of yours may run cdk-nag, as the tests of this one do."""
        files = f"<{self.get_logical_id(cast('cdk.CfnElement', self.files.node.default_child))}.Arn>"
        reasons = {
            "S1": "Only functions read and write here, and CloudTrail can record their calls.",
            f"IAM5[Resource::{files}/invoices/*]": "Invoices are named by orders that are yet to come.",
            f"IAM5[Resource::{files}/orders/*]": "So are the entries for accepted orders.",
        }
        for rule, reason in reasons.items():
            cdk.Validations.of(self).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason))

    def _may(self, path: str, *actions: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(actions=[*actions], resources=[self.files.arn_for_objects(path)])

    def _may_list(self, path: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=["s3:ListBucket"],
            resources=[self.files.bucket_arn],
            conditions={"StringLike": {"s3:prefix": path}},
        )

    def _may_send_mail(self, sender: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=["ses:SendEmail"],
            resources=[self.sender.email_identity_arn],
            conditions={"StringEquals": {"ses:FromAddress": sender}},
        )
