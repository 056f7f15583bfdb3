"""Which transport is in force, and batches."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import runtime_lib.transports
from runtime_lib import (
    DispatchError,
    EagerTransport,
    LambdaTransport,
    RecordingTransport,
    dispatch_batch,
    get_transport,
    set_transport,
    task,
    using_transport,
)
from runtime_lib.errors import FailedMessage
from runtime_lib.task import Call
from runtime_lib.transports import RouteTransport, Transport, send_all


@task
def send(number: int) -> None: ...


@pytest.fixture(autouse=True)
def no_transport() -> Iterator[None]:
    yield
    set_transport(None)


def numbers(recording: RecordingTransport) -> list[int]:
    return [call.envelope.args[0] for call in recording.sent]


# --- The one in force ------------------------------------------------------------------------------------------------


def test_without_a_transport_the_routes_are_in_force() -> None:
    assert isinstance(get_transport(), RouteTransport)
    assert get_transport() is get_transport()


def test_a_transport_set_once_is_seen_by_every_thread_and_asyncio_task() -> None:
    recording = RecordingTransport()
    with ThreadPoolExecutor(1) as old:
        old.submit(get_transport).result()
        set_transport(recording)
        assert old.submit(get_transport).result() is recording
        old.submit(send.dispatch, 1).result()
    thread = threading.Thread(target=send.dispatch, args=(2,))
    thread.start()
    thread.join()

    async def main() -> None:
        async def dispatch(number: int) -> None:
            send.dispatch(number)

        await asyncio.create_task(dispatch(3))
        await asyncio.to_thread(send.dispatch, 4)
        await send.adispatch(5)

    asyncio.run(main())
    assert numbers(recording) == [1, 2, 3, 4, 5]


def test_set_transport_none_brings_the_routes_back() -> None:
    set_transport(RecordingTransport())
    set_transport(None)
    assert isinstance(get_transport(), RouteTransport)


def test_an_override_holds_in_its_block_and_is_the_innermost_one() -> None:
    process, outer, inner = RecordingTransport(), RecordingTransport(), RecordingTransport()
    set_transport(process)
    with using_transport(outer) as given:
        assert given is outer
        with using_transport(inner):
            send.dispatch(1)
        send.dispatch(2)
    send.dispatch(3)
    assert (numbers(inner), numbers(outer), numbers(process)) == ([1], [2], [3])


def test_an_override_ends_with_an_exception() -> None:
    with pytest.raises(KeyError), using_transport(RecordingTransport()):
        raise KeyError
    assert isinstance(get_transport(), RouteTransport)


def test_an_override_is_not_seen_by_other_threads_and_asyncio_tasks() -> None:
    process, override = RecordingTransport(), RecordingTransport()
    set_transport(process)

    async def dispatch(number: int, entered: asyncio.Event) -> None:
        await entered.wait()
        send.dispatch(number)

    async def main() -> None:
        entered = asyncio.Event()
        other = asyncio.create_task(dispatch(1, entered))
        with using_transport(override):
            entered.set()
            await other
            with ThreadPoolExecutor(1) as thread:
                thread.submit(send.dispatch, 2).result()
            await asyncio.create_task(dispatch(3, entered))  # a task that starts inside sees it

    asyncio.run(main())
    assert (numbers(process), numbers(override)) == ([1, 2], [3])


def test_a_transport_that_is_false_is_still_the_one_in_force() -> None:
    class Empty(RecordingTransport):
        def __len__(self) -> int:
            return len(self.sent)

    process, override = Empty(), Empty()
    set_transport(process)
    assert get_transport() is process
    with using_transport(override):
        assert get_transport() is override


@pytest.mark.parametrize("wrong", [LambdaTransport, EagerTransport, "lambda", object()])
@pytest.mark.parametrize("use", [set_transport, lambda wrong: using_transport(wrong).__enter__()])
def test_what_is_no_transport_is_refused_when_it_is_set(use: Callable[[Any], object], wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=r"a transport is an object with send\(calls\), as EagerTransport\(\) is, given"
    ):
        use(wrong)
    assert isinstance(get_transport(), RouteTransport)


def test_transports_are_found_where_fops_has_them() -> None:
    names = ["EagerTransport", "LambdaTransport", "RecordingTransport", "SqsTransport"]
    for name in names:
        assert getattr(runtime_lib.transports, name) is getattr(runtime_lib, name)
    assert set(names) <= set(dir(runtime_lib.transports))
    with pytest.raises(AttributeError, match="has no attribute 'CeleryTransport'"):
        _ = runtime_lib.transports.CeleryTransport


# --- Batches ---------------------------------------------------------------------------------------------------------


class Counting(RecordingTransport):
    """Notes how many calls it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def send(self, calls: Sequence[Call]) -> None:
        self.sizes.append(len(calls))
        super().send(calls)


def test_a_batch_is_sent_at_its_end_at_once() -> None:
    with using_transport(Counting()) as transport:
        with dispatch_batch():
            handles = [send.dispatch(number) for number in range(3)]
            handles += send.dispatch_many([send.call(3)])
            assert transport.sizes == []
        assert transport.sizes == [4]
    assert [call.handle for call in transport.sent] == handles


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_batch_that_raises_sends_nothing(error: type[BaseException]) -> None:
    with using_transport(Counting()) as transport:
        with pytest.raises(error), dispatch_batch():  # noqa: PT012
            send.dispatch(1)
            raise error
        send.dispatch(2)
    assert numbers(transport) == [2]


