"""What type checkers say of users' code: each `ignore` here has to be needed, and what it says has to be so.

Checked by `make types`; nothing imports it.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import runtime_lib as taskhawk
from runtime_lib import (
    EagerTransport,
    LambdaTransport,
    Priority,
    RecordedError,
    RecordingTransport,
    Retry,
    SqsTransport,
    Task,
    TaskContext,
    TaskHandle,
    TaskStatus,
    after_task,
    before_task,
    default_headers,
    dispatch_batch,
    dispatch_task,
    set_transport,
    task,
    using_transport,
)
from runtime_lib.execution import Outcome
from runtime_lib.transports import Transport


@task
def send_email(to: str, subject: str, from_email: str | None = None) -> bool:
    return bool(to and subject and from_email)


@task(name="mail.resize", priority=Priority.LOW, namespace=["a", "b"], retry=Retry(5), schema_version=2, max_hops=3)
async def resize(width: int, *, height: int = 0) -> float:
    return width / height


@task(retry="always")
def log(*lines: str, context: TaskContext | None = None, **fields: int) -> None: ...


assert_type(send_email("a", "b"), bool)
running: Coroutine[Any, Any, float] = resize(1)
assert_type(send_email.name, str)

handle = send_email.dispatch("a@b.c", "Hi", from_email="x@y.z")
assert_type(handle, TaskHandle)
assert_type(handle.id, str)
assert_type(resize.dispatch(1, height=2).task, str)
assert_type(send_email.fire_and_forget("a", "b"), TaskHandle)
log.dispatch("a", "b", width=1)
assert_type(handle.status(), TaskStatus)
assert_type(handle.record().error, RecordedError | None)
assert_type(handle.cancel(), bool)

send_email.dispatch(1)  # type: ignore[call-arg, arg-type]
send_email.dispatch(1, "b")  # type: ignore[arg-type]
send_email.dispatch("a", "b", "c", "d")  # type: ignore[call-arg]
send_email.dispatch("a", "b", cc="c")  # type: ignore[call-arg]
send_email.fire_and_forget("a")  # type: ignore[call-arg]
send_email.call("a", 1)  # type: ignore[arg-type]
resize.dispatch("wide")  # type: ignore[arg-type]
resize.dispatch(1, 2)  # type: ignore[call-arg]
log.dispatch(1)  # type: ignore[arg-type]
send_email(1, "b")  # type: ignore[arg-type]

chained = send_email.with_headers(request_id="1").with_priority(Priority.HIGH).with_delay(minutes=5).with_group("g")
assert_type(chained.dispatch("a", "b").id, str)
chained.with_delay(timedelta(minutes=1)).dispatch("a")  # type: ignore[call-arg]
assert_type(send_email.at(datetime(2027, 1, 1, tzinfo=UTC)).dispatch("a", "b"), TaskHandle)
chained.at(datetime(2027, 1, 1, tzinfo=UTC)).dispatch("a")  # type: ignore[call-arg]
send_email.at("2027-01-01")  # type: ignore[arg-type]
chained.with_priority("high")  # type: ignore[arg-type]
chained.with_priority(taskhawk.Priority.high)

assert_type(send_email.dispatch_many([send_email.call("a", "b"), chained.call("a", "b")]), list[TaskHandle])
send_email.dispatch_many(["a"])  # type: ignore[list-item]
assert_type(dispatch_task("other.resize", 1, width=2).id, str)


async def main() -> None:
    assert_type(await send_email.adispatch("a", "b"), TaskHandle)
    assert_type(await resize.with_delay(1).adispatch(1), TaskHandle)
    await resize.adispatch()  # type: ignore[call-arg]
    assert_type(await resize(1), float)
    assert_type(await handle, Any)


@task(retries=3)  # type: ignore[call-overload, untyped-decorator]
def wrong_option() -> None: ...


task("send")  # type: ignore[call-overload]

with using_transport(RecordingTransport()) as recording, dispatch_batch():
    assert_type(recording, RecordingTransport)
    assert_type(recording.sent[0].envelope.args, list[Any])

transports: list[Transport] = [
    EagerTransport(),
    LambdaTransport("mail"),
    SqsTransport({"default": "a", Priority.HIGH: "b"}),
]
set_transport(None)
set_transport(LambdaTransport)  # type: ignore[arg-type]
set_transport("lambda")  # type: ignore[arg-type]


@before_task
def start(context: TaskContext) -> None: ...


@after_task
def end(context: TaskContext, outcome: Outcome) -> None: ...


@default_headers
def tracing(of: Task[..., Any]) -> dict[str, Any]:
    return {"task": of.name}


Retry(max_attempts=3, first_delay=timedelta(seconds=1), jitter="none", on=[KeyError], give_up_on=(OSError,))
Retry(jitter="half")  # type: ignore[arg-type]
Retry(on=[int])  # type: ignore[list-item]
