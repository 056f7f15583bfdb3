"""A batch of a FIFO queue's messages: each message group in its order, up to its first message that is to run again.

What is behind that one comes back with it: SQS gives out nothing of a group while something of it is in flight. Of a
group, only the first message of a batch can have run before, so the receives of the others are no attempts of theirs.
"""

from runtime_lib.execution import DeadLettered, Message, Outcome, refused
from runtime_lib.handlers._sqs_batch import Admitted, Batch, by_suspicion
from runtime_lib.record import Record

__all__ = ["FifoBatch"]

_MOST_REMEMBERED = 1_000
_waited: dict[str, int] = {}
"""How many receives of a message, by SQS's id of it, were no runs of it: known in the environment where it waited, and
where it mostly comes again. In another one all of its receives count."""


class FifoBatch(Batch):
    """The records of one event of a FIFO queue; groups whose first message was received before run last."""

    def process(self) -> "FifoBatch":
        """Run every group as far as there is time, and none beyond its first message that is to run again."""
        groups: dict[str | None, list[Record]] = {}
        for record in self._records:
            group = groups.setdefault(record.delivery.group, [])
            if group:
                _waited[record.id] = record.delivery.attempt - 1
            group.append(_since(_waited.get(record.id, 0), record))
        readable: list[Admitted] = []
        for group in groups.values():
            admitted = self._admit(group[0].body, group[0].delivery)
            if isinstance(admitted, Message):
                readable.append((group[0], admitted))
            else:
                self._run_group(group, admitted)
        for records in by_suspicion(readable):
            for record, message in records:
                self._run_group(groups[record.delivery.group], message)
        for record in self._not_started:
            _waited[record.id] = _waited.get(record.id, 0) + 1
        for oldest in list(_waited)[: max(0, len(_waited) - _MOST_REMEMBERED)]:
            del _waited[oldest]
        self._give_back("they wait behind one of their group, or the function is about to time out")
        return self

    def _run_group(self, group: list[Record], admitted: Message | Outcome) -> None:
        for place, record in enumerate(group):
            if not self._is_time_left():
                self._not_started += group[place:]
                return
            if place:
                admitted = self._admit(record.body, record.delivery)
            failed = len(self.failed)
            self._settle(record, self._run(record, admitted) if isinstance(admitted, Message) else admitted)
            if len(self.failed) > failed:
                self._hold_back(group[place + 1 :])
                return
            _waited.pop(record.id, None)

    def _hold_back(self, records: list[Record]) -> None:
        """Let these come again behind the one that stopped their group.

        For one whose last delivery this is there is no other: it is dead-lettered with that reason, before SQS does it
        without any.
        """
        for record in records:
            limit = record.delivery.max_receive_count
            if limit is not None and record.delivery.attempt >= limit:
                reason = "it has not run: those before it in its message group used up the queue's max_receive_count"
                admitted = self._admit(record.body, record.delivery)
                envelope = admitted.envelope if isinstance(admitted, Message) else None
                self._settle(record, refused(envelope, record.delivery, DeadLettered(reason)))
                _waited.pop(record.id, None)
            else:
                self._not_started.append(record)


def _since(waited: int, record: Record) -> Record:
    """The record as if it had not been received so often: both what is counted and what is allowed begin after that."""
    delivery = record.delivery
    limit = delivery.max_receive_count
    return record._replace(
        delivery=delivery._replace(
            attempt=delivery.attempt - waited, max_receive_count=None if limit is None else limit - waited
        )
    )
