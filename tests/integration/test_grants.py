"""With IAM enforced: what is granted works, and a grant that is taken away denies that dispatch and no other."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda

from constructs_lib import BackgroundTaskFunction, ManagedAsyncTask, PriorityTaskQueues
from tasks_cli import deployed
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

TASKS = {"Background": "field.relay.background", "Task": "field.relay.managed", "Queues": "field.relay.queued"}
SENDERS = 10
SHORT = {"Background": "background", "Task": "managed", "Queues": "queued"}


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    code, modules = field(), ["field.relay"]
    servers = [
        BackgroundTaskFunction(
            here, "Background", code=code, modules=modules, namespace="background", environment=environment
        ),
        ManagedAsyncTask(
            cdk.NestedStack(here, "Nested"), "Task", code=code, task="field.relay:managed", environment=environment
        ),
        PriorityTaskQueues(there, "Queues", code=code, modules=modules, namespace="queues", environment=environment),
    ]
    for sender, target in product(servers, servers):
        target.grant_dispatch(sender.function)
    for number in range(SENDERS):
        sender = aws_lambda.Function(
            here,
            f"Sender{number}",
            function_name=f"sender{number}",
            runtime=aws_lambda.Runtime.PYTHON_3_13,
            handler="field.sender.handler",
            code=code.for_stack(here),
        )
        servers[1].grant_dispatch(sender)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("grants"), _build)


def _functions(app: Field) -> dict[str, deployed.Function]:
    return {
        function.path.rpartition("/")[2]: function
        for function in deployed.functions(app.cloud, app.stacks)
        if function.construct
    }


def _arrived(app: Field, chain: str) -> list[str]:
    return [mark["at"] for mark in app.marks("arrived") if mark["chain"] == chain]


def _chain_that_begins(app: Field, task: str, path: list[str]) -> str:
    before = {mark["chain"] for mark in app.marks("arrived")}
    app.dispatch(task, path)
    return wait_for(lambda: next((m["chain"] for m in app.marks("arrived") if m["chain"] not in before), None))


def test_every_pair_of_constructs_dispatches_to_each_other_and_to_itself(app: Field) -> None:
    path = ["Task", "Queues", "Background", "Queues", "Task", "Background", "Background", "Task", "Task", "Queues"]
    path += ["Queues"]
    pairs = set(zip(["Background", *path], path, strict=False))
    assert pairs == set(product(TASKS, TASKS))
    chain = _chain_that_begins(app, TASKS["Background"], [TASKS[name] for name in path])
    wait_for(lambda: len(_arrived(app, chain)) == len(path) + 1)
    assert _arrived(app, chain) == [SHORT[name] for name in ["Background", *path]]
    assert [mark["hops"] for mark in app.marks("arrived") if mark["chain"] == chain] == list(range(len(path) + 1))


def test_ten_functions_of_the_users_dispatch_to_one_destination(app: Field) -> None:
    before = len(app.marks("arrived"))
    for number in range(SENDERS):
        answer = app.cloud.client("lambda").invoke(FunctionName=f"sender{number}")
        assert "FunctionError" not in answer, answer["Payload"].read()
    wait_for(lambda: len(app.marks("arrived")) == before + SENDERS)
    assert {mark["at"] for mark in app.marks("arrived")[before:]} == {"managed"}


@contextmanager
def _without(app: Field, sender: deployed.Function, target: deployed.Function) -> Iterator[None]:
    """Take the one grant of ``sender`` to ``target`` out of the sender's role."""
    iam = app.cloud.client("iam")
    role = app.cloud.client("lambda").get_function(FunctionName=sender.name)["Configuration"]["Role"]
    policy = {"RoleName": role.rpartition("/")[2], "PolicyName": "task"}
    document: dict[str, Any] = iam.get_role_policy(**policy)["PolicyDocument"]
    names = [route.partition(":")[2] for route in target.routes.values()]
    kept = []
    for statement in json.loads(json.dumps(document))["Statement"]:
        if statement["Action"] in ("sqs:SendMessage", "lambda:InvokeFunction"):
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            statement["Resource"] = [arn for arn in resources if arn.rpartition(":")[2] not in names]
        if statement["Resource"]:
            kept.append(statement)
    assert kept != document["Statement"]
    iam.put_role_policy(**policy, PolicyDocument=json.dumps({**document, "Statement": kept}))
    try:
        yield
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))


@pytest.mark.parametrize(("sender", "target"), list(product(TASKS, TASKS)))
def test_without_its_grant_exactly_that_dispatch_is_denied(app: Field, sender: str, target: str) -> None:
    functions = _functions(app)
    before = len(app.marks("refused"))
    with _without(app, functions[sender], functions[target]):
        _chain_that_begins(app, TASKS[sender], [TASKS[target]])
        [refused] = wait_for(lambda: app.marks("refused")[before:])
        assert (refused["at"], refused["to"]) == (SHORT[sender], TASKS[target])
        assert "AccessDenied" in refused["why"]
        for other in TASKS.keys() - {target}:
            chain = _chain_that_begins(app, TASKS[sender], [TASKS[other]])
            wait_for(lambda chain=chain: len(_arrived(app, chain)) == 2)
    chain = _chain_that_begins(app, TASKS[sender], [TASKS[target]])
    wait_for(lambda: _arrived(app, chain) == [SHORT[sender], SHORT[target]])
    assert len(app.marks("refused")) == before + 1
