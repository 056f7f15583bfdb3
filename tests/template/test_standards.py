"""What cfn-lint and cdk-nag say about the constructs as users get them."""

import json
from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Template
from cfnlint.api import lint

from constructs_lib import FunctionUrlSettings, PayloadBucket, PriorityTaskQueues, TaskStore
from tests.apps import add_api, add_invoice, add_mail, add_receipts, new_stack
from tests.event_apps import add_changes, add_uploads
from tests.queue_apps import add_bank_queue, add_clean_up, add_payments, add_quote
from tests.streaming_apps import add_export
from tests.workflow_apps import add_restock


def _make_all(stack: cdk.Stack, **options: Any) -> PriorityTaskQueues:
    add_receipts(stack, **options)
    add_invoice(stack, **options)
    return add_mail(stack, **options)


def _defaults(stack: cdk.Stack) -> None:
    _make_all(stack)


def _every_option(stack: cdk.Stack) -> None:
    vpc = ec2.Vpc(stack, "Network", max_azs=2, nat_gateways=0, restrict_default_security_group=False)
    vpc.add_flow_log("Flows")
    mail = _make_all(
        stack,
        vpc=vpc,
        vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
        tracing=lambda_.Tracing.ACTIVE,
        encryption_key=kms.Key(stack, "Key", enable_key_rotation=True),
        log_level="DEBUG",
        memory_size=512,
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    mail.subscribe_topic(sns.Topic(stack, "Orders", enforce_ssl=True))


def _events(stack: cdk.Stack) -> None:
    add_changes(stack)
    add_uploads(stack, prefix="in/", suffix=".csv")
    add_invoice(stack, payloads=PayloadBucket(stack, "Payloads"))


def _queues(stack: cdk.Stack) -> None:
    add_quote(stack)
    add_payments(stack, queue=add_bank_queue(stack, fifo=True))
    add_invoice(stack, fifo=True, lanes=[5, None], queue_age_alarm=cdk.Duration.hours(1))
    clean_up = add_clean_up(stack)
    add_mail(stack, dead_letter_task=clean_up)
    add_receipts(stack, dead_letter_task=clean_up)


def _streams(stack: cdk.Stack) -> None:
    add_export(stack, function_url=True, api=add_api(stack), path="/export")
    everybody = FunctionUrlSettings(auth="none", cors=lambda_.FunctionUrlCorsOptions(allowed_origins=["*"]))
    add_export(stack, "Open", function_url=everybody, background_timeout=cdk.Duration.seconds(20))


def _workflows(stack: cdk.Stack) -> None:
    add_restock(stack)
    add_restock(stack, "Large", store=TaskStore(stack, "Store"), payloads=PayloadBucket(stack, "Payloads"))


@pytest.mark.parametrize("make", [_defaults, _every_option, _events, _queues, _streams, _workflows])
def test_cfn_lint_is_clean(make: Callable[[cdk.Stack], None]) -> None:
    stack = new_stack()
    make(stack)
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []


@pytest.mark.parametrize("make", [_defaults, _every_option, _events, _queues, _streams, _workflows])
def test_cdk_nag_finds_nothing(make: Callable[[cdk.Stack], None]) -> None:
    stack = new_stack()
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    make(stack)
    stack.node.root.synth()


def test_cdk_nag_would_find_something() -> None:
    stack = new_stack()
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    sqs.Queue(stack, "Plain")
    with pytest.raises(RuntimeError, match="AwsSolutions-SQS4"):
        stack.node.root.synth()
