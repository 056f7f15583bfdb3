"""The OpenAPI document of an API."""

import dataclasses
import datetime
import enum
import json
import math
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from runtime_lib import ApiEvent, ApiResponse, HttpError, JsonResponse, TaskDefinitionError, task
from runtime_lib.api.binding import binding_of
from tasks_cli.openapi.document import document_of
from tasks_cli.openapi.methods import ApiMethod
from tests.api_events import api_event
from tests.task_modules import load


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Line:
    sku: str
    count: int = 1


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]
    color: Color = Color.RED
    due: datetime.date | None = None
    follows: "Order | None" = None


class Invoice(pydantic.BaseModel):
    number: int = pydantic.Field(gt=0, serialization_alias="no")


@task
def show(order_id: int, verbose: bool = False, tag: list[str] | None = None) -> Order | None:
    """Show an order.

    With its lines, if they are asked for.
    """


@task
def place(order: Order, dry_run: bool = False) -> None: ...


@task
def rename(order_id: int, name: str, reason: Literal["typo", "moved"] = "typo") -> Invoice:
    raise NotImplementedError


@task
def bill(invoice: Invoice) -> list[Invoice]:
    return [invoice]


@task
def upload(name: str, event: ApiEvent) -> ApiResponse:
    return ApiResponse(name)


@task
def picture(size: int = 100) -> bytes | str:
    return b""


@task
def plain() -> JsonResponse:
    return JsonResponse()


@task
def anything(**named: int) -> object:
    return named


def method(asked: Any, verb: str, path: str, **changed: Any) -> ApiMethod:
    described = {
        "api": "Shop/Api",
        "path": path,
        "method": verb,
        "respond": "result",
        "authorization": "NONE",
        "api_key": False,
        "task": getattr(asked, "name", ""),
        "modules": __name__,
        "code": "",
        "environment": {},
    }
    return ApiMethod(**{**described, **changed})


METHODS = [
    method(show, "GET", "/orders/{order_id}"),
    method(place, "POST", "/orders", respond="accepted", authorization="AWS_IAM", api_key=True),
    method(rename, "PATCH", "/orders/{order_id}", authorization="COGNITO_USER_POOLS"),
    method(bill, "POST", "/invoices", api_key=True),
    method(upload, "PUT", "/files/{folder}/{proxy+}", authorization="CUSTOM"),
    method(picture, "GET", "/picture"),
    method(plain, "ANY", "/plain"),
    method(anything, "POST", "/anything"),
    method(None, "GET", "/tasks/{id}", respond="status"),
]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document_of(METHODS)))
    return found


def test_a_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["info"]["title"] == "Shop/Api"


def test_a_docstring_is_summary_and_description(document: dict[str, Any]) -> None:
    operation = document["paths"]["/orders/{order_id}"]["get"]
    assert operation["summary"] == "Show an order."
    assert operation["description"] == "With its lines, if they are asked for."
    assert "summary" not in document["paths"]["/plain"]["get"]


def test_parameters_are_where_a_request_has_them(document: dict[str, Any]) -> None:
    assert document["paths"]["/orders/{order_id}"]["get"]["parameters"] == [
        {"name": "order_id", "in": "path", "required": True, "schema": {"type": "integer"}},
        {"name": "verbose", "in": "query", "required": False, "schema": {"type": "boolean", "default": False}},
        {
            "name": "tag",
            "in": "query",
            "required": False,
            "schema": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        },
    ]
    upload = document["paths"]["/files/{folder}/{proxy}"]["put"]
    assert [(one["name"], one["in"]) for one in upload["parameters"]] == [
        ("folder", "path"),
        ("proxy", "path"),
        ("name", "query"),
    ]
    assert upload["requestBody"] == {"required": False, "content": {"*/*": {}}}


def test_fields_of_the_body_and_whole_bodies_are_described(document: dict[str, Any]) -> None:
    rename = document["paths"]["/orders/{order_id}"]["patch"]
    assert rename["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "reason": {"enum": ["moved", "typo"], "default": "typo"},
        },
        "additionalProperties": False,
        "required": ["name"],
    }
    place = document["paths"]["/orders"]["post"]
    assert place["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
    }
    assert [one["name"] for one in place["parameters"]] == ["dry_run"]
    assert document["components"]["schemas"]["Order"]["required"] == ["id", "lines"]
    anything = document["paths"]["/anything"]["post"]
    assert "requestBody" not in anything


