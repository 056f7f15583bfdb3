"""Dead letters of others that arrive in a task's queue, which they have as their dead letter queue."""

from runtime_lib.context import Delivery
from runtime_lib.dead_letters import DeadLetter
from runtime_lib.envelope import derived_id
from runtime_lib.execution import Message, Outcome, admit
from runtime_lib.handlers._one_task import envelope_of, the_task
from runtime_lib.record import Record

__all__ = ["admit_letter", "is_own_run"]


def admit_letter(body: str, delivery: Delivery) -> Message | Outcome:
    """What to run for a message: this function's task, never the one that a dead letter names."""
    task = the_task()
    letter = DeadLetter.in_record(delivery.event)
    if letter.is_dispatch_of(task.name):
        return admit(body, delivery)
    return Message(task, envelope_of(derived_id(task.name, letter.id), task))


def is_own_run(record: Record) -> bool:
    """Whether a record is a run of a workflow that was sent to this task, no dead letter of one."""
    return record.is_node() and DeadLetter.in_record(record.delivery.event).is_dispatch_of(the_task().name)
