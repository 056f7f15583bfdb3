"""What a ScheduledTask deploys, and what it refuses."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match, Template

from constructs_lib import (
    DispatchTarget,
    ManagedAsyncTask,
    Priority,
    PriorityTaskQueues,
    QueueSettings,
    Schedule,
    ScheduledTask,
    TaskStore,
)
from tests.apps import (
    add_invoice,
    add_nightly,
    add_orders,
    add_receipts,
    allowed,
    back_office,
    environment,
    literal,
    new_app,
    new_stack,
    only,
    resources,
    statements,
)

NIGHTLY = "back_office.reports:nightly"
ACCOUNT, REGION = "<AWS::AccountId>", "<AWS::Region>"


def schedule_of(stack: cdk.Stack, under: str = "Nightly") -> dict[str, Any]:
    return only(stack, "AWS::Scheduler::Schedule", under=under)


def message_of(stack: cdk.Stack, under: str = "Nightly") -> dict[str, Any]:
    return json.loads(literal(schedule_of(stack, under)["Target"]["Input"]))


def serving(stack: cdk.Stack, **arguments: Any) -> PriorityTaskQueues:
    return PriorityTaskQueues(
        stack,
        "Reports",
        code=back_office(),
        modules=["back_office.reports"],
        **{"namespace": "reports", "priorities": {Priority.DEFAULT: QueueSettings()}, **arguments},
    )


# --- A function of its own -------------------------------------------------------------------------------------------


def test_the_schedule_invokes_its_function_with_one_run() -> None:
    stack = new_stack()
    task = add_nightly(stack, time_zone="Europe/Berlin", kwargs={"days": 3})
    schedule = schedule_of(stack)
    assert schedule["ScheduleExpression"] == "cron(0 2 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert schedule["State"] == "ENABLED"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert literal(schedule["Target"]["Arn"]).endswith(f"function:{task.address.by_priority[Priority.DEFAULT].target}")
    assert message_of(stack) == {
        "schedule": schedule["Name"],
        "scheduled_time": "<aws.scheduler.scheduled-time>",
        "task": "back_office.reports.nightly",
        "args": ["eu"],
        "kwargs": {"days": 3},
        "priority": "default",
    }
    function = only(stack, "AWS::Lambda::Function")
    assert function["Handler"] == "runtime_lib.handlers.scheduled_task.handler"


def test_its_role_may_send_there_alone_and_be_used_by_this_accounts_schedules_alone() -> None:
    stack = new_stack()
    add_nightly(stack)
    role = only(stack, "AWS::IAM::Role", under="TaskScheduleRoles")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert {key: literal(value) for key, value in trust["Condition"]["StringEquals"].items()} == {
        "aws:SourceAccount": ACCOUNT,
        "aws:SourceArn": f"arn:<AWS::Partition>:scheduler:{REGION}:{ACCOUNT}:schedule-group/default",
    }
    name = only(stack, "AWS::Lambda::Function")["FunctionName"]
    prefix = f":{REGION}:{ACCOUNT}:"
    assert [
        (one["Action"], literal(one["Resource"]).removeprefix("arn:<AWS::Partition>:"))
        for one in statements(stack, under="TaskScheduleRoles")
    ] == [
        ("lambda:InvokeFunction", f"lambda{prefix}function:{name}"),
        ("sqs:SendMessage", f"sqs{prefix}{environment(stack)['TASK_DEAD_LETTER_QUEUE']}"),
    ]


def test_a_run_that_is_not_delivered_and_one_that_fails_lie_in_one_queue() -> None:
    stack = new_stack()
    add_nightly(stack)
    letters = schedule_of(stack)["Target"]["DeadLetterConfig"]["Arn"]
    assert literal(letters).endswith(f":{environment(stack)['TASK_DEAD_LETTER_QUEUE']}")
    invocation = only(stack, "AWS::Lambda::EventInvokeConfig")
    assert invocation["MaximumRetryAttempts"] == 2
    assert "TaskDeadLetters" in json.dumps(invocation["DestinationConfig"])


def test_every_option_reaches_the_schedule() -> None:
    stack = new_stack()
    letters = sqs.Queue(stack, "Letters", encryption_master_key=kms.Key(stack, "Key"))
    task = add_nightly(
        stack,
        schedule=Schedule.rate(cdk.Duration.minutes(15)),
        enabled=False,
        flexible_window=cdk.Duration.hours(2),
        start=datetime(2040, 1, 1, 2, tzinfo=UTC),
        end=datetime(2041, 1, 1, tzinfo=UTC),
        delivery_retry_attempts=0,
        max_delivery_age=cdk.Duration.minutes(5),
        dead_letter_queue=letters,
        retry_attempts=0,
        max_event_age=cdk.Duration.hours(1),
        priority=Priority.HIGH,
        memory_size=512,
    )
    schedule = schedule_of(stack)
    assert schedule["ScheduleExpression"] == "rate(15 minutes)"
    assert schedule["State"] == "DISABLED"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 120}
    assert (schedule["StartDate"], schedule["EndDate"]) == ("2040-01-01T02:00:00.000Z", "2041-01-01T00:00:00.000Z")
    assert schedule["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 300}
    assert message_of(stack)["priority"] == "high"
    assert only(stack, "AWS::Lambda::EventInvokeConfig")["MaximumRetryAttempts"] == 0
    assert only(stack, "AWS::Lambda::Function")["MemorySize"] == 512
    assert "kms:GenerateDataKey" in json.dumps(statements(stack, under="TaskScheduleRoles"))
    assert task.dead_letter_queue is letters
    assert task.alarms == ()


def test_a_start_that_has_passed_is_left_out_for_aws_refuses_it() -> None:
    stack = new_stack()
    add_nightly(stack, start=datetime.now(UTC) - timedelta(minutes=1))
    assert "StartDate" not in schedule_of(stack)


def test_the_decorator_says_when_and_with_what_unless_the_construct_does() -> None:
    stack = new_stack()
    ScheduledTask(stack, "Declared", code=back_office(), task="back_office.reports:declared")
    ScheduledTask(stack, "Partly", code=back_office(), task="back_office.reports:partly", schedule="rate(1 hour)")
    ScheduledTask(
        stack, "Given", code=back_office(), task="back_office.reports:declared", kwargs={"region": "us", "days": 1}
    )
    assert schedule_of(stack, "Declared")["ScheduleExpression"] == "cron(0 2 * * ? *)"
    declared, partly, given = (message_of(stack, name) for name in ("Declared", "Partly", "Given"))
    assert (declared["args"], declared["kwargs"], declared["priority"]) == (["eu"], {"days": 7}, "low")
    assert (partly["args"], partly["kwargs"]) == ([], {"region": "eu"})
    assert schedule_of(stack, "Partly")["ScheduleExpression"] == "rate(1 hour)"
    assert (given["args"], given["kwargs"]) == ([], {"region": "us", "days": 1})


def test_arguments_are_what_they_were_though_they_look_like_a_placeholder() -> None:
    stack = new_stack()
    given = {"region": "<aws.scheduler.execution-id> größer", "days": 2**60}
    add_nightly(stack, args=[], kwargs=given)
    text = schedule_of(stack)["Target"]["Input"]
    assert text.count("<aws.scheduler.") == 1
    assert json.loads(text)["kwargs"] == given


def test_an_argument_may_be_a_name_that_is_known_at_deployment() -> None:
    stack = new_stack()
    add_nightly(stack, args=[s3.Bucket(stack, "Bucket").bucket_name])
    assert message_of(stack)["args"] == [literal({"Ref": "Bucket83908E77"})]


def test_nothing_runs_before_there_is_a_function() -> None:
    stack = new_stack()
    add_nightly(stack)
    [schedule] = Template.from_stack(stack).find_resources("AWS::Scheduler::Schedule").values()
    assert any(name.startswith("NightlyFunction") for name in schedule["DependsOn"])


def test_other_functions_may_dispatch_to_it() -> None:
    stack = new_stack()
    sender = add_orders(stack)
    add_nightly(stack).grant_dispatch(sender.function)
    assert "TASK_ROUTE__BACK_OFFICE_REPORTS_NIGHTLY" in environment(stack, under="Orders")


# --- Where a construct serves the task -------------------------------------------------------------------------------


def test_a_run_goes_to_the_queue_of_its_priority() -> None:
    stack = new_stack()
    queues = serving(stack, priorities={Priority.DEFAULT: QueueSettings(), Priority.LOW: QueueSettings()})
    add_nightly(stack, target=queues)
    ScheduledTask(stack, "Declared", target=queues, task="back_office.reports:declared")
    assert literal(schedule_of(stack)["Target"]["Arn"]).endswith("-default")
    assert literal(schedule_of(stack, "Declared")["Target"]["Arn"]).endswith("-low")
    assert len(resources(stack, "AWS::Lambda::Function")) == 1
    assert len(resources(stack, "AWS::IAM::Role", under="TaskScheduleRoles")) == 1
    sent = {arn.rpartition("-")[2] for arn in allowed(stack, "sqs:SendMessage", under="TaskScheduleRoles")}
    assert {"default", "low"} < sent


def test_a_run_goes_to_the_tasks_own_queue() -> None:
    stack = new_stack()
    key = kms.Key(stack, "Key")
    report = ManagedAsyncTask(stack, "Report", code=back_office(), task=NIGHTLY, encryption_key=key)
    task = add_nightly(stack, target=report)
    [route] = report.routes.values()
    assert literal(schedule_of(stack)["Target"]["Arn"]).endswith(route.removeprefix("sqs:"))
    assert allowed(stack, "kms:GenerateDataKey", under="TaskScheduleRoles")
    assert task.function is report.function
    assert task.dead_letter_queue is report.dead_letter_queue
    sender = add_orders(stack)
    task.grant_dispatch(sender.function)
    report.grant_dispatch(sender.function)


def test_a_run_goes_to_a_background_function() -> None:
    stack = new_stack()
    schedule = Schedule.rate(cdk.Duration.days(1))
    send = ["1", "a@example.com"]
    add_nightly(stack, target=add_receipts(stack), task="back_office.receipts:send", schedule=schedule, args=send)
    assert ":lambda:" in literal(schedule_of(stack)["Target"]["Arn"])


def test_a_run_goes_to_what_is_deployed_elsewhere() -> None:
    stack = new_stack()
    target = ManagedAsyncTask.from_queue_name(stack, "Elsewhere", task="images.resize", queue_name="images")
    ScheduledTask(stack, "Nightly", target=target, task="images.resize", schedule="rate(1 hour)", kwargs={"width": 1})
    assert literal(schedule_of(stack)["Target"]["Arn"]).endswith(":images")
    assert message_of(stack)["task"] == "images.resize"


def test_a_target_in_another_stack_ties_no_stacks_together() -> None:
    app = new_app()
    here, there = cdk.Stack(app, "Here"), cdk.Stack(app, "There")
    add_nightly(here, target=serving(there))
    template = json.dumps(schedule_of(here))
    assert "Fn::ImportValue" not in template
    assert resources(there, "AWS::Scheduler::Schedule") == []
    assert not here.dependencies


def test_runs_of_one_schedule_do_not_overlap_where_there_is_a_store() -> None:
    stack = new_stack()
    store = TaskStore(stack, "Store")
    add_nightly(stack, overlap="skip", store=store)
    add_nightly(stack, "Queued", overlap="skip", target=serving(stack, store=store))
    assert message_of(stack)["overlap"] == "skip"
    assert message_of(stack, "Queued")["overlap"] == "skip"
    assert "dynamodb" not in json.dumps(resources(stack, "AWS::IAM::Role", under="TaskScheduleRoles"))


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"schedule": "rate(1 minutes)"}, "schedule: rate(1 minutes): AWS takes the singular for 1"),
        ({"schedule": "0 2 31 2 *"}, "schedule: cron(0 2 31 2 ? *) never runs"),
        ({"schedule": None}, "schedule is left out, and @task has none"),
        ({"schedule": 15}, "schedule is 15, allowed is a Schedule or a string"),
        ({"time_zone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'?"),
        ({"schedule": Schedule("rate(1 day)"), "time_zone": "UTC"}, "time_zone is 'UTC', and schedule is a Schedule"),
        ({"flexible_window": cdk.Duration.seconds(30)}, "flexible_window is 30 seconds, allowed is 60 to 86,400"),
        ({"flexible_window": cdk.Duration.hours(25)}, "flexible_window is 90000 seconds"),
        ({"flexible_window": cdk.Duration.seconds(90)}, "flexible_window is 90 seconds, allowed is whole minutes"),
        ({"delivery_retry_attempts": 186}, "delivery_retry_attempts is 186, allowed is 0 to 185"),
        ({"delivery_retry_attempts": -1}, "delivery_retry_attempts is -1, allowed is 0 to 185"),
        ({"max_delivery_age": cdk.Duration.seconds(59)}, "max_delivery_age is 59 seconds, allowed is 60 to 86,400"),
        ({"max_delivery_age": cdk.Duration.days(2)}, "max_delivery_age is 172800 seconds"),
        ({"start": datetime(2040, 1, 1)}, "start is 2040-01-01 00:00:00, which has no time zone"),  # noqa: DTZ001
        (
            {"start": datetime(2040, 1, 1, tzinfo=UTC), "end": datetime(2040, 1, 1, tzinfo=UTC)},
            "end is 2040-01-01 00:00:00+00:00, and start is 2040-01-01 00:00:00+00:00",
        ),
        (
            {"schedule": "at(2040-01-01T00:00:00)", "end": datetime(2041, 1, 1, tzinfo=UTC)},
            "leave it out: EventBridge Scheduler would not heed it",
        ),
        ({"retry_attempts": 3}, "retry_attempts is 3, allowed is 0 to 2"),
        ({"overlap": "queue"}, "overlap is 'queue', allowed is 'allow' or 'skip'"),
        ({"overlap": "skip"}, "overlap is 'skip', and the task is served without a store"),
        ({"task": "back_office.reports:nigthly"}, "did you mean 'nightly'?"),
        ({"task": "back_office.reports:patient", "args": []}, "which uses RetryLater"),
        (
            {"task": "back_office.reports:computed", "schedule": None, "args": []},
            "schedule=EVERY_NIGHT.strip() of @task",
        ),
        ({"args": []}, "args and kwargs is nothing for 'region'"),
        ({"args": ["eu", None, 7, 8]}, "4 args for 3 parameters"),
        ({"kwargs": {"regoin": "eu"}}, "'regoin', which is no parameter"),
        ({"args": ["eu"], "kwargs": {"region": "eu"}}, "'region' in args and in kwargs"),
        ({"args": [{1}]}, "allowed is JSON values"),
        ({"args": [float("nan")]}, "allowed is JSON values"),
        ({"args": ["x" * 262_144]}, "allowed is 262,144 bytes"),
        ({"args": [cdk.Token.as_number({"Ref": "Count"})]}, "which is known at deployment only"),
        ({"args": [cdk.Token.as_list({"Ref": "Names"})]}, "which is known at deployment only"),
        ({"code": None}, "code is left out, and so is target"),
    ],
)
def test_what_would_not_run_is_refused_with_what_to_do(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as refused:
        add_nightly(new_stack(), **arguments)
    assert problem in str(refused.value)
    assert "Shop/Nightly" in str(refused.value)


def test_a_target_has_its_own_options() -> None:
    stack = new_stack()
    queues = serving(stack)
    for number, (argument, value) in enumerate(
        {"retry_attempts": 0, "memory_size": 512, "entry": "back_office.entry:handler"}.items()
    ):
        with pytest.raises(ValueError, match=rf"{argument} is set, and so is target"):
            add_nightly(stack, f"Nightly{number}", target=queues, **{argument: value})
    with pytest.raises(ValueError, match="code is given, and so is target"):
        add_nightly(stack, target=queues, code=back_office())


def test_a_target_that_does_not_serve_the_task_is_refused() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=r"serves namespace 'orders', allowed is .* of namespace 'reports'"):
        add_nightly(stack, "One", target=serving(stack, namespace="orders"))
    with pytest.raises(ValueError, match=r"serves task 'back_office.invoices.render'"):
        add_nightly(stack, "Two", target=add_invoice(stack))


def test_a_target_where_scheduler_cannot_send_is_refused() -> None:
    app = new_app()
    stack, elsewhere = (
        cdk.Stack(app, region, env=cdk.Environment(account="123456789012", region=region))
        for region in ("eu-central-1", "eu-west-1")
    )
    published = DispatchTarget.from_published_route(stack, "Published", parameter_name="/reports", namespace="reports")
    for name, target, problem in (
        ("One", ManagedAsyncTask(stack, "Ordered", code=back_office(), task=NIGHTLY, fifo=True), "has a FIFO queue"),
        ("Two", published, "route is known at deployment only"),
        ("Three", serving(elsewhere), "eu-west-1"),
    ):
        with pytest.raises(ValueError, match=problem):
            add_nightly(stack, name, target=target)


def test_a_target_that_does_not_know_the_task_is_refused() -> None:
    stack = new_stack()
    receipts = add_orders(stack, namespace=["orders", "reports"])
    with pytest.raises(ValueError, match=r"whose modules do not load 'back_office.reports'"):
        add_nightly(stack, target=receipts)


@pytest.mark.parametrize(
    ("arguments", "slug"),
    [
        ({"schedule": Schedule.cron(hour=2)}, "schedule-every-minute"),
        ({"schedule": "at(2020-01-01T00:00:00)"}, "schedule-in-the-past"),
        ({"end": datetime.now(UTC) - timedelta(days=1)}, "schedule-in-the-past"),
        ({"start": datetime.now(UTC) - timedelta(days=1)}, "schedule-in-the-past"),
        ({"schedule": "0 0 31 * *"}, "schedule-skips-months"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(arguments: dict[str, Any], slug: str) -> None:
    stack = new_stack()
    add_nightly(stack, **arguments)
    warned = Match.string_like_regexp(rf"\[ack: lambda-task-constructs:{slug}\]")
    Annotations.from_stack(stack).has_warning("/Shop/Nightly", warned)


def test_a_schedule_that_nothing_starts_is_a_warning() -> None:
    stack = new_stack()
    queues = serving(stack)
    ScheduledTask(stack, "Declared", target=queues, task="back_office.reports:declared")
    warned = Annotations.from_stack(stack).find_warning(
        "/Shop/Reports", Match.string_like_regexp(r"\[ack: lambda-task-constructs:task-without-schedule\]")
    )
    assert [one.entry.data.partition(" has")[0] for one in warned] == [
        "back_office.reports.partly",
        "back_office.reports.computed",
    ]
