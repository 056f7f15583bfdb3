"""How a task's arguments are taken from a request."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from urllib.parse import quote, urlencode

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_lib import ApiEvent, HttpError, TaskContext, task
from runtime_lib.api.binding import Binding, binding_of
from runtime_lib.arguments import Signature
from tests.api_events import api_event

Problems = list[tuple[str, str, str]]


def bind(one: Any, method: str, url: str, **request: Any) -> Any:
    """What a request gives for a task, or for the parameter ``value`` of a function."""
    event = ApiEvent(api_event(method, url, **request))
    return binding_of(one, event.resource).bind(event)


def refused(one: Any, method: str, url: str, **request: Any) -> Problems:
    """What an answer of 400 lists."""
    with pytest.raises(HttpError) as caught:
        bind(one, method, url, **request)
    assert caught.value.status == 400
    return [(one["in"], one["name"], one["message"]) for one in caught.value.details["errors"]]


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


@task
def rows(rows: list[dict[str, int]]) -> None: ...


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


# --- The whole body --------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Line:
    sku: str
    count: int = 1


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]
    due: datetime.date | None = None


class Struct(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    unit_price: int


class Model(pydantic.BaseModel):
    name: str
    count: int = pydantic.Field(gt=0)


class Described(TypedDict):
    name: str
    age: NotRequired[int]


ID = "00000000-0000-4000-8000-000000000000"


@task
def receive(order: Order, dry_run: bool = False) -> None: ...


@task
def receive_struct(struct: Struct) -> None: ...


@task
def receive_model(model: Model) -> None: ...


@task
def receive_maybe(described: Described | None = None) -> None: ...


@task
def receive_two(first: Line, second: Line) -> None: ...


def test_the_one_parameter_with_named_fields_takes_the_whole_body() -> None:
    order = {"id": ID, "lines": [{"sku": "a", "count": 2}], "due": "2026-03-29"}
    expected = Order(uuid.UUID(ID), [Line("a", 2)], datetime.date(2026, 3, 29))
    assert bind(receive, "POST", "/o?dry_run=true", body=order) == ([], {"order": expected, "dry_run": True})
    assert bind(receive_struct, "POST", "/o", body={"unitPrice": 3}) == ([], {"struct": Struct(3)})
    assert bind(receive_model, "POST", "/o", body={"name": "a", "count": 3}) == (
        [],
        {"model": Model(name="a", count=3)},
    )
    assert bind(receive_maybe, "POST", "/o", body={"name": "a"}) == ([], {"described": {"name": "a"}})
    assert bind(receive_maybe, "POST", "/o") == ([], {})
    assert bind(receive_maybe, "POST", "/o", body="null") == ([], {"described": None})


def test_of_several_each_is_a_field_of_the_body() -> None:
    found = bind(receive_two, "POST", "/o", body={"first": {"sku": "a"}, "second": {"sku": "b"}})
    assert found == ([], {"first": Line("a"), "second": Line("b")})
    assert refused(receive_two, "POST", "/o", body={"first": {"count": "x"}}) == [
        ("body", "first.sku", "is missing"),
        ("body", "first.count", "Expected `int`, got `str`"),
        ("query or body", "second", "is missing"),
    ]


def test_every_field_that_is_wrong_is_listed() -> None:
    body = {"id": "x", "lines": [{"sku": 1, "count": "x"}, {"sku": "a"}, {}], "due": "someday"}
    assert refused(receive, "POST", "/o?dry_run=perhaps", body=body) == [
        ("query", "dry_run", "takes bool, given 'perhaps'"),
        ("body", "order.id", "Invalid UUID"),
        ("body", "order.lines[0].sku", "Expected `str`, got `int`"),
        ("body", "order.lines[0].count", "Expected `int`, got `str`"),
        ("body", "order.lines[2].sku", "is missing"),
        ("body", "order.due", "Invalid RFC3339 encoded date"),
    ]
    assert refused(receive_model, "POST", "/o", body={"count": 0}) == [
        ("body", "model.name", "Field required"),
        ("body", "model.count", "Input should be greater than 0"),
    ]
    assert refused(receive_struct, "POST", "/o", body={"unitPrice": "x"}) == [
        ("body", "struct.unitPrice", "Expected `int`, got `str`")
    ]


def test_what_is_wrong_as_a_whole_is_told_as_such() -> None:
    assert refused(receive_struct, "POST", "/o", body={"unitPrice": 1, "other": 2}) == [
        ("body", "struct", "Object contains unknown field `other`")
    ]
    assert refused(receive, "POST", "/o", body=[1]) == [("body", "order", "Expected `object`, got `array`")]
    assert refused(receive, "POST", "/o") == [("body", "order", "is missing")]


def test_a_value_nested_deeper_than_its_type_is_read_is_refused_and_not_searched() -> None:
    body: Any = "x"
    for _ in range(500):
        body = {"child": body}
    [(where, name, _)] = refused(receive_tree, "POST", "/o", body=body)
    assert where == "body"
    assert name.startswith("tree.child.child")


def test_a_value_nested_deeper_than_python_converts_is_the_clients_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(*_: Any) -> None:  # (how deep that is depends on Python's version)
        raise RecursionError

    monkeypatch.setattr(Signature, "accept_one", convert)
    assert refused(receive_tree, "POST", "/o", body={}) == [("body", "tree", "is nested too deeply")]


@dataclasses.dataclass
class Tree:
    child: "Tree | None" = None


@task
def receive_tree(tree: Tree) -> None: ...


def test_a_field_below_a_json_type_is_named() -> None:
    assert refused(rows, "POST", "/o", body={"rows": [{"a": 1}, {"b": "x"}]}) == [
        ("body", "rows[1].b", "takes int, given a string")
    ]
