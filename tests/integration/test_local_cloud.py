"""The local cloud: what it deploys, how it runs functions, and that nothing of it is left behind."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda, aws_lambda_event_sources, aws_sqs

from tasks_cli import stacks
from tasks_cli.cloud import Cloud
from tasks_cli.local import deployment, detached, inspection
from tasks_cli.local.assembly import AssemblyError
from tasks_cli.local.logs import LogReader
from tasks_cli.local.process import LocalCloud, LocalCloudError

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric and /proc are Linux's"),
]

HANDLER = """
import importlib.util, json, logging, os, sys, boto3, awslambdaric

def handler(event, context):
    if "modules" in event:
        return {name: importlib.util.find_spec(name) is not None for name in event["modules"]}
    if "send_to" in event:
        boto3.client("sqs").send_message(QueueUrl=event["send_to"], MessageBody="from the function")
        entries = [{"Id": "1", "MessageBody": "from the function"}]
        boto3.client("sqs").send_message_batch(QueueUrl=event["send_to"], Entries=entries)
        return "sent"
    if "email" in event:
        boto3.client("ses").send_email(
            Source="shop@example.com",
            Destination={"ToAddresses": [event["email"]]},
            Message={"Subject": {"Data": "Grüße"}, "Body": {"Text": {"Data": "Ihre Bestellung"}}},
        )
        return "sent"
    if "log" in event:
        try:
            raise ValueError(event["log"])
        except ValueError:
            logging.getLogger().exception("cannot do %s", event["log"])
    if "fail" in event:
        raise KeyError(event["fail"])
    for record in event.get("Records", []):
        print("received", record["body"])
    return {"first_path": sys.path[0] == os.environ["LAMBDA_TASK_ROOT"], "wrapped": os.environ.get("WRAPPED")}
