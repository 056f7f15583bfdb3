"""Addresses and grants: how a sender reaches a construct, and what it may do."""

from collections.abc import Iterator

import aws_cdk as cdk
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_

from constructs_lib import (
    BackgroundTaskFunction,
    DispatchTarget,
    ManagedAsyncTask,
    PriorityTaskQueues,
)
from runtime_lib.contract import Priority
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
    resources,
)

RENDER = "TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER"


# --- Addresses -------------------------------------------------------------------------------------------------------


def test_names_are_made_from_the_construct_path_and_are_strings() -> None:
    stack = new_stack()
    add_invoice(stack)
    add_mail(stack)
    add_receipts(stack)
    names = [function["FunctionName"] for function in resources(stack, "AWS::Lambda::Function")]
    names += [queue["QueueName"] for queue in resources(stack, "AWS::SQS::Queue")]
    assert sorted(names) == [
        "Shop-Invoice-F424F54B",
        "Shop-Invoice-F424F54B",
        "Shop-Mail-DeadLetters-DD3E6084",
        "Shop-Mail-FFFD920E",
        "Shop-Mail-FFFD920E-bulk",
        "Shop-Mail-FFFD920E-default",
        "Shop-Mail-FFFD920E-high",
        "Shop-Mail-FFFD920E-low",
        "Shop-Receipts-BB6F3F12",
        "Shop-Receipts-DeadLetters-2BFB0C44",
        "Shop-TaskDeadLetters-6649E4FA",
    ]


def test_names_of_long_paths_fit_and_differ() -> None:
    stack = new_stack()
    for number in (1, 2):
        add_mail(stack, f"{'Long' * 40}{number}")
    names = [function["FunctionName"] for function in resources(stack, "AWS::Lambda::Function")]
    queues = [queue["QueueName"] for queue in resources(stack, "AWS::SQS::Queue")]
    assert all(len(name) <= 64 for name in names + queues)
    assert len({*names}) == 2
    assert len({*queues}) == 10


def test_one_app_under_two_stack_names_does_not_collide() -> None:
    names = []
    for stage in ("shop-test", "shop-live"):
        stack = new_stack(stack_name=stage)
        add_invoice(stack)
        names.append(only(stack, "AWS::Lambda::Function")["FunctionName"])
    assert names[0] != names[1]


# --- Grants ----------------------------------------------------------------------------------------------------------


def test_function_of_ours_gets_permission_in_its_role_and_the_route() -> None:
    stack = new_stack()
    orders = add_orders(stack)
    add_invoice(stack).grant_dispatch(orders.function)
    add_receipts(stack).grant_dispatch(orders.function)
    assert (
        environment(stack, under="Orders").items()
        >= {
            RENDER: "sqs:Shop-Invoice-F424F54B",
            "TASK_ROUTE__RECEIPTS": "lambda:Shop-Receipts-BB6F3F12",
        }.items()
    )
    arn = "arn:<AWS::Partition>:{}:<AWS::Region>:<AWS::AccountId>:{}"
    assert arn.format("sqs", "Shop-Invoice-F424F54B") in allowed(stack, "sqs:SendMessage", under="Orders")
    assert allowed(stack, "lambda:InvokeFunction", under="Orders") == {
        arn.format("lambda", "function:Shop-Receipts-BB6F3F12")
    }
    assert not resources(stack, "AWS::IAM::Policy")


def test_without_a_grant_a_function_may_dispatch_nothing_and_knows_no_route() -> None:
    stack = new_stack()
    orders = add_orders(stack)
    add_invoice(stack)
    assert not [name for name in environment(stack, under="Orders") if name.startswith("TASK_ROUTE__")]
    dead_letters = stack.get_logical_id(orders.dead_letter_queue.node.default_child)
    assert allowed(stack, "sqs:SendMessage", under="Orders") == {f"<{dead_letters}>"}
    assert not allowed(stack, "lambda:InvokeFunction", under="Orders")


def test_every_function_of_ours_knows_where_queues_are() -> None:
    stack = new_stack()
    add_receipts(stack)
    prefix = literal(environment(stack)["TASK_QUEUE_URL_PREFIX"])
    assert prefix == "https://sqs.<AWS::Region>.<AWS::URLSuffix>/<AWS::AccountId>/"


def test_any_other_function_gets_permission_and_environment_too() -> None:
    stack = new_stack()
    plain = add_plain_function(stack)
    render = add_invoice(stack)
    render.grant_dispatch(plain)
    assert environment(stack, under="Plain") == stack.resolve(render.dispatch_environment)
    [policy] = resources(stack, "AWS::IAM::Policy", under="Plain")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sqs:SendMessage"
    assert literal(statement["Resource"]).endswith(":Shop-Invoice-F424F54B")


def test_any_other_principal_gets_the_permission_and_can_be_given_the_environment() -> None:
    stack = new_stack()
    role = iam.Role(stack, "Worker", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
    receipts = add_receipts(stack)
    receipts.grant_dispatch(role)
    [policy] = resources(stack, "AWS::IAM::Policy", under="Worker")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "lambda:InvokeFunction"
    assert literal(statement["Resource"]).endswith(":function:Shop-Receipts-BB6F3F12")
    assert receipts.dispatch_environment == {"TASK_ROUTE__RECEIPTS": "lambda:Shop-Receipts-BB6F3F12"}


def test_principal_that_takes_no_policy_is_refused() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=r"^Shop/Invoice: grantee is a ServicePrincipal, allowed is a principal that"):
        add_invoice(stack).grant_dispatch(iam.ServicePrincipal("events.amazonaws.com"))


