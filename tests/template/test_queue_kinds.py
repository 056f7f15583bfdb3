"""Templates of constructs on queues: those of others, in order, in lanes, and of dead letters."""

import json
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Annotations, Match, Template

from constructs_lib import ManagedAsyncTask, PriorityTaskQueues
from runtime_lib import contract
from tests.apps import (
    add_invoice,
    add_mail,
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
from tests.queue_apps import add_bank_queue, add_clean_up, add_payments, add_quote

RENDER = "TASK_ROUTE__BACK_OFFICE_INVOICES_RENDER"


def mapping(stack: cdk.Stack, *, under: str = "") -> dict[str, Any]:
    return only(stack, "AWS::Lambda::EventSourceMapping", under=under)


def warnings(stack: cdk.Stack, slug: str) -> list[str]:
    found = Annotations.from_stack(stack).find_warning(
        "*", Match.string_like_regexp(rf"lambda-task-constructs:{slug}\]")
    )
    return [str(one.entry.data) for one in found]


# --- QueueTask -------------------------------------------------------------------------------------------------------


def test_a_queue_of_others_is_received_from_and_nothing_else() -> None:
    stack = new_stack()
    add_payments(stack)
    arn = allowed(stack, "sqs:ReceiveMessage", under="Payments")
    assert len(arn) == 1
    for action in ("sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"):
        assert allowed(stack, action, under="Payments") == arn
    assert allowed(stack, "sqs:SendMessage", under="Payments").isdisjoint(arn)
    assert {action for one in statements(stack, under="Payments") for action in one["Action"]} >= {"logs:PutLogEvents"}


def test_its_messages_are_given_up_as_the_queues_redrive_policy_says() -> None:
    stack = new_stack()
    add_payments(stack)
    assert environment(stack, under="Payments")[contract.ENV_MAX_RECEIVE_COUNT] == "7"


def test_of_an_imported_queue_it_is_ten_or_what_the_argument_says() -> None:
    stack = new_stack()
    arn = "arn:aws:sqs:us-east-1:123456789012:bank"
    add_payments(stack, "One", queue=sqs.Queue.from_queue_arn(stack, "Bank", arn))
    add_payments(stack, "Two", queue=sqs.Queue.from_queue_arn(stack, "Bank2", arn), max_receive_count=5)
    assert environment(stack, under="One")[contract.ENV_MAX_RECEIVE_COUNT] == "10"
    assert environment(stack, under="Two")[contract.ENV_MAX_RECEIVE_COUNT] == "5"


def test_its_dead_letters_are_the_stacks() -> None:
    stack = new_stack()
    payments, invoice = add_payments(stack), add_invoice(stack)
    assert payments.dead_letter_queue is invoice.dead_letter_queue
    assert environment(stack, under="Payments")[contract.ENV_DEAD_LETTER_QUEUE].startswith("Shop-TaskDeadLetters")


def test_a_fifo_queue_of_others_has_dead_letters_in_order() -> None:
    stack = new_stack()
    add_payments(stack, queue=add_bank_queue(stack, fifo=True), batch_size=10, max_receive_count=7)
    assert environment(stack, under="Payments")[contract.ENV_DEAD_LETTER_QUEUE].endswith(".fifo")
    assert mapping(stack)["BatchSize"] == 10
    assert warnings(stack, "fifo-batch-size")


def test_the_key_of_a_queue_of_others_may_be_used_to_read() -> None:
    stack = new_stack()
    queue = add_bank_queue(stack, encryption_master_key=kms.Key(stack, "Key"))
    add_payments(stack, queue=queue)
    assert len(allowed(stack, "kms:Decrypt", under="Payments")) == 1
    assert allowed(stack, "kms:GenerateDataKey", under="Payments") == set()


@pytest.mark.parametrize(
    ("queue", "arguments", "problem"),
    [
        ({"visibility_timeout": cdk.Duration.seconds(30)}, {}, "visibility timeout is 30 seconds, allowed is a visib"),
        ({}, {"max_receive_count": 8}, "max_receive_count is 8, allowed is 7, as the redrive policy of"),
        ({}, {"max_receive_count": 0}, "max_receive_count is 0, allowed is 1 to 1,000"),
        ({}, {"batch_size": 11}, "batch_size is 11 without a batching window"),
        ({"fifo": True}, {"batch_size": 11}, "a FIFO queue has no larger batches"),
        (
            {"fifo": True},
            {"max_batching_window": cdk.Duration.seconds(5)},
            "max_batching_window is set, allowed is none for a FIFO queue",
        ),
    ],
)
def test_what_lambda_or_sqs_would_not_take_is_refused(
    queue: dict[str, Any], arguments: dict[str, Any], problem: str
) -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=problem):
        add_payments(stack, queue=add_bank_queue(stack, **queue), **arguments)


