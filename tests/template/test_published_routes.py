"""Routes that other applications read: what is published, and what a sender gets of it."""

import json
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Template
from cfnlint.api import lint

from constructs_lib import DispatchTarget, QueueSettings, TaskStore
from constructs_lib._address import Address
from runtime_lib.contract import Priority
from tests.apps import (
    add_invoice,
    add_mail,
    add_orders,
    add_plain_function,
    add_receipts,
    environment,
    literal,
    new_stack,
    only,
    statements,
)

RENDER = "back_office.invoices.render"


def _published(stack: cdk.Stack) -> list[str]:
    return literal(only(stack, "AWS::SSM::Parameter")["Value"]).split(",")


def test_a_tasks_queue_is_published_with_what_a_sender_needs() -> None:
    stack = new_stack()
    parameter = add_invoice(stack).publish_route("/shop/invoice")
    assert parameter.node.path == "Shop/Invoice/PublishedRoute"
    name = only(stack, "AWS::SQS::Queue", under="Invoice")["QueueName"]
    arn = f"arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:{name}"
    assert _published(stack) == ["sqs", *[arn] * 5, *[name] * 4]
    assert only(stack, "AWS::SSM::Parameter")["Name"] == "/shop/invoice"


def test_lanes_and_a_store_are_not_published() -> None:
    stack = new_stack()
    add_invoice(stack, lanes=6, store=TaskStore(stack, "Store")).publish_route("/shop/invoice")
    name = only(stack, "AWS::Lambda::Function")["FunctionName"]
    kind, *fields = _published(stack)
    assert kind == "sqs"
    assert {field.rpartition(":")[2] for field in fields} == {name}


def test_what_nothing_is_dispatched_to_has_no_route_to_publish() -> None:
    target = DispatchTarget.imported(new_stack(), "Stream", Address.of_trigger("shop.on_change"))
    with pytest.raises(ValueError, match=r"Shop/Stream: parameter_name is '/x' for a construct that nothing is disp"):
        target.publish_route("/x")


def test_a_functions_route_is_published_with_the_permission_to_invoke_it_alone() -> None:
    stack = new_stack()
    add_receipts(stack).publish_route("/shop/receipts")
    fields = _published(stack)
    assert fields[0] == "lambda"
    assert set(fields[1:6]) == {f"arn:<AWS::Partition>:lambda:<AWS::Region>:<AWS::AccountId>:function:{fields[6]}"}


def test_queues_of_priorities_are_published_with_the_key_of_theirs() -> None:
    stack = new_stack()
    add_mail(stack, encryption_key=kms.Key(stack, "Key")).publish_route("/shop/mail")
    fields = _published(stack)
    kind, resources, targets = fields[0], fields[1:6], fields[6:]
    assert kind == "sqs"
    prefix = targets[0].removesuffix("default")
    assert targets == [prefix + priority for priority in ("default", "high", "low", "bulk")]
    *queues, key = resources
    assert sorted(arn.rpartition(":")[2] for arn in queues) == sorted(targets)
    assert key == "<Key961B73FD>"


def test_queues_with_several_keys_cannot_be_published() -> None:
    stack = new_stack()
    keys = {one: kms.Key(stack, f"{one}Key") for one in Priority}
    queues = {
        one: sqs.Queue(
            stack,
            one.name,
            queue_name=one,
            encryption_master_key=key,
            visibility_timeout=cdk.Duration.minutes(6),
        )
        for one, key in keys.items()
    }
    priorities = {one: QueueSettings(queue=queue) for one, queue in queues.items()}
    mail = add_mail(stack, priorities=priorities)
    with pytest.raises(ValueError, match=r"'/shop/mail' for queues with several keys, allowed is one key for all"):
        mail.publish_route("/shop/mail")


def _target(stack: cdk.Stack, construct_id: str, **named: str) -> DispatchTarget:
    return DispatchTarget.from_published_route(
        stack, construct_id, parameter_name=f"/shop/{construct_id.lower()}", **named
    )


