"""PayloadBucket: the bucket, and who may do what with it."""

from collections.abc import Callable
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk.assertions import Template

from constructs_lib import BackgroundTaskFunction, PayloadBucket
from tests.apps import (
    add_invoice,
    add_mail,
    add_orders,
    add_plain_function,
    add_receipts,
    allowed,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    statements,
)

NAME = "shop-payloads-90f5ac11-<AWS::AccountId>-<AWS::Region>"
ARN = f"arn:<AWS::Partition>:s3:::{NAME}"
OBJECTS = f"{ARN}/payloads/*"


def add_payloads(stack: cdk.Stack, **arguments: Any) -> PayloadBucket:
    return PayloadBucket(stack, "Payloads", **arguments)


def test_the_bucket_is_encrypted_private_and_forgets() -> None:
    stack = new_stack()
    add_payloads(stack)
    bucket = only(stack, "AWS::S3::Bucket")
    assert literal(bucket["BucketName"]) == NAME
    assert len(NAME.replace("<AWS::AccountId>", "123456789012").replace("<AWS::Region>", "ap-northeast-1")) <= 63
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert bucket["LifecycleConfiguration"]["Rules"] == [
        {"ExpirationInDays": 60, "Id": "Expire", "Prefix": "payloads/", "Status": "Enabled"}
    ]
    [statement] = only(stack, "AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_long_path_makes_a_name_that_s3_takes() -> None:
    stack = cdk.Stack(new_app(), "An-Extraordinarily-Long-Name-Of-A-Stack-For-Orders")
    add_payloads(stack)
    name = literal(only(stack, "AWS::S3::Bucket")["BucketName"])
    name = name.replace("<AWS::AccountId>", "123456789012").replace("<AWS::Region>", "ap-northeast-1")
    assert len(name) <= 63
    assert name == name.lower()


@pytest.mark.parametrize("add", [add_invoice, add_receipts, add_mail])
def test_senders_may_put_and_servers_may_get_and_nothing_else(add: Callable[..., Any]) -> None:
    stack = new_stack()
    payloads = add_payloads(stack)
    target = add(stack, "Target", payloads=payloads)
    sender = add_orders(stack, "Sender")
    target.grant_dispatch(sender.function)
    assert allowed(stack, "s3:PutObject", under="Sender") == {OBJECTS}
    assert allowed(stack, "s3:GetObject", under="Sender") == set()
    assert allowed(stack, "s3:GetObject", under="Target") == {OBJECTS}
    assert allowed(stack, "s3:ListBucket", under="Target") == {ARN}
    assert allowed(stack, "s3:PutObject", under="Target") == set()
    for one in ("Sender", "Target"):
        assert literal(environment(stack, under=one)["TASK_PAYLOADS"]) == NAME


def test_a_bucket_of_the_same_name_in_another_account_gets_nothing_and_gives_nothing() -> None:
    stack = new_stack()
    sender = add_orders(stack, "Sender")
    add_invoice(stack, "Target", payloads=add_payloads(stack)).grant_dispatch(sender.function)
    on_s3 = [
        statement
        for under in ("Sender", "Target")
        for statement in statements(stack, under=under)
        if str(statement["Action"]).startswith("s3:")
    ]
    assert len(on_s3) == 3
    for statement in on_s3:
        assert statement["Condition"] == {"StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}


def test_a_route_says_that_its_server_has_a_bucket() -> None:
    stack = new_stack()
    payloads = add_payloads(stack)
    target = add_invoice(stack, payloads=payloads)
    assert [*target.routes.values()] == ["sqs+payloads:Shop-Invoice-F424F54B"]
    assert target.dispatch_environment["TASK_PAYLOADS"] == payloads.bucket_name
    assert payloads.environment == {"TASK_PAYLOADS": payloads.bucket_name}


def test_a_server_without_a_bucket_leaves_no_trace_of_one() -> None:
    stack = new_stack()
    add_invoice(stack).grant_dispatch(add_orders(stack).function)
    assert "s3:" not in str(Template.from_stack(stack).to_json()["Resources"])
    assert "PAYLOAD" not in str(Template.from_stack(stack).to_json())


def test_a_key_may_be_used_as_the_bucket_is() -> None:
    stack = new_stack()
    payloads = add_payloads(stack, encryption_key=kms.Key(stack, "Key"))
    target, sender = add_invoice(stack, "Target", payloads=payloads), add_orders(stack, "Sender")
    target.grant_dispatch(sender.function)
    assert len(allowed(stack, "kms:GenerateDataKey", under="Sender")) == 1
    assert allowed(stack, "kms:Decrypt", under="Sender") == set()
    assert len(allowed(stack, "kms:Decrypt", under="Target")) == 1
    bucket = only(stack, "AWS::S3::Bucket")
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["BucketKeyEnabled"] is True


def test_one_function_has_one_bucket() -> None:
    stack = new_stack()
    one, two = add_payloads(stack), PayloadBucket(stack, "Other")
    sender = add_plain_function(stack)
    add_invoice(stack, payloads=one).grant_dispatch(sender)
    with pytest.raises(ValueError, match="Plain would use two payload buckets, Shop/Payloads and Shop/Other: give one"):
        add_mail(stack, payloads=two).grant_dispatch(sender)


def test_a_worker_of_yours_may_read() -> None:
    stack = new_stack()
    payloads = add_payloads(stack)
    role = iam.Role(stack, "Worker", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
    payloads.grant_read(role)
    payloads.grant_read(add_plain_function(stack))
    for policy in Template.from_stack(stack).find_resources("AWS::IAM::Policy").values():
        assert "s3:GetObject" in str(policy)
        assert "s3:PutObject" not in str(policy)
    assert literal(environment(stack, under="Plain")["TASK_PAYLOADS"]) == NAME


def test_across_stacks_nothing_is_imported() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    payloads = add_payloads(here)
    one, other = add_invoice(there, payloads=payloads), add_orders(here)
    one.grant_dispatch(other.function)
    for stack in (here, there):
        assert "Outputs" not in Template.from_stack(stack).to_json()


def test_a_bucket_that_is_deployed_elsewhere_is_used_by_its_name() -> None:
    stack = new_stack()
    theirs = PayloadBucket.from_bucket_name(stack, "Payloads", bucket_name="their-payloads")
    add_invoice(stack, payloads=theirs)
    assert allowed(stack, "s3:GetObject") == {"arn:<AWS::Partition>:s3:::their-payloads/payloads/*"}
    target = BackgroundTaskFunction.from_function_name(stack, "T", function_name="f", payloads=theirs)
    assert target.routes == {"TASK_ROUTE__DEFAULT": "lambda+payloads:f"}


@pytest.mark.parametrize("time_to_live", [cdk.Duration.days(29), cdk.Duration.days(4_000)])
def test_arguments_are_kept_longer_than_their_messages(time_to_live: cdk.Duration) -> None:
    with pytest.raises(ValueError, match=r"time_to_live is .* seconds, allowed is 2,592,000 to 315,360,000 seconds"):
        add_payloads(new_stack(), time_to_live=time_to_live)


def test_arguments_are_kept_for_whole_days() -> None:
    with pytest.raises(ValueError, match=r"time_to_live is 3,600,000 seconds, allowed is whole days: .*days\(42\)"):
        add_payloads(new_stack(), time_to_live=cdk.Duration.hours(1_000))


def test_the_variable_of_the_bucket_is_the_constructs() -> None:
    with pytest.raises(ValueError, match=r"environment\['TASK_PAYLOADS'\] is a variable that this construct sets"):
        add_invoice(new_stack(), environment={"TASK_PAYLOADS": "other"})