def test_a_queue_elsewhere_is_refused() -> None:
    stack = new_stack(env=cdk.Environment(account="123456789012", region="us-east-1"))
    queue = sqs.Queue.from_queue_arn(stack, "Bank", "arn:aws:sqs:eu-west-1:123456789012:bank")
    with pytest.raises(ValueError, match=r"queue is .* in region eu-west-1, allowed is region us-east-1"):
        add_payments(stack, queue=queue)


def test_a_task_that_needs_arguments_is_refused_for_a_queue_of_others() -> None:
    with pytest.raises(
        ValueError, match=r"which takes 'amount', allowed is a task that takes a UnmanagedSqsEvent, a T"
    ):
        add_payments(new_stack(), task="back_office.payments:quote")


def test_a_queue_that_would_get_its_own_dead_letters_for_ever_is_refused() -> None:
    stack = new_stack()
    letters = add_invoice(stack).dead_letter_queue
    short = cdk.Duration.seconds(20)
    with pytest.raises(
        ValueError, match=r"queue is Shop/TaskDeadLetters/Queue, which is the dead letter queue as well"
    ):
        add_payments(stack, queue=letters, timeout=short)
    with pytest.raises(ValueError, match=r"priorities\[DEFAULT\].queue is .*, which is the dead letter queue as well"):
        PriorityTaskQueues.from_queues(
            stack,
            "Mail",
            code=back_office(),
            modules=["back_office.mail"],
            queues={contract.Priority.DEFAULT: letters},
            dead_letter_queue=letters,
            max_receive_count=10,
            timeout=short,
        )


def test_nothing_is_dispatched_to_a_queue_of_others() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match="nothing is dispatched here: serve the task by a ManagedAsyncTask"):
        add_payments(stack).grant_dispatch(add_invoice(stack).function)


# --- PureTask --------------------------------------------------------------------------------------------------------


def test_a_pure_task_is_a_function_and_its_logs() -> None:
    stack = new_stack()
    add_quote(stack)
    found = Template.from_stack(stack).to_json()["Resources"].values()
    assert sorted(resource["Type"] for resource in found) == [
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
    ]
    assert environment(stack)[contract.ENV_TASK] == "back_office.payments.quote"


def test_a_pure_task_may_be_invoked_by_who_is_allowed_to() -> None:
    stack = new_stack()
    invoice = add_invoice(stack)
    add_quote(stack).grant_invoke(invoice.function)
    assert any("lambda:InvokeFunction" in json.dumps(one) for one in resources(stack, "AWS::IAM::Policy"))
    with pytest.raises(ValueError, match="nothing is dispatched here"):
        add_quote(stack, "Other").grant_dispatch(invoice.function)


# --- FIFO ------------------------------------------------------------------------------------------------------------


def test_a_task_in_order_has_fifo_queues_and_a_function_without_that_suffix() -> None:
    stack = new_stack()
    invoice = add_invoice(stack, fifo=True)
    queues = resources(stack, "AWS::SQS::Queue")
    assert len(queues) == 2
    assert all(queue["FifoQueue"] is True and queue["QueueName"].endswith(".fifo") for queue in queues)
    assert not only(stack, "AWS::Lambda::Function")["FunctionName"].endswith(".fifo")
    assert mapping(stack)["BatchSize"] == 1
    assert invoice.routes[RENDER].endswith(".fifo")
    assert environment(stack)[contract.ENV_DEAD_LETTER_QUEUE].endswith(".fifo")


def test_tasks_in_order_share_a_dead_letter_queue_of_their_own() -> None:
    stack = new_stack()
    one = add_invoice(stack, fifo=True)
    other = ManagedAsyncTask(stack, "Book", code=back_office(), task="back_office.payments:book", fifo=True)
    plain = ManagedAsyncTask(stack, "Quote", code=back_office(), task="back_office.payments:quote")
    assert one.dead_letter_queue is other.dead_letter_queue
    assert one.dead_letter_queue is not plain.dead_letter_queue
    assert len({one.alarms[0].node.path, plain.alarms[0].node.path}) == 2


