"""What fops.background, taskhawk, async-lambda and easyjobs get wrong, and where a test shows that this library does not.

That is fops.background 0.3.0, taskhawk 4.7.0, async-lambda 0.6.15 and easyjobs 0.127.
"""

import ast
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from runtime_lib import Priority, SqsTransport, set_transport, task
from runtime_lib.handlers.priority_task_queues import handler
from tasks_cli.app import app
from tests.apps import add_invoice, add_receipts, allowed, new_stack
from tests.deliveries import TaskQueue
from tests.polled import Requests, asked
from tests.workflow_apps import add_restock

UNIT = Path(__file__).parent
SHOWN_BY = {
    "fops: a transport is invisible to other threads, where tasks run inline": (
        "test_transports.test_a_transport_set_once_is_seen_by_every_thread_and_asyncio_task"
    ),
    "fops: a failed send is only logged": "test_transports.test_a_failed_send_raises_from_every_way_to_dispatch",
    "fops: the receiver imports what a message names": (
        "test_registry.test_a_message_imports_and_calls_nothing_that_is_no_task"
    ),
    "fops: an async def is never awaited": "test_transport_eager.test_an_async_task_runs_to_its_end",
    "fops: an async def is never awaited, on Lambda": "test_handlers_isolation.test_async_tasks_of_a_batch_run_at_the_same_time",
    "fops: the payload is logged": (
        "test_execution.test_each_run_is_one_log_record_with_its_message_and_without_its_arguments"
    ),
    "fops: guards are asserts": "test_task_decoration.test_refusals_hold_under_python_o",
    "fops: messages have no id": "test_task.test_a_dispatch_sends_one_envelope_and_returns_its_id",
    "fops: there is no retry": "test_execution.test_what_a_task_raises_becomes_an_outcome",
    "fops: there is no dead letter": "test_dead_letters.test_a_dead_letter_is_the_untouched_body_and_one_attribute",
    "fops: sizes are not checked": "test_task.test_too_large_a_message_is_refused_with_its_size_and_the_limit",
    "taskhawk: requeueing dead letters of HIGH fills another queue": (
        "test_redrive.test_letters_of_the_high_priority_queue_go_back_there_and_those_of_the_default_one_there"
    ),
    "taskhawk: a saved invocation leaks headers": "test_task.test_a_saved_invocation_keeps_nothing_of_its_uses",
    "taskhawk: args='xy' is splatted, [] and null and a bad priority raise anything": (
        "test_envelope.test_a_malformed_message_is_one_error_that_names_field_expected_and_found"
    ),
    "taskhawk: IgnoreException fails the event": "test_handlers_sqs.test_a_discarded_message_is_done",
    "taskhawk: annotations that are text break metadata": "test_arguments.test_the_library_passes_what_a_task_asks_for",
    "taskhawk: an invalid message is retried for ever": "test_admission.test_a_malformed_message_is_given_up_at_once",
    "taskhawk: a message of an unknown task is retried for ever": (
        "test_admission.test_a_message_that_cannot_run_yet_waits_an_hour_for_a_worker_that_can_and_is_given_up_then"
    ),
    "taskhawk: a dispatch publishes three times and raises": __name__.rpartition(".")[2]
    + ".test_a_dispatch_publishes_once_and_returns",
    "taskhawk: it is not thread-safe": __name__.rpartition(".")[2] + ".test_threads_dispatch_and_run_at_the_same_time",
    "async-lambda: a failing message takes its batch with it": "test_handlers_sqs.test_only_what_failed_is_reported",
    "async-lambda: messages after the first are ignored": "test_handlers_sqs.test_only_what_failed_is_reported",
    "async-lambda: a message is received once": (
        "test_constructs_queue.test_receive_count_is_generous_and_known_to_the_function"
    ),
    "async-lambda: the visibility timeout is the function's": (
        "test_constructs_queue.test_visibility_timeout_is_six_timeouts_and_the_window"
    ),
    "async-lambda: 2.4 MB go out in one request": "test_transport_sqs.test_25_messages_of_200_kb_are_split_by_bytes",
    "async-lambda: delays begin anew every ten messages": (
        "test_transport_sqs.test_a_batch_block_is_sent_in_as_few_requests"
    ),
    "async-lambda: a batch hands chain id and group on to the next": (
        "test_groups_and_lanes.test_nothing_leaks_into_the_next_event"
    ),
    "async-lambda: a batch task hands on what its messages do not share": (
        "test_batch_task.test_what_it_dispatches_inherits_only_what_all_messages_agree_on"
    ),
    "async-lambda: a message's partition is 'aws'": "test_queues.test_a_url_is_made_from_an_arn_in_any_partition",
    "async-lambda: a grant's partition is 'aws'": ("test_constructs_scale.test_nothing_names_a_partition"),
    "async-lambda: queues have neither TLS nor encryption": (
        "test_constructs_queue.test_every_queue_is_encrypted_and_takes_messages_over_tls_only"
    ),
    "async-lambda: 123 tasks are the end": (
        "test_constructs_scale.test_more_tasks_than_a_stack_holds_are_in_two_and_dispatch_to_one_another"
    ),
    "async-lambda: a loop has no end": (
        "test_execution.test_more_hops_than_allowed_are_a_loop_that_is_given_up_with_its_chain"
    ),
    "async-lambda: layers are sorted": "test_constructs_function.test_layers_keep_the_order_in_which_they_were_given",
    "async-lambda: a stage's environment changes the app's": "test_stage_file.test_merging_never_changes_what_is_merged",
    "async-lambda: a timeout of 5,000 seconds is accepted": (
        "test_constructs_function.test_what_lambda_would_refuse_is_refused_at_synth"
    ),
    "async-lambda: a maximum concurrency of 1 is accepted": (
        "test_constructs_queue.test_queue_settings_outside_their_range_are_refused"
    ),
    "easyjobs: a result of 0 counts as failure and runs twice": (
        "test_eager_workflows.test_a_falsy_result_counts_as_success_and_runs_once"
    ),
    "easyjobs: retry_always has no backoff": "test_eager_workflows.test_a_policy_that_always_retries_has_backoff",
    "easyjobs: run_before is ignored": (
        "test_eager_workflows.test_before_tasks_of_the_example_are_honoured_where_it_is_dispatched_itself"
    ),
    "easyjobs: get_job_result always raises": (
        "test_eager_workflows.test_the_pipeline_of_the_example_returns_what_it_awaited"
    ),
    "easyjobs: retry_policy='always' is not recognised": (
        "test_retry.test_policies_have_the_names_that_easyjobs_gives_them"
    ),
    "easyjobs: the monitoring API has no authentication": __name__.rpartition(".")[2]
    + ".test_who_may_start_a_workflow_may_not_look_at_it_unless_that_is_granted",
    "easyjobs: the secret is on the command line": __name__.rpartition(".")[2] + ".test_no_command_takes_a_secret",
}


