"""The `tasks` command as a newcomer uses it: up, deploy, dispatch, logs, dead letters, down."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.credentials import Credentials

from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from tasks_cli.local import detached
from tasks_cli.local.inspection import queued_messages
from tests.signed import signed_status

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]

MAIL = """
from runtime_lib import task

@task(namespace="mail")
def send(to: str, subject: str = "Hello", *, copies: int = 1) -> None:
    print("sent", to, subject, copies)
"""

TASKS = """
from runtime_lib import Reject, task

@task
def receipt(order: int) -> None:
    print("receipt of order", order)

@task
def invoice(order: int) -> None:
    raise Reject(f"order {order} größer als erlaubt")

@task
def flaky(order: int) -> None:
    raise OSError(f"order {order}: no connection")

@task(namespace="nowhere")
def forgotten() -> None: ...

@task
def answer(number: int) -> dict[str, int]:
    return {"answer": number}
"""

STREAMS = """
import time
from runtime_lib import streaming_handler

@streaming_handler
def ticks():
    for number in range(3):
        yield f"tick {number}\\n"
        time.sleep(0.05)
"""

APP = """
import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs_lib import ApiTask, BackgroundTaskFunction, ManagedAsyncTask, PriorityTaskQueues
from constructs_lib import StreamingLambda, TaskApi, TaskCode

app = cdk.App()
stack = cdk.Stack(app, "Shop")
code = TaskCode.from_package("shop")
BackgroundTaskFunction(stack, "Background", code=code, modules=["shop.tasks"])
PriorityTaskQueues(stack, "Mail", code=code, modules=["shop.mail"], namespace="mail")
ManagedAsyncTask(stack, "Invoice", code=code, task="shop.tasks:invoice")
api = TaskApi(stack, "Api", authorization="none", cloud_watch_role=False)
ApiTask(stack, "Answer", code=code, task="shop.tasks:answer", api=api, path="/answers/{number}")
ApiTask(stack, "Signed", code=code, task="shop.tasks:answer", api=api, path="/signed/{number}", authorization="iam")
ticks = StreamingLambda(stack, "Ticks", code=code, handler="shop.streams:ticks", function_url=True)
ticks.grant_invoke_url(iam.User(stack, "Bea", user_name="bea"))
app.synth()
"""

USERS_OWN = {
    "AWS_PROFILE": "absent",
    "AWS_SESSION_TOKEN": "token",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
}
"""What a developer's shell may hold, none of which is for the local cloud."""

ENVIRONMENT = os.environ | USERS_OWN | {"PYTHONPATH": str(Path(__file__).parents[2])}