@pytest.mark.parametrize("fifo", [True, False])
def test_a_dead_letter_queue_of_the_other_kind_is_refused(fifo: bool) -> None:
    stack = new_stack()
    letters = sqs.Queue(stack, "Letters", fifo=None if fifo else True)
    with pytest.raises(ValueError, match=f"allowed is a {'FIFO' if fifo else 'standard'} queue"):
        add_invoice(stack, fifo=fifo, dead_letter_queue=letters)


@pytest.mark.parametrize(("batch_size", "count", "warned"), [(1, 10, False), (5, 10, True), (5, 50, False)])
def test_a_larger_batch_in_order_needs_more_receives(batch_size: int, count: int, warned: bool) -> None:
    stack = new_stack()
    add_invoice(stack, fifo=True, batch_size=batch_size, max_receive_count=count)
    assert bool(warnings(stack, "fifo-batch-size")) is warned


@pytest.mark.parametrize(
    "name", ["https://sqs.us-east-1.amazonaws.com/1/far", "arn:aws:sqs:us-east-1:1:far", "far.queue"]
)
def test_what_is_no_name_of_a_queue_is_refused_at_an_import(name: str) -> None:
    stack = new_stack()
    with pytest.raises(
        ValueError, match=r"Shop: queue_name is '.*', allowed is letters, .*: give the queue's name, the"
    ):
        ManagedAsyncTask.from_queue_name(stack, "Far", task="far.run", queue_name=name)
    with pytest.raises(ValueError, match=r"Shop: queue_names\[DEFAULT\] is '.*', allowed is letters"):
        PriorityTaskQueues.from_queue_names(stack, "Near", queue_names={contract.Priority.DEFAULT: name})


@pytest.mark.parametrize("name", ["far", "far_1-a.fifo", cdk.Fn.import_value("Far")])
def test_a_name_of_a_queue_is_taken(name: str) -> None:
    far = ManagedAsyncTask.from_queue_name(new_stack(), "Far", task="far.run", queue_name=name)
    assert far.routes == {"TASK_ROUTE__FAR_RUN": f"sqs:{name}"}


def test_queues_of_priorities_are_not_in_order() -> None:
    stack = new_stack()
    queue = sqs.Queue(stack, "Queue", fifo=True)
    with pytest.raises(ValueError, match=r"no order that one could keep: serve those that need one by a ManagedAs"):
        PriorityTaskQueues.from_queues(
            stack,
            "Mail",
            code=back_office(),
            modules=["back_office.mail"],
            queues={contract.Priority.DEFAULT: queue},
            max_receive_count=10,
        )


# --- Lanes -----------------------------------------------------------------------------------------------------------


def test_a_lane_is_a_queue_with_a_concurrency_and_a_route() -> None:
    stack = new_stack()
    invoice = add_invoice(stack, lanes=[5, 2, None])
    name = invoice.queue.node.default_child.queue_name
    mappings = resources(stack, "AWS::Lambda::EventSourceMapping")
    assert [one.get("ScalingConfig", {}).get("MaximumConcurrency") for one in mappings] == [5, 2, None]
    assert invoice.routes == {
        RENDER: f"sqs:{name}",
        f"{RENDER}__LANE_1": f"sqs:{name}-lane-1",
        f"{RENDER}__LANE_2": f"sqs:{name}-lane-2",
    }
    assert len(invoice.queues) == len(invoice.event_sources) == 3


def test_a_number_of_lanes_gives_each_the_same_concurrency() -> None:
    stack = new_stack()
    add_invoice(stack, lanes=2, max_concurrency=5, fifo=True, queue_age_alarm=cdk.Duration.hours(1))
    mappings = resources(stack, "AWS::Lambda::EventSourceMapping")
    assert [one["ScalingConfig"]["MaximumConcurrency"] for one in mappings] == [5, 5]
    names = {queue["QueueName"] for queue in resources(stack, "AWS::SQS::Queue", under="Invoice")}
    assert sorted(name.partition("-lane-")[2] for name in names) == ["", "1.fifo"]
    assert len(resources(stack, "AWS::CloudWatch::Alarm", under="Invoice")) == 2


