"""What a task's result is as an answer."""

import base64
import dataclasses
import datetime
import json
import uuid
from typing import Any

import msgspec
import pydantic
import pytest

from runtime_lib import ApiEvent, ApiResponse, HttpError, JsonResponse
from runtime_lib.api.responses import ResultError, error_response, render, response_of
from runtime_lib.contract import ENV_API_CORS, LAMBDA_RESPONSE_MAX_BYTES
from tests.api_events import api_event


def answer(result: Any, method: str = "GET", **headers: str) -> dict[str, Any]:
    """What a function returns for a task's result."""
    return render(response_of(result), ApiEvent(api_event(method, "/", headers=headers)))


@dataclasses.dataclass
class Line:
    sku: str
    due: datetime.date


class Struct(msgspec.Struct, rename="camel"):
    unit_price: int
    model: "Model | None" = None


class Model(pydantic.BaseModel):
    id: uuid.UUID = pydantic.Field(serialization_alias="orderId")


ID = uuid.UUID("00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"a": [1, None, "ö"]}, '{"a":[1,null,"ö"]}'),
        ([], "[]"),
        (0, "0"),
        (False, "false"),
        ((1, 404), "[1,404]"),
        (Line("a", datetime.date(2026, 3, 29)), '{"sku":"a","due":"2026-03-29"}'),
        ({"lines": [Struct(3)]}, '{"lines":[{"unitPrice":3,"model":null}]}'),
        ({"at": {ID}}, f'{{"at":["{ID}"]}}'),
        ({"half": "\ud800"}, '{"half":"\\ud800"}'),
    ],
    ids=["object", "array", "number", "boolean", "tuple", "dataclass", "struct", "inner set", "half a surrogate pair"],
)
def test_a_result_is_json(result: Any, body: str) -> None:
    found = answer(result)
    assert found == {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": body,
        "isBase64Encoded": False,
    }


def test_a_pydantic_model_is_json_wherever_it_is() -> None:
    written = {"orderId": str(ID)}
    assert json.loads(answer([Model(id=ID)])["body"]) == [written]
    assert json.loads(answer(Struct(1, Model(id=ID)))["body"]) == {"unitPrice": 1, "model": written}


def test_text_bytes_and_nothing_are_not_json() -> None:
    assert answer("Hello") == {
        "statusCode": 200,
        "headers": {"Content-Type": "text/plain; charset=utf-8"},
        "body": "Hello",
        "isBase64Encoded": False,
    }
    assert answer(b"\x89PNG") == {
        "statusCode": 200,
        "headers": {"Content-Type": "application/octet-stream"},
        "body": base64.b64encode(b"\x89PNG").decode(),
        "isBase64Encoded": True,
    }
    assert answer(None) == {"statusCode": 204, "headers": {}, "body": "", "isBase64Encoded": False}


