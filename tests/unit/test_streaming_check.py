"""`tasks check-streaming`: what it measures, and when it says that nothing is streamed."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from tasks_cli import streaming_check
from tasks_cli.app import app
from tasks_cli.errors import CliError, UsageError
from tasks_cli.streaming_check import Measured, measure

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def _served(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)
            self.close_connection = True

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/rows?year=2026"
        finally:
            server.shutdown()
            thread.join()


def _chunked(*chunks: bytes, pause: float, ends: bool = True) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for chunk in chunks:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            time.sleep(pause)
        if ends:
            request.wfile.write(b"0\r\n\r\n")

    return answer


def _whole(status: int, body: bytes) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_an_answer_in_parts_is_streamed_and_its_times_are_told() -> None:
    with _served(_chunked(b"a", b"bc", b"d", pause=0.05)) as url:
        found = measure(url, sign=False)
    assert found.buffered is None
    assert (found.status, found.size, found.chunks, found.length) == (200, 4, 3, None)
    assert 0.0 < found.first_byte < found.last_byte
    assert found.last_byte - found.first_byte >= 0.09
    assert 0.04 <= found.longest_pause <= found.last_byte


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_whole(200, b"all of it"), "it has a Content-Length"),
        (_chunked(b"all of it", pause=0), "all of it came at once"),
        (_chunked(b"all", pause=0.1), "all of it came at once"),
    ],
)
def test_an_answer_at_once_is_not(answer: Answer, reason: str) -> None:
    with _served(answer) as url:
        assert str(measure(url, sign=False).buffered).startswith(reason)


@pytest.mark.parametrize(("round_trip", "is_streamed"), [(0.001, True), (0.1, False)])
def test_what_a_network_takes_for_a_large_answer_is_no_stream(round_trip: float, *, is_streamed: bool) -> None:
    found = Measured(round_trip, 200, None, 1.0, 1.2, chunks=8, size=100_000, longest_pause=round_trip)
    assert (found.buffered is None) == is_streamed


def test_the_query_is_asked_for() -> None:
    asked = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        _whole(200, b"")(request)

    with _served(answer) as url:
        measure(url, sign=False)
    assert asked == ["/rows?year=2026"]


def test_an_answer_that_breaks_off_is_an_error() -> None:
    with _served(_chunked(b"a", b"b", pause=0, ends=False)) as url, pytest.raises(CliError, match="broke off"):
        measure(url, sign=False)


@pytest.mark.parametrize(
    ("status", "message"), [(403, r"answered 403 no: .* give --sign$"), (500, r"answered 500 no$")]
)
def test_a_refusal_is_told_with_what_to_do(status: int, message: str) -> None:
    with _served(_whole(status, b"no")) as url, pytest.raises(CliError, match=message):
        measure(url, sign=False)


def test_nobody_there_is_an_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(CliError, match=f"^{re.escape(url)} does not answer"):
            measure(url, sign=False)


@pytest.mark.parametrize("url", ["abc.lambda-url.eu-west-1.on.aws", "ftp://example.com", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no URL: give it with https://"):
        measure(url, sign=False)


def test_a_signature_for_what_takes_none_is_refused() -> None:
    with pytest.raises(UsageError, match="neither a function URL nor the address of an API"):
        measure("https://example.com/", sign=True)


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("abc.lambda-url.eu-west-1.on.aws", "eu-west-1/lambda"),
        ("abc.lambda-url.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1/lambda"),
        ("abc.execute-api.eu-west-1.amazonaws.com", "eu-west-1/execute-api"),
        ("abc.execute-api.cn-north-1.amazonaws.com.cn", "cn-north-1/execute-api"),
    ],
)
def test_every_address_of_a_region_is_signed_for_it(host: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert f"/{scope}/aws4_request" in streaming_check._signature(f"https://{host}/prod")["Authorization"]


@pytest.mark.parametrize(
    ("path", "scope"), [("lambda-url/abc/", "us-east-1/lambda"), ("execute-api/abc/prod/x", "us-east-1/execute-api")]
)
def test_a_request_is_signed_for_the_service_of_its_address(path: str, scope: str) -> None:
    signatures = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        signatures.append(request.headers["Authorization"])
        _whole(200, b"")(request)

    with _served(answer) as url:
        measure(f"{url.partition('/rows')[0]}/_aws/{path}", sign=True)
    [signature] = signatures
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=test/")
    assert f"/{scope}/aws4_request" in signature


def test_the_command_exits_with_0_for_a_stream_and_with_1_for_an_answer_at_once() -> None:
    runner = CliRunner()
    with _served(_chunked(b"a", b"b", pause=0.05)) as url:
        streamed = runner.invoke(app, ["check-streaming", url])
    with _served(_whole(200, b"all of it")) as url:
        whole = runner.invoke(app, ["check-streaming", url, "--json"])
    assert (streamed.exit_code, whole.exit_code) == (0, 1)
    assert re.search(
        r"first byte after \d+ ms\nlast byte after \d+ ms\n2 bytes in 2 chunks over \d+ ms, .*\nIt is streamed\.",
        streamed.stdout,
    )
    told = json.loads(whole.stdout)
    assert (told["streams"], told["size"]) == (False, 9)
    assert "Content-Length" in told["reason"]
