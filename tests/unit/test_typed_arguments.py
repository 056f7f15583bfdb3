"""Types that JSON does not have: strict at dispatch, lossless through the message, refused otherwise."""

import datetime
import decimal
import enum
import json
import typing
import uuid
import zoneinfo
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_lib import ArgumentError
from runtime_lib.arguments import Signature


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


@dataclass
class Line:
    sku: str
    price: decimal.Decimal
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Order:
    id: int
    lines: tuple[Line, ...] = ()
    placed: datetime.datetime | None = None
    note: int | str | None = None


@dataclass
class Tree:
    leaves: "list[Tree]"


class Point(NamedTuple):
    x: int
    at: datetime.date


class Address(TypedDict, total=False):
    street: str
    since: datetime.date


class Struct(msgspec.Struct, rename="camel"):
    order_id: int


class Model(pydantic.BaseModel):
    id: int = pydantic.Field(alias="orderId")
    placed: datetime.datetime | None = None
    color: Color = Color.RED


class Root(pydantic.RootModel[list[int]]): ...


@pydantic.dataclasses.dataclass
class Checked:
    price: decimal.Decimal


@dataclass
class Holder:
    model: Model


UTC = datetime.UTC
NOW = datetime.datetime(2026, 11, 21, 19, 10, 8, 47_706, tzinfo=UTC)
LOCAL = datetime.datetime(2026, 11, 21, 19, 10, 8)  # noqa: DTZ001
DAY = NOW.date()
ID = uuid.UUID("b1328174-a21c-43d3-b303-964dfcc76efc")
LINE = Line("a", decimal.Decimal("1.50"), {"x", "y"})
ORDER = Order(1, (LINE,), NOW, "5")
MODEL = Model(orderId=1, placed=NOW, color=Color.BLUE)
OrderRef = NewType("OrderRef", Order)

