"""How a task's arguments are taken from a request."""

import datetime
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_lib import ApiEvent, HttpError, TaskContext, task
from runtime_lib.api.binding import Binding
from runtime_lib.arguments import Signature
from tests.api_events import api_event, bind, refused


@task
def find(order: int, verbose: bool = False, tag: list[str] | None = None) -> None: ...


@task
def place(order: str, amount: float, gift: bool = False) -> None: ...


@task
def no_parameters() -> None: ...


@task
def fetch(proxy: str) -> None: ...


@task
def positional(a: int, b: int = 2, c: int = 3, /, *, d: int) -> None: ...


@task
def gets(name: str, context: TaskContext, **kwargs: Any) -> None: ...


@task
def looks(name: str, event: ApiEvent) -> None: ...


@task
def upload(name: str, event: ApiEvent) -> None: ...


# --- Where a parameter is taken from ---------------------------------------------------------------------------------


def test_a_parameter_is_taken_from_the_path_then_from_the_query_then_from_the_bodys_fields() -> None:
    assert bind(find, "GET", "/o/7?verbose=true", resource="/o/{order}") == ([], {"order": 7, "verbose": True})
    assert bind(find, "GET", "/o?order=7") == ([], {"order": 7})
    assert bind(place, "POST", "/o?order=a", body={"amount": 1.5}) == ([], {"order": "a", "amount": 1.5})


def test_a_greedy_path_parameter_is_the_rest_of_the_path() -> None:
    assert bind(fetch, "GET", "/files/a/b%20c.txt", resource="/files/{proxy+}") == ([], {"proxy": "a/b c.txt"})


def test_what_is_in_the_query_and_in_the_body_is_refused() -> None:
    assert refused(place, "POST", "/o?order=a", body={"order": "b", "amount": 1}) == [
        ("query and body", "order", "is given twice")
    ]


def test_a_parameter_that_is_in_the_path_is_not_in_the_query() -> None:
    assert refused(find, "GET", "/o/7?order=8", resource="/o/{order}") == [("query", "order", "is not known here")]


def test_every_parameter_that_is_wrong_is_listed_with_where_it_was_looked_for() -> None:
    assert refused(find, "GET", "/o/x?verbose=maybe&tga=1", resource="/o/{order}") == [
        ("path", "order", "takes int, given 'x'"),
        ("query", "verbose", "takes bool, given 'maybe'"),
        ("query", "tga", "is not known: did you mean tag?"),
    ]
    assert refused(place, "POST", "/o", body={"amount": "a lot"}) == [
        ("query or body", "order", "is missing"),
        ("body", "amount", "takes float, given a string"),
    ]
    assert refused(find, "GET", "/o") == [("query", "order", "is missing")]


def test_the_message_alone_says_all_of_it() -> None:
    with pytest.raises(HttpError) as caught:
        bind(place, "POST", "/o?amount=x", body={"gift": None})
    assert caught.value.message == (
        "order (query or body) is missing; amount (query) takes float, given 'x'; gift (body) takes bool, given null"
    )


def test_positional_only_parameters_are_passed_by_position() -> None:
    assert bind(positional, "GET", "/?a=1&d=4") == ([1], {"d": 4})
    assert bind(positional, "GET", "/?a=1&c=5&d=4") == ([1, 2, 5], {"d": 4})


def test_what_the_library_passes_is_no_ones_to_give() -> None:
    assert bind(gets, "GET", "/?name=a&other=b") == ([], {"name": "a", "other": "b"})
    assert refused(gets, "GET", "/?name=a&context=b&metadata=c") == [
        ("query", "context", "is not known here"),
        ("query", "metadata", "is not known here"),
    ]


# --- Names that no parameter has -------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused() -> None:
    assert refused(no_parameters, "GET", "/?utm=1") == [("query", "utm", "is not known here")]
    assert refused(no_parameters, "POST", "/", body={"a": 1}) == [("body", "a", "is not known here")]
    assert bind(no_parameters, "POST", "/", body={}) == ([], {})


def test_an_unknown_name_is_let_be_for_a_task_that_takes_the_event() -> None:
    assert bind(looks, "GET", "/?name=a&utm=1") == ([], {"name": "a"})
    json_body = {"Content-Type": "application/json; charset=utf-8"}
    assert bind(looks, "POST", "/", body={"name": "a", "x": 1}, headers=json_body) == ([], {"name": "a"})


def test_a_body_that_is_no_json_is_the_business_of_a_task_that_takes_the_event() -> None:
    request = {"body": b"\x89PNG", "headers": {"Content-Type": "image/png"}}
    assert bind(upload, "POST", "/?name=a", **request) == ([], {"name": "a"})
    with pytest.raises(HttpError, match=r"400 the body is not JSON: .* at line 1, column 1"):
        bind(place, "POST", "/?order=a&amount=1", body="name=a")