def test_a_response_says_status_and_headers() -> None:
    cookies = {"Set-Cookie": ["a=1", "b=2"]}
    assert answer(JsonResponse({"id": 7}, 201, {"Location": "/orders/7"}, cookies)) == {
        "statusCode": 201,
        "headers": {"Location": "/orders/7", "Content-Type": "application/json"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": '{"id":7}',
        "isBase64Encoded": False,
    }
    assert answer(JsonResponse("text"))["body"] == '"text"'
    assert answer(JsonResponse())["body"] == "null"
    page = answer(ApiResponse("<p>Hi</p>", headers={"content-type": "text/html"}))
    assert (page["headers"], page["body"]) == ({"content-type": "text/html"}, "<p>Hi</p>")
    image = answer(ApiResponse(b"\x89PNG", headers={"Content-Type": "image/png"}))
    assert (image["headers"], image["isBase64Encoded"]) == ({"Content-Type": "image/png"}, True)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_that_has_no_body_has_none(status: int) -> None:
    assert answer(JsonResponse({"a": 1}, status)) == {
        "statusCode": status,
        "headers": {},
        "body": "",
        "isBase64Encoded": False,
    }


def test_head_is_answered_with_the_headers_of_get() -> None:
    assert answer({"a": 1}, "HEAD") == {**answer({"a": 1}), "body": ""}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JsonResponse({}, 199), "a status is from 200 to 599, given 199"),
        (lambda: JsonResponse({}, 600), "a status is from 200 to 599, given 600"),
        (lambda: JsonResponse({}, headers={"X": "a\r\nSet-Cookie: b"}), "one line of text, given 'X'"),
        (lambda: ApiResponse("", multi_value_headers={"X\n": ["a"]}), "one line of text, given 'X\\\\n'"),
        (lambda: ApiResponse("", headers={"": "a"}), "one line of text, given ''"),
        (
            lambda: JsonResponse({}, 200, {}, {"Set-Cookie": "a=1"}),
            "a list of values for each name, given 'Set-Cookie'",
        ),
    ],
)
def test_a_response_that_http_does_not_have_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (object(), "it has no JSON form: "),
        ({"a": float("nan")}, "it has no JSON form: Out of range float values are not JSON compliant"),
        (ApiResponse({"a": 1}), "an ApiResponse has text or bytes, given dict: JsonResponse takes others"),  # type: ignore[arg-type]
    ],
)
def test_a_result_that_cannot_be_an_answer_is_refused(result: Any, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        answer(result)


def test_an_answer_larger_than_lambda_returns_is_refused_with_its_size() -> None:
    with pytest.raises(ResultError, match=r"it makes an answer of 6,300,\d\d\d bytes, and Lambda returns 6,291,556"):
        answer("x" * 6_300_000)
    text = "x" * (LAMBDA_RESPONSE_MAX_BYTES - 200)
    assert answer(text)["body"] == text


def test_an_error_is_an_answer_as_api_gateways_own_errors_are() -> None:
    found = render(error_response(HttpError(409, "no", {"X-A": "1"}, {"id": 7})), ApiEvent(api_event("GET", "/")))
    assert (found["statusCode"], json.loads(found["body"])) == (409, {"message": "no", "id": 7})
    assert found["headers"] == {"X-A": "1", "Content-Type": "application/json"}
    assert error_response(HttpError(404)).body == {"message": "Not Found"}
    assert error_response(HttpError(599)).body == {"message": ""}


# --- Other origins ---------------------------------------------------------------------------------------------------

SHOP = {"origins": ["https://shop.example"], "credentials": True, "expose_headers": ["Location", "Retry-After"]}


def cors(monkeypatch: pytest.MonkeyPatch, allowed: dict[str, Any]) -> None:
    monkeypatch.setenv(ENV_API_CORS, json.dumps(allowed))


def test_without_cors_no_origin_is_allowed() -> None:
    assert answer({}, Origin="https://shop.example")["headers"] == {"Content-Type": "application/json"}


def test_an_allowed_origin_is_told_so_on_errors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cors(monkeypatch, SHOP)
    for response in (JsonResponse({}), error_response(HttpError(500, "no"))):
        headers = render(response, ApiEvent(api_event("GET", "/", headers={"origin": "https://shop.example"})))[
            "headers"
        ]
        assert headers == {
            "Content-Type": "application/json",
            "Access-Control-Allow-Origin": "https://shop.example",
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "Location, Retry-After",
            "Vary": "Origin",
        }


def test_another_origin_is_told_nothing_but_that_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    cors(monkeypatch, SHOP)
    headers = answer(JsonResponse({}, headers={"vary": "Accept"}), Origin="https://evil.example")["headers"]
    assert headers == {"Content-Type": "application/json", "vary": "Accept, Origin"}


def test_any_origin_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    cors(monkeypatch, {"origins": ["*"]})
    assert answer({})["headers"]["Access-Control-Allow-Origin"] == "*"


def test_what_a_task_says_of_origins_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    cors(monkeypatch, SHOP)
    own = {"access-control-allow-origin": "https://other.example"}
    headers = answer(JsonResponse({}, headers=own), Origin="https://shop.example")["headers"]
    assert headers == {**own, "Content-Type": "application/json"}
