"""Arguments of types that JSON does not have, through msgspec, or pydantic where a pydantic model is involved."""

import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from runtime_lib.errors import TaskDefinitionError
from runtime_lib.json_arguments import Converter, Mismatch, library_of

__all__ = ["takes_pydantic", "typed_converter"]


def typed_converter(annotation: Any, *, parameter: str, task: str) -> Converter:
    """The converter of a dataclass, enum, datetime, UUID, Decimal, bytes, set, tuple, TypedDict, pydantic model, ….

    At dispatch a value is turned into JSON and read back as the receiver will: what would not be equal is refused.

    Raises:
        TaskDefinitionError: no library knows the type, or the one that does is not installed; names the parameter.
        NameError: a field's annotation has names that are not defined (yet).
    """
    bare = annotation
    while typing.get_origin(bare) is typing.Annotated:
        bare = bare.__origin__
    described = bare.__name__ if isinstance(bare, type) else str(bare)
    library = "pydantic" if any(_is_pydantic(part) for part in _parts(annotation)) else "msgspec"
    try:
        make = _pydantic_converter if library == "pydantic" else _msgspec_converter
        return make(annotation, described)
    except ModuleNotFoundError as error:
        raise TaskDefinitionError(
            f"{task}: parameter {parameter!r} is annotated {described}, which takes {error.name} to send: "
            f"pip install {error.name}"
        ) from None
    except (TypeError, ImportError) as error:
        raise TaskDefinitionError(
            f"{task}: parameter {parameter!r} is annotated {described}, which cannot be sent ({error}): use JSON "
            "types, dataclasses, enums, datetime, UUID, Decimal, bytes, set, tuple, TypedDict or pydantic models"
        ) from None


def takes_pydantic(annotation: Any) -> bool:
    """Whether a pydantic model is involved, be it in a field of another type; what else there is, msgspec knows.

    Raises:
        ModuleNotFoundError: it takes msgspec to know, which is not installed.
        TypeError: msgspec does not know the type.
    """
    if any(map(_is_pydantic, _parts(annotation))):
        return True
    import msgspec.inspect

    return any(map(_is_pydantic, _custom_types(msgspec.inspect.type_info(annotation), msgspec.inspect, set())))


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def _is_pydantic(part: Any) -> bool:
    return hasattr(part, "__pydantic_core_schema__") or library_of(part) == "pydantic"


def _refuse_loss(described: str, value: Any, restored: Any, sent: Any) -> None:
    if not _alike(restored, sent):
        raise Mismatch(f"{described} that its JSON form gives back equal", value)


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are equal, also where ``==`` denies it.

    It does for a datetime in the hour that its zone has twice and the same datetime with another tzinfo
    (https://peps.python.org/pep-0495/#inter-zone-comparison-and-hash), and for classes that do not define it.
    """
    if one == other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if hasattr(one, "isoformat"):
        return bool(one.isoformat() == other.isoformat())
    fields: Iterable[str] = getattr(one, "__struct_fields__", ()) or getattr(one, "__dataclass_fields__", ())
    return bool(fields) and all(_alike(getattr(one, name), getattr(other, name)) for name in fields)


# --- msgspec ---------------------------------------------------------------------------------------------------------


def _msgspec_converter(annotation: Any, described: str) -> Converter:
    import datetime
    import decimal
    import uuid

    import msgspec
    import msgspec.inspect

    custom = list(_custom_types(msgspec.inspect.type_info(annotation), msgspec.inspect, set()))
    if any(_is_pydantic(one) for one in custom):
        return _pydantic_converter(annotation, described)
    if custom:
        raise TypeError(f"{custom[0].__qualname__} has no JSON form")
    # At dispatch a datetime is a datetime: its text is not taken for one.
    native = (
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
        *(uuid.UUID, decimal.Decimal, bytes, bytearray, memoryview),
    )

    def converted(convert: Callable[[], Any], value: Any) -> Any:
        try:
            return convert()
        except msgspec.ValidationError as error:
            raise Mismatch(f"{described} ({_without_value(error)})", value) from None

    def accept(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, str_keys=True)
        except msgspec.ValidationError:
            return converted(lambda: msgspec.convert(value, annotation, strict=False, str_keys=True), value)

    def wire(value: Any) -> Any:
        converted(lambda: msgspec.convert(value, annotation, builtin_types=native), value)
        try:
            sent = msgspec.to_builtins(value, str_keys=True)
        except (TypeError, ValueError) as error:
            raise Mismatch(f"{described} ({error})", value) from None
        _refuse_loss(described, value, accept(sent), value)
        return sent

    return Converter(described, frozenset(), wire, accept)


def _custom_types(info: Any, inspect: Any, seen: set[int]) -> Iterator[type]:
    """The classes in a type that only hooks could convert, which msgspec takes without complaint."""
    if isinstance(info, tuple):
        for part in info:
            yield from _custom_types(part, inspect, seen)
    elif isinstance(info, inspect.CustomType):
        yield info.cls
    elif isinstance(info, inspect.Type | inspect.Field) and id(info) not in seen:
        seen.add(id(info))  # a type may contain itself
        for name in type(info).__struct_fields__:
            yield from _custom_types(getattr(info, name), inspect, seen)


def _without_value(error: Exception) -> str:
    """What msgspec says, without the value that it quotes: arguments are not to be in logs."""
    message, at, path = str(error).rpartition(" - at ")
    message = message or path
    if message.startswith("Invalid enum value"):
        message = "Invalid enum value"
    return f"{message}{at}{path}" if at else message


# --- pydantic --------------------------------------------------------------------------------------------------------


def _pydantic_converter(annotation: Any, described: str) -> Converter:
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.errors.PydanticSchemaGenerationError as error:
        raise TypeError(str(error).partition("\n")[0]) from None
    if not getattr(adapter, "pydantic_complete", True):
        raise NameError(described)

    def convert(value: Any, *, strict: bool = False) -> Any:
        try:
            return adapter.validate_python(value, strict=strict)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = "".join(f"[{key!r}]" for key in first["loc"])
            raise Mismatch(f"{described} ({first['msg']})", value, path) from None

    def wire(value: Any) -> Any:
        convert(value, strict=True)
        try:
            sent = adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings="error")
        except ValueError:  # (its text quotes the value)
            raise Mismatch(f"{described} that has a JSON form", value) from None
        _refuse_loss(described, value, adapter.dump_python(convert(sent)), adapter.dump_python(value))
        return sent

    return Converter(described, frozenset(), wire, convert)