def test_many_unknown_names_do_not_make_an_answer_of_any_length() -> None:
    with pytest.raises(HttpError) as caught:
        bind(no_parameters, "POST", "/", body={f"n{index}" * 100: 1 for index in range(10_000)})
    assert len(caught.value.details["errors"]) == 50
    assert caught.value.message.endswith("; and more")
    assert len(json.dumps(caught.value.details)) < 10_000


def test_a_body_that_is_no_object_is_refused() -> None:
    assert refused(place, "POST", "/?order=a&amount=1", body=[1]) == [("body", "", "takes an object, given an array")]


# --- From text -------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


@pytest.mark.parametrize(
    ("annotation", "query", "value"),
    [
        (str, "value=12", "12"),
        (str, "value=", ""),
        (int, "value=-12", -12),
        (int, "value=12.0", 12),
        (float, "value=1.50", 1.5),
        (float, "value=1e3", 1000.0),
        (bool, "value=true", True),
        (bool, "value=false", False),
        (bool | None, "value=true", True),
        (int | None, "value=1", 1),
        (int | str, "value=1", "1"),
        (int | bool, "value=1", 1),
        (Any, "value=1", "1"),
        (Any, "value=1&value=2", ["1", "2"]),
        (list[int], "value=1&value=2", [1, 2]),
        (list[int], "value=1", [1]),
        (list[str], "value=a%26b&value=c", ["a&b", "c"]),
        (list[bool], "value=true&value=false", [True, False]),
        (list[float] | None, "value=1.50", [1.5]),
        (Literal["a", 1], "value=1", 1),
        (Color, "value=red", Color.RED),
        (Size, "value=1", Size.SMALL),
        (datetime.date, "value=2026-03-29", datetime.date(2026, 3, 29)),
        (decimal.Decimal, "value=1.50", decimal.Decimal("1.50")),
        (set[int], "value=1&value=2", {1, 2}),
        (uuid.UUID, "value=00000000-0000-4000-8000-000000000000", uuid.UUID("00000000-0000-4000-8000-000000000000")),
        (Annotated[int, pydantic.Field(gt=3)], "value=4", 4),
    ],
)
def test_text_becomes_what_its_parameter_takes(annotation: Any, query: str, value: Any) -> None:
    _, found = Binding(signature_of(annotation), "/").bind(ApiEvent(api_event("GET", f"/?{query}")))
    assert found == {"value": value}
    assert type(found["value"]) is type(value)


@pytest.mark.parametrize(
    ("annotation", "query", "message"),
    [
        (int, "value=1.5", "takes int, given '1.5'"),
        (int, "value=true", "takes int, given 'true'"),
        (int, "value=007", "takes int, given '007'"),
        (int, "value=%D9%A1", "takes int, given '\u0661'"),
        (int, "value=", "takes int, given ''"),
        (int, "value=1&value=2", "takes int, given 2 values"),
        (float, "value=NaN", "takes float, given 'NaN'"),
        (float, "value=1e999", "takes float, given '1e999'"),
        (float, "value=false", "takes float, given 'false'"),
        (bool, "value=1", "takes bool, given '1'"),
        (bool, "value=True", "takes bool, given 'True'"),
        (list[int], "value=true", "takes int, given 'true'"),
        (list[int], "value=1&value=x", "takes int, given 2 values"),
        (dict[str, int], "value=a", "takes dict[str, int], given 'a'"),
        (int, f"value={'9' * 5000}", f"takes int, given '{'9' * 50}'"),
    ],
)
def test_text_that_would_lose_something_is_refused(annotation: Any, query: str, message: str) -> None:
    with pytest.raises(HttpError) as caught:
        Binding(signature_of(annotation), "/").bind(ApiEvent(api_event("GET", f"/?{query}")))
    assert [one["message"] for one in caught.value.details["errors"]] == [message]


def signature_of(annotation: Any) -> Any:
    def takes(value: Any) -> None: ...

    takes.__annotations__["value"] = annotation
    takes.__qualname__ = "takes"
    return Signature(takes, "takes")  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    order=st.integers(),
    verbose=st.booleans(),
    tag=st.none() | st.lists(st.text(alphabet=st.characters(codec="utf-8")), min_size=1),
)
def test_what_a_client_writes_into_path_and_query_comes_back(order: int, verbose: bool, tag: list[str] | None) -> None:
    written: dict[str, Any] = {"verbose": json.dumps(verbose)}
    written |= {} if tag is None else {"tag": tag}
    found = bind(find, "GET", f"/o/{quote(str(order))}?{urlencode(written, doseq=True)}", resource="/o/{order}")
    assert found == ([], {"order": order, "verbose": verbose} | ({} if tag is None else {"tag": tag}))


@settings(deadline=None)
@given(amount=st.floats(allow_nan=False, allow_infinity=False), order=st.text(alphabet=st.characters(codec="utf-8")))
def test_what_a_client_writes_into_the_body_or_the_query_is_the_same(amount: float, order: str) -> None:
    expected = ([], {"order": order, "amount": amount})
    assert bind(place, "POST", "/o", body={"order": order, "amount": amount}) == expected
    assert bind(place, "POST", f"/o?{urlencode({'order': order, 'amount': repr(amount)})}") == expected
