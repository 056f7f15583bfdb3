"""What an ApiTask's API delivers, and what its task answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runtime_lib.context import Injected, TaskContext
from runtime_lib.errors import ArgumentError, HttpError

__all__ = ["ApiEvent", "ApiResponse", "JsonResponse"]


class _CaseInsensitive(Mapping[str, Any]):
    """A mapping whose keys are found whatever their case, as HTTP's header names are."""

    __slots__ = ("_spelled", "_values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._spelled = {name.lower(): name for name in self._values}

    def __getitem__(self, name: str) -> Any:
        return self._values[self._spelled[name.lower()]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._spelled

    def __repr__(self) -> str:
        return repr(self._values)


class ApiEvent(Injected):
    """A request, as an ApiTask's task gets it for a parameter annotated ``ApiEvent``.

    (https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html)
    """

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        """Take an event of API Gateway.

        Raises:
            ArgumentError: it is none of a REST API's Lambda proxy integration.
        """
        if not isinstance(raw, dict) or "httpMethod" not in raw or "requestContext" not in raw:
            found = sorted(raw) if isinstance(raw, dict) else type(raw).__name__
            raise ArgumentError(
                f"a request of a REST API has httpMethod and requestContext, given {found!r:.200}: serve the task by "
                "an ApiTask with respond='result', and let its API call the function"
            )
        self.raw = raw
        """The event as API Gateway delivered it."""

    @classmethod
    def of(cls, context: TaskContext) -> "ApiEvent":
        """The request that started the task.

        Raises:
            ArgumentError: something else did.
        """
        return cls(context.event)

    def __repr__(self) -> str:
        return f"ApiEvent({self.method} {self.path})"

    @property
    def method(self) -> str:
        """``GET``, ``POST``, …."""
        return str(self.raw["httpMethod"])

    @property
    def path(self) -> str:
        """The path that was asked for, without the stage and as it was encoded: ``/orders/7``."""
        return str(self.raw.get("path") or "/")

    @property
    def resource(self) -> str:
        """The path as the API has it: ``/orders/{id}``."""
        return str(self.raw.get("resource") or self.path)

    @property
    def path_params(self) -> dict[str, str]:
        """What stands in the path for ``{id}`` or ``{proxy+}``, decoded (API Gateway leaves it encoded)."""
        from urllib.parse import unquote

        return {name: unquote(value) for name, value in (self.raw.get("pathParameters") or {}).items()}

    @property
    def querystring_params(self) -> dict[str, str]:
        """The query's parameters, decoded; of one that is repeated the last. Empty without a query."""
        return {name: values[-1] for name, values in self.multi_value_querystring_params.items()}

    @property
    def multi_value_querystring_params(self) -> dict[str, list[str]]:
        """The query's parameters with all values of each, in order."""
        return _lists(self.raw, "multiValueQueryStringParameters", "queryStringParameters")

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, found in any case; of one that is repeated the last."""
        return _CaseInsensitive({name: values[-1] for name, values in self.multi_value_headers.items()})

    @property
    def multi_value_headers(self) -> Mapping[str, list[str]]:
        """The request's headers with all values of each, found in any case."""
        return _CaseInsensitive(_lists(self.raw, "multiValueHeaders", "headers"))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the request, as they were sent."""
        found: dict[str, str] = {}
        for header in self.multi_value_headers.get("cookie", ()):
            for pair in header.split(";"):
                name, separator, value = pair.strip().partition("=")
                if separator:
                    found.setdefault(name, value.removeprefix('"').removesuffix('"'))
        return found

    @property
    def body_bytes(self) -> bytes:
        """The body as it was sent, also a binary one; empty without one."""
        body = self.raw.get("body") or ""
        if not self.raw.get("isBase64Encoded"):
            return str(body).encode("utf-8", "surrogatepass")
        from base64 import b64decode

        return b64decode(body)

    @property
    def body(self) -> str:
        """The body as text; empty without one.

        Raises:
            HttpError: (400) it is binary, and no text in UTF-8.
        """
        if not self.raw.get("isBase64Encoded"):
            return str(self.raw.get("body") or "")
        try:
            return self.body_bytes.decode()
        except UnicodeDecodeError as error:
            raise HttpError(400, f"the body is no text in UTF-8: {error.reason} at byte {error.start}") from None

    def json(self) -> Any:
        """The value of the body's JSON, whatever its Content-Type.

        Raises:
            HttpError: (400) there is no body, or it is no JSON: ``line`` and ``column`` of the answer say where.
        """
        from json import JSONDecodeError

        from runtime_lib.envelope import decode_json

        text = self.body
        if not text.strip():
            raise HttpError(400, "the body is empty: expected JSON")
        try:
            return decode_json(text)
        except JSONDecodeError as error:
            raise HttpError(
                400,
                f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
                details={"line": error.lineno, "column": error.colno},
            ) from None
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f"the body is not JSON: {error}") from None

    @property
    def request_context(self) -> dict[str, Any]:
        """What API Gateway tells of the request."""
        context: dict[str, Any] = self.raw["requestContext"]
        return context

    @property
    def request_id(self) -> str:
        """The id of the request; a client may choose it (`requestContext`'s ``extendedRequestId`` it cannot)."""
        return str(self.request_context.get("requestId", ""))

    @property
    def stage(self) -> str:
        """The stage of the API."""
        return str(self.request_context.get("stage", ""))

    @property
    def stage_variables(self) -> dict[str, str]:
        """The variables of the stage."""
        return dict(self.raw.get("stageVariables") or {})

    @property
    def identity(self) -> dict[str, Any]:
        """Who asks, as far as API Gateway knows: ``sourceIp``, ``userAgent``, and of an IAM caller ``userArn``, …."""
        return dict(self.request_context.get("identity") or {})

    @property
    def source_ip(self) -> str:
        """The address that the request came from."""
        return str(self.identity.get("sourceIp", ""))

    @property
    def authorizer(self) -> dict[str, Any]:
        """What the API's authorizer told: of a Lambda authorizer its context and ``principalId``; else empty."""
        return dict(self.request_context.get("authorizer") or {})

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of a Cognito user pool's token; empty without that authorizer."""
        return dict(self.authorizer.get("claims") or {})

    def url(self, path: str) -> str:
        """The address of a path of this API, as its client sees it: with its domain, and the stage or base path.

        ``event.url("/orders/7")`` is ``https://api.example.com/v1/orders/7``, or
        ``https://abc.execute-api.eu-west-1.amazonaws.com/prod/orders/7``.
        """
        host, headers = self.headers.get("host", ""), self.headers
        domain = self.request_context.get("domainName") or host
        if host.partition(":")[0] == domain:
            domain = host  # with its port
        # API Gateway always tells the protocol; what runs on a developer's machine need not, and has no certificate.
        return f"{headers.get('x-forwarded-proto', 'http')}://{domain}{self._base_path()}{path}"

    def _base_path(self) -> str:
        """What stands before the API's own paths: the stage, or a custom domain's base path."""
        segments = _segments(self.request_context.get("path") or self.path)
        own = 0
        for segment in _segments(self.resource):
            greedy = segment.endswith("+}")
            own += len(_segments(self.raw["pathParameters"][segment[1:-2]])) if greedy else 1
        return "".join(f"/{segment}" for segment in segments[: len(segments) - own])


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _lists(raw: Mapping[str, Any], several: str, single: str) -> dict[str, list[str]]:
    """Each name with all of its values; an event that a test made may have the single ones alone."""
    found = raw.get(several)
    if found:
        return {name: list(values) for name, values in found.items() if values}
    return {name: [value] for name, value in (raw.get(single) or {}).items() if value is not None}


class ApiResponse:
    """An answer whose body is text, or bytes, in the form that its Content-Type says.

    Args:
        body: text, or bytes of any kind.
        status: HTTP's status code, from 200 to 599.
        headers: each with one value. Without a Content-Type it is ``text/plain; charset=utf-8``, or
            ``application/octet-stream`` for bytes.
        multi_value_headers: each with several values, as ``Set-Cookie`` may have.

    Raises:
        ValueError: there is no such status, or a header is no single line of text.
    """

    __slots__ = ("body", "headers", "multi_value_headers", "status")

    def __init__(
        self,
        body: str | bytes = "",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        multi_value_headers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if not 200 <= status <= 599:  # noqa: PLR2004  (API Gateway takes no others)
            raise ValueError(f"a status is from 200 to 599, given {status!r}")
        self.body: Any = body
        self.status = int(status)
        self.headers = {name: _header(name, value) for name, value in (headers or {}).items()}
        self.multi_value_headers = {
            name: [_header(name, value) for value in _values(name, values)]
            for name, values in (multi_value_headers or {}).items()
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status={self.status})"


class JsonResponse(ApiResponse):
    """An answer whose body is JSON.

    Args:
        body: JSON types; dataclasses, datetimes and the like with msgspec installed, pydantic's models.
        status: HTTP's status code, from 200 to 599.
        headers: each with one value. Without a Content-Type it is ``application/json``.
        multi_value_headers: each with several values, as ``Set-Cookie`` may have.

    Raises:
        ValueError: there is no such status, or a header is no single line of text.
    """

    __slots__ = ()

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        multi_value_headers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(body, status, headers, multi_value_headers)


def _values(name: str, values: Sequence[str]) -> Sequence[str]:
    if isinstance(values, str):
        raise ValueError(f"multi_value_headers has a list of values for each name, given {name!r}: {values!r:.100}")  # noqa: TRY004  (as for other headers)
    return values


def _header(name: str, value: object) -> str:
    """A header's value; a line break in it would begin a header of somebody else's choice."""
    text = str(value)
    if not name or not (name + text).replace("\t", "").isprintable():
        raise ValueError(f"a header is a name and one line of text, given {name!r}: {text!r:.100}")
    return text
