"""What `tasks local serve` does when there is nothing to serve, or nobody to ask."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tasks_cli.cloud import Cloud
from tasks_cli.errors import CliError
from tasks_cli.local.api_proxy import ApiProxy, mounts
from tasks_cli.local.apis import Api, local_text


def api(construct: str) -> Api:
    return Api("abc", "prod", construct, None, None, ())


def test_without_an_api_it_says_what_to_do() -> None:
    with pytest.raises(CliError, match=r"^no API is deployed .* then `tasks local deploy`$"):
        mounts([])


def test_apis_of_one_name_are_told_apart_by_their_paths() -> None:
    found = mounts([api("One/Api"), api("Two/Api"), api("Two/Other")])
    assert [mount.prefix for mount in found] == ["/One-Api", "/Two-Api", "/Other"]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CliError, match=f"^port {port} of 127.0.0.1 cannot be used"):
            ApiProxy(Cloud(url="http://127.0.0.1:9"), mounts([api("Shop/Api")]), port=port)


@pytest.fixture
def proxy() -> Iterator[ApiProxy]:
    """A proxy before a cloud that has ended."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with ApiProxy(Cloud(url=url), mounts([api("Shop/Api")])) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


def ask(proxy: ApiProxy, method: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(proxy.url.partition("//")[2], timeout=10)
    try:
        connection.putrequest(method, "/orders")
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["message"]
    finally:
        connection.close()


def test_a_cloud_that_has_ended_is_a_bad_gateway(proxy: ApiProxy) -> None:
    status, message = ask(proxy, "GET")
    assert status == 502
    assert f"the local cloud at {proxy.cloud.url} did not answer" in message


def test_a_body_of_unknown_length_is_refused(proxy: ApiProxy) -> None:
    assert ask(proxy, "POST", Transfer_Encoding="chunked")[0] == 411
    for length in ("x", "-1", ""):
        assert ask(proxy, "POST", Content_Length=length) == (
            400,
            f"Content-Length is {length!r}, allowed is a number of bytes",
        )


def test_addresses_of_api_gateway_become_those_of_this_machine() -> None:
    cloud = Cloud(url="http://127.0.0.1:4566")
    text = "https://0a1b2c3d.execute-api.us-east-1.amazonaws.com/prod/"
    assert local_text(cloud, text) == "http://127.0.0.1:4566/_aws/execute-api/0a1b2c3d/prod/"
    assert local_text(cloud, "https://api.example.com/") == "https://api.example.com/"