Tasks = Callable[..., Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("project")
    (project / "shop").mkdir()
    (project / "shop" / "__init__.py").touch()
    (project / "shop" / "tasks.py").write_text(TASKS)
    (project / "shop" / "mail.py").write_text(MAIL)
    (project / "shop" / "streams.py").write_text(STREAMS)
    (project / "app.py").write_text(APP)
    (project / "cdk.json").write_text('{"app": "python app.py"}')
    return project


@pytest.fixture(scope="module")
def tasks(project: Path) -> Iterator[Tasks]:
    """Runs `tasks … --json` in a project whose app is deployed to a local cloud that enforces IAM."""

    def run(*arguments: str, as_json: bool = True) -> Any:
        command = [sys.executable, "-m", "tasks_cli", *arguments, *(["--json"] if as_json else [])]
        result = subprocess.run(
            command,
            cwd=project,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout) if as_json and "logs" not in arguments else result.stdout

    run("local", "up", "--enforce-iam")
    try:
        run("local", "deploy")
        yield run
    finally:
        run("local", "down")


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < deadline, "did not happen within 20 s"
        time.sleep(0.1)
    return found


def printed(tasks: Tasks, *function: str) -> list[str]:
    return [json.loads(line)["message"] for line in tasks("local", "logs", *function).splitlines()]


def test_status_shows_the_functions_of_constructs_and_the_queues(tasks: Tasks) -> None:
    status = tasks("local", "status")
    assert status["stacks"] == [{"name": "Shop", "status": "CREATE_COMPLETE"}]
    paths = {function["path"] for function in status["functions"]}
    assert paths == {"Shop/Answer", "Shop/Background", "Shop/Mail", "Shop/Invoice", "Shop/Signed", "Shop/Ticks"}
    assert len(status["queues"]) == 8  # one for Invoice, four for Mail, and three for dead letters
    text = tasks("local", "status", as_json=False)
    assert all(queue["name"] in text for queue in status["queues"])


def test_every_task_is_listed_with_what_starts_it_and_what_serves_it(tasks: Tasks) -> None:
    listed = tasks("list")
    assert [(one["task"], one["trigger"], one["construct"], one["path"]) for one in listed] == [
        ("shop.mail.send", "queues default, high, low, bulk", "PriorityTaskQueues", "Shop/Mail"),
        ("shop.tasks.answer", "GET /answers/{number}", "ApiTask", "Shop/Answer"),
        ("shop.tasks.answer", "asynchronous invocation", "BackgroundTaskFunction", "Shop/Background"),
        ("shop.tasks.answer", "GET /signed/{number}", "ApiTask", "Shop/Signed"),
        ("shop.tasks.flaky", "asynchronous invocation", "BackgroundTaskFunction", "Shop/Background"),
        ("shop.tasks.forgotten", None, None, None),
        ("shop.tasks.invoice", "asynchronous invocation", "BackgroundTaskFunction", "Shop/Background"),
        ("shop.tasks.invoice", "queue", "ManagedAsyncTask", "Shop/Invoice"),
        ("shop.tasks.receipt", "asynchronous invocation", "BackgroundTaskFunction", "Shop/Background"),
    ]
    assert listed[5]["source"] == "shop/tasks.py:17"
    table = tasks("list", as_json=False)
    assert "shop.tasks.forgotten\t-\tnothing serves it\tshop/tasks.py:17" in table.splitlines()


def test_a_function_is_invoked_with_a_tasks_arguments_and_shows_what_it_logs(tasks: Tasks) -> None:
    invoked = tasks("invoke", "shop.tasks:receipt", "--arg", "43")
    assert invoked["function"].startswith("Shop-Background-")
    assert (invoked["result"], invoked["log"][0]) == (None, "receipt of order 43")
    assert tasks("invoke", "shop.tasks.invoice", "--arg", "1")["function"].startswith("Shop-Invoice-")
    invoked = tasks("invoke", "shop.mail.send", "--arg", "eve@example.com", "--kwargs", "copies=2")
    assert invoked["result"] == {"batchItemFailures": []}
    assert "sent eve@example.com Hello 2" in invoked["log"]


def test_a_function_is_invoked_with_an_event_as_it_is(tasks: Tasks, project: Path) -> None:
    event = json.dumps({"target": "shop.tasks:receipt", "payload": {"body": '{"order": 44}'}})
    (project / "event.json").write_text(event)
    for given in (event, "@event.json"):
        assert tasks("invoke", "Shop/Background", given)["log"][0] == "receipt of order 44"


def test_a_function_that_fails_is_told_by_the_exit_code_and_the_error(project: Path, tasks: Tasks) -> None:
    def invoke(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tasks_cli", "invoke", *arguments]
        return subprocess.run(
            command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )

    failed = invoke("shop.tasks.flaky", "--arg", "7")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[-1].endswith(" failed: OSError: order 7: no connection")
    as_json = invoke("shop.tasks.flaky", "--arg", "7", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["error"]["errorType"] == "OSError"
    assert "did you mean 'shop.tasks.receipt'?" in invoke("shop.tasks.reciept").stderr
    assert invoke("shop.tasks.receipt", "{").returncode == 2


def test_a_task_dispatched_by_name_runs_in_the_background(tasks: Tasks) -> None:
    dispatched = tasks("dispatch", "shop.tasks:receipt", "42")
    assert dispatched["route"].startswith("lambda:Shop-Background-")
    wait_for(lambda: "receipt of order 42" in printed(tasks, "Shop/Background"))


def test_a_task_goes_through_its_namespaces_queue_of_the_priority(tasks: Tasks) -> None:
    dispatched = tasks("dispatch", "shop.mail.send", "ann@example.com", "--kwargs", "copies=2", "--priority", "high")
    assert dispatched["route"].endswith("-high")
    wait_for(lambda: "sent ann@example.com Hello 2" in printed(tasks))


def test_what_is_given_up_is_listed_and_shown_with_its_reason(tasks: Tasks) -> None:
    dispatched = tasks("dispatch", "shop.tasks:invoice", "7")
    assert dispatched["route"].startswith("sqs:Shop-Invoice-")
    (letter,) = wait_for(lambda: [one for one in tasks("dead-letters", "list") if one["id"] == dispatched["id"]])
    assert letter["task"] == "shop.tasks.invoice"
    assert letter["failure"]["reason"] == "order 7 größer als erlaubt"
    assert tasks("dead-letters", "show", letter["message"][:8]) == letter
    assert "order 7 größer als erlaubt" in tasks("dead-letters", "list", as_json=False)


def test_addresses_of_an_api_are_those_of_this_machine(tasks: Tasks, project: Path) -> None:
    running = detached.find(project)
    assert running is not None
    [stack] = tasks("local", "deploy")
    [url] = stack["outputs"].values()
    [api] = tasks("local", "status")["apis"]
    assert url == f"{api['url']}/"
    context = ssl.create_default_context(cafile=running.ca_bundle)
    with urlopen(f"{url}answers/42", context=context, timeout=20) as answer:
        assert json.load(answer) == {"answer": 42}


def test_a_method_for_callers_of_iam_takes_signed_requests_alone(tasks: Tasks, project: Path) -> None:
    running = detached.find(project)
    assert running is not None
    [api] = tasks("local", "status")["apis"]
    url = f"{api['url']}/signed/42"

    iam = running.cloud().client("iam")
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]

    def ask(secret: str | None) -> int:
        credentials = Credentials(key["AccessKeyId"], secret) if secret else None
        return signed_status(url, credentials, "execute-api", running.ca_bundle)

    assert (ask(None), ask(key["SecretAccessKey"])) == (403, 403)
    api_id = api["url"].split("/")[-2]
    arn = f"arn:aws:execute-api:us-east-1:000000000000:{api_id}/prod/GET/signed/*"
    statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="ann", PolicyName="call", PolicyDocument=policy)
    assert (ask(key["SecretAccessKey"]), ask("wrong")) == (200, 403)


def test_the_url_of_a_function_is_told_and_streams_to_signed_requests_alone(tasks: Tasks, project: Path) -> None:
    running = detached.find(project)
    assert running is not None
    [found] = tasks("local", "status")["function_urls"]
    assert (found["streams"], found["authorization"]) == (True, "AWS_IAM")
    for command in ("deploy", "status"):
        told = tasks("local", command, as_json=False).splitlines()
        assert "\t".join([found["function"], found["url"], "as it is written", "a signature"]) in told

    def check(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tasks_cli", "check-streaming", found["url"], *arguments],
            env=ENVIRONMENT | {"AWS_CA_BUNDLE": str(running.ca_bundle)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    unsigned, signed = check(), check("--sign")
    assert (unsigned.returncode, signed.returncode) == (1, 0)
    assert "if it asks for a signature, give --sign" in unsigned.stderr
    assert signed.stdout.endswith("It is streamed.\n")
    assert "tick 2" in json.dumps(tasks("invoke", "Shop/Ticks", "{}")["result"])


def test_the_url_of_a_function_answers_those_who_have_the_grant(tasks: Tasks, project: Path) -> None:
    running = detached.find(project)
    assert running is not None
    [found] = tasks("local", "status")["function_urls"]
    iam = running.cloud().client("iam")
    iam.create_user(UserName="cid")
    keys = [iam.create_access_key(UserName=name)["AccessKey"] for name in ("bea", "cid")]
    callers = [Credentials(key["AccessKeyId"], key["SecretAccessKey"]) for key in keys]
    assert [signed_status(found["url"], one, "lambda", running.ca_bundle) for one in callers] == [200, 403]


@pytest.mark.usefixtures("tasks")
def test_an_api_is_served_until_ctrl_c(project: Path) -> None:
    serve = subprocess.Popen(
        [sys.executable, "-m", "tasks_cli", "local", "serve"],
        cwd=project,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serve.stdout
        assert serve.stdout.readline().split("\t") == ["method", "url", "answered by", "asks for\n"]
        method, url, construct, _ = serve.stdout.readline().split("\t")
        assert (method, construct) == ("GET", "Shop/Answer")
        with urlopen(url.replace("{number}", "42"), timeout=20) as answer:
            assert json.load(answer) == {"answer": 42}
        serve.send_signal(signal.SIGINT)
        _, told = serve.communicate(timeout=20)
        assert "GET /answers/42 200 " in told
        assert serve.returncode == 128 + signal.SIGINT
    finally:
        serve.kill()
        serve.communicate()


@pytest.mark.usefixtures("tasks")
def test_with_aws_the_users_own_settings_lead_to_the_cloud_and_the_stack_is_named(project: Path) -> None:
    running = detached.find(project)
    assert running is not None
    # The local cloud in AWS's place, as the user's own settings would have it.
    settings = {
        "AWS_ENDPOINT_URL": running.url,
        "AWS_CA_BUNDLE": str(running.ca_bundle),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "",
    }

    def on_aws(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tasks_cli", *arguments, "--aws", "--stack", "Shop", "--json"],
            cwd=project,
            env=os.environ | settings | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    dispatched = on_aws("dispatch", "shop.tasks.invoice", "9")
    assert dispatched.stderr == "Using AWS account 000000000000 in us-east-1.\n"
    wait_for(lambda: "order 9 größer als erlaubt" in on_aws("dead-letters", "list").stdout)
    assert on_aws("dispatch", "shop.mail.send", "x", "--namespace", "nope").returncode == 1


@pytest.mark.usefixtures("tasks")
def test_a_worker_runs_the_tasks_of_a_queue_until_it_is_ended(project: Path) -> None:
    running = detached.find(project)
    assert running is not None
    sqs = running.cloud().client("sqs")
    url = sqs.create_queue(QueueName="worked-on")["QueueUrl"]
    envelope = Envelope.new("shop.mail.send", ["bob@example.com"], {}, priority=Priority.LOW)
    sqs.send_message(QueueUrl=url, MessageBody=envelope.encode())
    worker = subprocess.Popen(
        [sys.executable, "-m", "tasks_cli", "worker", "shop.mail", "--queue", "worked-on"],
        cwd=project,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout
        assert worker.stdout.readline() == "sent bob@example.com Hello 1\n"
        wait_for(lambda: not queued_messages(running.cloud(), url))
        worker.terminate()
        assert worker.wait(20) == 0
    finally:
        worker.kill()
        worker.communicate()