def _field(value: Any, *, parameter: str) -> Any:
    """Which field of a parameter's text a template takes."""
    match value:
        case {"Fn::Select": [at, {"Fn::Split": [",", {"Ref": name}]}]} if name.startswith(parameter):
            return at
        case {"Fn::Join": ["", [kind, ":", target]]}:
            return _field(kind, parameter=parameter), _field(target, parameter=parameter)
        case list():
            return [_field(one, parameter=parameter) for one in value]
    raise AssertionError(value)


def test_a_sender_has_the_routes_and_the_permissions_that_the_parameter_says_and_no_other() -> None:
    stack = new_stack("Other")
    orders = add_orders(stack)
    _target(stack, "Invoice", task=RENDER).grant_dispatch(orders.function)
    _target(stack, "Mail", namespace="mail").grant_dispatch(orders.function)
    variables = environment(stack, under="Orders")
    invoice, mail = "SsmParameterValueshopinvoice", "SsmParameterValueshopmail"
    assert _field(variables["TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER"], parameter=invoice) == (0, 6)
    routes = {name: value for name, value in variables.items() if name.startswith("TASK_ROUTE__MAIL")}
    assert {name: _field(value, parameter=mail) for name, value in routes.items()} == {
        "TASK_ROUTE__MAIL": (0, 6),
        "TASK_ROUTE__MAIL__HIGH": (0, 7),
        "TASK_ROUTE__MAIL__LOW": (0, 8),
        "TASK_ROUTE__MAIL__BULK": (0, 9),
    }
    [statement] = [one for one in statements(stack, under="Orders") if "SsmParameterValue" in str(one)]
    actions = ["kms:Decrypt", "kms:GenerateDataKey", "lambda:InvokeFunction", "sqs:SendMessage"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", actions)
    by_parameter = {
        name: sorted(_field(one, parameter=name) for one in statement["Resource"] if name in str(one))
        for name in (invoice, mail)
    }
    assert by_parameter == {invoice: [1, 2, 3, 4, 5], mail: [1, 2, 3, 4, 5]}
    assert len(statement["Resource"]) == 10
    defaults = {parameter["Default"] for parameter in Template.from_stack(stack).to_json()["Parameters"].values()}
    assert {"/shop/invoice", "/shop/mail"} < defaults


def test_a_function_of_no_construct_gets_what_it_needs_to_find_queues() -> None:
    stack = new_stack("Other")
    _target(stack, "Invoice", task=RENDER).grant_dispatch(add_plain_function(stack))
    assert environment(stack).keys() == {"TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER", "TASK_QUEUE_URL_PREFIX"}


def test_published_routes_collide_with_others_of_the_same_task() -> None:
    stack = new_stack("Other")
    orders = add_orders(stack)
    add_invoice(stack).grant_dispatch(orders.function)
    with pytest.raises(ValueError, match=f"two servers of task '{RENDER}': Other/Invoice and Other/Published"):
        _target(stack, "Published", task=RENDER).grant_dispatch(orders.function)


@pytest.mark.parametrize("named", [{}, {"task": "a", "namespace": "b"}])
def test_either_a_task_or_a_namespace_is_served_there(named: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"Other/Images: task is .*, allowed is one of the two"):
        _target(new_stack("Other"), "Images", **named)


def test_cfn_lint_and_cdk_nag_find_nothing() -> None:
    stack = new_stack("Other")
    cdk.Validations.of(stack.node.root).add_plugins(cdk_nag.AwsSolutionsChecks())
    orders = add_orders(stack)
    _target(stack, "Images", task="images.resize").grant_dispatch(orders.function)
    _target(stack, "Mail", namespace="mail").grant_dispatch(orders.function)
    orders.publish_route("/other/orders")
    stack.node.root.synth()
    assert lint(json.dumps(Template.from_stack(stack).to_json()), regions=["us-east-1"]) == []
