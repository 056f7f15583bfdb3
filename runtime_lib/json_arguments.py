"""Arguments of the types that JSON has: what their annotations allow, and how looser values are converted."""

import types
import typing
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ANY", "DICTS", "Converter", "Mismatch", "json_converter", "library_of", "optional"]

_SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})
DICTS = (dict, abc.Mapping, abc.MutableMapping)
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_LIBRARIES = {"msgspec": "msgspec", "pydantic": "pydantic", "annotated_types": "pydantic"}


class Mismatch(Exception):  # noqa: N818  (always turned into an ArgumentError)
    """A value that its annotation does not allow; ``path`` leads to it inside the argument: ``['rows'][3]``."""

    def __init__(self, expected: str, given: object, path: str = "") -> None:
        super().__init__(expected, type(given).__name__, path)
        self.expected, self.given, self.path = expected, type(given).__name__, path

    def below(self, key: object) -> "Mismatch":
        """The same, seen from the container that has the value at ``key``."""
        self.path = f"[{key!r}]{self.path}"
        return self


class Converter(NamedTuple):
    """What one annotation allows: ``wire`` is strict and gives JSON, ``accept`` converts what came where lossless.

    Values whose type is in ``exact`` pass either way as they are.
    """

    expected: str
    exact: frozenset[type]
    wire: Callable[[Any], Any]
    accept: Callable[[Any], Any]


def optional(converter: Converter) -> Converter:
    """The same, or None."""
    if type(None) in converter.exact:
        return converter

    def with_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def converted(value: Any) -> Any:
            try:
                return convert(value)
            except Mismatch as mismatch:
                if not mismatch.path:
                    mismatch.expected += " | None"
                raise

        return converted

    return Converter(
        f"{converter.expected} | None",
        converter.exact | {type(None)},
        with_none(converter.wire),
        with_none(converter.accept),
    )


def library_of(annotation: Any) -> str | None:
    """The library that an annotation, or what ``Annotated`` adds to one, is of: "msgspec", "pydantic", or None."""
    module = getattr(annotation if isinstance(annotation, type) else type(annotation), "__module__", "")
    return _LIBRARIES.get(module.partition(".")[0])


# --- Any JSON value --------------------------------------------------------------------------------------------------


def _refuse_what_json_changes(value: object) -> object:
    """Keys that are not strings would come back as strings; other types would not come back at all."""
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Mismatch("a dict with str keys (JSON knows no others)", key)
            if type(item) not in _SCALARS:
                _inside(key, item, _refuse_what_json_changes)
        return value
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) not in _SCALARS:
                _inside(index, item, _refuse_what_json_changes)
        return value
    raise Mismatch("a JSON value (annotate the parameter to send a dataclass, datetime, …)", value)