# annotation, a value of it, its JSON; then values that are none
TYPES: dict[str, tuple[Any, Any, Any, list[Any]]] = {
    "dataclass": (
        Order,
        ORDER,
        {
            "id": 1,
            "lines": [{"sku": "a", "price": "1.50", "tags": ["x", "y"]}],
            "placed": "2026-11-21T19:10:08.047706Z",
            "note": "5",
        },
        [{"id": 1}, Order("1"), Order(1, [LINE]), Order(1, (), "2026-11-21"), 1, None],  # type: ignore[arg-type]
    ),
    "dataclass, frozen and small": (Order, Order(5), {"id": 5, "lines": [], "placed": None, "note": None}, [LINE]),
    "dataclass of itself": (Tree, Tree([Tree([])]), {"leaves": [{"leaves": []}]}, [Tree([LINE])]),  # type: ignore[list-item]
    "NewType of one": (OrderRef, Order(5), {"id": 5, "lines": [], "placed": None, "note": None}, [5]),
    "enum": (Color, Color.RED, "red", ["red", "green", 1]),
    "IntEnum": (Level, Level.LOW, 1, [2, "1", "LOW", True]),
    "StrEnum": (Word, Word.YES, "yes", ["no", 1]),
    "datetime": (datetime.datetime, NOW, "2026-11-21T19:10:08.047706Z", ["2026-11-21T19:10:08Z", DAY, 1, None]),
    "datetime without zone": (datetime.datetime, LOCAL, "2026-11-21T19:10:08", []),
    "date": (datetime.date, DAY, "2026-11-21", ["2026-11-21", NOW]),
    "time": (datetime.time, datetime.time(1, 2, 3), "01:02:03", ["01:02:03"]),
    "timedelta": (datetime.timedelta, datetime.timedelta(days=1, seconds=1.5), "P1DT1.5S", ["P1D", 5]),
    "UUID": (uuid.UUID, ID, str(ID), [str(ID), ID.bytes, 1]),
    "Decimal": (decimal.Decimal, decimal.Decimal("1.50"), "1.50", [1.5, "1.50", 1]),
    "bytes": (bytes, b"\x00\xff", "AP8=", ["AP8=", [1]]),
    "bytearray": (bytearray, bytearray(b"\x00\xff"), "AP8=", []),
    "set": (set[int], {1}, [1], [[1], {"a"}, (1,)]),
    "set, empty": (set, set(), [], [[]]),
    "frozenset": (frozenset[datetime.date], frozenset({DAY}), ["2026-11-21"], [["2026-11-21"], {"x"}]),
    "tuple": (tuple[int, str], (1, "a"), [1, "a"], [[1, "a"], (1,), (1, 2), ("a", 1)]),
    "tuple of any length": (tuple[datetime.date, ...], (DAY, DAY), ["2026-11-21"] * 2, [[DAY]]),
    "tuple of anything": (tuple, (1, "a"), [1, "a"], [[1]]),
    "NamedTuple": (Point, Point(1, DAY), [1, "2026-11-21"], [[1, DAY], {"x": 1}, Point("1", DAY)]),  # type: ignore[arg-type]
    "TypedDict": (
        Address,
        {"street": "x", "since": DAY},
        {"street": "x", "since": "2026-11-21"},
        [{"street": 1}, {"since": "2026-11-21"}, {"street": "x", "other": 1}, []],
    ),
    "Struct": (Struct, Struct(5), {"orderId": 5}, [{"orderId": 5}, Struct("5")]),  # type: ignore[arg-type]
    "optional": (Order | None, None, None, ["", {}]),
    "optional, given": (typing.Optional[uuid.UUID], ID, str(ID), [str(ID)]),  # noqa: UP045
    "union": (int | datetime.date, DAY, "2026-11-21", ["2026-11-21", 1.5]),
    "list": (list[datetime.date], [DAY], ["2026-11-21"], [["2026-11-21"], (DAY,), [None]]),
    "dict": (dict[str, list[uuid.UUID]], {"a": [ID]}, {"a": [str(ID)]}, [{"a": [str(ID)]}, {1: [ID]}]),
    "dict of dataclasses": (dict[str, Tree], {"a": Tree([])}, {"a": {"leaves": []}}, [{"a": {"leaves": []}}]),
    "dict with int keys": (dict[int, str], {1: "a"}, {"1": "a"}, [{"1": "a"}, {1: 2}]),
    "dict with UUID keys": (dict[uuid.UUID, int], {ID: 1}, {str(ID): 1}, [{str(ID): 1}]),
    "Literal in another": (tuple[Literal["a"], datetime.date], ("a", DAY), ["a", "2026-11-21"], [("b", DAY)]),
    "Annotated with a constraint": (Annotated[int, msgspec.Meta(gt=0)], 1, 1, [0, "1", 1.5]),
    "Annotated without meaning": (Annotated[datetime.date, "day"], DAY, "2026-11-21", ["2026-11-21"]),
    "pydantic model": (
        Model,
        MODEL,
        {"orderId": 1, "placed": "2026-11-21T19:10:08.047706Z", "color": "blue"},
        [{"orderId": 1}, Model.model_construct(id="x"), 1, None],
    ),
    "pydantic model, optional": (Model | None, None, None, [{}]),
    "pydantic root model": (Root, Root([1]), [1], [[1]]),
    "list of pydantic models": (
        list[Model],
        [Model(orderId=1)],
        [{"orderId": 1, "placed": None, "color": "red"}],
        [[{"orderId": 1}], (Model(orderId=1),)],
    ),
    "pydantic dataclass": (Checked, Checked(decimal.Decimal("1.50")), {"price": "1.50"}, [{"price": "1.50"}]),
    "Annotated with pydantic's constraint": (Annotated[int, pydantic.Field(gt=0)], 1, 1, [0, "1", 1.5]),
    "pydantic's own type": (pydantic.PositiveInt, 1, 1, [0, "1"]),
    "pydantic model in a dataclass": (
        Holder,
        Holder(Model(orderId=1)),
        {"model": {"orderId": 1, "placed": None, "color": "red"}},
        [{"model": {"orderId": 1}}, Holder(5)],  # type: ignore[arg-type]
    ),
}


