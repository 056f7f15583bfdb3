"""Tasks in processes of their own, and timeouts, on Lambda's own runtime client."""

import sys
from pathlib import Path

import pytest

from runtime_lib import contract
from tests.runtime_api import RuntimeApi

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")
MODULE = """
import os, time
from runtime_lib import task

@task(subprocess=True)
def compute(what: str) -> int:
    if what == "crash":
        os.abort()
    if what == "hang":
        time.sleep(60)
    print("computes", what)
    return os.getppid()

@task(timeout=0.2)
def sleeps() -> None:
    time.sleep(60)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(MODULE)
    (tmp_path / "runtime_lib").symlink_to(ROOT / "runtime_lib")
    return tmp_path


def test_on_lambda_a_crash_and_a_hang_leave_the_function_alive(code: Path) -> None:
    environment = {"TASK_MODULES": "shop", "TASK_NAME": "shop.compute"}
    with RuntimeApi() as api, api.function(contract.PURE_TASK_HANDLER, code, environment) as function:
        first = function.invoke({"what": "sum"})
        crashed = function.invoke({"what": "crash"})
        hung = function.invoke({"what": "hang"}, timeout=2)
        last = function.invoke({"what": "sum"})
    assert (first.kind, crashed.kind, hung.kind, last.kind) == ("response", "error", "error", "response")
    assert first.body == last.body  # one environment
    assert "was ended by SIGABRT" in crashed.body["errorMessage"]
    assert "did not end before its function's deadline" in hung.body["errorMessage"]
    assert last.output.count("computes sum") >= 1


def test_on_lambda_a_def_task_is_interrupted(code: Path) -> None:
    environment = {"TASK_MODULES": "shop", "TASK_NAME": "shop.sleeps"}
    with RuntimeApi() as api, api.function(contract.PURE_TASK_HANDLER, code, environment) as function:
        results = [function.invoke(None, timeout=5) for _ in range(2)]
    assert [result.kind for result in results] == ["error", "error"]
    assert {result.body["errorType"] for result in results} == {"TaskTimeoutError"}
