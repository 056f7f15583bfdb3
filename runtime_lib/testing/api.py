"""What a REST API delivers."""

import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from runtime_lib.testing._names import ACCOUNT

__all__ = ["api_event"]

Event = dict[str, Any]


def api_event(
    method: str,
    path: str,
    *,
    resource: str | None = None,
    query: Mapping[str, str | Sequence[str]] | None = None,
    headers: Mapping[str, str | Sequence[str]] | None = None,
    body: Any = None,
    authorizer: Mapping[str, Any] | None = None,
    stage: str = "prod",
) -> Event:
    """A request of a REST API, as an ApiTask's function gets it.

    ``api_event("GET", "/orders/7", resource="/orders/{id}")``
    (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html)

    Args:
        method: ``GET``, ``POST``, ….
        path: the path that was asked for, without the stage.
        resource: the path as the API has it, from which the path parameters are taken. Default: ``path``.
        query: the query's parameters, each with one value or several.
        headers: the request's headers, each with one value or several.
        body: text or bytes as they are; anything else is sent as JSON. Default: none.
        authorizer: what the API's authorizer told.
        stage: the stage of the API.
    """
    host = "abcdefghij.execute-api.us-east-1.amazonaws.com"
    given = {"Host": host, "User-Agent": "test", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    if body is not None and not isinstance(body, str | bytes):
        body, given["Content-Type"] = json.dumps(body), "application/json"
    sent = _several(headers or {})
    known = {name.lower() for name in sent}
    sent = _several({name: value for name, value in given.items() if name.lower() not in known}) | sent
    asked = _several(query or {})
    resource = resource or path
    request_id = str(uuid4())
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": _last(sent),
        "multiValueHeaders": sent,
        "queryStringParameters": _last(asked) or None,
        "multiValueQueryStringParameters": asked or None,
        "pathParameters": _path_parameters(resource, path) or None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": resource,
            "httpMethod": method,
            "extendedRequestId": "request=",
            "requestTime": "01/Jan/2030:00:00:00 +0000",
            "requestTimeEpoch": time.time_ns() // 1_000_000,
            "path": f"/{stage}{path}",
            "accountId": ACCOUNT,
            "protocol": "HTTP/1.1",
            "stage": stage,
            "domainPrefix": "abcdefghij",
            "domainName": host,
            "requestId": request_id,
            "apiId": "abcdefghij",
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "test"},
            **({"authorizer": dict(authorizer)} if authorizer else {}),
        },
        "body": b64encode(body).decode() if isinstance(body, bytes) else body,
        "isBase64Encoded": isinstance(body, bytes),
    }


def _several(values: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    return {name: [value] if isinstance(value, str) else list(value) for name, value in values.items()}


def _last(values: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: several[-1] for name, several in values.items()}


def _path_parameters(resource: str, path: str) -> dict[str, str]:
    """What stands in the path for ``{id}`` and ``{proxy+}``.

    Raises:
        ValueError: the path is not one of the resource's.
    """
    found: dict[str, str] = {}
    rest = path.split("/")
    for part in resource.split("/"):
        if part.startswith("{") and any(rest[:1]):
            taken = len(rest) if part.endswith("+}") else 1
            found[part.strip("{+}")] = "/".join(rest[:taken])
        elif rest[:1] == [part]:
            taken = 1
        else:
            break
        rest = rest[taken:]
    else:
        if not rest:
            return found
    raise ValueError(f"the path {path!r} is none of the resource {resource!r}: give one that is, with its values")
