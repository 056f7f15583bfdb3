"""Sending tasks that are recorded: each is in the store before its message is with AWS."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from runtime_lib.errors import DispatchError, StoreError
from runtime_lib.log import logger
from runtime_lib.tracking import get_store

if TYPE_CHECKING:
    from runtime_lib.store import Store
    from runtime_lib.task import Call

__all__ = ["add_calls", "send_recorded"]

_PARALLEL = 8


def send_recorded(send: "Callable[[Sequence[Call]], None]", calls: "Sequence[Call]") -> None:
    """Record that the calls are queued, then ``send`` them; what is not sent is taken back.

    Raises:
        DispatchError: one could not be recorded, and none is sent; or some could not be sent, see ``failed``.
    """
    try:
        store = get_store()
        added = add_calls(store, calls)
    except StoreError as error:
        raise DispatchError(f"{calls[0].envelope.task} was not dispatched: {error}") from error
    try:
        send(calls)
    except DispatchError as error:
        not_sent = {one.id for one in error.failed}
        _take_back(store, [task_id for task_id in added if not not_sent or task_id in not_sent])
        raise
    except Exception:
        _take_back(store, added)
        raise


def add_calls(store: "Store", calls: "Sequence[Call]") -> list[str]:
    """Record calls as queued; the ids of those that had no record yet.

    Raises:
        StoreError: the store did not take all of them, and has none of them now.
    """

    def add(call: "Call") -> bool | StoreError:
        try:
            return store.add(call.envelope.id, call.envelope.task, delay=call.delay)
        except StoreError as error:
            return error

    if len(calls) == 1:
        answers = [add(calls[0])]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_PARALLEL) as threads:
            answers = list(threads.map(add, calls))
    added = [call.envelope.id for call, answer in zip(calls, answers, strict=True) if answer is True]
    failed = next((answer for answer in answers if isinstance(answer, StoreError)), None)
    if failed:
        _take_back(store, added)
        raise failed
    return added


def _take_back(store: "Store", task_ids: Sequence[str]) -> None:
    for task_id in task_ids:
        try:
            store.take_back(task_id)
        except StoreError as error:
            logger.warning("task %s was not sent, and its record stays queued until it expires: %s", task_id, error)