def test_grant_repeated_is_granted_once() -> None:
    granted = []
    for times in (1, 2):
        stack = new_stack()
        orders, render = add_orders(stack), add_invoice(stack)
        for _ in range(times):
            render.grant_dispatch(orders.function)
        granted.append(only(stack, "AWS::IAM::Role", under="Orders"))
    assert granted[0] == granted[1]


def test_grant_finds_its_function_when_python_has_let_it_go() -> None:
    stack = new_stack()
    add_orders(stack)
    function = stack.node.find_child("Orders").node.find_child("Function")
    assert isinstance(function, lambda_.Function)
    add_invoice(stack).grant_dispatch(function)
    assert RENDER in environment(stack, under="Orders")
    assert not resources(stack, "AWS::IAM::Policy")


def test_sender_may_use_the_key_of_an_encrypted_queue() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    orders = add_orders(stack)
    add_invoice(stack, encryption_key=key).grant_dispatch(orders.function)
    assert allowed(stack, "kms:GenerateDataKey", under="Orders") == {
        f"<{stack.get_logical_id(key.node.default_child)}>"
    }


def test_forty_routes_fit_one_function() -> None:
    stack = new_stack()
    orders = add_orders(stack)
    for number in range(40):
        target = ManagedAsyncTask.from_queue_name(
            stack,
            f"Task{number}",
            task=f"shop.fulfilment.task_{number}",
            queue_name=f"Shop-FulfilmentTask{number}-1A2B3C4D",
        )
        target.grant_dispatch(orders.function)
    assert sum(name.startswith("TASK_ROUTE__") for name in environment(stack, under="Orders")) == 40


def test_routes_that_do_not_fit_are_refused_with_their_sum() -> None:
    stack = new_stack()
    plain = add_plain_function(stack)
    for number in range(60):
        target = ManagedAsyncTask.from_queue_name(
            stack,
            f"Task{number}",
            task=f"shop.fulfilment.task_{number}",
            queue_name=f"Shop-FulfilmentTask{number}-1A2B3C4D",
        )
        target.grant_dispatch(plain)
    with pytest.raises(RuntimeError, match=r"environment of Shop/Plain is 4,\d+ bytes, 4,\d+ of them for 60 routes"):
        environment(stack, under="Plain")


# --- Dispatching to what is deployed elsewhere -----------------------------------------------------------------------


def _imports(stack: cdk.Stack) -> Iterator[tuple[DispatchTarget, dict[str, str], str]]:
    yield (
        ManagedAsyncTask.from_queue_name(stack, "A", task="shop.resize", queue_name="resize"),
        {"TASK_ROUTE__SHOP_RESIZE": "sqs:resize"},
        "sqs:SendMessage",
    )
    yield (
        BackgroundTaskFunction.from_function_name(stack, "B", function_name="other", namespace="other"),
        {"TASK_ROUTE__OTHER": "lambda:other"},
        "lambda:InvokeFunction",
    )
    yield (
        PriorityTaskQueues.from_queue_names(
            stack, "C", queue_names={Priority.DEFAULT: "d", Priority.BULK: "b"}, namespace="bulk"
        ),
        {"TASK_ROUTE__BULK": "sqs:d", "TASK_ROUTE__BULK__BULK": "sqs:b"},
        "sqs:SendMessage",
    )


@pytest.mark.parametrize("number", range(3))
def test_imports_grant_and_route_and_make_nothing(number: int) -> None:
    stack = new_stack()
    plain = add_plain_function(stack)
    target, routes, action = [*_imports(stack)][number]
    target.grant_dispatch(plain)
    assert environment(stack, under="Plain").items() >= routes.items()
    [policy] = resources(stack, "AWS::IAM::Policy")
    assert policy["PolicyDocument"]["Statement"][0]["Action"] == action
    assert not resources(stack, "AWS::SQS::Queue")


# --- Other accounts and regions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"account": "222222222222", "region": "us-east-1"}, "in account 222222222222, allowed is account 1111"),
        ({"account": "111111111111", "region": "eu-west-1"}, "in region eu-west-1, allowed is region us-east-1"),
    ],
)
def test_grant_across_accounts_or_regions_is_refused(place: dict[str, str], message: str) -> None:
    app = new_app()
    here = cdk.Stack(app, "Here", env=cdk.Environment(account="111111111111", region="us-east-1"))
    there = cdk.Stack(app, "There", env=cdk.Environment(**place))
    with pytest.raises(ValueError, match=rf"^Here/Invoice: grantee is There/Plain {message}"):
        add_invoice(here).grant_dispatch(add_plain_function(there))


def test_grant_to_a_role_of_another_account_is_refused() -> None:
    stack = new_stack(env=cdk.Environment(account="111111111111", region="us-east-1"))
    role = iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::222222222222:role/worker")
    with pytest.raises(ValueError, match="grantee is Shop/Role in account 222222222222"):
        add_invoice(stack).grant_dispatch(role)


def test_grant_where_one_side_is_not_decided_passes() -> None:
    app = new_app()
    here = cdk.Stack(app, "Here", env=cdk.Environment(account="111111111111", region="us-east-1"))
    plain = add_plain_function(cdk.Stack(app, "There"))
    add_invoice(here).grant_dispatch(plain)