"""


def synthesize(folder: Path, build: Callable[[cdk.App], object]) -> Path:
    app = cdk.App(outdir=str(folder / "cdk.out"))
    build(app)
    app.synth()
    return folder / "cdk.out"


def function_in(scope: Any, name: str, code: Path, **options: Any) -> aws_lambda.Function:
    return aws_lambda.Function(
        scope,
        name,
        function_name=name,
        runtime=aws_lambda.Runtime.PYTHON_3_13,
        handler="shop.handler",
        code=aws_lambda.Code.from_asset(str(code)),
        **options,
    )


def write_code(folder: Path, text: str = HANDLER, **files: str) -> Path:
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    for name, content in {"shop.py": text, **files}.items():
        (code / name).write_text(content)
        (code / name).chmod(0o755)
    return code


def invoke(cloud: Cloud, name: str, event: object) -> Any:
    answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read())


def wait_for(what: Callable[[], Any], timeout: float = 15) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {timeout} s")


def processes_with(marker: str) -> list[int]:
    """Processes that have the marker in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def shop(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> list[deployment.DeployedStack]:
    """Two stacks, the first with a nested one, of which the second needs the first."""
    folder = tmp_path_factory.mktemp("shop")
    code = write_code(folder, wrapper='#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')

    def build(app: cdk.App) -> None:
        first, second = cdk.Stack(app, "ZShop"), cdk.Stack(app, "AOffice")
        queue = aws_sqs.Queue(first, "Orders", queue_name="orders")
        function = function_in(first, "shop", code)
        mapped = function_in(first, "mapped", code)
        mapped.add_event_source(aws_lambda_event_sources.SqsEventSource(queue, max_concurrency=2))
        function_in(
            first,
            "wrapped",
            code,
            environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"},
            logging_format=aws_lambda.LoggingFormat.JSON,
        )
        function.node.default_child.add_metadata("lambda-task-constructs", {"construct": "Shop"})
        function_in(cdk.NestedStack(first, "Nested"), "nested", code)
        cdk.CfnOutput(second, "OrdersUrl", value=queue.queue_url)

    return deployment.deploy(cloud, synthesize(folder, build))


def test_stacks_are_deployed_after_those_they_depend_on(shop: list[deployment.DeployedStack]) -> None:
    assert [stack.name for stack in shop] == ["ZShop", "AOffice"]


def test_outputs_are_those_of_the_app_alone(shop: list[deployment.DeployedStack], cloud: Cloud) -> None:
    assert {stack.name: stack.outputs for stack in shop}["AOffice"] == {"OrdersUrl": f"{cloud.url}/000000000000/orders"}
    assert not [name for stack in shop for name in stack.outputs if "Repair" in name]


@pytest.mark.usefixtures("shop")
def test_functions_of_a_nested_stack_run(cloud: Cloud) -> None:
    assert invoke(cloud, "nested", {})["first_path"] is True


@pytest.mark.usefixtures("shop")
def test_a_function_sees_its_own_code_and_the_runtime_but_not_the_developers_packages(cloud: Cloud) -> None:
    names = ["shop", "boto3", "awslambdaric", "aws_cdk", "pytest", "tasks_cli"]
    found = invoke(cloud, "shop", {"modules": names})
    assert [name for name in names if found[name]] == ["shop", "boto3", "awslambdaric"]


@pytest.mark.usefixtures("shop")
def test_an_exception_reaches_the_caller_as_lambda_reports_it(cloud: Cloud) -> None:
    error = invoke(cloud, "shop", {"fail": "order 7"})
    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'order 7'")
    assert "raise KeyError" in error["stackTrace"][-1]


@pytest.mark.usefixtures("shop")
def test_a_logged_exception_is_in_the_logs_at_once_with_a_line_of_its_own(cloud: Cloud) -> None:
    reader = LogReader(cloud, ["shop", "nested"])
    reader.read()
    invoke(cloud, "shop", {"log": "order 8"})
    messages = [line.message for line in reader.read() if line.function == "shop"]
    assert any(message.startswith("[ERROR]") and message.endswith("cannot do order 8") for message in messages)
    assert "ValueError: order 8" in messages
    assert reader.read() == []


@pytest.mark.usefixtures("shop")
def test_the_exec_wrapper_starts_the_function(cloud: Cloud) -> None:
    assert invoke(cloud, "wrapped", {})["wrapped"] == "yes"


@pytest.mark.usefixtures("shop")
def test_metadata_of_resources_can_be_read_back(cloud: Cloud) -> None:
    metadata = {resource.physical_id: resource.metadata for resource in stacks.resources(cloud, "ZShop")}
    assert metadata["shop"]["lambda-task-constructs"] == {"construct": "Shop"}


@pytest.mark.usefixtures("shop")
def test_a_message_reaches_the_function_of_its_queue(cloud: Cloud) -> None:
    url = cloud.client("sqs").get_queue_url(QueueName="orders")["QueueUrl"]
    cloud.client("sqs").send_message(QueueUrl=url, MessageBody="order 1")
    wait_for(lambda: not inspection.queued_messages(cloud, url))


@pytest.mark.usefixtures("shop")
def test_emails_can_be_read_back(cloud: Cloud) -> None:
    cloud.client("ses").verify_email_identity(EmailAddress="shop@example.com")
    assert invoke(cloud, "shop", {"email": "customer@example.com"}) == "sent"
    assert inspection.emails(cloud) == [
        inspection.Email("shop@example.com", ("customer@example.com",), "Grüße", "Ihre Bestellung", "")
    ]


def test_a_queue_is_read_without_receiving(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName="unread")["QueueUrl"]
    kind = {"Kind": {"DataType": "String", "StringValue": "größer"}}
    sqs.send_message(QueueUrl=url, MessageBody="1", MessageAttributes=kind)
    for _ in range(2):
        (message,) = inspection.queued_messages(cloud, url)
        assert (message.body, message.receive_count, message.is_visible) == ("1", 0, True)
        assert message.attributes["Kind"]["StringValue"] == "größer"


def test_an_update_runs_the_new_code_and_settings(cloud: Cloud, tmp_path: Path) -> None:
    def deploy(answer: str, **options: Any) -> dict[str, Any]:
        def build(app: cdk.App) -> None:
            stack = cdk.Stack(app, "Update")
            letters = aws_sqs.Queue(stack, "Letters", queue_name="update-letters")
            options_of_stack = {"dead_letter_queue": letters} if "reserved_concurrent_executions" in options else {}
            function_in(stack, "updated", code, **options, **options_of_stack)

        folder = tmp_path / answer
        code = write_code(folder, f"def handler(event, context):\n    return {answer!r}\n")
        deployment.deploy(cloud, synthesize(folder, build))
        assert invoke(cloud, "updated", {}) == answer
        return dict(cloud.client("lambda").get_function(FunctionName="updated"))

    function = deploy("old", reserved_concurrent_executions=3)
    assert function["Concurrency"] == {"ReservedConcurrentExecutions": 3}
    assert function["Configuration"]["DeadLetterConfig"]["TargetArn"].endswith(":update-letters")
    function = deploy("new")
    assert "Concurrency" not in function
    assert not function["Configuration"].get("DeadLetterConfig", {}).get("TargetArn")


def test_a_failed_deployment_says_which_resource_and_why_and_can_be_repeated(cloud: Cloud, tmp_path: Path) -> None:
    def build(function_name: str) -> Callable[[cdk.App], None]:
        def add_stack(app: cdk.App) -> None:
            stack = cdk.Stack(app, "Broken")
            aws_lambda.CfnEventInvokeConfig(stack, "Retries", function_name=function_name, qualifier="$LATEST")

        return add_stack

    for attempt in ("first", "second"):
        with pytest.raises(deployment.DeploymentError, match=r"stack Broken ended as .*Retries: .*absent"):
            deployment.deploy(cloud, synthesize(tmp_path / attempt, build("absent")))


def test_a_stack_for_another_account_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    environment = cdk.Environment(account="123456789012", region="eu-west-1")
    assembly = synthesize(tmp_path, lambda app: cdk.Stack(app, "Elsewhere", env=environment))
    with pytest.raises(AssemblyError, match="Elsewhere is for account 123456789012 and region eu-west-1"):
        deployment.deploy(cloud, assembly)


def test_enforced_iam_denies_what_the_role_does_not_allow(tmp_path: Path) -> None:
    code = write_code(tmp_path)

    def build(app: cdk.App) -> None:
        stack = cdk.Stack(app, "Guarded")
        queue = aws_sqs.Queue(stack, "Orders", queue_name="guarded", enforce_ssl=True)
        function_in(stack, "denied", code)
        queue.grant_send_messages(function_in(stack, "allowed", code))
        cdk.CfnOutput(stack, "Url", value=queue.queue_url)

    assembly = synthesize(tmp_path, build)
    with LocalCloud(enforce_iam=True, tls=True) as cloud:
        (stack,) = deployment.deploy(cloud, assembly)
        assert invoke(cloud, "allowed", {"send_to": stack.outputs["Url"]}) == "sent"
        assert "AccessDenied" in invoke(cloud, "denied", {"send_to": stack.outputs["Url"]})["errorMessage"]


DRIVER = """
import sys, time
from tasks_cli.local import deployment
from tasks_cli.local.logs import LogReader
from tasks_cli.local.process import LocalCloud
from pathlib import Path

with LocalCloud(environment={"TASKS_TEST_MARKER": sys.argv[1]}) as cloud:
    deployment.deploy(cloud, Path(sys.argv[2]))
    cloud.client("lambda").invoke(FunctionName="slow", InvocationType="Event", Payload=b"{}")
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_of_the_cloud_when_its_driver_is_ended(number: int, tmp_path: Path) -> None:
    code = write_code(tmp_path, "import time\ndef handler(event, context):\n    time.sleep(60)\n")
    assembly = synthesize(
        tmp_path, lambda app: function_in(cdk.Stack(app, "Slow"), "slow", code, timeout=cdk.Duration.minutes(2))
    )
    marker = uuid.uuid4().hex
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, marker, str(assembly)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(processes_with(marker)) == 2)  # the emulator and the function
        driver.send_signal(number)
        driver.wait(10)
        wait_for(lambda: not processes_with(marker), timeout=5)
        wait_for(lambda: not list(tmp_path.glob("tasks-local-*")), timeout=5)
    finally:
        driver.kill()
        driver.wait()
        for process in processes_with(marker):
            os.kill(process, signal.SIGKILL)


def test_it_listens_on_loopback_alone() -> None:
    local_cloud = LocalCloud()
    with local_cloud as cloud:
        # The services that have listeners of their own.
        cloud.client("transfer").create_server()
        cloud.client("iot").list_things()
        sockets = {str(path.readlink()) for path in Path(f"/proc/{local_cloud.process_id}/fd").iterdir()}
        listening = [
            line.split()[1]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in sockets
        ]
    loopback, port = "0100007F", f"{int(str(cloud.url).rpartition(':')[2]):04X}"
    assert listening == [f"{loopback}:{port}"]


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalCloudError, match=f"port {port} of 127.0.0.1 cannot be used"), LocalCloud(port=port):
            pass


def test_a_failed_start_shows_the_end_of_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_package, temporary = tmp_path / "broken" / "ministack", tmp_path / "temporary"
    broken_package.mkdir(parents=True)
    temporary.mkdir()
    (broken_package / "__init__.py").write_text("raise ImportError('broken installation')")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    broken = LocalCloud(environment={"PYTHONPATH": str(broken_package.parent)})
    with pytest.raises(LocalCloudError, match=r"ended with exit code 1(?s:.*)broken installation"), broken:
        pass
    assert not list(temporary.iterdir())


def test_a_detached_cloud_outlives_its_starter_until_it_is_ended(tmp_path: Path) -> None:
    start = "from pathlib import Path; from tasks_cli.local import detached; detached.start(Path.cwd())"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", start], cwd=tmp_path, env=environment, check=True, timeout=30)
    running = detached.find(tmp_path)
    assert running is not None
    try:
        assert running.cloud().client("sqs").list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200
        with pytest.raises(LocalCloudError, match=f"runs already at {running.url}"):
            detached.start(tmp_path)
    finally:
        ended = detached.end(tmp_path)
    assert ended == running
    assert detached.find(tmp_path) is None
    assert detached.end(tmp_path) is None
    assert not Path(running.directory).exists()
    with pytest.raises(OSError, match="refused"):
        running.cloud().read("/_ministack/health")


def test_the_state_of_an_ended_cloud_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    running = detached.start(tmp_path)
    os.killpg(running.process_id, signal.SIGKILL)
    os.waitpid(running.process_id, 0)
    with (tmp_path / ".tasks" / "local.lock").open() as other:
        # Another command looks at the same time.
        fcntl.flock(other, fcntl.LOCK_SH)
        assert detached.find(tmp_path) is None
    again = detached.start(tmp_path)
    assert detached.end(tmp_path) == again
    assert not Path(running.directory).exists()
