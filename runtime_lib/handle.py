"""What a dispatch returns, and what can be asked of it where the task is recorded in a store."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from runtime_lib.task_record import TaskRecord, TaskStatus

__all__ = ["TaskHandle"]

_FIRST_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 2.0


class TaskHandle(NamedTuple):
    """A dispatched task: its message's id and its name.

    What its methods tell is in the task store in force (`get_store`): they raise StoreError if there is none, if it may
    not be read here, and NotRecordedError if it does not know the task. Of a task that starts a workflow they follow
    its execution to the very end; `result` is what the task itself returned. ``TaskHandle(id, task)`` is as good as
    what `dispatch` returned.
    """

    id: str
    task: str

    def record(self) -> "TaskRecord":
        """Everything that is known of the task."""
        machine = self._machine()
        if machine:
            from runtime_lib.workflow import executions

            return executions.record(machine, self)
        from runtime_lib.errors import NotRecordedError
        from runtime_lib.tracking import get_store

        store = get_store()
        record = store.find(self.id)
        if record is None:
            raise NotRecordedError(
                f"{store} has no record of {self.task} {self.id}: what serves it records its tasks elsewhere or not at "
                "all, or its record has expired"
            )
        if self._starts_a_workflow():
            from runtime_lib.workflow import executions

            return executions.explained(record)
        return record

    def status(self) -> "TaskStatus":
        """Where the task is."""
        return self.record().status

    def result(self, timeout: "float | None" = None) -> Any:
        """What the task returned, as JSON values, once it has; waits ``timeout`` seconds, None: for ever.

        Of a task whose process was killed at its last delivery, nobody records the end: give a timeout.

        Raises:
            TaskFailedError: it was given up; ``failure`` says with what.
            TaskCancelledError: it was cancelled, or discarded itself.
            ResultUnavailableError: it succeeded, and its result could not be recorded; says why.
            TimeoutError: it has not finished.
        """
        import time

        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE_SECONDS
        while not (record := self.record()).has_finished:
            left = pause if deadline is None else deadline - time.monotonic()
            if left <= 0:
                overdue = ": its latest attempt ended without a report" if record.is_overdue else ""
                raise TimeoutError(f"{self.task} {self.id} is {record.status} after {timeout:g} s{overdue}")
            time.sleep(min(pause, left))
            pause = _longer(pause)
        return _result(record)

    def __await__(self) -> Generator[Any, None, Any]:
        """`result` without blocking the event loop: ``await handle``, or ``await asyncio.wait_for(handle, 30)``."""
        return self._wait().__await__()

    async def _wait(self) -> Any:
        from asyncio import sleep, to_thread

        pause = _FIRST_PAUSE_SECONDS
        while not (record := await to_thread(self.record)).has_finished:
            await sleep(pause)
            pause = _longer(pause)
        return _result(record)

    def cancel(self) -> bool:
        """Have the task skipped when its message is reached; False: it runs already, or has finished.

        One that waits for another attempt is not run again. What runs is not interrupted; of a workflow that runs, no
        further task begins. One that was dispatched for later than 15 minutes is cancelled without a store as well,
        where such are dispatched.
        """
        import os

        from runtime_lib.contract import ENV_SCHEDULES
        from runtime_lib.errors import StoreError
        from runtime_lib.tracking import get_store

        unscheduled = False
        if ENV_SCHEDULES in os.environ:
            from runtime_lib import one_shot

            unscheduled = one_shot.cancel(self.id)
        machine = self._machine()
        if machine:
            from runtime_lib.workflow import executions

            return unscheduled or executions.cancel(machine, self)
        if ENV_SCHEDULES not in os.environ:
            return get_store().cancel(self.id)
        try:
            store = get_store()
        except StoreError:
            return unscheduled
        try:
            return store.cancel(self.id) or unscheduled
        except StoreError as error:
            if not unscheduled:
                raise
            from runtime_lib.log import logger

            logger.warning("%s %s does not start, and its record does not say so: %s", self.task, self.id, error)
            return True

    def _starts_a_workflow(self) -> bool:
        import os

        from runtime_lib.contract import task_route_variable

        return os.environ.get(task_route_variable(self.task), "").startswith("states")

    def _machine(self) -> str | None:
        """The state machine of a task that starts a workflow, whose executions tell where it is."""
        if not self._starts_a_workflow():
            return None
        from runtime_lib.workflow import executions

        return executions.machine_of(self.task)


def _longer(pause: float) -> float:
    """The next pause between two looks: short at first, for tasks are."""
    return min(pause * 1.5, _MAX_PAUSE_SECONDS)


def _result(record: "TaskRecord") -> Any:
    from runtime_lib.errors import ResultUnavailableError, TaskCancelledError, TaskFailedError
    from runtime_lib.task_record import TaskStatus

    named = f"{record.task} {record.id}"
    if record.status is TaskStatus.FAILED:
        raise TaskFailedError(f"{named} failed at attempt {record.attempts}: {record.error}", record.error)
    if record.status is TaskStatus.CANCELLED:
        said = f": {record.error.message}" if record.error else ""
        raise TaskCancelledError(f"{named} was cancelled{said}")
    if record.result_missing:
        raise ResultUnavailableError(f"{named} succeeded, but its result is not here: {record.result_missing}")
    return record.result