def signature(annotation: Any) -> Signature:
    def send(value: Any) -> None: ...

    send.__annotations__ = {"value": annotation}
    return Signature(send, "shop.send")  # type: ignore[arg-type]


def sent(annotation: Any, value: Any) -> Any:
    (wire,), _ = signature(annotation).to_wire([value], {})
    return json.loads(json.dumps(wire, allow_nan=False))


def received(annotation: Any, value: Any) -> Any:
    (accepted,), _ = signature(annotation).accept([value], {})
    return accepted


def in_order(value: Any) -> Any:
    """Sets have no order in JSON."""
    if isinstance(value, dict):
        return {key: sorted(item) if key == "tags" else in_order(item) for key, item in value.items()}
    return [in_order(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("annotation", "value", "wire", "_"), TYPES.values(), ids=TYPES)
def test_a_value_arrives_as_it_was_sent(annotation: Any, value: Any, wire: Any, _: Any) -> None:
    body = sent(annotation, value)
    assert in_order(body) == wire
    arrived = received(annotation, body)
    assert arrived == value
    assert type(arrived) is type(value)


MISFITS = [
    pytest.param(annotation, misfit, id=f"{name}: {misfit!r:.40}")
    for name, (annotation, _, _, misfits) in TYPES.items()
    for misfit in misfits
]


@pytest.mark.parametrize(("annotation", "value"), MISFITS)
def test_a_value_of_another_type_is_refused_at_dispatch(annotation: Any, value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^shop\.send\(\) argument 'value'.* takes .*, given"):
        sent(annotation, value)


UNREADABLE: list[tuple[Any, Any]] = [
    (Order, {"lines": []}),
    (Order, {"id": 1, "lines": [{"sku": "a"}]}),
    (Order, []),
    (Color, "green"),
    (datetime.datetime, "yesterday"),
    (datetime.date, "2026-13-01"),
    (uuid.UUID, "x"),
    (decimal.Decimal, "x"),
    (bytes, "§"),
    (set[int], ["a"]),
    (tuple[int, str], [1]),
    (Point, [1]),
    (Address, {"street": 5}),
    (Annotated[int, msgspec.Meta(gt=0)], 0),
    (Model, {"orderId": "x"}),
    (Model, {}),
    (list[Model], [{"orderId": None}]),
    (Checked, {"price": "x"}),
]


@pytest.mark.parametrize(("annotation", "value"), UNREADABLE, ids=repr)
def test_what_cannot_be_converted_is_refused_at_receive(annotation: Any, value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^shop\.send\(\) argument 'value'.* takes .*, given"):
        received(annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "converted"),
    [
        (Order, {"id": "5"}, Order(5)),
        (Level, "1", Level.LOW),
        (decimal.Decimal, 5, decimal.Decimal(5)),
        (list[datetime.date], ["2026-11-21"], [DAY]),
        (Annotated[int, msgspec.Meta(gt=0)], "5", 5),
        (Model, {"orderId": "5"}, Model(orderId=5)),
    ],
)
def test_looser_values_are_converted_at_receive(annotation: Any, value: Any, converted: Any) -> None:
    assert received(annotation, value) == converted


@pytest.mark.parametrize("note", ["5", 5, "null", "", "true", None])
def test_what_fits_one_type_of_a_union_is_not_converted_to_another(note: Any) -> None:
    arrived = received(Order, sent(Order, Order(1, note=note)))
    assert (arrived.note, type(arrived.note)) == (note, type(note))


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Either(pydantic.BaseModel):
    at: datetime.datetime | str


class OneWay(pydantic.BaseModel):
    id: int = pydantic.Field(validation_alias="orderId")


class Raw(pydantic.BaseModel):
    data: bytes


class Keyed(pydantic.BaseModel):
    prices: dict[tuple[int, int], int]


LOSING: dict[str, tuple[Any, Any]] = {
    "a secret, which pydantic masks": (Secret, Secret(password=pydantic.SecretStr("x"))),
    "a datetime that may be text": (Either, Either(at=NOW)),
    "a field that is read by another name than it is written": (OneWay, OneWay.model_validate({"orderId": 1})),
    "bytes that are no text": (Raw, Raw(data=b"\xff")),
    "tuples as keys, of a model": (Keyed, Keyed(prices={(1, 2): 3})),
    "tuples as keys": (dict[tuple[int, int], int], {(1, 2): 3}),
}


@pytest.mark.parametrize(("annotation", "value"), LOSING.values(), ids=LOSING)
def test_what_would_not_arrive_as_it_is_is_refused_at_dispatch(annotation: Any, value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^shop\.send\(\) argument 'value'.* takes "):
        sent(annotation, value)


class Uncomparable(msgspec.Struct, eq=False):
    order: Order
    times: dict[str, list[datetime.datetime]]


class Appointment(pydantic.BaseModel):
    at: datetime.datetime


TWICE = datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
"""In the hour that this zone has twice, where it is equal to no datetime of another zone."""


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime.datetime, TWICE),
        (Order, Order(1, placed=TWICE)),
        (Uncomparable, Uncomparable(Order(1), {"a": [TWICE]})),
        (Appointment, Appointment(at=TWICE)),
        (list[Appointment], [Appointment(at=TWICE)]),
    ],
    ids=repr,
)
def test_what_is_the_same_but_not_equal_is_sent(annotation: Any, value: Any) -> None:
    assert sent(annotation, received(annotation, sent(annotation, value))) == sent(annotation, value)


