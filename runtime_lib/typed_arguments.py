"""Arguments of types that JSON does not have, through msgspec, or pydantic where a pydantic model is involved."""

import typing
from collections.abc import Iterator
from typing import Any

from runtime_lib.arguments import Converter, Mismatch
from runtime_lib.errors import TaskDefinitionError

__all__ = ["typed_converter"]


def typed_converter(annotation: Any, *, parameter: str, task: str) -> Converter:
    """The converter of a dataclass, enum, datetime, UUID, Decimal, bytes, set, tuple, TypedDict, pydantic model, ….

    Raises:
        TaskDefinitionError: no library knows the type, or the one that does is not installed; names the parameter.
    """
    described = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    described = described or str(annotation)
    library = "pydantic" if any(_is_pydantic(part) for part in _parts(annotation)) else "msgspec"
    try:
        make = _pydantic_converter if library == "pydantic" else _msgspec_converter
        return make(annotation, described)
    except ImportError:
        raise TaskDefinitionError(
            f"{task}: parameter {parameter!r} is annotated {described}, which takes {library} to send: "
            f"pip install {library}"
        ) from None
    except TypeError as error:
        raise TaskDefinitionError(
            f"{task}: parameter {parameter!r} is annotated {described}, which cannot be sent ({error}): use JSON "
            "types, dataclasses, enums, datetime, UUID, Decimal, bytes, set, tuple, TypedDict or pydantic models"
        ) from None


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def _is_pydantic(part: Any) -> bool:
    module = getattr(part if isinstance(part, type) else type(part), "__module__", "")
    return hasattr(part, "__pydantic_core_schema__") or module.partition(".")[0] in {"pydantic", "annotated_types"}


def _msgspec_converter(annotation: Any, described: str) -> Converter:
    import datetime
    import decimal
    import uuid

    import msgspec
    import msgspec.inspect

    _refuse_custom_types(msgspec.inspect.type_info(annotation), msgspec.inspect)
    # At dispatch a datetime is a datetime: its text is not taken for one.
    native = (
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
        *(uuid.UUID, decimal.Decimal, bytes, bytearray, memoryview),
    )

    def wire(value: Any) -> Any:
        try:
            msgspec.convert(value, annotation, builtin_types=native)
        except msgspec.ValidationError as error:
            raise Mismatch(f"{described} ({error})", value) from None
        return msgspec.to_builtins(value, str_keys=True)

    def accept(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, strict=False, str_keys=True)
        except msgspec.ValidationError as error:
            raise Mismatch(f"{described} ({error})", value) from None

    return Converter(described, frozenset(), wire, accept)


def _refuse_custom_types(info: Any, inspect: Any) -> None:
    """Find a class that only hooks could convert, which msgspec takes without complaint."""
    if isinstance(info, inspect.CustomType):
        raise TypeError(f"{info.cls.__qualname__} has no JSON form")
    if not isinstance(info, inspect.Type):
        return
    for name in type(info).__struct_fields__:
        inside = getattr(info, name)
        for part in inside if isinstance(inside, tuple) else (inside,):
            if isinstance(part, inspect.Field):
                _refuse_custom_types(part.type, inspect)
            else:
                _refuse_custom_types(part, inspect)


def _pydantic_converter(annotation: Any, described: str) -> Converter:
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.errors.PydanticSchemaGenerationError as error:
        raise TypeError(str(error).partition("\n")[0]) from None

    def convert(value: Any, *, strict: bool) -> Any:
        try:
            return adapter.validate_python(value, strict=strict)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = "".join(f"[{key!r}]" for key in first["loc"])
            raise Mismatch(f"{described} ({first['msg']})", value, path) from None

    def wire(value: Any) -> Any:
        return adapter.dump_python(convert(value, strict=True), mode="json")

    return Converter(described, frozenset(), wire, lambda value: convert(value, strict=False))
