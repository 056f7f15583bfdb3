"""How a task's arguments are taken from the body of a request, and all that is wrong with it."""

import dataclasses
import datetime
import uuid
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from runtime_lib import HttpError, task
from runtime_lib.arguments import Signature
from tests.api_events import bind, refused


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
def rows(rows: list[dict[str, int]]) -> None: ...


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


def test_every_item_that_is_wrong_is_listed_where_a_list_or_a_dict_may_be_left_out() -> None:
    lines = [{"sku": 1}, {}, {"sku": "a"}]
    assert refused(receive_parcels, "POST", "/o", body={"loose": lines, "labels": {"a": "b"}}) == [
        ("body", "loose[0].sku", "Expected `str`, got `int`"),
        ("body", "loose[1].sku", "is missing"),
    ]
    assert refused(receive_parcels, "POST", "/o", body={"parcels": {"a": {"sku": 1}, "b": {"sku": 2}}}) == [
        ("body", "parcels.a.sku", "Expected `str`, got `int`"),
        ("body", "parcels.b.sku", "Expected `str`, got `int`"),
    ]
    assert refused(receive_parcels, "POST", "/o", body={"labels": {"a": 1.5}}) == [
        ("body", "labels.a", "takes str, given a number")
    ]


@task
def receive_parcels(
    loose: list[Line] | None = None,
    parcels: Annotated[dict[str, Line] | None, "by name"] = None,
    labels: dict[str, str] | None = None,
) -> None: ...


def test_names_that_a_client_sends_do_not_make_an_answer_of_any_length() -> None:
    for asked, body in (
        (receive_numbers, {"x" * 100_000: "a"}),
        (receive_struct, {"unitPrice": 1, "x" * 100_000: "a"}),
        (rows, {"rows": [{"x" * 100_000: "a"}]}),
    ):
        [(_, name, message)] = refused(asked, "POST", "/o", body=body)
        assert len(name) + len(message) < 1_000


@task
def receive_numbers(**numbers: int) -> None: ...


def test_what_a_client_sent_is_in_the_answer_and_not_in_its_text_for_the_log() -> None:
    with pytest.raises(HttpError, match=r"^400 for dry_run \(query\), order.id \(body\)$") as caught:
        bind(receive, "POST", "/o?dry_run=swordfish", body={"id": "swordfish", "lines": []})
    assert "swordfish" in caught.value.message


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