def _inside(key: object, item: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(item)
    except Mismatch as mismatch:
        raise mismatch.below(key) from None


ANY = Converter("any JSON value", _SCALARS, _refuse_what_json_changes, lambda value: value)


# --- Scalars ---------------------------------------------------------------------------------------------------------


def _scalar(expected: str, allowed: tuple[type, ...], lossless: Callable[[Any], Any]) -> Converter:
    def wire(value: Any) -> Any:
        if isinstance(value, allowed):
            return value
        raise Mismatch(expected, value)

    def accept(value: Any) -> Any:
        if isinstance(value, allowed):
            return value
        converted = lossless(value)
        if converted is None:
            raise Mismatch(expected, value)
        return converted

    return Converter(expected, frozenset(allowed[:1]), wire, accept)


def _to_str(value: Any) -> str | None:
    return str(value) if type(value) is int else None


def _to_int(value: Any) -> int | None:
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return int(value) if isinstance(value, str) and str(int(value)) == value else None
    except ValueError:
        return None


def _to_float(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    # Python reads more than JSON's numbers, "nan" and "1_0" among it: what it would write itself is enough.
    return number if str(number) in {value, f"{value}.0"} and value not in {"inf", "-inf", "nan"} else None


def _never(_: Any) -> None:
    return None


_CONVERTERS: dict[Any, Converter] = {
    Any: ANY,
    object: ANY,
    str: _scalar("str", (str,), _to_str),
    int: _scalar("int", (int,), _to_int),
    float: _scalar("float", (float, int), _to_float),
    bool: _scalar("bool", (bool,), _never),
    None: _scalar("None", (type(None),), _never),
    type(None): _scalar("None", (type(None),), _never),
}


# --- Containers and choices ------------------------------------------------------------------------------------------


def _array(item: Converter) -> Converter:
    expected = f"list[{item.expected}]" if item is not ANY else "list"

    def each(convert: Callable[[Any], Any], value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise Mismatch(expected, value)
        exact = item.exact
        return [
            element if type(element) in exact else _inside(index, element, convert)
            for index, element in enumerate(value)
        ]

    return Converter(
        expected, frozenset(), lambda value: each(item.wire, value), lambda value: each(item.accept, value)
    )


def _object(item: Converter) -> Converter:
    expected = f"dict[str, {item.expected}]" if item is not ANY else "dict"

    def each(convert: Callable[[Any], Any], value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Mismatch(expected, value)
        exact = item.exact
        found = {}
        for key, element in value.items():
            if not isinstance(key, str):
                raise Mismatch(f"{expected} with str keys", key)
            found[key] = element if type(element) in exact else _inside(key, element, convert)
        return found

    return Converter(
        expected, frozenset(), lambda value: each(item.wire, value), lambda value: each(item.accept, value)
    )


def _union(members: Sequence[Converter]) -> Converter:
    if len(members) == 1:
        return members[0]
    expected = " | ".join(member.expected for member in members)

    def first(conversions: Sequence[Callable[[Any], Any]], value: Any) -> Any:
        for convert in conversions:
            try:
                return convert(value)
            except Mismatch:
                continue
        raise Mismatch(expected, value)

    strict = [member.wire for member in members]
    lossless = [*strict, *(member.accept for member in members)]
    return Converter(
        expected,
        frozenset().union(*(member.exact for member in members)),
        lambda value: first(strict, value),
        lambda value: first(lossless, value),
    )


def _literal(values: tuple[Any, ...]) -> Converter:
    expected = " or ".join(map(repr, values))

    def one_of(value: Any) -> Any:
        if any(value == allowed and type(value) is type(allowed) for allowed in values):
            return value
        raise Mismatch(expected, value)

    return Converter(expected, frozenset(), one_of, one_of)


def json_converter(annotation: Any) -> Converter | None:
    """The converter of a type that JSON has, or None for any other type."""
    try:
        if annotation in _CONVERTERS:
            return _CONVERTERS[annotation]
    except TypeError:  # an unhashable annotation is no type that JSON has
        return None
    if isinstance(annotation, typing.TypeVar):
        return ANY
    for alias_of in ("__supertype__", "__value__"):  # NewType, and a `type` statement's alias
        if hasattr(annotation, alias_of):
            return json_converter(getattr(annotation, alias_of))
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is typing.Annotated:
        return None if any(library_of(added) for added in arguments[1:]) else json_converter(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        members = [json_converter(argument) for argument in arguments if argument is not type(None)]
        if None in members:
            return None
        union = _union([member for member in members if member])
        return optional(union) if type(None) in arguments else union
    if origin is typing.Literal:
        return _literal(arguments) if all(isinstance(value, str | int | None) for value in arguments) else None
    item: Converter | None
    if origin in _LISTS:
        item = json_converter(arguments[0]) if arguments else ANY
        return item and _array(item)
    if origin in DICTS and (not arguments or arguments[0] is str):
        item = json_converter(arguments[1]) if arguments else ANY
        return item and _object(item)
    return None