def test_answers_are_what_the_function_says_it_returns(document: dict[str, Any]) -> None:
    paths = document["paths"]
    show = paths["/orders/{order_id}"]["get"]["responses"]
    assert list(show) == ["200", "204", "400", "500"]
    assert show["200"]["content"]["application/json"]["schema"]["anyOf"][0] == {"$ref": "#/components/schemas/Order"}
    place = paths["/orders"]["post"]["responses"]
    assert list(place) == ["202", "400", "413", "500", "503"]
    assert place["202"]["headers"].keys() == {"Location"}
    assert paths["/picture"]["get"]["responses"]["200"]["content"].keys() == {
        "text/plain",
        "application/octet-stream",
    }
    assert list(paths["/plain"]["get"]["responses"]) == ["200", "500"]
    assert paths["/plain"]["get"]["responses"]["200"]["content"] == {"application/json": {}}
    assert list(paths["/tasks/{id}"]["get"]["responses"]) == ["200", "400", "404", "503"]


def test_a_model_that_is_written_otherwise_than_read_has_two_schemas(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Invoice-Input"]["properties"].keys() == {"number"}
    assert schemas["Invoice-Output"]["properties"].keys() == {"no"}


def test_any_is_every_method_with_a_name_of_its_own(document: dict[str, Any]) -> None:
    assert document["paths"]["/plain"].keys() == {"get", "post", "put", "patch", "delete"}
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))


def test_security_is_as_the_api_has_it(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert paths["/orders"]["post"]["security"] == [{"AWS_IAM": [], "API_KEY": []}]
    assert paths["/invoices"]["post"]["security"] == [{"API_KEY": []}]
    assert paths["/plain"]["get"]["security"] == []
    schemes = document["components"]["securitySchemes"]
    assert schemes.keys() == {"AWS_IAM", "COGNITO_USER_POOLS", "CUSTOM", "API_KEY"}
    assert schemes["API_KEY"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}
    assert schemes["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"


orders = st.fixed_dictionaries(
    {},
    optional={
        "id": st.uuids().map(str) | st.text(max_size=3),
        "lines": st.lists(
            st.fixed_dictionaries({}, optional={"sku": st.text() | st.none(), "count": st.integers() | st.none()})
        )
        | st.none(),
        "color": st.sampled_from(["red", "green"]),
        "due": st.dates().map(str) | st.none() | st.just("soon"),
    },
)


@settings(deadline=None)
@given(order=orders)
def test_the_document_allows_the_bodies_that_are_taken(document: dict[str, Any], order: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Order", "components": document["components"]}
    checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    event = ApiEvent(api_event("POST", "/orders", body=order))
    try:
        binding_of(place, "/orders").bind(event)
    except HttpError:
        assert not checker.is_valid(order)
    else:
        assert checker.is_valid(order)


def test_a_default_that_json_has_not_is_left_out() -> None:
    document = document_of([method(cheap, "GET", "/cheap")])
    [below] = document["paths"]["/cheap"]["get"]["parameters"]
    assert below["schema"] == {"type": "number"}
    assert "default" not in document["components"]["schemas"]["Price"]["properties"]["limit"]
    json.dumps(document, allow_nan=False)


@dataclasses.dataclass
class Price:
    limit: float = math.inf


@task
def cheap(below: float = math.inf) -> Price:
    return Price(below)


def test_a_field_that_cannot_be_described_is_an_error() -> None:
    with pytest.raises(
        TaskDefinitionError, match=r"a pydantic model cannot be described \(.*give the field WithJsonSc"
    ):
        document_of([method(call_back, "POST", "/")])


class Callback(pydantic.BaseModel):
    function: Callable[[], None]


@task
def call_back(callback: Callback) -> None: ...


def test_what_annotated_adds_to_a_result_changes_nothing() -> None:
    document = document_of([method(say, "GET", "/say")])
    assert document["paths"]["/say"]["get"]["responses"]["200"]["content"] == {
        "text/plain": {"schema": {"type": "string"}}
    }


@task
def say() -> Annotated[str, "in English"]:
    return ""


def test_two_types_of_one_name_are_refused() -> None:
    other = load(
        """
        import pydantic
        from runtime_lib import task

        class Order(pydantic.BaseModel):
            a: int

        @task
        def other(order: Order) -> None: ...
        """
    )
    with pytest.raises(TaskDefinitionError, match="two types are called 'Order', and a document has one of a name"):
        document_of([METHODS[1], method(other.other, "POST", "/other")])
