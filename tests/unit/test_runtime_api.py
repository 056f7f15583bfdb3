"""The Runtime API that other tests run handlers on."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime_api import FunctionProcess, RuntimeApi

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")

CODE = """
import os, time
print("loading")

def handler(event, context):
    print("handling", event)
    if event == "raise":
        raise LookupError("no such order")
    if event == "crash":
        os._exit(3)
    if event == "sleep":
        time.sleep(60)
    return {"name": context.function_name, "left": context.get_remaining_time_in_millis(), "setting": os.environ["SETTING"]}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("code")
    (root / "shop.py").write_text(CODE)
    (root / "broken.py").write_text("import numpy_is_not_in_the_asset\n")
    return root


@pytest.fixture
def function(root: Path) -> Iterator[FunctionProcess]:
    with RuntimeApi() as api, api.function("shop.handler", root, {"SETTING": "größer"}) as function:
        yield function


def test_a_response_is_decoded_and_comes_with_what_was_printed(function: FunctionProcess) -> None:
    result = function.invoke({"order": 1}, timeout=8)
    assert (result.kind, result.error_type) == ("response", None)
    assert result.body["name"] == "function"
    assert result.body["setting"] == "größer"
    assert 0 < result.body["left"] <= 8000
    assert result.output.splitlines() == ["loading", "handling {'order': 1}"]


def test_the_process_is_kept_for_the_next_invocation(function: FunctionProcess) -> None:
    function.invoke(1)
    assert function.invoke(2).output.splitlines() == ["handling 2"]


def test_an_exception_is_described_as_lambda_does(function: FunctionProcess) -> None:
    result = function.invoke("raise")
    assert (result.kind, result.error_type, result.body["errorMessage"]) == ("error", "LookupError", "no such order")
    assert function.invoke("next").kind == "response"


def test_a_crash_is_told_from_an_error(function: FunctionProcess) -> None:
    result = function.invoke("crash")
    assert (result.kind, result.body, result.error_type) == ("crash", None, None)
    assert "handling crash" in result.output


def test_a_function_that_takes_too_long_is_ended(function: FunctionProcess) -> None:
    with pytest.raises(TimeoutError, match=r"(?s)no answer within 1 s.*handling sleep"):
        function.invoke("sleep", timeout=1)


def test_a_failed_import_is_an_error(root: Path) -> None:
    with RuntimeApi() as api, api.function("broken.handler", root) as function:
        result = function.invoke({})
    assert (result.kind, result.error_type) == ("error", "Runtime.ImportModuleError")


def test_functions_of_one_api_do_not_see_each_others_events(root: Path) -> None:
    with RuntimeApi() as api:
        for setting in ("first", "second"):
            with api.function("shop.handler", root, {"SETTING": setting}) as function:
                assert function.invoke({}).body["setting"] == setting
                assert function.invoke("crash").kind == "crash"


def test_nothing_runs_after_the_block(root: Path) -> None:
    with RuntimeApi() as api, api.function("shop.handler", root, {"SETTING": "1"}) as function:
        function.invoke({})
        process = function._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
