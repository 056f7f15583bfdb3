"""What a task returned, as JSON in its record."""

import dataclasses
import datetime
import decimal
import enum
import json
import re
import subprocess
import sys
import uuid
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import pydantic
import pytest

from runtime_lib.contract import STORE_RESULT_MAX_BYTES
from runtime_lib.results import encode_result


@dataclasses.dataclass
class Invoice:
    number: int
    due: datetime.date


class Point(NamedTuple):
    x: int
    y: int


class Order(pydantic.BaseModel):
    at: datetime.datetime


class Line(msgspec.Struct):
    sku: str


class Colour(enum.Enum):
    RED = "red"


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("result", "recorded"),
    [
        (None, None),
        (False, False),
        (0, 0),
        ("größe \ud800", "größe \ud800"),
        ({"rows": [1, 2.5, None]}, {"rows": [1, 2.5, None]}),
        ((1, (2, 3)), [1, [2, 3]]),
        (Point(1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        (Invoice(7, datetime.date(2030, 1, 2)), {"number": 7, "due": "2030-01-02"}),
        ([Line("a")], [{"sku": "a"}]),
        ({"order": Order(at=datetime.datetime(2030, 1, 2, tzinfo=UTC))}, {"order": {"at": "2030-01-02T00:00:00Z"}}),
        (datetime.datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00Z"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (b"\x00\x01", "AAE="),
        ({"a"}, ["a"]),
    ],
)
def test_a_result_is_recorded_as_json_values(result: object, recorded: object) -> None:
    text, missing = encode_result(result)
    assert missing is None
    assert text is not None
    assert text.isascii()
    assert json.loads(text) == recorded


def itself() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> Any:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (object(), "a object that cannot be sent as JSON: .*object"),
        (float("nan"), "a float that cannot be sent as JSON"),
        ({(1, 2): 3}, "a dict that cannot be sent as JSON: keys must be"),
        (itself(), "a list that cannot be sent as JSON: Circular"),
        (deep(), "a list that cannot be sent as JSON"),
        ([lambda: None], "a list that cannot be sent as JSON: .*function"),
    ],
    ids=["object", "nan", "key", "itself", "deep", "function"],
)
def test_what_cannot_be_recorded_says_why(result: object, why: str) -> None:
    text, missing = encode_result(result)
    assert text is None
    assert missing is not None
    assert re.match(why, missing)


def test_a_result_too_large_for_an_item_says_its_size_and_what_to_do() -> None:
    assert encode_result("x" * (STORE_RESULT_MAX_BYTES - 2))[1] is None
    text, missing = encode_result("x" * (STORE_RESULT_MAX_BYTES - 1))
    assert text is None
    assert missing == "it is 393,217 bytes of JSON, and a record holds 393,216: store it in S3 and return its key"


def test_without_msgspec_the_reason_says_what_to_install() -> None:
    with patch.dict(sys.modules, {"msgspec": None}):
        assert encode_result({"a": 1}) == ('{"a":1}', None)
        text, missing = encode_result(Invoice(7, datetime.date(2030, 1, 2)))
    assert (text, missing) == (
        None,
        "a Invoice that cannot be sent as JSON: a Invoice needs msgspec: pip install msgspec",
    )


def test_json_results_load_neither_msgspec_nor_pydantic() -> None:
    program = (
        "import sys; from runtime_lib.results import encode_result; encode_result({'a': [1, 'b', None, (1,)]}); "
        "print('msgspec' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "False False\n"
