"""Answers in the form that API Gateway takes of a function.

(https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html)
"""

import json
import os
import sys
from typing import Any

from runtime_lib.contract import ENV_API_CORS, LAMBDA_RESPONSE_MAX_BYTES
from runtime_lib.errors import HttpError
from runtime_lib.events.api import ApiEvent, ApiResponse, JsonResponse
from runtime_lib.results import plain

__all__ = ["ResultError", "allow_origin", "encoded_body", "error_response", "render", "response_of"]

_WITHOUT_BODY = {204, 205, 304}


class ResultError(Exception):
    """What the task returned cannot be the body of an answer."""


def response_of(result: Any) -> ApiResponse:
    """The answer that a task's result is.

    An `ApiResponse` itself; 204 for None; text for a str, bytes as they are; JSON for anything else, tuples too.
    """
    if isinstance(result, ApiResponse):
        return result
    if result is None:
        return ApiResponse(status=204)
    return ApiResponse(result) if isinstance(result, str | bytes) else JsonResponse(result)


def error_response(error: HttpError) -> JsonResponse:
    """The answer of an error: ``{"message": …}``, as API Gateway's own errors are, and its details."""
    from http import HTTPStatus

    known = error.status in HTTPStatus._value2member_map_
    message = error.message or (HTTPStatus(error.status).phrase if known else "")
    return JsonResponse({"message": message, **error.details}, error.status, error.headers)


def render(response: ApiResponse, request: ApiEvent) -> dict[str, Any]:
    """The answer as a function returns it.

    Raises:
        ResultError: its body has no JSON form, is no text or bytes, or the answer is larger than Lambda returns.
    """
    headers, several = dict(response.headers), dict(response.multi_value_headers)
    body, is_binary = "", False
    if response.status not in _WITHOUT_BODY:
        content_type, body, is_binary = encoded_body(response)
        if not any(name.lower() == "content-type" for name in (*headers, *several)):
            headers["Content-Type"] = content_type
    if os.environ.get(ENV_API_CORS):
        allow_origin(request, headers, several)
    answer: dict[str, Any] = {"statusCode": response.status, "headers": headers}
    if several:
        answer["multiValueHeaders"] = several
    if request.method == "HEAD":
        body, is_binary = "", False
    answer |= {"body": body, "isBase64Encoded": is_binary}
    _refuse_too_large(answer)
    return answer


def encoded_body(response: ApiResponse) -> tuple[str, str, bool]:
    """Content type, body, and whether it is in Base64.

    Raises:
        ResultError: the body has no JSON form, or is no text or bytes.
    """
    body = response.body
    if isinstance(response, JsonResponse):
        return "application/json", _to_json(body), False
    if isinstance(body, bytes):
        from base64 import b64encode

        return "application/octet-stream", b64encode(body).decode(), True
    if not isinstance(body, str):
        raise ResultError(f"an ApiResponse has text or bytes, given {type(body).__name__}: JsonResponse takes others")
    return "text/plain; charset=utf-8", body.encode("utf-8", "replace").decode(), False


def _to_json(value: Any) -> str:
    def encoded(*, ascii_only: bool) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=ascii_only, separators=(",", ":"), default=plain)

    try:
        text = encoded(ascii_only=False)
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has not and JSON can escape
            return encoded(ascii_only=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"it has no JSON form: {error}") from error
    return text


def allow_origin(request: ApiEvent, headers: dict[str, str], several: dict[str, list[str]]) -> None:
    """Add what lets a page of another origin read the answer, unless the task did; errors too, or it sees none.

    (https://fetch.spec.whatwg.org/#http-cors-protocol)
    """
    if any(name.lower() == "access-control-allow-origin" for name in (*headers, *several)):
        return
    allowed = json.loads(os.environ[ENV_API_CORS])
    origin = request.headers.get("origin", "")
    if "*" in allowed["origins"]:
        headers["Access-Control-Allow-Origin"] = "*"
    else:
        vary = next((name for name in headers if name.lower() == "vary"), "Vary")
        headers[vary] = f"{headers[vary]}, Origin" if vary in headers else "Origin"
        if origin not in allowed["origins"]:
            return
        headers["Access-Control-Allow-Origin"] = origin
    if allowed.get("credentials"):
        headers["Access-Control-Allow-Credentials"] = "true"
    if allowed.get("expose_headers"):
        headers["Access-Control-Expose-Headers"] = ", ".join(allowed["expose_headers"])


def _refuse_too_large(answer: dict[str, Any]) -> None:
    # (at most six bytes a character: most answers need not be encoded to know)
    if 6 * len(answer["body"]) < LAMBDA_RESPONSE_MAX_BYTES // 2:
        return
    # As Lambda's own runtime client encodes it, before Python 3.12 in ASCII.
    size = len(json.dumps(answer, ensure_ascii=sys.version_info < (3, 12)).encode())
    if size > LAMBDA_RESPONSE_MAX_BYTES:
        raise ResultError(
            f"it makes an answer of {size:,} bytes, and Lambda returns {LAMBDA_RESPONSE_MAX_BYTES:,}: put it into a "
            "bucket and answer with a presigned URL, or in parts"
        )
