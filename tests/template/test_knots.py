"""Tasks that dispatch to themselves, to each other, across stacks, and many to one: templates without circles.

CDK's synthesis does not find circles within a template; `assertions.Template` and cfn-lint's E3004 do.
"""

import json
from collections.abc import Iterable
from itertools import product
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template
from cfnlint.api import lint
from constructs import Construct

from constructs_lib import BackgroundTaskFunction, DispatchTarget, ManagedAsyncTask, PriorityTaskQueues, TaskStore
from tests.apps import add_invoice, add_orders, add_plain_function, back_office, new_app, new_stack
from tests.queue_apps import add_clean_up

Server = BackgroundTaskFunction | ManagedAsyncTask | PriorityTaskQueues


def _servers(scopes: Iterable[Construct], *, task: str, prefix: str, store: TaskStore | None = None) -> list[Server]:
    """One of each construct, in a scope each; their namespaces begin with ``prefix``."""
    one, two, three = scopes
    options: Any = {"code": back_office(), "store": store}
    modules = ["back_office.orders"]
    return [
        BackgroundTaskFunction(one, "Background", modules=modules, namespace=f"{prefix}background", **options),
        ManagedAsyncTask(two, "Task", task=task, **options),
        PriorityTaskQueues(three, "Queues", modules=modules, namespace=f"{prefix}queues", **options),
    ]


def _dispatch_to_each_other(servers: Iterable[Server]) -> None:
    for target, sender in product(servers, repeat=2):
        target.grant_dispatch(sender.function)


def _assert_sound(*stacks: cdk.Stack) -> None:
    for stack in stacks:
        template = Template.from_stack(stack).to_json()
        assert lint(json.dumps(template), regions=["us-east-1"]) == [], stack.node.path


def test_each_to_itself_and_every_pair_to_each_other_in_one_stack() -> None:
    stack = new_stack()
    _dispatch_to_each_other(_servers([stack] * 3, task="back_office.invoices:render", prefix=""))
    _assert_sound(stack)


def test_every_pair_to_each_other_across_nested_stacks() -> None:
    stack = new_stack()
    nested = [cdk.NestedStack(stack, f"Part{number}") for number in range(3)]
    _dispatch_to_each_other(_servers(nested, task="back_office.invoices:render", prefix=""))
    _assert_sound(stack, *nested)
    assert all("Parameters" not in Template.from_stack(part).to_json() for part in nested)


def test_every_pair_to_each_other_across_two_stacks() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    _dispatch_to_each_other(
        [
            *_servers([here] * 3, task="back_office.invoices:render", prefix="here-"),
            *_servers([there] * 3, task="back_office.invoices:archive", prefix="there-"),
        ]
    )
    _assert_sound(here, there)
    for stack in (here, there):
        template = Template.from_stack(stack).to_json()
        assert "Outputs" not in template
        assert "Fn::ImportValue" not in json.dumps(template)


def test_every_pair_to_each_other_with_a_store_in_either_stack() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    nested = cdk.NestedStack(here, "Nested")
    store = TaskStore(there, "Store")
    servers = _servers([here, nested, there], task="back_office.invoices:render", prefix="", store=store)
    _dispatch_to_each_other(servers)
    for server in servers:
        store.grant_read(server.function)
        store.grant_write(server.function)
    _assert_sound(here, nested, there)
    for stack in (here, nested, there):
        template = Template.from_stack(stack).to_json()
        assert "Outputs" not in template
        assert "Fn::ImportValue" not in json.dumps(template)


def test_ten_functions_to_one_destination() -> None:
    stack = new_stack()
    targets: list[DispatchTarget] = [*_servers([stack] * 3, task="back_office.invoices:render", prefix="")]
    for number in range(10):
        sender = add_plain_function(stack, f"Plain{number}")
        sender.node.default_child.add_metadata("cfn-lint", {"config": {"ignore_checks": ["W3005"]}})
        ours = add_orders(stack, f"Sender{number}", namespace=f"sender-{number}")
        for target in targets:
            target.grant_dispatch(sender)
            target.grant_dispatch(ours.function)
    _assert_sound(stack)


def test_a_task_dispatches_again_what_it_gets_as_dead_letters() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    for stack, clean_up_stack in ((here, here), (there, here)):
        clean_up = add_clean_up(clean_up_stack, f"CleanUp{stack.node.id}")
        task = add_invoice(stack, lanes=2, dead_letter_task=clean_up)
        task.grant_dispatch(clean_up.function)
        clean_up.grant_dispatch(task.function)
        task.grant_dispatch(task.function)
    _assert_sound(here, there)


def test_a_circle_would_be_found() -> None:
    stack = new_stack()
    task = add_invoice(stack)
    task.function.add_environment("OWN_ARN", task.function.function_arn)
    with pytest.raises(RuntimeError, match="dependency cycle"):
        Template.from_stack(stack)
    template = stack.node.root.synth().get_stack_artifact(stack.artifact_id).template
    assert {match.rule.id for match in lint(json.dumps(template), regions=["us-east-1"])} == {"E3004"}
