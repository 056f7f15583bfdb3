"""What users catch, and what tasks raise to say what shall become of their message."""

import pickle
from datetime import timedelta

import pytest

from runtime_lib import errors
from runtime_lib.errors import (
    ArgumentError,
    DispatchError,
    FailedMessage,
    NoRouteError,
    PayloadTooLargeError,
    RetryLater,
    TaskError,
)


def test_an_errors_docstring_is_its_default_message() -> None:
    assert str(NoRouteError()) == "This function has no route to the task."
    assert str(DispatchError()) == "The task was not dispatched."
    assert str(DispatchError("no queue")) == "no queue"


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(ArgumentError, TypeError)
    assert issubclass(errors.TaskDefinitionError, TypeError)
    assert issubclass(errors.EnvelopeError, ValueError)
    assert issubclass(errors.UnknownTaskError, LookupError)
    assert issubclass(PayloadTooLargeError, DispatchError)
    assert issubclass(PayloadTooLargeError, ValueError)
    for name in errors.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(errors, name), TaskError)


def test_what_a_task_raises_to_instruct_is_no_error_of_the_library() -> None:
    for instruction in (errors.RetryLater, errors.Discard, errors.Reject):
        assert not issubclass(instruction, TaskError)


@pytest.mark.parametrize(("delay", "seconds"), [(0, 0), (1.5, 1.5), (timedelta(minutes=2), 120)])
def test_retry_later_takes_seconds_or_a_timedelta(delay: float | timedelta, seconds: float) -> None:
    assert RetryLater(delay).delay == seconds
    assert str(RetryLater(delay)) == "the task asked to run again later"
    assert str(RetryLater(delay, "rate limit")) == "rate limit"


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_a_delay_that_is_none_is_refused(delay: float | timedelta) -> None:
    with pytest.raises(ValueError, match="a duration is 0 seconds or more, given"):
        RetryLater(delay)


def test_a_delay_of_another_type_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(TypeError, match="a duration is a number of seconds or a timedelta, given '5 minutes'"):
        RetryLater("5 minutes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [RetryLater(5, "busy"), DispatchError("x", failed=[FailedMessage("1", "c", "m")]), errors.Reject("bad")]
)
def test_errors_reach_another_process_as_they_are(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_an_exception_that_cannot_say_what_it_is_has_no_message() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert errors.message_of(MuteError()) == ""
    assert errors.message_of(ValueError("x")) == "x"


def test_an_http_error_says_its_status_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.HttpError(404, "no such order", {"X-Shop": "1"}, {"order": 7})))
    assert (error.status, error.message, error.headers, error.details) == (
        404,
        "no such order",
        {"X-Shop": "1"},
        {"order": 7},
    )
    assert str(error) == "404 no such order"
    assert str(errors.HttpError(404)) == "404"


@pytest.mark.parametrize("status", [200, 399, 600])
def test_an_http_error_with_the_status_of_a_success_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=f"an HttpError has a status from 400 to 599, given {status}"):
        errors.HttpError(status, "done")
