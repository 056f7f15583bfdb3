"""The forms of an answer: plain, or with status, headers and cookies where the invoker speaks HTTP.

Streamed those go ahead of it (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html), else around it
(https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads).
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from runtime_lib.contract import ENV_API_CORS, ENV_URL_BUFFERED
from runtime_lib.streaming.writer import Channel, Head

__all__ = ["Collected", "Enveloped", "Plain", "Prelude", "is_buffered", "is_http"]

_WITH_PRELUDE = "application/vnd.awslambda.http-integration-response"
_END_OF_PRELUDE = b"\0" * 8
_JSON = "application/json"


def is_http(event: object) -> bool:
    """Whether an event is a request: of a function URL, an API, or a load balancer."""
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "httpMethod" in event or "http" in event["requestContext"]


def is_buffered(event: Mapping[str, Any]) -> bool:
    """Whether the sender of a request takes a whole answer only."""
    context = event["requestContext"]
    if "elb" in context or ("http" in context and ".execute-api." in str(context.get("domainName"))):  # an HTTP API
        return True
    return "httpMethod" not in event and os.environ.get(ENV_URL_BUFFERED) == "1"


class _Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    several: dict[str, list[str]]
    cookies: list[str]
    body: bytes

    @classmethod
    def streamed(cls, head: Head, content_type: str) -> "_Answer":
        """What goes ahead of a stream."""
        headers = head.headers if head.content_type else {**head.headers, "Content-Type": content_type}
        return cls(head.status, dict(headers), {}, list(head.cookies), b"")

    @classmethod
    def of(cls, response: Any) -> "_Answer":
        """What a handler responded: `ApiResponse`, a dict as functions behind an API return it, or a result.

        Raises:
            ResultError: it has no JSON form.
        """
        if isinstance(response, dict) and "statusCode" in response:
            body = response.get("body") or ""
            if response.get("isBase64Encoded"):
                from base64 import b64decode

                encoded = b64decode(body)
            else:
                encoded = (body if isinstance(body, str) else json.dumps(body)).encode()
            headers = {name: str(value) for name, value in (response.get("headers") or {}).items()}
            several = response.get("multiValueHeaders") or {}
            return cls(int(response["statusCode"]), headers, several, list(response.get("cookies") or ()), encoded)
        from runtime_lib.api.responses import encoded_body, response_of

        answer = response_of(response)
        headers, several = dict(answer.headers), dict(answer.multi_value_headers)
        content = answer.body
        if isinstance(content, bytes):
            content_type, encoded = "application/octet-stream", content
        elif response is None:
            return cls(answer.status, headers, several, [], b"")
        else:
            content_type, text, _ = encoded_body(answer)
            encoded = text.encode()
        if not any(name.lower() == "content-type" for name in (*headers, *several)):
            headers["Content-Type"] = content_type
        return cls(answer.status, headers, several, [], encoded)


class _Form:
    """What is streamed goes to the channel as it is."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def write(self, data: bytes) -> None:
        """Send more of a streamed answer."""
        self._channel.write(data)

    def close(self) -> None:
        """End a streamed answer."""
        self._channel.close()

    def fail(self, error_type: str, description: bytes) -> bool:
        """End a streamed answer with an error."""
        return self._channel.fail(error_type, description)


class Plain(_Form):
    """The answer and nothing else, for an invoker that takes neither status nor headers."""

    def __init__(self, channel: Channel, encode: Callable[[Any], tuple[bytes, str]]) -> None:
        super().__init__(channel)
        self._encode = encode

    def respond(self, response: object) -> None:
        """Send a whole answer."""
        self._channel.send(*self._encode(response))

    def open(self, head: Head, content_type: str, first: bytes) -> None:
        """Begin a streamed answer."""
        self._channel.open((head.content_type or content_type).replace("\n", " ").replace("\r", " "), first)


