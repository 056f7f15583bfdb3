"""What type checkers say of middleware, groups, init tasks, lazy values and stubs of other applications' tasks.

Each `ignore` here has to be needed. Checked by `make types`; nothing imports it.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

from runtime_lib import (
    Priority,
    Retry,
    TaskContext,
    TaskGroup,
    TaskHandle,
    external_task,
    init_task,
    lazy_value,
    middleware,
    task,
)
from runtime_lib.testing import MockLambdaContext, api_event, sqs_event


@middleware
def timed(context: TaskContext, call_next: Callable[[], Any]) -> Any:
    return call_next()


@middleware
async def traced(context: TaskContext, call_next: Callable[[], Awaitable[Any]]) -> Any:
    return await call_next()


@middleware  # type: ignore[type-var]
def wrong(context: TaskContext) -> None: ...


shop = TaskGroup(namespace="shop", retry=Retry(5), middleware=[timed])
mail = TaskGroup(parent=shop, priority=Priority.HIGH, name_prefix="mail.")
TaskGroup(middleware=timed)  # type: ignore[arg-type]
TaskGroup(retries=5)  # type: ignore[call-arg]


@mail.task
def send(to: str) -> int:
    return len(to)


@mail.task(name="welcome", retry="never", middleware=[timed, traced])
async def welcome(user: int) -> float:
    return user / 2


@mail.task(retries=3)  # type: ignore[call-overload, untyped-decorator]
def wrong_option() -> None: ...


@mail.batch_task
def index(documents: list[str]) -> None: ...


assert_type(send("a"), int)
assert_type(send.dispatch("a"), TaskHandle)
send.dispatch(1)  # type: ignore[arg-type]
welcome.dispatch("a")  # type: ignore[arg-type]
index.dispatch("a")
index.dispatch(1)  # type: ignore[arg-type]


@task(middleware=[timed])
def alone() -> None: ...


@external_task(name="images.tasks.resize", namespace="images")
def resize(key: str, width: int = 100) -> None: ...


assert_type(resize.dispatch("a", width=2), TaskHandle)
resize.dispatch(1)  # type: ignore[arg-type]
external_task(namespace="images")  # type: ignore[call-arg]


@init_task
def warm() -> None: ...


@init_task  # type: ignore[type-var]
def cold(degrees: int) -> None: ...


@lazy_value
def table() -> dict[str, int]:
    return {}


assert_type(table(), dict[str, int])
assert_type(lazy_value(list[int])(), list[int])

assert_type(MockLambdaContext().get_remaining_time_in_millis(), int)
sqs_event(send.call("a"), "text")
sqs_event(1)  # type: ignore[arg-type]
api_event("GET", "/orders", query={"ids": ["1", "2"]}, body={"a": 1})
