"""What `grant_dispatch(…, delayed=True)` deploys: schedules for a function, and no more than those."""

import json
from itertools import product
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template
from cfnlint.api import lint

from tests.apps import (
    add_invoice,
    add_mail,
    add_nightly,
    add_orders,
    add_plain_function,
    add_receipts,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
    statements,
)

HERE = "<AWS::Region>:<AWS::AccountId>"


def described(policy: list[dict[str, Any]]) -> list[tuple[list[str], list[str]]]:
    """Actions, and resources without partition, region and account."""

    def listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    def short(arn: Any) -> str:
        return literal(arn).removeprefix("arn:<AWS::Partition>:").replace(HERE, "")

    return [(listed(one["Action"]), [short(arn) for arn in listed(one["Resource"])]) for one in policy]


def test_a_function_gets_a_role_that_sends_to_what_it_was_granted_alone() -> None:
    stack = new_stack()
    sender = add_orders(stack)
    invoice, receipts = add_invoice(stack), add_receipts(stack)
    add_mail(stack).grant_dispatch(sender.function)
    invoice.grant_dispatch(sender.function, delayed=True)
    receipts.grant_dispatch(sender.function, delayed=True)
    queue, function = (next(iter(one.routes.values())).partition(":")[2] for one in (invoice, receipts))
    letters = environment(stack, under="Orders")["TASK_DEAD_LETTER_QUEUE"]
    assert described(statements(stack, under="OrdersFunctionDelayedDispatch")) == [
        (["sqs:SendMessage"], [f"sqs::{queue}", f"sqs::{letters}"]),
        (["lambda:InvokeFunction"], [f"lambda::function:{function}"]),
    ]
    role = only(stack, "AWS::IAM::Role", under="OrdersFunctionDelayedDispatch")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    group = only(stack, "AWS::Scheduler::ScheduleGroup")["Name"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert {key: literal(value) for key, value in trust["Condition"]["StringEquals"].items()} == {
        "aws:SourceAccount": "<AWS::AccountId>",
        "aws:SourceArn": f"arn:<AWS::Partition>:scheduler:{HERE}:schedule-group/{group}",
    }


def test_the_function_may_make_and_delete_schedules_of_its_group_and_pass_that_role_alone() -> None:
    stack = new_stack()
    sender = add_orders(stack)
    add_invoice(stack).grant_dispatch(sender.function, delayed=True)
    group = only(stack, "AWS::Scheduler::ScheduleGroup")["Name"]
    granted = {actions[0]: (actions, arns) for actions, arns in described(statements(stack, under="OrdersRole"))}
    assert granted["scheduler:CreateSchedule"] == (
        ["scheduler:CreateSchedule", "scheduler:DeleteSchedule"],
        [f"scheduler::schedule/{group}/*"],
    )
    _, [passed] = granted["iam:PassRole"]
    assert passed.startswith("<OrdersFunctionDelayedDispatchRole")
    [statement] = [one for one in statements(stack, under="OrdersRole") if one["Action"] == "iam:PassRole"]
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}


def test_the_environment_names_group_role_and_dead_letter_queue() -> None:
    stack = new_stack()
    sender = add_orders(stack)
    add_invoice(stack).grant_dispatch(sender.function, delayed=True)
    found, role, letters = literal(environment(stack, under="Orders")["TASK_SCHEDULES"]).split()
    assert found == only(stack, "AWS::Scheduler::ScheduleGroup")["Name"]
    assert role.startswith("<OrdersFunctionDelayedDispatchRole")
    assert letters.endswith(f":{environment(stack, under='Orders')['TASK_DEAD_LETTER_QUEUE']}")


def test_what_a_task_in_order_cannot_deliver_later_goes_to_a_standard_queue() -> None:
    stack = new_stack()
    sender = add_invoice(stack, fifo=True)
    add_receipts(stack).grant_dispatch(sender.function, delayed=True)
    letters = literal(environment(stack, under="Invoice")["TASK_SCHEDULES"]).split()[2]
    assert "TaskDeadLetters" in letters
    assert not letters.endswith(".fifo")


def test_a_function_of_the_users_gets_it_as_well() -> None:
    stack = new_stack()
    sender = add_plain_function(stack)
    add_receipts(stack).grant_dispatch(sender, delayed=True)
    add_invoice(stack).grant_dispatch(sender, delayed=True)
    policy = only(stack, "AWS::IAM::Policy", under="PlainServiceRole")["PolicyDocument"]["Statement"]
    actions = [action for found, _ in described(policy) for action in found]
    assert sorted(actions) == sorted(
        [
            "iam:PassRole",
            "lambda:InvokeFunction",
            "scheduler:CreateSchedule",
            "scheduler:DeleteSchedule",
            "sqs:SendMessage",
        ]
    )
    assert "TASK_SCHEDULES" in environment(stack, under="Plain")
    assert "TaskDeadLetters" in literal(environment(stack, under="Plain")["TASK_SCHEDULES"])


def test_without_delayed_there_are_no_schedules() -> None:
    stack = new_stack()
    sender = add_orders(stack)
    add_invoice(stack).grant_dispatch(sender.function)
    assert "TASK_SCHEDULES" not in environment(stack, under="Orders")
    assert resources(stack, "AWS::Scheduler::ScheduleGroup") == []


def test_a_principal_that_is_no_function_is_refused() -> None:
    stack = new_stack()
    user = iam.Role(stack, "User", assumed_by=iam.AccountRootPrincipal())
    with pytest.raises(ValueError, match=r"delayed is True for a Role, allowed is a lambda_.Function"):
        add_invoice(stack).grant_dispatch(user, delayed=True)


def test_a_fifo_queue_is_refused() -> None:
    stack = new_stack()
    sender = add_orders(stack)
    with pytest.raises(ValueError, match="delayed is True for a FIFO queue"):
        add_invoice(stack, fifo=True).grant_dispatch(sender.function, delayed=True)


def _everything(*scopes: cdk.Stack) -> None:
    """Every construct to each other and itself, now and later, and a schedule to each."""
    one, two, three, four = scopes
    servers = [add_receipts(one), add_invoice(two), add_mail(three), add_nightly(four)]
    for target, sender in product(servers, repeat=2):
        target.grant_dispatch(sender.function, delayed=True)
    add_nightly(four, "Invoicing", target=servers[1], task="back_office.invoices:render", args=["1"])
    add_nightly(one, "Elsewhere", target=servers[3])


def _assert_sound(*stacks: cdk.Stack) -> None:
    for stack in stacks:
        assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == [], stack.node.path


def test_schedules_and_delays_make_no_knots_in_one_stack() -> None:
    stack = new_stack()
    _everything(*[stack] * 4)
    _assert_sound(stack)


def test_schedules_and_delays_make_no_knots_across_stacks() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    _everything(here, there, cdk.NestedStack(here, "Nested"), there)
    _assert_sound(here, there)
    for stack in (here, there):
        assert "Fn::ImportValue" not in json.dumps(Template.from_stack(stack).to_json())


def test_cdk_nag_finds_nothing() -> None:
    stack = new_stack()
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    _everything(*[stack] * 4)
    stack.node.root.synth()
