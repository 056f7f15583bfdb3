"""Dead letters of others that arrive in a task's queue, which they have as their dead letter queue."""

from runtime_lib.context import Delivery
from runtime_lib.dead_letters import DeadLetter
from runtime_lib.envelope import derived_id
from runtime_lib.execution import Message, Outcome, admit
from runtime_lib.handlers._one_task import envelope_of, the_task

__all__ = ["admit_letter"]


def admit_letter(body: str, delivery: Delivery) -> Message | Outcome:
    """What to run for a message: this function's task, never the one that a dead letter names."""
    task = the_task()
    letter = DeadLetter.in_record(delivery.event)
    if letter.is_dispatch_of(task.name):
        return admit(body, delivery)
    return Message(task, envelope_of(derived_id(task.name, letter.id), task))
