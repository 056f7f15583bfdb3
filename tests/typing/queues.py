"""What type checkers say of users' code on queues: each `ignore` here has to be needed, and what it says has to be so.

Checked by `make types`; nothing imports it.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Coroutine
from typing import Any, assert_type

from runtime_lib import (
    BatchFailures,
    BatchTask,
    DeadLetter,
    ManagedSqsEvent,
    Reject,
    TaskContext,
    TaskHandle,
    UnmanagedSqsEvent,
    batch_task,
    task,
)


@batch_task
def index(documents: list[int]) -> None:
    raise BatchFailures({0: Reject("no"), 1: ValueError()})


@batch_task(name="search.add", namespace="search")
async def add(documents: list[str], contexts: list[TaskContext]) -> list[int]:
    return [len(one) for one in documents if contexts]


assert_type(index, BatchTask[int, None])
assert_type(index.dispatch(7), TaskHandle)
index([1, 2])
found: Coroutine[Any, Any, list[int]] = add(["a"], [])
assert_type(add.with_group("tenant-7").with_lane(1).dispatch("a"), TaskHandle)

index.dispatch("seven")  # type: ignore[arg-type]
index.dispatch([7])  # type: ignore[arg-type]
index(7)  # type: ignore[arg-type]
add.with_lane("1")  # type: ignore[arg-type]


@batch_task  # type: ignore[arg-type]
def alone(document: int) -> None: ...


@task
def on_message(event: UnmanagedSqsEvent) -> None:
    assert_type(event.body, str)
    assert_type(event.attributes, dict[str, str])


@task
def on_dispatch(amount: int, event: ManagedSqsEvent | None = None) -> None:
    if event:
        assert_type(event.source_task_id, str | None)


@task
def on_letter(letter: DeadLetter) -> None:
    assert_type(letter.failure.reason, str)
    assert_type(letter.task, str | None)


on_dispatch.dispatch(7)
