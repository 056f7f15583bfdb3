"""Sending dead letters back to where they came from."""

import time
from collections.abc import Callable
from typing import Any

from runtime_lib.clients import client as shared_client
from runtime_lib.contract import FAILURE_ATTRIBUTE, LETTER_FAILURE_ATTRIBUTE, Route, is_fifo
from runtime_lib.dead_letters import DeadLetter, receive_dead_letters
from runtime_lib.errors import DispatchError
from runtime_lib.queues import Entry, delete, queue_name, queue_url, send_entries

__all__ = ["requeue_dead_letters"]

_CLOCK_SECONDS = 60
"""How far SQS's clock and that of this machine are apart at most."""


def requeue_dead_letters(
    dead_letter_queue: str,
    *,
    to: str | None = None,
    select: Callable[[DeadLetter], bool] | None = None,
    limit: int | None = None,
    client: Any | None = None,
) -> int:
    """Send dead letters to be run again, each to the queue or function it came from, and say how many were.

    A letter is deleted once it has been sent; if sending fails it stays where it is. Those not selected stay too, and
    so does the letter of a message that fails again meanwhile: each is sent once. (Of messages of others that say the
    same, only the first is sent of those that were received in the last minute.) What was looked at and stays is hidden
    for 30 seconds.

    Args:
        dead_letter_queue: its name or URL.
        to: a queue (name or URL) to send all of them to; needed for letters that do not tell where they came from.
        select: which letters; all by default.
        limit: how many at most; all by default.
        client: a boto3 SQS client; by default one made from the environment.

    Raises:
        DispatchError: a letter could not be sent, or does not tell where it came from; earlier ones have been.
        ValueError: ``limit`` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is 1 or more, or None for all, given {limit}")
    sqs = client or shared_client("sqs")
    dead_letter_url = queue_url(dead_letter_queue, sqs)
    sent: set[tuple[str, str | None]] = set()
    count, began = 0, time.time()
    for letter in receive_dead_letters(dead_letter_url, client=sqs):
        target = f"sqs:{to}" if to else letter.failure.source
        message = _identity(letter), target  # (one event may have failed in several functions)
        if (message in sent and not _is_another(letter, began)) or (select and not select(letter)):
            continue
        _send_again(letter, target, dead_letter_url, sqs)
        delete(dead_letter_url, [str(letter.receipt)], sqs)
        sent.add(message)
        count += 1
        if count == limit:
            break
    return count


def _identity(letter: DeadLetter) -> str:
    """What is the same in the letters of one message: its task's id, if it has a task, else all it says."""
    return (letter.task and letter.envelope_id) or letter.body


def _is_another(letter: DeadLetter, began: float) -> bool:
    """Whether the letter of a message of others is older than what was sent by now and says the same."""
    return letter.task is None and (letter.failure.first_at or began) < began - _CLOCK_SECONDS


def _start_again(route: Route, body: str) -> None:
    """Invoke the function, or start the workflow, that a message did not get to."""
    if route.kind == "lambda":
        from runtime_lib.transports.lambda_invoke import invoke

        invoke(route.target, body, shared_client("lambda"))
    else:
        from runtime_lib.transports.states import state_machine_arn

        states = shared_client("stepfunctions")
        states.start_execution(stateMachineArn=state_machine_arn(route.target, states), input=body)


def _send_again(letter: DeadLetter, source: str | None, dead_letter_url: str, sqs: Any) -> None:
    if letter.failure.shape == "stream":
        raise DispatchError(f"dead letter {letter.id} tells of records in a stream, and holds no task to run again")
    if source is None:
        raise DispatchError(f"dead letter {letter.id} does not tell where it came from: pass to='<queue>'")
    try:
        route = Route.parse(source, variable=f"the source of dead letter {letter.id}")
    except ValueError as error:
        raise DispatchError(f"{error}: pass to='<queue>'") from None
    if route.kind != "sqs":
        try:
            _start_again(route, letter.body)
        except Exception as error:
            raise DispatchError(f"dead letter {letter.id} was not sent to {source}: {error}") from error
        return
    url = queue_url(route.target, sqs)
    if url == dead_letter_url:
        raise DispatchError(f"{queue_name(url)} is the dead letter queue itself: requeue to another queue")
    envelope_id = letter.envelope_id or letter.id
    attributes = dict(letter.attributes)
    if LETTER_FAILURE_ATTRIBUTE in attributes:  # a task was to take it as a letter, and does so again
        attributes[FAILURE_ATTRIBUTE] = attributes.pop(LETTER_FAILURE_ATTRIBUTE)
    entry = Entry(envelope_id, letter.body, group=letter.group, attributes=attributes)
    if is_fifo(url):
        # The queue may still remember the message by its own id; the letter's makes the redrive another one, once.
        group = letter.message_group or letter.group or letter.task or envelope_id
        entry = entry.ordered(group=group, deduplication_id=f"{envelope_id}:{letter.id}")
    send_entries(url, [entry], sqs)