def test_in_what_is_not_equal_types_are_still_strict() -> None:
    other: Any = {"a": (TWICE,)}
    with pytest.raises(
        ArgumentError, match="takes Uncomparable that its JSON form gives back equal, given Uncomparable"
    ):
        sent(Uncomparable, Uncomparable(Order(1), other))


def test_an_error_says_where_and_what_and_not_the_value() -> None:
    with pytest.raises(ArgumentError) as caught:
        received(Order, {"id": 1, "lines": [{"sku": "a", "price": "4711", "tags": [5]}]})
    assert str(caught.value) == (
        "shop.send() argument 'value' takes Order (Expected `str`, got `int` - at `$.lines[0].tags[0]`), given dict"
    )
    for annotation, value in ((Color, "4711"), (list[Color], ["4711"]), (dict[str, Color], {"a": "4711"})):
        with pytest.raises(ArgumentError, match="Invalid enum value") as caught:
            received(annotation, value)
        assert "4711" not in str(caught.value)
    with pytest.raises(ArgumentError) as caught:
        received(list[Model], [{"orderId": "4711x"}])
    assert str(caught.value).startswith("shop.send() argument 'value'[0]['orderId'] takes list[")
    assert "valid integer" in str(caught.value)
    assert "4711" not in str(caught.value)


# (each of which has always been whole minutes from UTC: RFC 3339 has no seconds there)
ZONES = [None, UTC, datetime.timezone(datetime.timedelta(hours=5, minutes=45)), zoneinfo.ZoneInfo("Etc/GMT+12")]


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Order,
        st.integers(-(2**63), 2**63),
        st.lists(
            st.builds(Line, st.text(), st.decimals(allow_nan=False, allow_infinity=False), st.sets(st.text())),
            max_size=3,
        ).map(tuple),
        st.none() | st.datetimes(timezones=st.sampled_from(ZONES)),
        st.none() | st.integers() | st.text(),
    )
)
def test_every_order_arrives_as_it_was_sent(order: Order) -> None:
    arrived = received(Order, sent(Order, order))
    assert in_order(sent(Order, arrived)) == in_order(sent(Order, order))
    assert (arrived.id, arrived.lines, arrived.note) == (order.id, order.lines, order.note)
