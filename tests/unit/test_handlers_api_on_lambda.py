"""What an ApiTask's function answers on Lambda's own runtime client."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from runtime_lib import contract
from tests.api_events import api_event
from tests.runtime_api import RuntimeApi

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's")
MODULE = """
from runtime_lib import ApiEvent, ApiResponse, task

@task
async def paint(width: int, event: ApiEvent, colors: list[str] | None = None) -> ApiResponse:
    if width == 0:
        raise ZeroDivisionError("the password is swordfish")
    text = f"{width} {colors} {event.body_bytes!r}"
    return ApiResponse(text.encode(), headers={"Content-Type": "image/png"})

@task
def place(order: str) -> None: ...
"""


@pytest.fixture(scope="module")
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as api:
        yield api


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("code")
    (root / "shop.py").write_text(MODULE)
    (root / "runtime_lib").symlink_to(ROOT / "runtime_lib")
    return root


def test_on_lambda_bytes_go_in_and_out_and_an_exception_stays_inside(api: RuntimeApi, code: Path) -> None:
    environment = {"TASK_MODULES": "shop", "TASK_NAME": "shop.paint", "TASK_API_RESPOND": "result"}
    with api.function(contract.API_TASK_HANDLER, code, environment) as function:
        url = "/images/3?colors=red&colors=blue"
        painted = function.invoke(api_event("POST", url, resource="/images/{width}", body=b"\x89PNG"))
        failed = function.invoke(api_event("POST", "/images/0", resource="/images/{width}", body=b"\x89PNG"))
    assert painted.kind == "response"
    assert painted.body["headers"] == {"Content-Type": "image/png"}
    assert painted.body["isBase64Encoded"] is True
    assert failed.body["statusCode"] == 500
    error = json.loads(failed.body["body"])
    assert error["message"] == "internal server error"
    assert UUID(error["id"])
    assert "swordfish" not in json.dumps(failed.body)
    assert "ZeroDivisionError: the password is swordfish" in failed.output


def test_on_lambda_a_dispatch_that_fails_is_told(api: RuntimeApi, code: Path) -> None:
    environment = {
        "TASK_MODULES": "shop",
        "TASK_NAME": "shop.place",
        "TASK_API_RESPOND": "accepted",
        "TASK_ROUTE__SHOP_PLACE": "sqs:http://127.0.0.1:9/000000000000/orders",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with api.function(contract.API_TASK_HANDLER, code, environment) as function:
        found = function.invoke(api_event("POST", "/orders", body={"order": "a"}))
        refused = function.invoke(api_event("POST", "/orders", body='{"order": }'))
    assert (found.body["statusCode"], found.body["headers"]["Retry-After"]) == (503, "5")
    assert "127.0.0.1" not in found.body["body"]
    assert "127.0.0.1" in found.output
    assert json.loads(refused.body["body"]) == {
        "message": "the body is not JSON: Expecting value at line 1, column 11",
        "line": 1,
        "column": 11,
    }


def test_on_lambda_the_status_function_needs_no_task(api: RuntimeApi, code: Path) -> None:
    with api.function(contract.API_STATUS_HANDLER, code) as function:
        found = function.invoke(api_event("GET", "/tasks/7", resource="/tasks/{id}"))
    assert found.body["statusCode"] == 400
