"""The samples of docs/streaming.md, on Lambda's own runtime client: they do what the page says."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime_lib import contract
from runtime_lib.testing import api_event, function_url_event
from tests.runtime_api import FunctionProcess, RuntimeApi
from tests.streaming_code import environment, write_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")

PAGE = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text()
# What the samples call, and leave to the reader.
READERS = """
import time

def slow_work():
    time.sleep(0.2)
    print("slow work is done")

def rows():
    for number in range(3):
        yield f"{number}\\n"
        time.sleep(0.1)

def audit():
    print("audited")

def count(customer, *, item):
    time.sleep(0.2)
    print(f"counted {item} of {customer}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples = re.findall(
        r"^```python\n(from runtime_lib import|import dataclasses)(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    (tmp_path / "page.py").write_text(READERS + "\n".join(first + rest for first, rest in samples))
    return write_code(tmp_path)


@contextmanager
def function(folder: Path, name: str) -> Iterator[FunctionProcess]:
    with (
        RuntimeApi() as api,
        api.function(contract.STREAMING_LAMBDA_HANDLER, folder, environment(f"page:{name}")) as process,
    ):
        yield process


def test_the_answer_is_there_before_the_slow_work(folder: Path) -> None:
    with function(folder, "handle") as process:
        exchange = process.exchange({"message": "Hello"})
        assert exchange.post.body == b'{"echoedMessage": "Hello"}'
        assert exchange.ended_at - exchange.post.at > 0.15
        assert "slow work is done" in process.output()


@pytest.mark.parametrize("name", ["export", "lines"])
def test_each_row_is_there_as_it_is_written(folder: Path, name: str) -> None:
    with function(folder, name) as process:
        post = process.exchange({}).post
        assert post.is_streamed
        assert [chunk.data for chunk in post.chunks] == [b"0\n", b"1\n", b"2\n"]
        assert post.chunks[-1].at - post.chunks[0].at > 0.15
        assert ("audited" in process.output()) == (name == "export")


def test_status_headers_and_cookies_go_ahead_to_who_speaks_http(folder: Path) -> None:
    with function(folder, "export") as process:
        head, _, body = process.exchange(function_url_event()).post.body.partition(b"\0" * 8)
    assert json.loads(head) == {"statusCode": 200, "headers": {"content-type": "text/csv"}, "cookies": ["seen=1"]}
    assert body == b"0\n1\n2\n"


def test_what_a_task_behind_an_api_leaves_is_done_after_its_answer(folder: Path) -> None:
    event = api_event("POST", "/orders", body={"customer": "Ann", "item": "tea"})
    variables = {contract.ENV_TASK: "page.place", contract.ENV_MODULES: "page"}
    with RuntimeApi() as api, api.function(contract.API_TASK_HANDLER, folder, variables) as process:
        exchange = process.exchange(event)
        assert b"ordered" in exchange.post.body
        assert exchange.ended_at - exchange.post.at > 0.15
        assert "counted tea of Ann" in process.output()
