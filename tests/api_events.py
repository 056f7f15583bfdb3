"""Events as API Gateway delivers them for requests, with what a test says of the request."""

import json
import re
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qsl

import pytest

from runtime_lib import ApiEvent, HttpError
from runtime_lib.api.binding import binding_of

DOMAIN = "abc123.execute-api.eu-west-1.amazonaws.com"


def api_event(
    method: str,
    url: str,
    *,
    resource: str | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
    base_path: str = "/prod",
    domain: str = DOMAIN,
    authorizer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The event of a request for ``url``, the path and query as a client writes them.

    ``resource`` is the path as the API has it, ``/orders/{id}``. A body that is no text or bytes is sent as JSON.
    """
    path, _, query = url.partition("?")
    several: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        several.setdefault(name, []).append(value)
    sent = {"Host": domain, "X-Forwarded-Proto": "https", **(headers or {})}
    is_binary = isinstance(body, bytes)
    text = b64encode(body).decode() if is_binary else body if isinstance(body, str | None) else json.dumps(body)
    return {
        "resource": resource or path,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: values[-1] for name, values in several.items()} or None,
        "multiValueQueryStringParameters": several or None,
        "pathParameters": path_parameters(resource or path, path) or None,
        "stageVariables": None,
        "requestContext": {
            "requestId": "chosen-by-the-client",
            "stage": "prod",
            "path": base_path + path,
            "resourcePath": resource or path,
            "httpMethod": method,
            "domainName": domain,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8"},
            **({"authorizer": authorizer} if authorizer else {}),
        },
        "body": text,
        "isBase64Encoded": is_binary,
    }


def path_parameters(resource: str, path: str) -> dict[str, str]:
    """What stands for the names in braces, still encoded, as API Gateway passes it."""
    pattern = re.sub(r"{(\w+)(\+?)}", lambda found: f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})", resource)
    found = re.fullmatch(pattern, path)
    assert found, (pattern, path)
    return found.groupdict()


def bind(one: Any, method: str, url: str, **request: Any) -> Any:
    """What a request gives for a task's parameters: the positional ones, and those by name."""
    event = ApiEvent(api_event(method, url, **request))
    return binding_of(one, event.resource).bind(event)


def refused(one: Any, method: str, url: str, **request: Any) -> list[tuple[str, str, str]]:
    """What an answer of 400 lists."""
    with pytest.raises(HttpError) as caught:
        bind(one, method, url, **request)
    assert caught.value.status == 400
    return [(one["in"], one["name"], one["message"]) for one in caught.value.details["errors"]]
