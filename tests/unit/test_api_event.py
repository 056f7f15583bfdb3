"""What a task reads from a request."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_lib import ApiEvent, HttpError, task
from runtime_lib.context import Delivery
from runtime_lib.errors import ArgumentError
from runtime_lib.execution import DeadLettered, Succeeded, run
from runtime_lib.handlers._one_task import envelope_of
from tests.api_events import api_event

seen: list[ApiEvent] = []


@task
def sees(event: ApiEvent) -> None:
    seen.append(event)


def test_a_parameter_annotated_api_event_gets_the_request() -> None:
    seen.clear()
    raw = api_event("GET", "/orders")
    assert run(sees, envelope_of("1", sees), Delivery(event=raw)) == Succeeded(None)
    assert seen[0].raw is raw


def test_a_task_that_something_else_started_is_told_which_construct_it_takes() -> None:
    outcome = run(sees, envelope_of("1", sees), Delivery(event={"Records": []}))
    assert isinstance(outcome, DeadLettered)
    assert "has httpMethod and requestContext, given ['Records']: serve the task by an ApiTask" in outcome.reason


@pytest.mark.parametrize("raw", [None, {}, {"httpMethod": "GET"}, {"version": "2.0", "requestContext": {}}])
def test_what_is_no_request_of_a_rest_api_is_refused(raw: Any) -> None:
    with pytest.raises(ArgumentError, match="a request of a REST API has httpMethod and requestContext"):
        ApiEvent(raw)


def test_headers_are_found_in_any_case() -> None:
    event = ApiEvent(api_event("GET", "/", headers={"X-Shop": "1"}))
    assert event.headers["x-shop"] == event.headers["X-SHOP"] == "1"
    assert "x-Shop" in event.headers
    assert event.headers.get("x-other") is None
    assert "X-Shop" in list(event.headers)
    assert event.multi_value_headers["x-shop"] == ["1"]


def test_the_query_is_always_a_mapping() -> None:
    assert ApiEvent(api_event("GET", "/")).querystring_params == {}
    event = ApiEvent(api_event("GET", "/?tag=a&tag=b&empty="))
    assert event.querystring_params == {"tag": "b", "empty": ""}
    assert event.multi_value_querystring_params == {"tag": ["a", "b"], "empty": [""]}


def test_an_event_with_single_values_alone_is_enough() -> None:
    raw = api_event("GET", "/?tag=a", headers={"X-Shop": "1"})
    del raw["multiValueQueryStringParameters"], raw["multiValueHeaders"]
    event = ApiEvent(raw)
    assert event.multi_value_querystring_params == {"tag": ["a"]}
    assert event.multi_value_headers["x-shop"] == ["1"]


def test_what_api_gateway_tells_of_the_request() -> None:
    authorizer = {"claims": {"sub": "7"}, "principalId": "ann"}
    event = ApiEvent(api_event("POST", "/orders/7", resource="/orders/{id}", authorizer=authorizer))
    assert (event.method, event.path, event.resource) == ("POST", "/orders/7", "/orders/{id}")
    assert (event.stage, event.request_id, event.source_ip) == ("prod", "chosen-by-the-client", "203.0.113.7")
    assert (event.claims, event.authorizer["principalId"]) == ({"sub": "7"}, "ann")
    assert event.identity["userAgent"] == "curl/8"
    assert event.stage_variables == {}
    assert ApiEvent(api_event("GET", "/")).claims == {}


def test_cookies_are_read_as_they_were_sent() -> None:
    event = ApiEvent(api_event("GET", "/", headers={"Cookie": 'id=7; theme="dark=1"; broken; id=8'}))
    assert event.cookies == {"id": "7", "theme": "dark=1"}
    assert ApiEvent(api_event("GET", "/")).cookies == {}


@settings(deadline=None)
@given(st.text(min_size=1))
def test_any_text_in_the_path_comes_back(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    event = ApiEvent(api_event("GET", f"/orders/{quote(text, safe='')}", resource="/orders/{id}"))
    assert event.path_params == {"id": text}


# --- The body --------------------------------------------------------------------------------------------------------


def test_a_body_is_text_and_bytes() -> None:
    event = ApiEvent(api_event("POST", "/", body="größer"))
    assert (event.body, event.body_bytes) == ("größer", "größer".encode())
    assert ApiEvent(api_event("POST", "/", body="\ud800")).body_bytes == b"\xed\xa0\x80"  # JSON can hold half a pair
    nothing = ApiEvent(api_event("POST", "/"))
    assert (nothing.body, nothing.body_bytes) == ("", b"")


def test_a_binary_body_is_decoded() -> None:
    event = ApiEvent(api_event("POST", "/", body=b"\x89PNG"))
    assert event.body_bytes == b"\x89PNG"
    with pytest.raises(HttpError, match="400 the body is no text in UTF-8: invalid start byte at byte 0"):
        _ = event.body
    assert ApiEvent(api_event("POST", "/", body='{"a": "ö"}'.encode())).json() == {"a": "ö"}


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        ('{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2, column 6", {"line": 2, "column": 6}),
        ("", "the body is empty: expected JSON", {}),
        (" \n", "the body is empty: expected JSON", {}),
        ("[1, NaN]", "the body is not JSON: NaN is no JSON number", {}),
        ("[" * 100_000, "the body is not JSON: maximum recursion depth", {}),
    ],
    ids=["position", "empty", "blank", "NaN", "deep"],
)
def test_a_body_that_is_no_json_is_the_clients_error_with_its_position(
    body: str, message: str, details: dict[str, int]
) -> None:
    with pytest.raises(HttpError) as caught:
        ApiEvent(api_event("POST", "/", body=body)).json()
    assert caught.value.status == 400
    assert message in caught.value.message
    assert caught.value.details == details


# --- Addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "url"),
    [
        (
            api_event("POST", "/orders/7", resource="/orders/{id}"),
            "https://abc123.execute-api.eu-west-1.amazonaws.com/prod/tasks/1",
        ),
        (
            api_event("POST", "/orders", domain="api.example.com", base_path="/v1"),
            "https://api.example.com/v1/tasks/1",
        ),
        (api_event("POST", "/orders", domain="api.example.com", base_path=""), "https://api.example.com/tasks/1"),
        (api_event("POST", "/", base_path="/prod"), "https://abc123.execute-api.eu-west-1.amazonaws.com/prod/tasks/1"),
        (
            api_event("POST", "/files/a/b.txt", resource="/files/{proxy+}"),
            "https://abc123.execute-api.eu-west-1.amazonaws.com/prod/tasks/1",
        ),
    ],
    ids=["stage", "base path", "domain alone", "root", "greedy"],
)
def test_an_address_has_the_requests_domain_and_stage_or_base_path(event: dict[str, Any], url: str) -> None:
    assert ApiEvent(event).url("/tasks/1") == url


def test_a_path_of_a_custom_domain_may_begin_with_its_base_path() -> None:
    raw = api_event("POST", "/orders", domain="api.example.com", base_path="/v1")
    raw["path"] = "/v1/orders"  # as API Gateway passes it behind a base path mapping
    assert ApiEvent(raw).url("/tasks/1") == "https://api.example.com/v1/tasks/1"


def test_an_address_on_a_developers_machine_has_its_port() -> None:
    raw = api_event("POST", "/orders", headers={"Host": "localhost:3000", "X-Forwarded-Proto": "http"}, base_path="")
    raw["requestContext"]["domainName"] = "localhost"
    assert ApiEvent(raw).url("/tasks/1") == "http://localhost:3000/tasks/1"


def test_the_host_that_a_client_names_is_not_taken_for_the_apis() -> None:
    raw = api_event("POST", "/orders", headers={"Host": "evil.example"})
    assert ApiEvent(raw).url("/x") == "https://abc123.execute-api.eu-west-1.amazonaws.com/prod/x"