def test_a_batch_over_several_transports_sends_each_its_own() -> None:
    first, second = Counting(), Counting()
    with using_transport(first), dispatch_batch():
        send.dispatch(1)
        with using_transport(second):
            send.dispatch(2)
        send.dispatch(3)
    assert (numbers(first), numbers(second), first.sizes) == ([1, 3], [2], [2])


def test_a_batch_over_several_transports_that_raises_sends_nothing() -> None:
    first, second = Counting(), Counting()
    with pytest.raises(KeyError), dispatch_batch():  # noqa: PT012
        for transport in (first, second):
            with using_transport(transport):
                send.dispatch(1)
        raise KeyError
    assert (first.sent, second.sent) == ([], [])


def test_a_batch_inside_a_batch_is_sent_at_the_end_of_the_outer_one() -> None:
    with using_transport(Counting()) as transport, dispatch_batch():
        send.dispatch(1)
        with dispatch_batch():
            send.dispatch(2)
        assert transport.sent == []
        send.dispatch(3)
    assert numbers(transport) == [1, 2, 3]
    assert transport.sizes == [3]


def test_a_batch_inside_a_batch_that_raises_is_not_sent_either() -> None:
    with using_transport(Counting()) as transport:
        with pytest.raises(KeyError), dispatch_batch():  # noqa: PT012
            with dispatch_batch():
                send.dispatch(1)
            raise KeyError
        with dispatch_batch():
            send.dispatch(2)
            with pytest.raises(KeyError), dispatch_batch():  # noqa: PT012
                send.dispatch(3)
                raise KeyError
    assert numbers(transport) == [2]


def test_an_empty_batch_sends_nothing() -> None:
    with using_transport(Counting()) as transport, dispatch_batch():
        pass
    assert transport.sizes == []


def test_what_an_asyncio_task_dispatches_after_the_end_of_the_batch_it_was_started_in_is_sent() -> None:
    async def later(ended: asyncio.Event, number: int) -> None:
        await ended.wait()
        send.dispatch(number)
        await send.adispatch(number + 1)

    async def main() -> None:
        ended = asyncio.Event()
        with dispatch_batch():
            with dispatch_batch():
                inner = asyncio.create_task(later(ended, 1))
            assert transport.sent == []
        outer = asyncio.create_task(later(ended, 3))
        ended.set()
        await inner
        await outer

    with using_transport(Counting()) as transport:
        asyncio.run(main())
    assert sorted(numbers(transport)) == [1, 2, 3, 4]


def test_what_an_asyncio_task_dispatches_in_an_outer_batch_that_goes_on_waits_for_it() -> None:
    async def main() -> None:
        async def later() -> None:
            await ended.wait()
            send.dispatch(1)

        ended = asyncio.Event()
        with dispatch_batch():
            with dispatch_batch():
                inner = asyncio.create_task(later())
            ended.set()
            await inner
            assert transport.sent == []

    with using_transport(Counting()) as transport:
        asyncio.run(main())
    assert numbers(transport) == [1]


def test_adispatch_in_a_batch_waits_for_its_end() -> None:
    async def main() -> None:
        with dispatch_batch():
            await asyncio.gather(*(send.adispatch(number) for number in range(20)))
            assert transport.sent == []

    with using_transport(Counting()) as transport:
        asyncio.run(main())
    assert sorted(numbers(transport)) == list(range(20))
    assert transport.sizes == [20]


def test_a_thread_does_not_take_part_in_a_batch() -> None:
    recording = RecordingTransport()
    set_transport(recording)
    with dispatch_batch(), ThreadPoolExecutor(1) as thread:
        thread.submit(send.dispatch, 1).result()
        assert numbers(recording) == [1]


# --- Several transports at once --------------------------------------------------------------------------------------


class Failing:
    """Fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, calls: Sequence[Call]) -> None:
        raise self.error


def groups(*transports: Transport) -> list[tuple[Callable[[Sequence[Call]], None], list[Call]]]:
    return [(transport.send, [send.call(number)]) for number, transport in enumerate(transports)]


def test_a_transport_that_fails_does_not_keep_the_others_from_sending() -> None:
    partial = DispatchError("half", failed=[FailedMessage("x", "Throttled", "slow down")])
    recording = RecordingTransport()
    sending = groups(Failing(partial), recording, Failing(DispatchError("no queue")))
    with pytest.raises(DispatchError, match=r"^half; no queue$") as caught:
        send_all(sending)
    assert numbers(recording) == [1]
    (unsent,) = sending[2][1]
    assert caught.value.failed == (
        FailedMessage("x", "Throttled", "slow down"),
        FailedMessage(unsent.envelope.id, "DispatchError", "no queue"),
    )


def test_an_exception_of_an_eager_task_comes_after_the_others_are_sent() -> None:
    recording = RecordingTransport()
    with pytest.raises(KeyError):
        send_all(groups(Failing(KeyError("x")), recording))
    assert numbers(recording) == [1]


def test_several_exceptions_come_together() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        send_all(groups(Failing(KeyError("x")), Failing(DispatchError("no queue"))))
    assert [type(error) for error in caught.value.exceptions] == [KeyError, DispatchError]


def test_a_failed_send_raises_from_every_way_to_dispatch() -> None:
    error = DispatchError("no queue")
    set_transport(Failing(error))
    for dispatch in (
        lambda: send.dispatch(1),
        lambda: send.fire_and_forget(1),
        lambda: send.with_headers(a=1).dispatch(1),
        lambda: send.dispatch_many([send.call(1)]),
        lambda: asyncio.run(send.adispatch(1)),
    ):
        with pytest.raises(DispatchError) as caught:
            dispatch()
        assert caught.value is error
    with pytest.raises(DispatchError), dispatch_batch():
        send.dispatch(1)
