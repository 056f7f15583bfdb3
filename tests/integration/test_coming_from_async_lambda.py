"""The project of docs/coming-from-async-lambda.md, deployed as it stands there, does what async-lambda's page says."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from runtime_lib.dead_letters import read_dead_letter
from tasks_cli import deployed
from tasks_cli.cloud import Cloud
from tasks_cli.local.apis import deployed_apis
from tasks_cli.local.deployment import deploy
from tasks_cli.local.inspection import queued_messages
from tasks_cli.local.logs import LogReader
from tasks_cli.local.process import LocalCloud
from tasks_cli.synthesis import synthesize
from tests.deployed import wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-async-lambda.md"
FILE = re.compile(r"^`(?P<path>[\w/.]+)`:\n\n```(?:python|json)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


def write_project(folder: Path) -> None:
    for found in FILE.finditer(PAGE.read_text()):
        path = folder / found["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(found["text"])
    (folder / "project" / "__init__.py").touch()


def assembly(folder: Path, **context: str) -> Path:
    write_project(folder)
    (folder / "cdk.json").write_text(json.dumps({"context": context}))
    return synthesize(f"{sys.executable} app.py", folder)[0]


class Project:
    """The deployed project."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        [self.stack] = deploy(cloud, assembly(folder, stage="local"))
        self.functions = {one.path.rpartition("/")[2]: one for one in deployed.functions(cloud, [self.stack.name])}
        self._logs = LogReader(cloud, [one.name for one in self.functions.values()])
        self._lines: list[str] = []

    def logged(self, text: str) -> bool:
        self._lines += [line.message for line in self._logs.read()]
        return any(text in line for line in self._lines)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    with LocalCloud() as cloud:
        yield Project(cloud, folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_scheduled_task_dispatches_an_async_task_with_a_payload(project: Project) -> None:
    schedules = project.cloud.client("scheduler")
    [name] = [one["Name"] for one in schedules.list_schedules()["Schedules"]]
    schedule: dict[str, Any] = schedules.get_schedule(Name=name)
    assert schedule["ScheduleExpression"] == "rate(15 minutes)"
    message = schedule["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", "2026-01-01T00:15:00Z")
    function = project.functions["ScheduledTask1"].name
    project.cloud.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=message)
    wait_for(lambda: project.logged("payload {'foo': 'bar'} from project.tasks.scheduled_task_1"))


def test_a_task_consumes_a_queue_of_others(project: Project) -> None:
    project.cloud.client("sqs").send_message(QueueUrl=project.stack.outputs["OrdersUrl"], MessageBody="order 17")
    wait_for(lambda: project.logged("body order 17"))


def test_a_task_answers_requests(project: Project) -> None:
    [api] = deployed_apis(project.cloud, [project.stack.name])
    request = Request(f"{api.url(project.cloud)}/test?a=1", headers={"User-Agent": "curl"})
    with build_opener(ProxyHandler({})).open(request, timeout=30) as response:
        assert (response.status, response.headers["X-Answer"]) == (200, "yes")
        assert json.loads(response.read()) == {"agent": "curl", "query": {"a": "1"}, "body": ""}


def test_an_infinite_loop_ends(project: Project) -> None:
    sqs = project.cloud.client("sqs")
    with_loop = project.functions["Task1"]
    body = {
        "id": "5d1f2a7e-8f0c-4d36-9b6d-0d4c7f4d1e11",
        "metadata": {"priority": "default", "timestamp": 0, "version": "1.0"},
        "headers": {},
        "task": "project.tasks.task_1",
        "args": [],
        "kwargs": {},
    }
    [route] = with_loop.routes.values()
    queue = sqs.get_queue_url(QueueName=route.removeprefix("sqs:"))["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(body))
    letters = sqs.get_queue_url(QueueName=with_loop.dead_letter_queue)["QueueUrl"]
    [message] = wait_for(lambda: queued_messages(project.cloud, letters))
    letter = read_dead_letter(message.as_received())
    assert letter.failure.reason.startswith("5 tasks dispatched one another (max_hops is 4): a loop?")
    assert letter.failure.chain == body["id"]


def test_in_production_everything_of_the_file_is_there(tmp_path: Path) -> None:
    folder = assembly(tmp_path, stage="production")
    template = json.loads((folder / "ProjectName.template.json").read_text())
    found: dict[str, list[tuple[str, Any]]] = {}
    for name, resource in template["Resources"].items():
        found.setdefault(resource["Type"], []).append((name, resource.get("Properties", {})))

    def one(kind: str, prefix: str) -> Any:
        [properties] = [properties for name, properties in found[kind] if name.startswith(prefix)]
        return properties

    function = one("AWS::Lambda::Function", "AsyncTask1")
    assert function["Layers"] == [f"arn:aws:lambda:us-east-1:123456789012:layer:layer_{n}:1" for n in (1, 2)]
    assert function["MemorySize"] == 256
    assert function["VpcConfig"] == {"SubnetIds": ["subnet-0a1b2c3d"], "SecurityGroupIds": ["sg-0a1b2c3d"]}
    assert function["Environment"]["Variables"]["ENV_VAR_NAME"] == "ENV_VAR_VALUE"
    role = one("AWS::IAM::Role", "AsyncTask1")
    assert role["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]
    assert "s3:ListAllMyBuckets" in json.dumps(role["Policies"])
    mapping = one("AWS::Lambda::EventSourceMapping", "AsyncTask1")
    assert (mapping["BatchSize"], mapping["ScalingConfig"]) == (1, {"MaximumConcurrency": 50})
    [alarm] = [properties for _, properties in found["AWS::CloudWatch::Alarm"] if properties.get("Threshold") == 100]
    [queue] = [name for name, _ in found["AWS::SQS::Queue"] if name.startswith("AsyncTask1")]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}]
    domain = one("AWS::ApiGateway::DomainName", "Api")
    assert (domain["DomainName"], domain["SecurityPolicy"]) == ("api.example.com", "TLS_1_2")
    assert domain["RegionalCertificateArn"].startswith("arn:aws:acm:us-east-1:123456789012:certificate/")
