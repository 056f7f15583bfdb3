"""Everything that is wrong with a value in a request's body: the libraries that convert it stop at the first error."""

import typing
from collections.abc import Iterator
from itertools import islice
from types import UnionType
from typing import Any

from runtime_lib.typed_arguments import takes_pydantic

__all__ = ["body_type", "problems"]

Found = tuple[str, str]
"""Where below the value (``.lines[3].sku``), and what is wrong there."""


def body_type(annotation: Any) -> type | None:
    """The class with named fields that an annotation stands for: a dataclass, a struct, a model, a TypedDict.

    None for any other type. ``None`` beside it, and what ``Annotated`` adds, do not count.
    """
    annotation = _bare(annotation)
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and any(hasattr(origin, fields) for fields in _FIELDS):
        return origin
    return origin if typing.is_typeddict(origin) else None


def _bare(annotation: Any) -> Any:
    """An annotation without ``None`` beside it, and without what ``Annotated`` adds."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    if typing.get_origin(annotation) not in {typing.Union, UnionType}:
        return annotation
    members = [member for member in typing.get_args(annotation) if member is not type(None)]
    return _bare(members[0]) if len(members) == 1 else annotation


_FIELDS = ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__", "__attrs_attrs__")


_LEVELS = 8
"""How deep a value is searched for more than the first error: a client decides how deep it is."""


def problems(annotation: Any, value: Any, limit: int) -> list[Found]:
    """What is wrong with a value of JSON for a type that JSON does not have, up to ``limit``; empty if nothing is."""
    if takes_pydantic(annotation):
        return _of_pydantic(annotation, value)[:limit]
    return list(islice(_of_msgspec(annotation, value, "", _LEVELS), limit))


def _of_pydantic(annotation: Any, value: Any) -> list[Found]:
    import pydantic

    try:
        pydantic.TypeAdapter(annotation).validate_python(value)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        return [("".join(map(_step, one["loc"])), one["msg"]) for one in found]
    return []


def _step(key: object) -> str:
    return f"[{key}]" if isinstance(key, int) else f".{key}"


def _of_msgspec(annotation: Any, value: Any, path: str, levels: int) -> Iterator[Found]:
    import msgspec

    try:
        msgspec.convert(value, annotation, strict=False, str_keys=True)
    except msgspec.ValidationError as error:
        below = _below(annotation, value, path, levels - 1) if levels else iter(())
        first = next(below, None)
        if first:
            yield first
            yield from below
            return
        message, at, inner = str(error).rpartition(" - at ")
        yield (path + inner.strip("`").removeprefix("$"), message) if at else (path, str(error))


def _below(annotation: Any, value: Any, path: str, levels: int) -> Iterator[Found]:
    """What is wrong with the fields of an object, or the items of a list or dict; nothing if it is wrong as a whole."""
    bare = _bare(annotation)
    if type(value) is typing.get_origin(bare):
        item = typing.get_args(bare)[-1]
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _of_msgspec(item, one, path + _step(key), levels)
        return
    fields_of = body_type(annotation)
    if fields_of is None or not isinstance(value, dict):
        return
    import msgspec.inspect

    hints = typing.get_type_hints(fields_of, include_extras=True)
    for field in getattr(msgspec.inspect.type_info(fields_of), "fields", ()):
        if field.encode_name in value:
            name = field.encode_name
            yield from _of_msgspec(hints[field.name], value[name], path + _step(name), levels)
        elif field.required:
            yield path + _step(field.encode_name), "is missing"
