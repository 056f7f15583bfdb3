"""TaskWorkflow: its state machine, where its tasks run, who may do what, and what is refused."""

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Template

from constructs_lib import (
    BackgroundTaskFunction,
    ManagedAsyncTask,
    PayloadBucket,
    PriorityTaskQueues,
    ScheduledTask,
    TaskCode,
    TaskStore,
    TaskWorkflow,
    _manifest,
)
from constructs_lib._manifest import read_manifest
from runtime_lib import contract
from tasks_cli.drawing import mermaid, svg, text
from tasks_cli.workflows import Node
from tests.apps import (
    add_plain_function,
    allowed,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
    statements,
)
from tests.workflow_apps import add_restock, warehouse

MACHINE = "AWS::StepFunctions::StateMachine"
NAME = "Shop-Restock-D2BB3C8A"
ACCOUNT = "<AWS::Region>:<AWS::AccountId>"


@pytest.fixture
def stack() -> cdk.Stack:
    return new_stack()


def name_of(workflow: TaskWorkflow) -> str:
    [route] = workflow.routes.values()
    return route.partition(":")[2]


def definition(stack: cdk.Stack, *, under: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(only(stack, MACHINE, under=under)["DefinitionString"])
    return found


def add_remind(stack: cdk.Stack, **arguments: Any) -> PriorityTaskQueues:
    """The queues of the namespace of `remind`."""
    arguments = {"modules": ["warehouse.restock"], "namespace": "mail", **arguments}
    return PriorityTaskQueues(stack, "Mail", code=warehouse(), **arguments)


# --- The state machine -----------------------------------------------------------------------------------------------


def test_a_dispatch_of_the_first_task_is_routed_to_the_state_machine(stack: cdk.Stack) -> None:
    workflow = add_restock(stack)
    name = name_of(workflow)
    assert workflow.routes == {"TASK_ROUTE__WAREHOUSE_RESTOCK_COUNT_STOCK": f"states:{name}"}
    machine = only(stack, MACHINE)
    assert machine["StateMachineName"] == name
    assert machine["StateMachineType"] == "STANDARD"
    states = definition(stack)["States"]
    assert states["count_stock"]["Parameters"]["FunctionName"] == name
    assert only(stack, "AWS::Lambda::Function")["FunctionName"] == name


def test_executions_are_logged_without_arguments_traced_and_watched(stack: cdk.Stack) -> None:
    workflow = add_restock(stack, log_retention=logs.RetentionDays.ONE_WEEK)
    machine = only(stack, MACHINE)
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["TracingConfiguration"] == {"Enabled": True}
    groups = {group["LogGroupName"]: group["RetentionInDays"] for group in resources(stack, "AWS::Logs::LogGroup")}
    name = name_of(workflow)
    assert groups == {f"/aws/vendedlogs/states/{name}": 7, f"/aws/lambda/{name}": 7}
    alarms = {alarm["MetricName"]: alarm for alarm in resources(stack, "AWS::CloudWatch::Alarm")}
    assert alarms.keys() == {"ExecutionsFailed", "ExecutionsTimedOut"}
    assert all((alarm["Threshold"], alarm["EvaluationPeriods"]) == (1, 1) for alarm in alarms.values())
    assert len(workflow.alarms) == 2
    assert workflow.metric_failed().metric_name == "ExecutionsFailed"


def test_tracing_can_be_off_and_executions_can_have_a_time_limit(stack: cdk.Stack) -> None:
    add_restock(stack, trace_executions=False, execution_timeout=cdk.Duration.hours(2))
    assert only(stack, MACHINE).get("TracingConfiguration", {"Enabled": False}) == {"Enabled": False}
    assert definition(stack)["TimeoutSeconds"] == 7_200


def test_the_metadata_tells_the_graph(stack: cdk.Stack) -> None:
    remind = add_remind(stack)
    add_restock(stack, served_by=[remind], store=TaskStore(stack, "Store"))
    [machine] = Template.from_stack(stack).find_resources(MACHINE).values()
    told = machine["Metadata"][contract.METADATA_KEY]
    assert (told["construct"], told["path"], told["express"]) == ("TaskWorkflow", "Shop/Restock", False)
    assert told["tasks"] == {"warehouse.restock.count_stock": "DEFAULT"}
    assert told["store"].keys() == {"TASK_STORE"}
    graph = Node.read(told["graph"])
    assert [run.name for run in graph.before] == ["open_ledger", "lock_shelves"]
    assert graph.before[1].subprocess
    assert graph.failure
    assert graph.failure.task == "warehouse.restock.tell_manager"
    [plan] = graph.after
    ask, later, book = plan.after
    assert ask.each
    assert ask.each.max_concurrency == 5
    assert ask.each.then
    assert ask.each.then.name == "choose"
    assert (later.wait, later.on, later.via) == (172_800, "Shop/Mail", "sqs")
    assert (book.on, book.via) == ("Shop/Restock", "lambda")
    [worker] = [
        one["Metadata"][contract.METADATA_KEY]
        for one in Template.from_stack(stack).find_resources("AWS::Lambda::Function").values()
        if one["Properties"]["FunctionName"].startswith("Shop-Restock")
    ]
    assert worker["trigger"] == "in workflow Shop/Restock"
    assert "warehouse.restock.remind" not in worker["tasks"]
    assert "warehouse.suppliers.ask_price" in worker["tasks"]
    assert worker["routes"] == {}


# --- Where its tasks run ---------------------------------------------------------------------------------------------


def test_tasks_run_on_the_workflows_function_unless_they_are_served_already(stack: cdk.Stack) -> None:
    book = ManagedAsyncTask(stack, "Book", code=warehouse(), task="warehouse.restock:book")
    tell = BackgroundTaskFunction(stack, "Tell", code=warehouse(), modules=["warehouse.restock"], namespace="other")
    workflow = add_restock(stack, served_by=[book, add_remind(stack), tell])
    runs = {run.name: run.place for run in workflow.graph.all_runs()}
    assert (runs["book"].path, runs["book"].via) == ("Shop/Book", "sqs")
    assert runs["remind"].target.endswith("-high")
    assert runs["tell_manager"].path == "Shop/Restock"
    assert workflow.also_serves == {
        f"warehouse.{name}"
        for name in (
            "restock.count_stock",
            "restock.open_ledger",
            "restock.lock_shelves",
            "restock.plan",
            "restock.tell_manager",
            "suppliers.ask_price",
            "suppliers.choose",
        )
    }


def test_a_workflow_all_of_whose_tasks_are_served_elsewhere_has_no_function(
    stack: cdk.Stack, package: Callable[..., TaskCode]
) -> None:
    code = package("@task(run_after=['second'])\ndef first(): ...\n@task\ndef second(x): ...")
    modules = [f"{code.package}.flow"]
    everything = BackgroundTaskFunction(stack, "All", code=code, modules=modules)
    workflow = TaskWorkflow(
        stack, "Flow", code=code, modules=modules, start=f"{code.package}.flow:first", served_by=[everything]
    )
    assert workflow.function is None
    [function] = resources(stack, "AWS::Lambda::Function")
    states = definition(stack)["States"]
    assert {states[name]["Parameters"]["FunctionName"] for name in ("first", "second")} == {function["FunctionName"]}


def test_a_task_of_the_graph_is_none_that_its_namespaces_server_would_have_to_know(stack: cdk.Stack) -> None:
    BackgroundTaskFunction(stack, "Default", code=warehouse(), modules=["warehouse.suppliers"])
    with pytest.raises(RuntimeError, match="serves namespace 'DEFAULT'"):
        stack.node.root.synth()
    other = new_stack()
    BackgroundTaskFunction(other, "Default", code=warehouse(), modules=["warehouse.suppliers"])
    add_restock(other)
    other.node.root.synth()


def test_the_engine_waits_for_a_function_as_long_as_that_may_run(stack: cdk.Stack) -> None:
    add_restock(stack, timeout=cdk.Duration.minutes(3))
    states = definition(stack)["States"]
    assert states["count_stock"]["TimeoutSeconds"] == 190
    other = new_stack()
    add_restock(other, served_by=[add_remind(other)], queue_timeout=cdk.Duration.hours(3))
    branches = definition(other)["States"]["plan: after"]["Branches"]
    [queued] = [branch["States"]["remind"] for branch in branches if "remind" in branch["States"]]
    assert queued["TimeoutSeconds"] == 10_800


# --- Permissions -----------------------------------------------------------------------------------------------------


def test_the_state_machine_may_reach_its_tasks_and_nothing_else(stack: cdk.Stack) -> None:
    key = kms.Key(stack, "Key")
    remind = add_remind(stack, encryption_key=key)
    workflow = add_restock(stack, served_by=[remind])
    name = name_of(workflow)
    [role] = resources(stack, "AWS::IAM::Role", under="RestockRole")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "states.amazonaws.com"}
    machine, items = (literal(arn) for arn in trust["Condition"]["ArnLike"]["aws:SourceArn"])
    assert machine.endswith(f":stateMachine:{name}")
    assert items == f"{machine}/*"
    assert literal(trust["Condition"]["StringEquals"]["aws:SourceAccount"]) == "<AWS::AccountId>"
    prefix = "arn:<AWS::Partition>"
    assert allowed(stack, "lambda:InvokeFunction", under="RestockRole") == {
        f"{prefix}:lambda:{ACCOUNT}:function:{name}"
    }
    [queue] = allowed(stack, "sqs:SendMessage", under="RestockRole")
    assert queue.endswith("-high")
    assert len(allowed(stack, "kms:GenerateDataKey", under="RestockRole")) == 1
    actions = {
        action
        for statement in statements(stack, under="RestockRole")
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert actions == {"lambda:InvokeFunction", "sqs:SendMessage", "kms:Decrypt", "kms:GenerateDataKey"}


def test_with_a_bucket_it_may_read_lists_there_and_start_executions_for_their_items(stack: cdk.Stack) -> None:
    workflow = add_restock(stack, payloads=PayloadBucket(stack, "Payloads"))
    name = name_of(workflow)
    prefix = f"arn:<AWS::Partition>:states:{ACCOUNT}"
    assert allowed(stack, "states:StartExecution", under="RestockRole") == {f"{prefix}:stateMachine:{name}"}
    items = f"{prefix}:execution:{name}/*:*"
    assert allowed(stack, "states:StopExecution", under="RestockRole") == {f"{prefix}:execution:{name}:*", items}
    assert allowed(stack, "states:RedriveExecution", under="RestockRole") == {items}
    assert len(allowed(stack, "s3:GetObject", under="RestockRole")) == 1
    assert not allowed(stack, "s3:PutObject", under="RestockRole")
    assert allowed(stack, "s3:PutObject", under="RestockWorkerRole")
    assert allowed(stack, "s3:GetObject", under="RestockWorkerRole")
    assert environment(stack)["TASK_PAYLOADS"]


def test_a_queues_function_may_report_to_its_workflow_and_no_other(stack: cdk.Stack) -> None:
    remind = add_remind(stack)
    workflow = add_restock(stack, served_by=[remind])
    machine = f"arn:<AWS::Partition>:states:{ACCOUNT}:stateMachine:{name_of(workflow)}"
    for action in ("states:SendTaskSuccess", "states:SendTaskFailure"):
        assert allowed(stack, action, under="MailRole") == {machine}
        assert not allowed(stack, action, under="RestockWorkerRole")


def test_the_workflows_function_may_record_and_read_what_it_has_recorded(stack: cdk.Stack) -> None:
    add_restock(stack, store=TaskStore(stack, "Store"))
    assert allowed(stack, "dynamodb:UpdateItem", under="RestockWorkerRole")
    assert allowed(stack, "dynamodb:GetItem", under="RestockWorkerRole")
    assert not allowed(stack, "dynamodb:PutItem", under="RestockWorkerRole")
    assert environment(stack)["TASK_TRACKED"] == "1"


def test_who_is_granted_may_start_it_follow_it_or_stop_it(stack: cdk.Stack) -> None:
    workflow = add_restock(stack, payloads=PayloadBucket(stack, "Payloads"))
    name = name_of(workflow)
    starts, reads, cancels, worker = (
        add_plain_function(stack, id_) for id_ in ("Starts", "Reads", "Cancels", "Worker")
    )
    workflow.grant_dispatch(starts)
    workflow.grant_read(reads)
    workflow.grant_cancel(cancels)
    workflow.grant_report(worker)
    machine = f"arn:<AWS::Partition>:states:{ACCOUNT}:stateMachine:{name}"
    execution = f"arn:<AWS::Partition>:states:{ACCOUNT}:execution:{name}:*"

    def may(function: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for policy in resources(stack, "AWS::IAM::Policy", under=function):
            for statement in policy["PolicyDocument"]["Statement"]:
                for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
                    listed = (
                        statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
                    )
                    found.setdefault(action, set()).update(map(literal, listed))
        return {action: arns for action, arns in found.items() if action.startswith("states:")}

    assert may("Starts") == {"states:StartExecution": {machine}}
    assert may("Reads") == {"states:DescribeExecution": {execution}}
    assert may("Cancels") == {"states:DescribeExecution": {execution}, "states:StopExecution": {execution}}
    assert may("Worker").keys() == {"states:SendTaskSuccess", "states:SendTaskFailure"}
    for function in ("Starts", "Reads", "Cancels"):
        assert (
            environment(stack, under=function)["TASK_ROUTE__WAREHOUSE_RESTOCK_COUNT_STOCK"] == f"states+payloads:{name}"
        )
    assert "TASK_QUEUE_URL_PREFIX" in environment(stack, under="Reads")


def test_a_delayed_dispatch_waits_in_a_schedule_that_may_start_it(stack: cdk.Stack) -> None:
    workflow, sender = add_restock(stack), add_plain_function(stack)
    workflow.grant_dispatch(sender, delayed=True)
    [arn] = allowed(stack, "states:StartExecution", under="PlainDelayedDispatchRole")
    assert arn.endswith(f":stateMachine:{name_of(workflow)}")


def test_constructs_that_dispatch_the_workflow_and_run_in_it_make_no_circle_in_one_stack_or_several() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    book = ManagedAsyncTask(there, "Book", code=warehouse(), task="warehouse.restock:book")
    workflow = add_restock(here, served_by=[book])
    workflow.grant_dispatch(book.function)
    assert workflow.function is not None
    book.grant_dispatch(workflow.function)
    workflow.grant_dispatch(workflow.function)
    for stack in (here, there):
        template = json.dumps(Template.from_stack(stack).to_json())
        assert "Fn::ImportValue" not in template


# --- Express, and schedules ------------------------------------------------------------------------------------------


def test_an_express_workflow_is_recorded_as_a_whole_in_its_store(stack: cdk.Stack) -> None:
    store = TaskStore(stack, "Store")
    workflow = TaskWorkflow(
        stack, "Look", code=warehouse(), modules=["warehouse.suppliers"], start="warehouse.suppliers:choose",
        express=True, store=store,
    )  # fmt: skip
    sender = add_plain_function(stack)
    workflow.grant_dispatch(sender)
    workflow.grant_read(add_plain_function(stack, "Reads"))
    workflow.grant_cancel(add_plain_function(stack, "Cancels"))
    assert only(stack, MACHINE)["StateMachineType"] == "EXPRESS"
    [route] = workflow.routes.values()
    assert route.startswith("states+store:")
    states = definition(stack)["States"]
    begins = states[": recorded"]["Parameters"]
    assert begins["TableName"] == store.table_name
    # Asked again after it was done, it finds its own mark.
    assert begins["ConditionExpression"].endswith("OR #execution = :execution")
    assert begins["ExpressionAttributeValues"][":execution"] == {"S.$": "$$.Execution.Id"}
    assert allowed(stack, "dynamodb:UpdateItem", under="LookRole")
    assert environment(stack, under="Plain")["TASK_STORE"] == store.table_name
    reads, cancels = (json.dumps(resources(stack, "AWS::IAM::Policy", under=name)) for name in ("Reads", "Cancels"))
    assert ("dynamodb:GetItem" in reads, "dynamodb:UpdateItem" in reads) == (True, False)
    assert ("dynamodb:GetItem" in cancels, "dynamodb:UpdateItem" in cancels) == (True, True)
    assert "states:" not in reads + cancels
    for function in ("Reads", "Cancels"):
        assert environment(stack, under=function)["TASK_STORE"] == store.table_name
        assert environment(stack, under=function).keys() >= workflow.routes.keys()


def test_a_schedule_starts_an_execution_with_an_envelope(stack: cdk.Stack) -> None:
    workflow = add_restock(stack)
    schedule = ScheduledTask(
        stack, "Nightly", task="warehouse.restock:count_stock", schedule="0 2 * * *", args=["east"], target=workflow
    )
    [found] = resources(stack, "AWS::Scheduler::Schedule")
    name = schedule.schedule.schedule_name
    target = found["Target"]
    assert literal(target["Arn"]).endswith(f":stateMachine:{name_of(workflow)}")
    sent = json.loads(literal(target["Input"]).replace(literal(stack.resolve(name)), "nightly"))
    assert sent["id"].endswith(" <aws.scheduler.scheduled-time>")
    assert (sent["task"], sent["args"], sent["headers"]) == ("warehouse.restock.count_stock", ["east"], {})
    assert sent["metadata"]["timestamp"] == "<aws.scheduler.scheduled-time>"
    [arn] = allowed(stack, "states:StartExecution", under="TaskScheduleRoles")
    assert arn.endswith(f":stateMachine:{name_of(workflow)}")


# --- Refused ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TaskCode]]:
    """Writes a package of one module, ``flow``, and returns its code."""
    monkeypatch.syspath_prepend(str(tmp_path))
    number = iter(range(1_000))

    def make(source: str) -> TaskCode:
        name = f"pkg_{tmp_path.name[-6:].replace('-', '_')}_{next(number)}".lower()
        root = tmp_path / name
        root.mkdir()
        (root / "__init__.py").touch()
        (root / "flow.py").write_text("from runtime_lib import delayed, for_each, task\n" + textwrap.dedent(source))
        return TaskCode.from_package(name)

    yield make
    for name in [name for name in sys.modules if name.startswith("pkg_")]:
        del sys.modules[name]


def refused(stack: cdk.Stack, code: TaskCode, start: str = "first", **arguments: Any) -> str:
    with pytest.raises(ValueError) as caught:
        TaskWorkflow(
            stack,
            "Flow",
            code=code,
            modules=[f"{code.package}.flow"],
            start=f"{code.package}.flow:{start}",
            **arguments,
        )
    assert str(caught.value).startswith("Shop/Flow: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@task(run_after=['secnd'])\ndef first(): ...\n@task\ndef second(): ...", "names 'secnd', and no task that is loaded is called so: did you mean 'second'?"),
        ("@task(run_after=['b'])\ndef first(): ...\n@task(run_before=['first'])\ndef b(x): ...", "in a circle: {0}.flow.first -> {0}.flow.b -> {0}.flow.first"),
        ("@task(run_before=['b'])\ndef first(): ...\n@task\ndef b(x, y=1): ...", "which takes 'x': what runs before a task is given no arguments"),
        ("@task(timeout=61)\ndef first(): ...", "timeout is 61 seconds of task '{0}.flow.first', allowed is up to 60 seconds"),
        ("import pandas_that_is_not_here\n@task\ndef first(): ...", "No module named 'pandas_that_is_not_here' (the edges of a workflow are read by importing its modules here: pip install pandas_that_is_not_here)"),
        ("from {0} import gone\n@task\ndef first(): ...", "cannot import name 'gone'"),
        ("@task(name='a${Invoke}')\ndef first(): ...", "a task called 'a${{Invoke}}', allowed is names without"),
        ("import os\n@task\ndef first(): ...\nos._exit(7)", "ended with code 7"),
        ("@task(run_after=[for_each('b', max_concurrency=41)])\ndef first(): ...\n@task\ndef b(x): ...", "payloads is 41 items of '{0}.flow.b' at once, allowed is up to 40 at once without a bucket"),
        ("import sys\n@task\ndef first(): ...\nsys.exit(0)", "ended with code 0 before it could tell them"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_run_is_refused_with_the_reason(
    stack: cdk.Stack, package: Callable[..., TaskCode], source: str, expected: str
) -> None:
    code = package(source.replace("from {0}", "from .") if "{0}" in source else source)
    assert expected.format(code.package) in refused(stack, code)


def test_modules_that_leave_a_thread_running_are_read_all_the_same(
    stack: cdk.Stack, package: Callable[..., TaskCode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_manifest, "_SECONDS", 20)
    code = package(
        "import threading, time\n@task\ndef first(): ...\nthreading.Thread(target=time.sleep, args=[60]).start()"
    )
    modules, start = [f"{code.package}.flow"], f"{code.package}.flow:first"
    assert TaskWorkflow(stack, "Flow", code=code, modules=modules, start=start).graph.name == "first"


def test_a_graph_that_explodes_is_refused_with_the_count(stack: cdk.Stack, package: Callable[..., TaskCode]) -> None:
    layers = "\n".join(
        f"@task(run_before=['a{n + 1}', 'b{n + 1}'])\ndef {kind}{n}(): ..." for n in range(12) for kind in "ab"
    )
    code = package(f"{layers}\n@task\ndef a12(): ...\n@task\ndef b12(): ...")
    message = refused(stack, code, "a0")
    assert "has 25 tasks, and they run 8,191 times" in message
    assert "400 runs are allowed: let fewer tasks name what they share" in message


def test_a_definition_that_leaves_no_room_in_its_template_is_refused(
    stack: cdk.Stack, package: Callable[..., TaskCode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "WORKFLOW_MAX_TEMPLATE_BYTES", 2_000)
    code = package("@task(run_after=['second'])\ndef first(): ...\n@task\ndef second(x): ...")
    assert re.search(
        r"a workflow of \d,\d{3} bytes in its stack's template, allowed is 2,000 bytes", refused(stack, code)
    )


def test_a_workflow_of_as_many_tasks_one_after_another_as_are_allowed_is_synthesized_and_read_again(
    stack: cdk.Stack, package: Callable[..., TaskCode]
) -> None:
    last = contract.WORKFLOW_MAX_LENGTH - 1
    steps = "\n".join(f"@task(run_after=['a{n + 1}'])\ndef a{n}(x=1): ..." for n in range(last))
    code = package(f"{steps}\n@task\ndef a{last}(x): ...")
    modules, start = [f"{code.package}.flow"], f"{code.package}.flow:a0"
    TaskWorkflow(stack, "Flow", code=code, modules=modules, start=start)
    [machine] = Template.from_stack(stack).find_resources(MACHINE).values()
    graph = Node.read(machine["Metadata"][contract.METADATA_KEY]["graph"])
    assert len([*graph.walk()]) == contract.WORKFLOW_MAX_LENGTH
    for drawn in (text.tree(graph), svg.picture("Flow", graph), mermaid.flowchart(graph)):
        assert f"a{last}" in drawn


def test_branches_deep_inside_branches_are_refused(stack: cdk.Stack, package: Callable[..., TaskCode]) -> None:
    steps = "\n".join(f"@task(run_after=['a{n + 1}', 'end'])\ndef a{n}(x=1): ..." for n in range(51))
    code = package(f"{steps}\n@task\ndef a51(x): ...\n@task\ndef end(x): ...")
    assert "a workflow with 51 branches inside one another, allowed is 50" in refused(stack, code, "a0")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"express": True}, "express is True, and no store"),
        ({"execution_timeout": cdk.Duration.days(400)}, "execution_timeout is"),
        ({"queue_timeout": cdk.Duration.days(400)}, "queue_timeout is"),
        (
            {"execution_timeout": cdk.Duration.seconds(cdk.Token.as_number({"Ref": "Limit"}))},
            "execution_timeout is a value that is known only when the stack is deployed",
        ),
        (
            {"queue_timeout": cdk.Duration.seconds(cdk.Token.as_number({"Ref": "Limit"}))},
            "queue_timeout is a value that is known only when the stack is deployed",
        ),
        ({"start": "warehouse.restock:cont_stock"}, "cont_stock"),
        ({"start": "warehouse.restock:Priority"}, "Priority"),
        ({"modules": ["warehouse.suppliers"]}, "modules is warehouse.suppliers, which do not load 'warehouse.restock'"),
        ({"timeout": cdk.Duration.seconds(20)}, "timeout is 30 seconds of task 'warehouse.restock.open_ledger'"),
        ({"memory_size": 1}, "memory_size is 1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(stack: cdk.Stack, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match="Shop/Restock") as caught:
        add_restock(stack, **arguments)
    assert expected in str(caught.value)


def test_an_express_workflow_takes_no_queues_no_long_waits_and_no_long_executions(stack: cdk.Stack) -> None:
    store = TaskStore(stack, "Store")
    with pytest.raises(ValueError, match="waits of 172800 seconds one after another"):
        add_restock(stack, "One", express=True, store=store)
    with pytest.raises(ValueError, match="execution_timeout is 301"):
        add_restock(stack, "Two", express=True, store=store, execution_timeout=cdk.Duration.seconds(301))
    book = ManagedAsyncTask(stack, "Book", code=warehouse(), task="warehouse.suppliers:choose")
    with pytest.raises(ValueError, match="runs by the queue of Shop/Book"):
        TaskWorkflow(
            stack, "Three", code=warehouse(), modules=["warehouse.suppliers"], start="warehouse.suppliers:choose",
            express=True, store=store, served_by=[book],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            """
            @task(run_after=[delayed('b', seconds=200)])
            def first(): ...
            @task(run_after=[delayed('c', seconds=200)])
            def b(x): ...
            @task
            def c(x): ...
            """,
            "express is True, and waits of 400 seconds one after another",
        ),
        ("@task(timeout=301)\ndef first(): ...", "express is True, and '{0}.flow.first' may take 301 seconds"),
        (
            "@task(run_after=[for_each('b', max_concurrency=41)])\ndef first(): ...\n@task\ndef b(x): ...",
            "allowed is up to 40 at once if express: leave express out",
        ),
    ],
)
def test_an_express_workflow_does_nothing_that_takes_longer_than_it_may(
    stack: cdk.Stack, package: Callable[..., TaskCode], source: str, expected: str
) -> None:
    code = package(source)
    arguments = {"store": TaskStore(stack, "Store"), "timeout": cdk.Duration.minutes(10), "express": True}
    assert expected.format(code.package) in refused(stack, code, **arguments)


def test_waits_side_by_side_are_not_added(stack: cdk.Stack, package: Callable[..., TaskCode]) -> None:
    code = package(
        "@task(run_after=[delayed('b', seconds=200), delayed('c', seconds=250)])\ndef first(): ...\n@task\ndef b(x): ...\n@task\ndef c(x): ..."
    )
    workflow = TaskWorkflow(
        stack,
        "Flow",
        code=code,
        modules=[f"{code.package}.flow"],
        start=f"{code.package}.flow:first",
        express=True,
        store=TaskStore(stack, "Store"),
    )
    assert workflow.graph.waits() == 250


def test_a_large_result_is_not_left_in_a_bucket_that_the_workflow_does_not_read(stack: cdk.Stack) -> None:
    mail = add_remind(stack, payloads=PayloadBucket(stack, "Theirs"))
    with pytest.raises(ValueError, match=r"payloads is none, and Shop/Mail has .*: give that one to the workflow"):
        add_restock(stack, served_by=[mail])
    with pytest.raises(ValueError, match="bucket"):
        add_restock(stack, "Other", served_by=[mail], payloads=PayloadBucket(stack, "Ours"))


def test_a_task_of_several_namespaces_runs_where_the_first_of_them_is_served(
    stack: cdk.Stack, package: Callable[..., TaskCode]
) -> None:
    code = package("@task(namespace=['news', 'mail', 'post'])\ndef first(): ...")
    modules = [f"{code.package}.flow"]
    mail, post = (
        BackgroundTaskFunction(stack, name.title(), code=code, modules=modules, namespace=name)
        for name in ("mail", "post")
    )
    arguments = {"code": code, "modules": modules, "start": f"{code.package}.flow:first"}
    workflow = TaskWorkflow(stack, "Flow", **arguments, served_by=[post, mail])
    assert workflow.graph.place.path == "Shop/Mail"
    again = BackgroundTaskFunction(stack, "Again", code=code, modules=modules, namespace="mail")
    with pytest.raises(ValueError, match="Shop/Mail and Shop/Again, which both serve"):
        TaskWorkflow(stack, "Both", **arguments, served_by=[mail, again])


def test_constructs_that_cannot_serve_a_workflow_are_refused(stack: cdk.Stack) -> None:
    book = ManagedAsyncTask(stack, "Book", code=warehouse(), task="warehouse.restock:book")
    again = ManagedAsyncTask(stack, "Again", code=warehouse(), task="warehouse.restock:book")
    fifo = ManagedAsyncTask(stack, "Fifo", code=warehouse(), task="warehouse.restock:book", fifo=True)
    mail = PriorityTaskQueues(stack, "Mail", code=warehouse(), modules=["warehouse.suppliers"], namespace="mail")
    nightly = ScheduledTask(
        stack, "Nightly", code=warehouse(), task="warehouse.restock:book", schedule="0 2 * * *", args=[[]]
    )
    for construct_id, served_by, expected in (
        ("A", [book, again], "Shop/Book and Shop/Again, which both serve 'warehouse.restock.book'"),
        ("B", [fifo], "Shop/Fifo, which has a FIFO queue"),
        ("C", [mail], "Shop/Mail, whose modules do not load 'warehouse.restock'"),
        ("D", [nightly], "Shop/Nightly, a ScheduledTask"),
    ):
        with pytest.raises(ValueError, match=expected):
            add_restock(stack, construct_id, served_by=served_by)
    elsewhere = cdk.Stack(stack.node.root, "Elsewhere", env=cdk.Environment(account="1" * 12, region="eu-west-1"))
    far = ManagedAsyncTask(elsewhere, "Book", code=warehouse(), task="warehouse.restock:book")
    near = cdk.Stack(stack.node.root, "Near", env=cdk.Environment(account="2" * 12, region="eu-west-1"))
    with pytest.raises(ValueError, match="served_by is Elsewhere/Book in account 111111111111"):
        add_restock(near, served_by=[far])


def test_the_route_of_a_workflow_is_not_published_and_its_schedule_does_not_skip_runs(stack: cdk.Stack) -> None:
    workflow = add_restock(stack)
    with pytest.raises(ValueError, match="for a workflow"):
        workflow.publish_route("/restock")
    with pytest.raises(ValueError, match="'skip' for a workflow"):
        ScheduledTask(
            stack, "Nightly", task="warehouse.restock:count_stock", schedule="0 2 * * *", args=["east"],
            target=workflow, overlap="skip",
        )  # fmt: skip


def test_a_function_cannot_have_routes_to_two_workflows_of_one_task(stack: cdk.Stack) -> None:
    one, two, sender = add_restock(stack), add_restock(stack, "Other"), add_plain_function(stack)
    one.grant_dispatch(sender)
    with pytest.raises(ValueError, match=r"two servers of task 'warehouse\.restock\.count_stock'"):
        two.grant_dispatch(sender)


def test_the_same_source_is_imported_once_however_many_workflows_are_made_of_it(
    stack: cdk.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_restock(stack)
    monkeypatch.setattr("subprocess.Popen", None)
    add_restock(stack, "Other")
    with pytest.raises(TypeError):
        read_manifest(warehouse().source, ["warehouse.suppliers"], "warehouse.suppliers.ask_price")


def test_the_l2_objects_are_there(stack: cdk.Stack) -> None:
    workflow = add_restock(stack)
    assert isinstance(workflow.function, lambda_.Function)
    assert workflow.state_machine.state_machine_arn
    assert workflow.log_group.log_group_name
