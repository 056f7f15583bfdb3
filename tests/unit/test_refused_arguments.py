"""What is said of a message whose arguments do not fit never has the arguments in it."""

import logging
from typing import Any

import pytest

from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from runtime_lib.execution import DeadLettered, run
from tests.task_modules import load

SECRET = "4711-0815"
TYPED = """
    import enum, datetime, typing, pydantic
    from runtime_lib import task
    class Color(enum.Enum):
        RED = "red"
    class Model(pydantic.BaseModel):
        id: int
    @task
    def send(a: int = 1, b: list[str] = [], c: Color = Color.RED, d: datetime.date = None, e: Model = None,
             f: typing.Literal["x"] = "x"): ...
    """


@pytest.mark.parametrize(
    "kwargs", [{"a": SECRET}, {"b": {SECRET: 1}}, {"c": SECRET}, {"d": SECRET}, {"e": {"id": SECRET}}, {"f": SECRET}]
)
def test_an_argument_that_is_refused_is_not_in_the_log_either(
    kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    send = load(TYPED).send
    envelope = Envelope.new(send.name, [], kwargs, priority=Priority.DEFAULT)
    with caplog.at_level(logging.DEBUG):
        outcome = run(send, envelope, Delivery())
    assert isinstance(outcome, DeadLettered)
    assert "argument" in outcome.reason
    assert SECRET not in outcome.reason
    assert SECRET not in caplog.text
