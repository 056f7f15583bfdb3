"""JSON types: strict at dispatch, converted without loss at receive."""

import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, NewType, Optional, TypeVar, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_lib.json_arguments import Converter, Mismatch, json_converter

T = TypeVar("T")
OrderId = NewType("OrderId", int)


class Level(IntEnum):
    LOW = 1


class Color(StrEnum):
    RED = "red"


def converter(annotation: Any) -> Converter:
    found = json_converter(annotation)
    assert found is not None
    return found


def convert(annotation: Any, value: Any, *, strict: bool) -> Any:
    """As a signature does."""
    found = converter(annotation)
    return value if type(value) in found.exact else (found.wire if strict else found.accept)(value)


FITTING: list[tuple[Any, Any]] = [
    (Any, {"a": [1, None, True, 1.5, "x"]}),
    (object, [1]),
    (T, {}),
    (str, ""),
    (str, Color.RED),
    (int, -1),
    (int, 10**300),
    (int, True),
    (int, Level.LOW),
    (float, 1.5),
    (float, 3),
    (bool, False),
    (None, None),
    (type(None), None),
    (list, [1, "a"]),
    (list, (1, 2)),
    (dict, {"a": 1}),
    (list[int], [1, 2]),
    (list[int], (1, 2)),
    (list[float], [1, 2.5]),
    (typing.List[int], [1]),  # noqa: UP006
    (typing.Dict[str, int], {"a": 1}),  # noqa: UP006
    (Sequence[str], ["a"]),
    (Iterable[str], ["a"]),
    (Mapping[str, int], {"a": 1}),
    (Mapping[str, int], MappingProxyType({"a": 1})),
    (dict[str, list[dict[str, int | None]]], {"a": [{"b": None}]}),
    (int | str, "5"),
    (int | str, 5),
    (Optional[int], None),  # noqa: UP045
    (Union[int, list[int]], [1]),  # noqa: UP007
    (list[int] | None, [1]),
    (Literal["a", 1, None], 1),  # noqa: PYI061
    (Literal["a"] | None, None),
    (OrderId, 5),
    (list[OrderId], [5]),
    (Annotated[int, "of the order"], 5),
    (list[Annotated[str, len]], ["a"]),
]


@pytest.mark.parametrize(("annotation", "value"), FITTING, ids=repr)
def test_a_value_that_fits_passes_as_it_is(annotation: Any, value: Any) -> None:
    for strict in (True, False):
        converted = convert(annotation, value, strict=strict)
        assert converted == (list(value) if isinstance(value, tuple) and annotation is not Any else value)


MISFITS: list[tuple[Any, Any, str]] = [
    (str, 1, "str, given int"),
    (str, None, "str, given NoneType"),
    (str, b"x", "str, given bytes"),
    (int, "1", "int, given str"),
    (int, 1.0, "int, given float"),
    (float, "1", "float, given str"),
    (bool, 1, "bool, given int"),
    (None, 0, "None, given int"),
    (list, "ab", "list, given str"),
    (list[int], {1}, "list[int], given set"),
    (list[int], "12", "list[int], given str"),
    (list[int], [1, "x"], "[1] int, given str"),
    (list[list[int]], [[1], [2, None]], "[1][1] int, given NoneType"),
    (dict, [], "dict, given list"),
    (dict[str, int], {"a": "x"}, "['a'] int, given str"),
    (dict[str, int], {1: 1}, "dict[str, int] with str keys, given int"),
    (dict[str, list[int]], {"a": [1, {}]}, "['a'][1] int, given dict"),
    (int | str, 1.5, "int | str, given float"),
    (int | None, "x", "int | None, given str"),
    (list[int] | None, ["x"], "[0] int, given str"),
    (Literal["a", 1], "b", "'a' or 1, given str"),
    (Literal[1], True, "1, given bool"),
    (OrderId, "x", "int, given str"),
    (Any, {"a": {1, 2}}, "['a'] a JSON value (annotate the parameter to send a dataclass, datetime, …), given set"),
    (dict, {"a": {2: 3}}, "['a'] a dict with str keys (JSON knows no others), given int"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), MISFITS, ids=repr)
def test_a_value_that_does_not_fit_is_refused_at_dispatch_with_its_place(
    annotation: Any, value: Any, message: str
) -> None:
    with pytest.raises(Mismatch) as caught:
        convert(annotation, value, strict=True)
    assert f"{caught.value.path} {caught.value.expected}, given {caught.value.given}".lstrip() == message


CONVERTED: list[tuple[Any, Any, Any]] = [
    (str, 5, "5"),
    (int, "5", 5),
    (int, "-5", -5),
    (int, 5.0, 5),
    (int, -1e3, -1000),
    (float, "1.5", 1.5),
    (float, "-2", -2.0),
    (list[int], ["1", 2.0], [1, 2]),
    (dict[str, int], {"a": "1"}, {"a": 1}),
    (int | None, "5", 5),
    (int | str, 5.0, 5),
    (Optional[list[str]], [1], ["1"]),  # noqa: UP045
]


@pytest.mark.parametrize(("annotation", "value", "converted"), CONVERTED, ids=repr)
def test_a_looser_value_is_converted_at_receive_where_nothing_is_lost(
    annotation: Any, value: Any, converted: Any
) -> None:
    found = convert(annotation, value, strict=False)
    assert (found, type(found)) == (converted, type(converted))


LOST: list[tuple[Any, Any]] = [
    (str, 1.5),
    (str, True),
    (str, None),
    (str, ["a"]),
    (int, "5.0"),
    (int, "05"),
    (int, "+5"),
    (int, " 5"),
    (int, "5_0"),
    (int, "--5"),
    (int, "-"),
    (int, ""),
    (int, "٣"),
    (int, "1" * 5000),
    (int, 1.5),
    (int, math.inf),
    (int, math.nan),
    (int, None),
    (float, "nan"),
    (float, "inf"),
    (float, "-inf"),
    (float, "1e999"),
    (float, "0x10"),
    (float, "1_0.5"),
    (float, "0.10000000000000000000001"),
    (float, None),
    (float, [1.5]),
    (bool, 1),
    (bool, 0),
    (bool, "true"),
    (bool, ""),
    (None, ""),
    (list[int], "12"),
    (list[int], ["x"]),
    (dict[str, int], [["a", 1]]),
    (Literal[1], "1"),
]


@pytest.mark.parametrize(("annotation", "value"), LOST, ids=lambda value: repr(value)[:20])
def test_what_cannot_be_converted_without_loss_is_refused_at_receive(annotation: Any, value: Any) -> None:
    with pytest.raises(Mismatch):
        convert(annotation, value, strict=False)


@pytest.mark.parametrize(
    "annotation",
    [
        bytes,
        set[int],
        tuple,
        tuple[int, ...],
        complex,
        Level,
        list[bytes],
        int | bytes,
        dict[int, str],
        Literal[b"a"],
        [],
    ],
    ids=repr,
)
def test_other_types_are_left_to_other_libraries(annotation: Any) -> None:
    assert json_converter(annotation) is None


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.sampled_from([str, int, float, bool, int | str, float | None, list[int], dict[str, float]]), scalars)
def test_no_value_raises_anything_else_or_is_changed_when_converted_twice(annotation: Any, value: Any) -> None:
    try:
        converted = convert(annotation, value, strict=False)
    except Mismatch:
        return
    assert convert(annotation, converted, strict=True) == converted
    assert converted == value or str(converted) == str(value) or float(converted) == float(value)
