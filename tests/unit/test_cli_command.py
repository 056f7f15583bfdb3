"""The `tasks` command: its help, its exit codes, its errors, and which cloud it works on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from runtime_lib.contract import Priority
from tasks_cli.app import app
from tasks_cli.cloud import Cloud
from tasks_cli.commands import dispatch
from tasks_cli.demo.progress import Progress
from tasks_cli.demo.run import run
from tasks_cli.deployed import Function, find_namespace, namespace_of_task, routes, stack_names
from tasks_cli.errors import CliError, UsageError
from tasks_cli.local import certificate, inspection
from tasks_cli.local.logs import LogLine
from tasks_cli.target import priority_of

ROOT = Path(__file__).parents[2]


def tasks(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tasks_cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        *("synth", "demo", "local up", "local deploy", "local status", "local serve", "local logs", "local down"),
        *("dispatch", "openapi", "dead-letters list", "dead-letters show"),
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout
    examples = result.stdout.partition("Examples:")[2].splitlines()
    assert command in {"local status", "local down"} or examples[1].startswith(f"    tasks {command}")


def test_help_is_quick_because_it_loads_neither_boto3_nor_the_cdk() -> None:
    code = "import sys; sys.argv = ['tasks', '--help']\nimport tasks_cli\ntry: tasks_cli.main()\nfinally: print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Exit codes: 0 done, 1 failed, 2 called wrongly." in result.stdout
    assert {"boto3", "botocore", "aws_cdk", "rich"}.isdisjoint(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["local", "status"], 1, "error: no local cloud of this folder runs: start one with `tasks local up`"),
        (["local", "serve"], 1, "error: no local cloud of this folder runs: start one with `tasks local up`"),
        (["local", "logs"], 1, "`tasks local up`\n"),
        (["dispatch", "shop.mail.send"], 1, "start one with `tasks local up`, or use AWS with --aws\n"),
        (["dispatch", "shop.mail.send", "--aws"], 1, "error: AWS has no region here"),
        (["dispatch", "shop.mail.send", "--priority", "huge"], 2, "error: there is no priority 'huge'"),
        (["synth"], 2, "has no cdk.json"),
        (["dispatch"], 2, "Missing argument"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_an_error_is_one_clear_message_with_its_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = tasks(*arguments, folder=tmp_path, AWS_REGION="", AWS_DEFAULT_REGION="")
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_without_its_packages_the_command_says_how_to_install_them(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-S", "-m", "tasks_cli", "demo"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith("pip install 'lambda-task-constructs[local]'\n")


HANGUP = """
import os, signal, sys
from tasks_cli import app
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))  # as the shell does, or nohup
app.app = lambda: os.kill(os.getpid(), signal.SIGHUP)
app.run()
"""


@pytest.mark.parametrize(("started", "code"), [("SIG_DFL", 129), ("SIG_IGN", 0)])
def test_a_hangup_ends_the_command_unless_nohup_started_it(started: str, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", HANGUP, started], cwd=ROOT, check=False).returncode == code


def test_the_demo_does_not_start_where_its_figures_would_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_cli.local.function_runtime.is_available", lambda: False)
    with pytest.raises(CliError, match="awslambdaric, which is for Linux"):
        run(ROOT, None, enforce_iam=False, keep=False, lost_invoice=None, progress=Progress())


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".tasks").touch()
    result = tasks("local", "up", folder=tmp_path)
    assert result.returncode == 1
    assert re.fullmatch(r"error: .*File exists: .*\.tasks'\n", result.stderr)


def test_down_without_a_local_cloud_is_no_error(tmp_path: Path) -> None:
    result = tasks("local", "down", "--json", folder=tmp_path)
    assert (result.returncode, json.loads(result.stdout)) == (0, {"ended": None})


def test_aws_needs_the_name_of_a_stack() -> None:
    with pytest.raises(UsageError, match="--stack"):
        stack_names(Cloud(), None)


def test_the_local_cloud_is_reached_without_the_users_profile_credentials_or_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_PROFILE": "absent",
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "HTTP_PROXY": "http://proxy.example.com",
    }.items():
        monkeypatch.setenv(name, value)
    client = Cloud(url="http://127.0.0.1:1").client("sqs")
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.region_name == "us-east-1"
    assert client.meta.config.proxies == {}
    assert client._request_signer._credentials.access_key == "test"


def test_on_aws_the_region_is_the_one_that_the_aws_command_line_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    cloud = Cloud()
    assert (cloud.region, cloud.client("sqs").meta.region_name) == ("eu-west-1", "eu-west-1")
    cloud.use_in_this_process()
    assert boto3.client("sqs").meta.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert Cloud().region == "eu-north-1"


def test_arguments_are_json_where_they_can_be_else_text() -> None:
    values = [dispatch.json_or_text(text) for text in ["3", "true", '"3"', '{"a": [1]}', "Grüße", "a=b", "01"]]
    assert values == [3, True, "3", {"a": [1]}, "Grüße", "a=b", "01"]


def test_keyword_arguments_come_as_pairs_and_objects() -> None:
    assert dispatch.keywords_of(["a=1", "b=x=y", '{"c": null, "a": 2}']) == {"a": 2, "b": "x=y", "c": None}


@pytest.mark.parametrize("text", ["a", "=1", "{a"])
def test_a_keyword_argument_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--kwargs"):
        dispatch.keywords_of([text])


@pytest.mark.parametrize("name", [one.value for one in Priority] + ["HIGH"])
def test_priorities_are_taken_in_any_case(name: str) -> None:
    assert priority_of(name) is Priority(name.lower())


def served(construct: str, module: str, *variables: str, tasks: dict[str, str] | None = None) -> Function:
    routes = dict.fromkeys(variables, "sqs:q")
    return Function(construct, "Shop", construct, f"Shop/{construct}", "queue", (module,), tasks or {}, routes, {}, "")


BACKGROUND = served("BackgroundTaskFunction", "shop.tasks", "TASK_ROUTE__DEFAULT")
MAIL = served("PriorityTaskQueues", "shop.mail", "TASK_ROUTE__MAIL", "TASK_ROUTE__MAIL__HIGH", "TASK_ROUTE__MAIL__LOW")
INVOICE = served(
    "ManagedAsyncTask",
    "shop.tasks",
    "TASK_ROUTE__SHOP_TASKS_INVOICE",
    "TASK_ROUTE__SHOP_TASKS_INVOICE__LANE_1",
    tasks={"shop.tasks.invoice": "DEFAULT"},
)
NIGHTLY = served("ScheduledTask", "shop.mail", "TASK_ROUTE__MAIL_NIGHTLY", tasks={"mail.nightly": "DEFAULT"})
HIGH = served("PriorityTaskQueues", "shop.urgent", "TASK_ROUTE__HIGH", "TASK_ROUTE__HIGH__HIGH")
PLAIN = Function("plain", "Shop", "", "", "", (), {}, {}, {}, "")
DEPLOYED = [BACKGROUND, MAIL, INVOICE, NIGHTLY, HIGH, PLAIN]


@pytest.mark.parametrize(
    ("module", "namespace"), [("shop.tasks", "DEFAULT"), ("shop.mail", "MAIL"), ("shop.urgent", "HIGH")]
)
def test_a_worker_works_for_the_server_of_its_module(module: str, namespace: str) -> None:
    assert find_namespace(DEPLOYED, module) == namespace


WELCOME = served(
    "BackgroundTaskFunction", "shop.welcome", "TASK_ROUTE__MAIL", tasks={"mail.welcome": "MAIL", "mail.bye": "MAIL"}
)


SORTING = served("TaskWorkflow", "shop.welcome", tasks={"mail.sort": "DEFAULT"})._replace(
    trigger="in workflow Shop/Mail"
)


def test_a_task_is_found_by_its_name_wherever_it_is_defined() -> None:
    assert namespace_of_task([PLAIN, WELCOME], "mail.welcome") == "MAIL"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            "mail.welcom",
            "no deployed construct takes dispatches of 'mail.welcom': did you mean 'mail.welcome'?",
        ),
        (
            "zzz",
            "no deployed construct takes dispatches of 'zzz'; served are mail.bye, mail.welcome",
        ),
        ("bye", "no deployed construct takes dispatches of 'bye': did you mean 'mail.bye'?"),
        ("mail.sort", "'mail.sort' runs in workflow Shop/Mail, and not alone: dispatch the first task of that"),
    ],
)
def test_a_task_that_nothing_serves_is_refused_with_the_nearest_name(task: str, message: str) -> None:
    with pytest.raises(CliError, match=re.escape(message)):
        namespace_of_task([PLAIN, WELCOME, SORTING], task)


@pytest.mark.parametrize("construct", ["ManagedAsyncTask", "ScheduledTask"])
def test_a_task_with_a_route_of_its_own_goes_there(construct: str) -> None:
    own = served(construct, "shop.welcome", "TASK_ROUTE__MAIL_WELCOME", tasks={"mail.welcome": "DEFAULT"})
    assert namespace_of_task([WELCOME, own], "mail.welcome") == "DEFAULT"


def test_a_task_is_not_dispatched_to_what_only_events_start() -> None:
    api = served("ApiTask", "shop.welcome", tasks={"mail.welcome": "DEFAULT", "mail.show": "DEFAULT"})
    assert namespace_of_task([api, WELCOME], "mail.welcome") == "MAIL"
    with pytest.raises(CliError, match=re.escape("takes dispatches of 'mail.show'; served are mail.bye, mail.w")):
        namespace_of_task([api, WELCOME], "mail.show")


def test_a_task_of_two_namespaces_needs_one_of_them() -> None:
    other = served("PriorityTaskQueues", "shop.welcome", "TASK_ROUTE__LETTERS", tasks={"mail.welcome": "letters"})
    with pytest.raises(CliError, match="--namespace MAIL or letters"):
        namespace_of_task([WELCOME, other], "mail.welcome")


def test_a_module_that_nothing_serves_is_refused_with_what_is_served() -> None:
    served = r"modules shop\.mail, shop\.urgent and, by their routes, the tasks TASK_ROUTE__SHOP_TASKS_INVOICE:"
    with pytest.raises(CliError, match=rf"a namespace with tasks of 'shop\.tasks'; served are the {served} check"):
        find_namespace([MAIL, INVOICE, HIGH, PLAIN], "shop.tasks")


def test_a_module_of_two_servers_needs_the_namespace() -> None:
    other = served("PriorityTaskQueues", "shop.mail", "TASK_ROUTE__LETTERS")
    with pytest.raises(CliError, match="--namespace LETTERS or MAIL"):
        find_namespace([*DEPLOYED, other], "shop.mail")


def test_the_routes_are_those_of_all_functions() -> None:
    assert set(routes(DEPLOYED)) > {"TASK_ROUTE__DEFAULT", "TASK_ROUTE__MAIL__HIGH", "TASK_ROUTE__SHOP_TASKS_INVOICE"}


def test_a_peeked_message_reads_as_a_received_one() -> None:
    message = inspection.QueuedMessage("1", "body", {}, {"DeadLetterQueueSourceArn": "arn"}, 3, True)
    assert message.as_received()["Attributes"] == {"DeadLetterQueueSourceArn": "arn", "ApproximateReceiveCount": "4"}


def test_the_key_of_the_certificate_is_for_its_owner_only(tmp_path: Path) -> None:
    assert certificate.write(tmp_path).key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("message", "readable"),
    [
        ("plain text", "plain text"),
        ('{"order": 7}', '{"order": 7}'),
        ("[1]", "[1]"),
        ('{"level": "INFO", "message": "größer"}', "INFO größer"),
        (
            json.dumps(
                {
                    "level": "ERROR",
                    "message": "cannot send",
                    "errorType": "ValueError",
                    "errorMessage": "no address",
                    "stackTrace": ['  File "mail.py", line 3, in send\n', "    raise ValueError"],
                }
            ),
            'ERROR cannot send - ValueError: no address\n  File "mail.py", line 3, in send\n    raise ValueError',
        ),
    ],
)
def test_a_json_record_of_a_log_is_shown_to_people_as_text(message: str, readable: str) -> None:
    assert LogLine(0, "mail", message).readable() == readable


def test_lines_of_the_platform_are_told_from_those_of_the_function() -> None:
    assert LogLine(0, "mail", "START RequestId: 1 Version: $LATEST").is_platforms
    assert not LogLine(0, "mail", "START of the campaign").is_platforms
