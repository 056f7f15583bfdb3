"""What a function URL delivers, and what keeps the answer of a streaming handler."""

import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from runtime_lib.streaming.writer import Head, ResponseWriter
from runtime_lib.testing._names import ACCOUNT, REGION

__all__ = ["RecordedResponse", "function_url_event"]


class RecordedResponse(ResponseWriter):
    """The ``output`` for a plain call of a handler: it keeps what is answered, and refuses what is out of order."""

    __slots__ = ("_recording",)

    def __init__(self) -> None:
        self._recording = _Recording()
        super().__init__(self._recording)

    @property
    def response(self) -> Any:
        """What `respond` was given; None without."""
        return self._recording.response

    @property
    def head(self) -> Head:
        """Status, headers and cookies that went ahead of a stream."""
        return self._recording.head

    @property
    def chunks(self) -> list[bytes]:
        """The parts of a stream, as they were written."""
        return self._recording.chunks

    @property
    def body(self) -> bytes:
        """All of a stream."""
        return b"".join(self.chunks)


class _Recording:
    def __init__(self) -> None:
        self.response: Any = None
        self.head = Head()
        self.chunks: list[bytes] = []

    def respond(self, response: object) -> None:
        self.response = response

    def open(self, head: Head, content_type: str, first: bytes) -> None:  # noqa: ARG002
        self.head = head
        if first:
            self.write(first)

    def write(self, data: bytes) -> None:
        self.chunks.append(data)

    def close(self) -> None:
        pass

    def fail(self, error_type: str, description: bytes) -> bool:  # noqa: ARG002
        return True


def function_url_event(
    method: str = "GET",
    path: str = "/",
    *,
    query: Mapping[str, str | Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
    cookies: Sequence[str] = (),
    body: Any = None,
    caller: str | None = None,
) -> dict[str, Any]:
    """A request of a function URL, as a StreamingLambda gets it.

    (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads)

    Args:
        method: ``GET``, ``POST``, ….
        path: the path that was asked for.
        query: the query's parameters, each with one value or several.
        headers: the request's headers.
        cookies: ``name=value``, each.
        body: text or bytes as they are; anything else is sent as JSON. Default: none.
        caller: ARN of the principal that signed the request. Default: nobody did, as with ``auth="none"``.
    """
    host = f"abcdefghijklmnopqrstuvwxyz012345.lambda-url.{REGION}.on.aws"
    sent = {"host": host, "user-agent": "test", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    if body is not None and not isinstance(body, str | bytes):
        body, sent["content-type"] = json.dumps(body), "application/json"
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    several = {name: [value] if isinstance(value, str) else list(value) for name, value in (query or {}).items()}
    iam = {"accessKey": "AKIAEXAMPLE", "accountId": ACCOUNT, "userArn": caller, "userId": "AIDAEXAMPLE"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": urlencode(several, doseq=True),
        **({"cookies": list(cookies)} if cookies else {}),
        "headers": sent,
        **({"queryStringParameters": {name: ",".join(values) for name, values in several.items()}} if several else {}),
        "requestContext": {
            "accountId": ACCOUNT if caller else "anonymous",
            "apiId": host.partition(".")[0],
            **({"authorizer": {"iam": iam}} if caller else {}),
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "test",
            },
            "requestId": str(uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2030:00:00:00 +0000",
            "timeEpoch": time.time_ns() // 1_000_000,
        },
        **({"body": b64encode(body).decode() if isinstance(body, bytes) else body} if body is not None else {}),
        "isBase64Encoded": isinstance(body, bytes),
    }
