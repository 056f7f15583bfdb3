"""When a failed task runs again."""

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_lib import Retry

ERROR = ValueError("x")


def delays(retry: Retry, attempts: int = 8) -> list[float | None]:
    return [retry.delay(ERROR, attempt) for attempt in range(1, attempts + 1)]


def test_the_default_is_three_attempts_with_growing_delays_of_at_most_a_quarter_of_an_hour() -> None:
    retry = Retry()
    assert (retry.max_attempts, retry.first_delay, retry.multiplier, retry.max_delay) == (3, 1, 2, 900)
    assert retry.jitter == "full"
    assert delays(retry, 4)[2:] == [None, None]


def test_without_jitter_each_delay_is_the_multiple_of_the_last_up_to_the_longest() -> None:
    assert delays(Retry(7, first_delay=5, multiplier=3, max_delay=100, jitter="none")) == [
        5,
        15,
        45,
        100,
        100,
        100,
        None,
        None,
    ]
    assert delays(Retry(4, first_delay=5, multiplier=1, jitter="none"), 4) == [5, 5, 5, None]


@given(st.integers(1, 2_000), st.floats(0, 43_200), st.floats(1, 1e300), st.floats(0, 43_200))
def test_full_jitter_stays_between_nothing_and_the_delay(
    attempt: int, first: float, multiplier: float, longest: float
) -> None:
    policy: dict[str, Any] = {"first_delay": first, "multiplier": multiplier, "max_delay": longest}
    upper = Retry(None, **policy, jitter="none").delay(ERROR, attempt)
    delay = Retry(None, **policy).delay(ERROR, attempt)
    assert upper is not None
    assert delay is not None
    assert 0 <= delay <= upper <= longest


def test_full_jitter_spreads_over_the_whole_delay() -> None:
    retry = Retry(2, first_delay=100)
    found = [retry.delay(ERROR, 1) or 0.0 for _ in range(200)]
    assert min(found) < 20
    assert max(found) > 80
    assert len(set(found)) > 190


def test_a_delay_too_large_to_compute_is_the_longest() -> None:
    assert Retry(None, jitter="none").delay(ERROR, 100_000) == 900
    assert Retry(None, jitter="none", multiplier=2.5).delay(ERROR, 100_000) == 900
    assert Retry(None, jitter="none", first_delay=0).delay(ERROR, 100_000) == 0


class RefusedError(LookupError): ...


@pytest.mark.parametrize(
    ("options", "error", "retried"),
    [
        ({}, KeyError(), True),
        ({}, SystemExit(1), True),
        ({"on": [OSError]}, KeyError(), False),
        ({"on": [OSError]}, ConnectionResetError(), True),
        ({"on": OSError}, ConnectionResetError(), True),
        ({"on": ()}, KeyError(), False),
        ({"give_up_on": [RefusedError]}, RefusedError(), False),
        ({"give_up_on": [RefusedError]}, KeyError(), True),
        ({"give_up_on": [LookupError]}, RefusedError(), False),
        ({"on": [RefusedError], "give_up_on": [LookupError]}, RefusedError(), False),
        ({"on": [LookupError], "give_up_on": {RefusedError}}, KeyError(), True),
        ({"on": (one for one in [KeyError])}, KeyError(), True),
    ],
)
def test_exception_classes_say_what_is_retried(options: dict[str, Any], error: BaseException, retried: bool) -> None:
    assert (Retry(**options).delay(error, 1) is not None) is retried


def test_never_once_and_always() -> None:
    assert delays(Retry.never(), 2) == [None, None]
    assert [delay is None for delay in delays(Retry.once(), 3)] == [False, True, True]
    assert None not in delays(Retry.always(), 50)
    assert Retry.always().delay(ERROR, 12) is not None
    assert Retry.always() == Retry(None)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("never", Retry.never()),
        ("retry_once", Retry.once()),
        ("retry_always", Retry.always()),
        ("always", Retry.always()),
        (None, Retry()),
        (Retry(7), Retry(7)),
    ],
)
def test_policies_have_the_names_that_easyjobs_gives_them(name: str | Retry | None, policy: Retry) -> None:
    assert Retry.of(name) == policy


@pytest.mark.parametrize("name", ["Never", "retry", "", 3, [], object])
def test_an_unknown_policy_is_refused_with_those_that_are_known(name: Any) -> None:
    known = "'never', 'retry_once', 'retry_always', 'always'"
    with pytest.raises(ValueError, match=f"^retry is a Retry or one of {known}, given "):
        Retry.of(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": 0}, "max_attempts is a whole number from 1, or None for no limit, given 0"),
        ({"max_attempts": -1}, "max_attempts is a whole number from 1"),
        ({"max_attempts": "3"}, "max_attempts is a whole number from 1, or None for no limit, given '3'"),
        ({"max_attempts": 2.5}, "max_attempts is a whole number from 1"),
        ({"max_attempts": True}, "max_attempts is a whole number from 1"),
        ({"multiplier": 0.5}, "multiplier is a number from 1, given 0.5"),
        ({"multiplier": float("nan")}, "multiplier is a number from 1, given nan"),
        ({"multiplier": float("inf")}, "multiplier is a number from 1, given inf"),
        ({"multiplier": "2"}, "multiplier is a number from 1, given '2'"),
        ({"first_delay": -1}, "first_delay: a duration is 0 seconds or more, given -1"),
        ({"first_delay": "1s"}, "first_delay: a duration is a number of seconds or a timedelta, given '1s'"),
        ({"max_delay": float("inf")}, "max_delay: a duration is 0 seconds or more, given inf"),
        ({"max_delay": timedelta(hours=12, seconds=1)}, r"max_delay is at most 12 hours \(43200 seconds\), given "),
        ({"jitter": "half"}, "jitter is 'full' or 'none', given 'half'"),
        ({"jitter": []}, r"jitter is 'full' or 'none', given \[\]"),
        ({"on": "ValueError"}, "on holds exception classes, given 'V'"),
        ({"on": [ValueError()]}, r"on holds exception classes, given ValueError\(\)"),
        ({"on": None}, "on holds exception classes, given None"),
        ({"give_up_on": [int]}, "give_up_on holds exception classes, given <class 'int'>"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name_with_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        Retry(**options)


def test_durations_may_be_timedeltas() -> None:
    retry = Retry(first_delay=timedelta(minutes=1), max_delay=timedelta(hours=12))
    assert (retry.first_delay, retry.max_delay) == (60, 43_200)


def test_delays_of_its_own_are_told_from_the_defaults() -> None:
    assert not Retry(5, multiplier=3, jitter="none").is_delayed
    assert Retry(first_delay=5).is_delayed
    assert Retry(first_delay=0).is_delayed
    assert Retry(max_delay=60).is_delayed


def test_a_policy_can_be_copied_and_pickled() -> None:
    retry = Retry(5, first_delay=2, jitter="none", give_up_on=[KeyError])
    assert copy.deepcopy(retry) == retry == pickle.loads(pickle.dumps(retry))
    assert retry != Retry(5)
