"""Measures how an answer over HTTP comes: bit by bit, or at once."""

import http.client
import math
import os
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from tasks_cli.cloud import LOCAL_REGION, Cloud
from tasks_cli.errors import CliError, UsageError

__all__ = ["Measured", "measure"]

TIMEOUT_SECONDS: Final = 305.0
"""The longest pause in an answer: API Gateway cuts it off after five minutes."""
_AT_ONCE_SECONDS: Final = 0.02
"""What comes within so short a time may have been sent at once."""
_FIRST_WINDOW_BYTES: Final = 14_600
"""What TCP sends before it hears from the other side; then twice as much each time. (RFC 6928)"""
_READ_BYTES: Final = 65_536
_SIGNED_HOST: Final = re.compile(
    r".+\.(?P<service>lambda-url|execute-api)\.(?P<region>[a-z0-9-]+)\.(?:on\.aws|on\.amazonwebservices\.com\.cn|amazonaws\.com(?:\.cn)?)"
)
_SIGNED_SERVICES: Final = {"lambda-url": "lambda", "execute-api": "execute-api"}
_LOCAL_PATH: Final = re.compile(r"/_aws/(?P<service>lambda-url|execute-api)/")


@dataclass(frozen=True, slots=True)
class Measured:
    """How an answer came; times in seconds from when the request was sent.

    Attributes:
        round_trip: how long it took to connect, which is one way to the other side and back, or a few with TLS.
        status: of the answer.
        length: its Content-Length, None if it has none: one that is streamed has no length that is known before.
        first_byte: when the first byte of the body came.
        last_byte: when the last one came.
        chunks: how often something came.
        size: bytes in all.
        longest_pause: the longest time between two of them.
    """

    round_trip: float
    status: int
    length: int | None
    first_byte: float
    last_byte: float
    chunks: int
    size: int
    longest_pause: float

    @property
    def buffered(self) -> str | None:
        """Why it was not streamed; None if it was."""
        if self.length is not None:
            return "it has a Content-Length, so all of it was known before the first byte was sent"
        if self.chunks < 2:  # noqa: PLR2004  (one is no stream)
            return "all of it came at once"
        # A large answer that was sent at once takes a few round trips.
        at_once = max(_AT_ONCE_SECONDS, self.round_trip * math.log2(1 + self.size / _FIRST_WINDOW_BYTES))
        if self.last_byte - self.first_byte < at_once:
            return f"all of it came within {at_once * 1000:.0f} ms: call a function that takes longer to write"
        return None


def measure(url: str, *, sign: bool, take: Callable[[bytes], object] | None = None) -> Measured:
    """Send a GET request, signed with the user's AWS credentials if that is asked for, and watch its answer come.

    ``take`` is given each part of it, when it comes.

    Raises:
        UsageError: it is no URL, or none that is signed for.
        CliError: nobody answers, the answer is no success, or it breaks off.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"{url!r} is no URL: give it with https://, as `tasks local status` or the stack's output has it"
        )
    headers = _signature(url) if sign else {}
    connection = _connection(parts.scheme, parts.netloc)
    try:
        # So that neither the name nor the handshake is counted.
        began = time.monotonic()
        connection.connect()
        started = time.monotonic()
        connection.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", headers=headers)
        response = connection.getresponse()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise CliError(_refused(url, response, is_signed=sign))
        return _watch(response, started, take, round_trip=started - began)
    except http.client.HTTPException as error:
        raise CliError(f"{url} broke off ({error!r}): see the function's log") from error
    except OSError as error:
        raise CliError(f"{url} does not answer: {error}") from error
    finally:
        connection.close()


def _watch(
    response: http.client.HTTPResponse, started: float, take: Callable[[bytes], object] | None, *, round_trip: float
) -> Measured:
    length = response.headers["content-length"]
    times, longest, size = [0.0, 0.0], 0.0, 0
    chunks = 0
    while data := response.read1(_READ_BYTES):
        now = time.monotonic() - started
        longest = max(longest, now - times[1]) if chunks else 0.0
        times = [times[0] if chunks else now, now]
        chunks, size = chunks + 1, size + len(data)
        if take:
            take(data)
    known = int(length) if length else None
    return Measured(round_trip, response.status, known, times[0], times[1], chunks, size, longest)


def _connection(scheme: str, host: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    return http.client.HTTPSConnection(host, timeout=TIMEOUT_SECONDS, context=context)


def _signature(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    found = _SIGNED_HOST.fullmatch(parts.hostname or "")
    service = found or _LOCAL_PATH.match(parts.path)
    if service is None:
        raise UsageError(f"{url} is neither a function URL nor the address of an API: it cannot be signed for")
    credentials = Cloud(url=None if found else f"{parts.scheme}://{parts.netloc}").credentials
    if credentials is None:
        raise CliError("no AWS credentials were found to sign with: configure them as for the AWS command line")
    request = AWSRequest("GET", url)
    SigV4Auth(credentials, _SIGNED_SERVICES[service["service"]], found["region"] if found else LOCAL_REGION).add_auth(
        request
    )
    return dict(request.headers.items())


def _refused(url: str, response: http.client.HTTPResponse, *, is_signed: bool) -> str:
    told = response.read(500).decode(errors="replace").strip()
    hint = ""
    if response.status == http.HTTPStatus.FORBIDDEN:
        hint = ": may these credentials call it?" if is_signed else ": if it asks for a signature, give --sign"
    return f"{url} answered {response.status} {told}{hint}"
