"""With IAM enforced, an application dispatches to another by the routes that it published, and to nothing else."""

from collections.abc import Iterator
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms

from constructs_lib import BackgroundTaskFunction, DispatchTarget, ManagedAsyncTask, PriorityTaskQueues
from tasks_cli import deployed
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

pytestmark = pytest.mark.xdist_group("local_cloud")


def _receiver(app: cdk.App, environment: dict[str, str]) -> None:
    stack, modules = cdk.Stack(app, "Receiver"), ["field.relay"]
    options: dict[str, Any] = {"code": field(), "environment": environment}
    key = kms.Key(stack, "Key")
    ManagedAsyncTask(stack, "Task", task="field.relay:managed", **options).publish_route("/receiver/task")
    PriorityTaskQueues(
        stack, "Queues", modules=modules, namespace="queues", encryption_key=key, **options
    ).publish_route("/receiver/queues")
    BackgroundTaskFunction(stack, "Background", modules=modules, namespace="background", **options).publish_route(
        "/receiver/background"
    )


def _sender(app: cdk.App, environment: dict[str, str]) -> None:
    stack = cdk.Stack(app, "Sender")
    sender = BackgroundTaskFunction(
        stack, "Outside", code=field(), modules=["field.outside"], namespace="outside", environment=environment
    )
    published = DispatchTarget.from_published_route
    for target in (
        published(stack, "Task", parameter_name="/receiver/task", task="field.relay.managed"),
        published(stack, "Queues", parameter_name="/receiver/queues", namespace="queues"),
        published(stack, "Background", parameter_name="/receiver/background", namespace="background"),
    ):
        target.grant_dispatch(sender.function)


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Field, Field]]:
    folder = tmp_path_factory.mktemp("published")
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        receiver = Field(cloud, folder, _receiver)
        (folder / "sender").mkdir()
        yield receiver, Field(cloud, folder / "sender", _sender)


@pytest.mark.parametrize("to", ["managed", "queued", "background"])
def test_another_application_dispatches_by_a_published_route(apps: tuple[Field, Field], to: str) -> None:
    receiver, sender = apps
    sender.dispatch("field.outside.send", to)
    wait_for(lambda: [mark for mark in sender.marks("sent") + sender.marks("refused") if mark["to"] == to])
    assert sender.marks("refused") == []
    wait_for(lambda: [mark for mark in receiver.marks("arrived") if mark["at"] == to])


def test_it_may_send_there_and_nowhere_else(apps: tuple[Field, Field]) -> None:
    receiver, sender = apps
    [function] = deployed.functions(sender.cloud, sender.stacks)
    role = sender.cloud.client("lambda").get_function(FunctionName=function.name)["Configuration"]["Role"]
    iam = sender.cloud.client("iam")
    document: Any = iam.get_role_policy(RoleName=role.rpartition("/")[2], PolicyName="task")["PolicyDocument"]
    [statement] = [one for one in document["Statement"] if "lambda:InvokeFunction" in one["Action"]]
    servers = deployed.functions(receiver.cloud, receiver.stacks)
    targets = {route.partition(":")[2] for server in servers for route in server.routes.values()}
    names = {arn.rpartition(":")[2] for arn in statement["Resource"]}
    assert {name for name in names if not name.startswith("key/")} == targets
    assert len(names) == len(targets) + 1