def test_a_sender_gets_the_routes_of_all_lanes_and_may_send_to_them() -> None:
    stack = new_stack()
    invoice, receipts = add_invoice(stack, lanes=3), add_receipts(stack)
    invoice.grant_dispatch(receipts.function)
    routes = {name for name in environment(stack, under="Receipts") if name.startswith(RENDER)}
    assert routes == {RENDER, f"{RENDER}__LANE_1", f"{RENDER}__LANE_2"}
    sent_to = {arn for arn in allowed(stack, "sqs:SendMessage", under="Receipts") if "Invoice" in arn}
    assert len(sent_to) == 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"lanes": 0}, "lanes is 0, allowed is 1 or more"),
        ({"lanes": []}, r"lanes is \[\], allowed is how many, or a max_concurrency for each"),
        ({"lanes": [5, 2], "max_concurrency": 3}, "max_concurrency is 3, and lanes has one for each lane"),
        ({"lanes": [5, 1]}, r"lanes\[1\] is 1, allowed is 2 to 1,000: None is no limit"),
        ({"lanes": 2.5}, "lanes is 2.5, allowed is how many, or a max_concurrency for each"),
        ({"lanes": [5, 6], "reserved_concurrent_executions": 10}, r"allowed is 11 \(max_concurrency in all\) and more"),
    ],
)
def test_lanes_that_cannot_be_are_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        add_invoice(new_stack(), **arguments)


def test_the_longest_name_of_a_lane_is_one_that_sqs_takes() -> None:
    app = new_app()
    stack = cdk.Stack(app, "S" * 100)
    invoice = add_invoice(stack, "I" * 100, lanes=12, fifo=True)
    for queue in invoice.queues:
        assert len(str(queue.node.default_child.queue_name)) <= contract.SQS_QUEUE_NAME_MAX_LENGTH


# --- Tasks that get dead letters -------------------------------------------------------------------------------------


def add_taskhawk(scope: Any, construct_id: str, **arguments: Any) -> PriorityTaskQueues:
    return PriorityTaskQueues.from_taskhawk_app(
        scope,
        construct_id,
        app="shop",
        code=back_office(),
        modules=["back_office.mail"],
        namespace=["mail", "campaigns"],
        max_receive_count=10,
        **arguments,
    )


@pytest.mark.parametrize("add", [add_invoice, add_mail, add_receipts, add_payments, add_taskhawk])
def test_the_queue_of_a_dead_letter_task_is_the_dead_letter_queue(add: Any) -> None:
    stack = new_stack()
    clean_up = add_clean_up(stack)
    server = add(stack, "Server", dead_letter_task=clean_up)
    assert server.dead_letter_queue is clean_up.queue
    assert server.alarms == ()
    name = literal(only(stack, "AWS::SQS::Queue", under="CleanUp")["QueueName"])
    assert environment(stack, under="Server")[contract.ENV_DEAD_LETTER_QUEUE] == name
    told = environment(stack, under="CleanUp")
    assert told[contract.ENV_TAKES_DEAD_LETTERS] == "1"
    assert told[contract.ENV_TASK] == "back_office.payments.clean_up"
    assert contract.ENV_TAKES_DEAD_LETTERS not in environment(stack, under="Server")


def test_its_own_dead_letters_are_the_stacks() -> None:
    stack = new_stack()
    clean_up = add_clean_up(stack)
    add_invoice(stack, dead_letter_task=clean_up)
    assert clean_up.dead_letter_queue is not clean_up.queue


def test_a_dead_letter_task_beside_a_dead_letter_queue_is_refused() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match="the queue of a dead_letter_task is the dead letter queue: leave"):
        add_invoice(stack, dead_letter_task=add_clean_up(stack), dead_letter_queue=sqs.Queue(stack, "Letters"))


@pytest.mark.parametrize(
    "make",
    [
        lambda scope: sqs.Queue(scope, "Queue"),
        add_payments,
        lambda scope: ManagedAsyncTask.from_queue_name(scope, "Far", task="far.clean_up", queue_name="far"),
        lambda _: "CleanUp",
    ],
)
def test_a_dead_letter_task_is_a_managed_async_task(make: Any) -> None:
    stack = new_stack()
    with pytest.raises(
        ValueError, match=r"Shop/Invoice: dead_letter_task is a \w+, allowed is a ManagedAsyncTask: serve"
    ):
        add_invoice(stack, dead_letter_task=make(stack))


def test_a_dead_letter_task_takes_a_letter_or_nothing() -> None:
    stack = new_stack()
    quote = ManagedAsyncTask(stack, "Quote", code=back_office(), task="back_office.payments:quote")
    with pytest.raises(ValueError, match=r"which takes 'amount', allowed is a task that takes a DeadLetter, a TaskCon"):
        add_invoice(stack, dead_letter_task=quote)


def test_a_dead_letter_task_of_the_other_kind_is_refused() -> None:
    stack = new_stack()
    with pytest.raises(ValueError, match=r"dead_letter_task is the FIFO queue .* allowed is a standard queue"):
        add_receipts(stack, dead_letter_task=add_clean_up(stack, fifo=True))
