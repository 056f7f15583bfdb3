"""Constructs on queues of all kinds."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib import ManagedAsyncTask, PureTask, QueueTask
from tests.apps import back_office


def add_bank_queue(scope: Construct, construct_id: str = "BankQueue", **arguments: Any) -> sqs.Queue:
    """A queue of others in this app, whose redrive policy is known; ``fifo=True`` makes it one in order."""
    order = {"fifo": True} if arguments.pop("fifo", False) else {}
    letters = sqs.Queue(scope, f"{construct_id}Letters", enforce_ssl=True, **order)
    arguments = {
        "dead_letter_queue": sqs.DeadLetterQueue(queue=letters, max_receive_count=7),
        "visibility_timeout": cdk.Duration.minutes(6),
        **order,
        **arguments,
    }
    return sqs.Queue(scope, construct_id, enforce_ssl=True, **arguments)


def add_payments(scope: Construct, construct_id: str = "Payments", **arguments: Any) -> QueueTask:
    """The task that works on the bank's queue."""
    queue = arguments.pop("queue", None) or add_bank_queue(scope)
    arguments = {"task": "back_office.payments:on_payment", **arguments}
    return ManagedAsyncTask.from_queue(scope, construct_id, code=back_office(), queue=queue, **arguments)


def add_quote(scope: Construct, construct_id: str = "Quote", **arguments: Any) -> PureTask:
    """The task that nothing starts."""
    return PureTask(scope, construct_id, code=back_office(), task="back_office.payments:quote", **arguments)


def add_clean_up(scope: Construct, construct_id: str = "CleanUp", **arguments: Any) -> ManagedAsyncTask:
    """The task that others leave their dead letters to."""
    return ManagedAsyncTask(scope, construct_id, code=back_office(), task="back_office.payments:clean_up", **arguments)
