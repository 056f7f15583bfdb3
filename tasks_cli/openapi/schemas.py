"""JSON Schemas of annotations, through the library that converts their values: msgspec, or pydantic."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from runtime_lib.errors import TaskDefinitionError
from runtime_lib.typed_arguments import takes_pydantic

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{%s}"


class Described(NamedTuple):
    """An annotation, and whether a request has it or an answer: pydantic's models may differ in the two."""

    annotation: Any
    direction: Literal["request", "answer"]


def schemas_of(described: Iterable[Described]) -> tuple[list[Schema], dict[str, Schema]]:
    """A schema for each, in order, and the components that they refer to.

    What neither library knows, such as ``object``, has the schema of any value.

    Raises:
        TaskDefinitionError: two different types have the same name, or a pydantic model has a field of a type that JSON
            Schema cannot describe.
    """
    import msgspec  # noqa: PLC0415

    described = list(described)
    found: list[Schema] = [{} for _ in described]
    models = [index for index, one in enumerate(described) if _takes_pydantic(one.annotation)]
    others = [index for index, one in enumerate(described) if index not in models and _is_known(one.annotation)]
    schemas, components = msgspec.json.schema_components(
        [described[index].annotation for index in others], ref_template=_REFERENCE % "name"
    )
    for index, schema in zip(others, schemas, strict=True):
        found[index] = schema
    if not models:
        return found, components
    import pydantic  # noqa: PLC0415

    adapters: list[tuple[int, _Mode, pydantic.TypeAdapter[Any]]] = [
        (index, _MODES[described[index].direction], pydantic.TypeAdapter(described[index].annotation))
        for index in models
    ]
    try:
        by_key, definitions = pydantic.TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE % "model")
    except pydantic.errors.PydanticInvalidForJsonSchema as error:
        raise TaskDefinitionError(
            f"a pydantic model cannot be described ({error.message}): give the field WithJsonSchema"
        ) from None
    for (index, _), schema in by_key.items():
        found[index] = schema
    of_models = definitions.get("$defs", {})
    refuse_same_names(components, of_models)
    return found, components | of_models


def refuse_same_names(some: Mapping[str, Schema], others: Mapping[str, Schema]) -> None:
    """Check that no component is called as another one.

    Raises:
        TaskDefinitionError: two are: pydantic, msgspec and this library name theirs by themselves.
    """
    twice = sorted(some.keys() & others.keys())
    if twice:
        raise TaskDefinitionError(f"two types are called {twice[0]!r}, and a document has one of a name: rename yours")


_Mode = Literal["validation", "serialization"]
_MODES: dict[str, _Mode] = {"request": "validation", "answer": "serialization"}


def _takes_pydantic(annotation: Any) -> bool:
    try:
        return takes_pydantic(annotation)
    except TypeError:  # (msgspec does not know it)
        return False


def _is_known(annotation: Any) -> bool:
    import msgspec  # noqa: PLC0415

    try:
        msgspec.json.schema(annotation)
    except TypeError:
        return False
    return True
