"""Types that no library knows, and libraries that are missing, are errors at decoration."""

import datetime
import enum
import typing
import uuid
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from runtime_lib import TaskDefinitionError
from runtime_lib.arguments import Signature
from tests.task_modules import load, run_program


@dataclass
class First: ...


@dataclass
class Second: ...


class Model(pydantic.BaseModel): ...


class Custom: ...


class Mixed(enum.Enum):
    A = "a"
    B = 1


@dataclass
class WithCustom:
    inner: list[Custom]


def define(annotation: Any) -> Signature:
    def send(value: Any) -> None: ...

    send.__annotations__ = {"value": annotation}
    return Signature(send, "shop.send")  # type: ignore[arg-type]


REFUSED: list[tuple[Any, str]] = [
    (Custom, "is annotated Custom, which cannot be sent (Custom has no JSON form)"),
    (list[Custom], "has no JSON form"),
    (dict[str, set[Custom]], "has no JSON form"),
    (WithCustom, "is annotated WithCustom, which cannot be sent (Custom has no JSON form)"),
    (First | Second, "which cannot be sent (Type unions may not contain more than one"),
    (datetime.date | uuid.UUID, "which cannot be sent (Type unions may not contain more than one"),
    (typing.Callable[[], int], "which cannot be sent"),
    (typing.IO[str], "which cannot be sent"),
    (Mixed, "which cannot be sent (Enums must contain either all str or all int values"),
    (Model | Custom, "which cannot be sent (Unable to generate pydantic-core schema"),
]


@pytest.mark.parametrize(("annotation", "message"), REFUSED, ids=repr)
def test_a_type_without_json_form_is_refused_at_decoration_by_its_parameter(annotation: Any, message: str) -> None:
    with pytest.raises(TaskDefinitionError) as caught:
        define(annotation)
    assert str(caught.value).startswith("shop.send: parameter 'value' is annotated ")
    assert message in str(caught.value)
    assert "use JSON types, dataclasses" in str(caught.value)


@pytest.mark.parametrize(
    ("imports", "annotation", "missing"),
    [
        ("import datetime", "datetime.date", "msgspec"),
        ("import dataclasses\n@dataclasses.dataclass\nclass A: ...", "list[A]", "msgspec"),
        ("import pydantic\nclass A(pydantic.BaseModel): ...", "A", "pydantic"),
    ],
)
def test_a_missing_library_is_an_error_at_decoration_that_says_what_to_install(
    imports: str, annotation: str, missing: str
) -> None:
    printed = run_program(
        f"{imports}\n"
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from runtime_lib import task\n"
        "try:\n"
        "    @task\n"
        f"    def send(to: str, value: {annotation}): ...\n"
        "except TypeError as error:\n"
        "    print(error)\n"
    )
    assert printed.startswith("__main__.send: parameter 'value' is annotated ")
    assert printed.endswith(f", which takes {missing} to send: pip install {missing}\n")


def test_json_types_need_neither_library() -> None:
    run_program(
        """
        import sys
        sys.modules["msgspec"] = sys.modules["pydantic"] = None
        from typing import Annotated, Literal, NewType
        from runtime_lib import task
        Id = NewType("Id", int)
        @task
        def send(a: list[Id], b: dict[str, float | None], c: Literal["x"] = "x", *d: Annotated[str, "doc"], **e): ...
        send.call([1], {"a": 1.5}, "x", "y", f=None)
        """
    )


def test_a_part_that_pydantic_misses_is_told() -> None:
    with pytest.raises(TaskDefinitionError, match="pip install"):
        load(
            "import pydantic, sys\nfrom runtime_lib import task\n"
            "sys.modules['email_validator'] = None\n"
            "@task\ndef send(to: pydantic.EmailStr): ...\n"
        )