@pytest.mark.parametrize("test", SHOWN_BY.values(), ids=SHOWN_BY)
def test_a_test_shows_that_it_is_not_so_here(test: str) -> None:
    module, _, name = test.partition(".")
    tree = ast.parse((UNIT / f"{module}.py").read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


ran: list[tuple[int, int]] = []


@task
def send(number: int) -> None:
    ran.append((number, threading.get_ident()))


@pytest.fixture(autouse=True)
def no_transport() -> Any:
    ran.clear()
    yield
    set_transport(None)


@pytest.mark.parametrize("priority", Priority)
def test_a_dispatch_publishes_once_and_returns(
    priority: Priority, queue: TaskQueue, sqs: Any, requests: Requests
) -> None:
    set_transport(SqsTransport({priority: queue.url, "default": queue.dead_letter_url, priority.value: queue.url}, sqs))
    handle = send.with_priority(priority).dispatch(1)
    ((entry,),) = [params["Entries"] for params in asked(requests, "SendMessageBatch")]
    assert json.loads(entry["MessageBody"])["id"] == handle.id
    assert handler(queue.event(), None) == {"batchItemFailures": []}
    assert [number for number, _ in ran] == [1]


def test_threads_dispatch_and_run_at_the_same_time(queue: TaskQueue, sqs: Any) -> None:
    set_transport(SqsTransport(queue.url, client=sqs))
    saved = send.with_headers(request_id="1")
    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(saved.dispatch, range(40)))
    assert len({handle.id for handle in handles}) == 40
    events = [queue.event() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda event: handler(event, None), events)) == [{"batchItemFailures": []}] * 4
    assert sorted(number for number, _ in ran) == list(range(40))


def test_who_may_start_a_workflow_may_not_look_at_it_unless_that_is_granted() -> None:
    stack = new_stack()
    workflow = add_restock(stack)
    workflow.grant_dispatch(add_invoice(stack).function)
    workflow.grant_read(add_receipts(stack).function)
    assert allowed(stack, "states:StartExecution", under="Invoice")
    assert not allowed(stack, "states:DescribeExecution", under="Invoice")
    [executions] = allowed(stack, "states:DescribeExecution", under="Receipts")
    assert ":execution:Shop-Restock-" in executions


def test_no_command_takes_a_secret() -> None:
    options = {option for command in commands(get_command(app)) for one in command.params for option in one.opts}
    assert "--aws" in options
    assert not {one for one in options if any(word in one for word in ("secret", "password", "token", "key"))}


def commands(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from commands(inner)
