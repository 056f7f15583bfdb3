"""Time per message, without a network, beside what the standard library takes for the same message."""

import json
import time
import timeit
from collections.abc import Callable, Iterator
from uuid import uuid4

from benchmarks.figures import Figure
from benchmarks.one_task import send_email
from runtime_lib import registry
from runtime_lib.context import Delivery
from runtime_lib.envelope import Envelope
from runtime_lib.execution import Message, admit, run
from runtime_lib.task import Invocation

# Rounds are short, so that some of them are not interrupted even on a busy machine.
_CALLS_PER_ROUND = 200
_MICROSECONDS = 1_000_000

_ARGS = ("customer@example.com", "Your order 7")
_FROM = "shop@example.com"
_INVOCATION = Invocation(send_email)
_BODY = _INVOCATION.call(*_ARGS, from_email=_FROM).body
_DELIVERY = Delivery()
_FUNCTIONS = {send_email.name: send_email.function}


def _encode() -> str:
    return _INVOCATION.call(*_ARGS, from_email=_FROM).body


def _encode_floor() -> str:
    return json.dumps(
        {
            "id": str(uuid4()),
            "metadata": {"priority": "default", "timestamp": int(time.time() * 1000), "version": "1.0"},
            "headers": {},
            "task": "benchmarks.one_task.send_email",
            "args": _ARGS,
            "kwargs": {"from_email": _FROM},
        }
    )


def _decode() -> None:
    envelope = Envelope.decode(_BODY)
    task = registry.resolve(envelope.task)
    args, kwargs = task.signature.accept(envelope.args, envelope.kwargs)
    task.function(*args, **kwargs)


def _decode_floor() -> None:
    message = json.loads(_BODY)
    _FUNCTIONS[message["task"]](*message["args"], **message["kwargs"])


def _execute() -> None:
    message = admit(_BODY, _DELIVERY)
    assert isinstance(message, Message)
    run(*message, _DELIVERY)


def measure(rounds: int) -> Iterator[Figure]:
    """Each way of a message, in ``rounds`` short rounds."""
    functions = (_encode, _encode_floor, _decode, _decode_floor, _execute)
    best = _minimum(functions, rounds)
    yield Figure("encode", "µs", best[_encode], best[_encode_floor], 1.5)
    yield Figure("decode, validate, call", "µs", best[_decode], best[_decode_floor], 2)
    yield Figure("the same with context, hooks, outcome", "µs", best[_execute], best[_decode_floor])


def _minimum(functions: tuple[Callable[[], object], ...], rounds: int) -> dict[Callable[[], object], float]:
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for function in functions:
            seconds = timeit.timeit(function, number=_CALLS_PER_ROUND) / _CALLS_PER_ROUND
            best[function] = min(best[function], seconds * _MICROSECONDS)
    return best