class _HttpForm(_Form):
    """What both forms for HTTP share: headers as the invoker takes them, and those that let other origins read it."""

    def __init__(self, channel: Channel, event: dict[str, Any]) -> None:
        super().__init__(channel)
        self._event = event

    def _for_invoker(self, answer: _Answer) -> _Answer:
        if "httpMethod" in self._event:
            if os.environ.get(ENV_API_CORS):
                from runtime_lib.api.responses import allow_origin
                from runtime_lib.events.api import ApiEvent

                allow_origin(ApiEvent(self._event), answer.headers, answer.several)
            return answer
        # A function URL knows one value of each header, and cookies apart from them.
        headers, cookies = dict(answer.headers), list(answer.cookies)
        for name, values in answer.several.items():
            if name.lower() == "set-cookie":
                cookies += values
            else:
                headers[name] = ", ".join(values)
        return answer._replace(headers=headers, several={}, cookies=cookies)


class Prelude(_HttpForm):
    """Status, headers and cookies ahead of a streamed body."""

    def respond(self, response: object) -> None:
        """Send a whole answer."""
        answer = _Answer.of(response)
        self._channel.open(_WITH_PRELUDE, self._prelude(answer) + answer.body)
        self._channel.close()

    def open(self, head: Head, content_type: str, first: bytes) -> None:
        """Begin a streamed answer."""
        self._channel.open(_WITH_PRELUDE, self._prelude(_Answer.streamed(head, content_type)) + first)

    def _prelude(self, answer: _Answer) -> bytes:
        answer = self._for_invoker(answer)
        prelude: dict[str, Any] = {"statusCode": answer.status, "headers": answer.headers, "cookies": answer.cookies}
        if answer.several:
            prelude["multiValueHeaders"] = answer.several
        return json.dumps(prelude).encode() + _END_OF_PRELUDE


class Enveloped(_HttpForm):
    """Status, headers and cookies around a whole body: what is written is collected, and sent at the end."""

    def __init__(self, channel: Channel, event: dict[str, Any]) -> None:
        super().__init__(channel, event)
        self._answer: _Answer | None = None
        self._parts: list[bytes] = []

    def respond(self, response: object) -> None:
        """Send a whole answer."""
        self._send(_Answer.of(response))

    def open(self, head: Head, content_type: str, first: bytes) -> None:
        """Begin to collect."""
        self._answer = _Answer.streamed(head, content_type)
        self._parts.append(first)

    def write(self, data: bytes) -> None:
        """Collect more."""
        self._parts.append(data)

    def close(self) -> None:
        """Send what was collected."""
        assert self._answer is not None
        self._send(self._answer._replace(body=b"".join(self._parts)))

    def fail(self, error_type: str, description: bytes) -> bool:  # noqa: ARG002
        """Nothing of it has been sent."""
        return False

    def _send(self, answer: _Answer) -> None:
        answer = self._for_invoker(answer)
        headers, several, cookies = answer.headers, dict(answer.several), answer.cookies
        envelope: dict[str, Any] = {"statusCode": answer.status, "headers": headers}
        if cookies and "httpMethod" in self._event:
            several["Set-Cookie"] = [*several.get("Set-Cookie", ()), *cookies]
        elif cookies:
            envelope["cookies"] = cookies
        if several:
            envelope["multiValueHeaders"] = several
        try:
            envelope |= {"body": answer.body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            from base64 import b64encode

            envelope |= {"body": b64encode(answer.body).decode(), "isBase64Encoded": True}
        self._channel.send(json.dumps(envelope).encode(), _JSON)


class Collected:
    """An answer that is kept, for a runtime client that takes it only when the handler returns."""

    def __init__(self) -> None:
        self._is_json = False
        self._parts: list[bytes] = []

    @property
    def value(self) -> Any:
        """The answer as a handler returns it."""
        body = b"".join(self._parts)
        return json.loads(body) if self._is_json else body

    def send(self, body: bytes, content_type: str) -> None:
        """Keep a whole answer."""
        self._is_json = content_type == _JSON
        self._parts = [body]

    def open(self, content_type: str, first: bytes) -> None:  # noqa: ARG002
        """Begin to keep."""
        self._parts.append(first)

    def write(self, data: bytes) -> None:
        """Keep more."""
        self._parts.append(data)

    def close(self) -> None:
        """It is whole."""

    def fail(self, error_type: str, description: bytes) -> bool:  # noqa: ARG002
        """Nothing of it has been sent."""
        return False
