"""The stack of the back office: what each task runs on, and what it may do.

::

    rows of an export                          orders by HTTP
      |                                          |  Web      TaskApi, ApiTask, ManagedAsyncTask, TaskStore
      |  Intake       ManagedAsyncTask         <-'          ten rows at a time, from a queue
      |-- Mail        PriorityTaskQueues       confirmations and refunds; newsletters in a queue of their own
      `-- Invoice     ManagedAsyncTask         one by one, at most two at once
            `-- Receipts   BackgroundTaskFunction   no queue at all

    every night                                the accountant
      |-- Report      ScheduledTask              |  Export   StreamingLambda
      |     counts all of it                     gets all of it, as it is read; recorded afterwards
      `-- Sales       TaskWorkflow, TaskStore
            list, extract, transform, compute, load: one task after another, mail on failure
"""

from pathlib import Path
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ses as ses
from constructs import Construct

from constructs_lib import (
    BackgroundTaskFunction,
    ManagedAsyncTask,
    Priority,
    PriorityTaskQueues,
    QueueSettings,
    Schedule,
    ScheduledTask,
    StageConfig,
    StreamingLambda,
    TaskCode,
    TaskStore,
    TaskWorkflow,
)
from sample_app.bucket import FilesBucket
from sample_app.web import Web

__all__ = ["BackOffice"]

_NOT_FOR_LAMBDA = ["app.py", "stack.py", "web.py", "bucket.py", "stages.toml", "orders.csv"]
_STAGES = Path(__file__).with_name("stages.toml")


class BackOffice(cdk.Stack):
    """The shop's back office.

    Args:
        sender: the address that mail comes from. SES asks its owner for consent at the first deployment.
    """

    def __init__(self, scope: Construct, construct_id: str, *, sender: str) -> None:
        super().__init__(scope, construct_id)
        config = StageConfig.from_file(_STAGES, self)
        self.files: Final = FilesBucket(self, "Files")
        self.sender: Final = ses.EmailIdentity(self, "Sender", identity=ses.Identity.email(sender))
        # One asset for all functions; each loads the modules that it needs.
        code = TaskCode.from_package("sample_app", exclude=_NOT_FOR_LAMBDA)
        send_mail = self._may_send_mail(sender)
        bucket, mailing = self.files.environment, {"SHOP_SENDER": sender}

        self.receipts: Final = BackgroundTaskFunction(
            self,
            "Receipts",
            code=code,
            modules=["sample_app.receipts"],
            namespace="receipts",
            **config.function(
                "Receipts",
                memory_size=256,
                environment=bucket | mailing,
                policy_statements=[send_mail, self.files.may("invoices/*", "s3:GetObject")],
            ),
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
            **config.function("Mail", memory_size=256, environment=mailing, policy_statements=[send_mail]),
        )
        self.invoice: Final = ManagedAsyncTask(
            self,
            "Invoice",
            code=code,
            task="sample_app.invoices:render",
            **config.task(
                "Invoice",
                max_concurrency=2,
                memory_size=256,
                environment=bucket,
                policy_statements=[self.files.may("invoices/*", "s3:PutObject")],
            ),
        )
        self.intake: Final = ManagedAsyncTask(
            self,
            "Intake",
            code=code,
            task="sample_app.intake:accept",
            batch_size=10,
            # More than a refund waits for its order, so that it is the task which gives up, and says why.
            max_receive_count=30,
            **config.task(
                "Intake",
                memory_size=256,
                environment=bucket,
                policy_statements=[
                    self.files.may("orders/*", "s3:GetObject", "s3:PutObject"),
                    self.files.may_list("orders/*"),
                ],
            ),
        )
        # Who dispatches to whom: permission and route in one word.
        self.mail.grant_dispatch(self.intake.function)
        self.invoice.grant_dispatch(self.intake.function)
        self.receipts.grant_dispatch(self.invoice.function)

        self.web: Final = Web(self, "Web", code=code, config=config, files=self.files, intake=self.intake)
        self.report: Final = ScheduledTask(
            self,
            "Report",
            code=code,
            task="sample_app.reports:nightly",
            schedule=Schedule.cron(minute="0", hour="2", time_zone="Europe/Berlin"),
            **config.schedule(
                "Report",
                memory_size=256,
                environment=bucket,
                policy_statements=[
                    self.files.may("reports/*", "s3:PutObject"),
                    self.files.may_list("orders/*", "invoices/*"),
                ],
            ),
        )
        # An execution has room for the amounts of some 40,000 orders; payloads=PayloadBucket(…) would be for more.
        self.sales: Final = TaskWorkflow(
            self,
            "Sales",
            code=code,
            modules=["sample_app.sales"],
            start="sample_app.sales:extract",
            # A store of its own: everybody may ask the one of the API what has become of a task.
            store=TaskStore(self, "SalesStore"),
            execution_timeout=cdk.Duration.hours(1),
            **config.function(
                "Sales",
                # Two processes fit in, while there is one for the computation.
                memory_size=512,
                environment=bucket | mailing,
                policy_statements=[
                    send_mail,
                    self.files.may("orders/*", "s3:GetObject"),
                    self.files.may("sales-lists/*", "s3:GetObject", "s3:PutObject"),
                    self.files.may("sales/*", "s3:PutObject"),
                    self.files.may_list("orders/*", "invoices/*"),
                ],
            ),
        )
        self.sales_nightly: Final = ScheduledTask(
            self,
            "SalesNightly",
            task="sample_app.sales:extract",
            schedule=Schedule.cron(minute="30", hour="2", time_zone="Europe/Berlin"),
            **config.schedule("SalesNightly", target=self.sales),
        )
        self.export: Final = StreamingLambda(
            self,
            "Export",
            code=code,
            handler="sample_app.export:books",
            # For principals of IAM alone; see grant_invoke_url.
            function_url=True,
            background_timeout=cdk.Duration.seconds(20),
            **config.function(
                "Export",
                memory_size=256,
                environment=bucket,
                policy_statements=[
                    self.files.may("orders/*", "s3:GetObject"),
                    self.files.may("audit/*", "s3:PutObject"),
                    self.files.may_list("orders/*"),
                ],
            ),
        )

        assert self.export.url, "it has a function URL"
        cdk.CfnOutput(self, "ExportUrl", value=self.export.url, description="All orders as CSV")
        cdk.CfnOutput(self, "ReportSchedule", value=self.report.schedule.schedule_name, description="The nights")
        cdk.CfnOutput(
            self, "Bucket", value=self.files.bucket_name, description="Bucket of invoices and accepted orders"
        )

    def _may_send_mail(self, sender: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=["ses:SendEmail"],
            resources=[self.sender.email_identity_arn],
            conditions={"StringEquals": {"ses:FromAddress": sender}},
        )
