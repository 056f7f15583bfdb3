"""Tasks as asynchronous invocations."""

import io
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from runtime_lib import (
    DispatchError,
    LambdaTransport,
    Priority,
    Retry,
    RetryLater,
    clients,
    contract,
    dispatch_task,
    task,
    using_transport,
)
from runtime_lib.envelope import Envelope
from tests.task_modules import load


@task
def send(number: int) -> None: ...


@task(retry=Retry(5, first_delay=timedelta(minutes=1)))
def slowly() -> None: ...


@task
def asks_later() -> None:
    raise RetryLater(5)


@task(retry=Retry(5, multiplier=3, jitter="none"))
def often(number: int) -> None: ...


class Client:
    """Takes invocations as boto3's client does."""

    def __init__(self, *refused: int, status: int = 202) -> None:
        self.requests: list[dict[str, Any]] = []
        self._refused = refused
        self._status = status
        self._lock = threading.Lock()

    def invoke(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self.requests.append(request)
        if Envelope.decode(request["Payload"]).args[0] in self._refused:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not yours"}}, "Invoke")
        return {"StatusCode": self._status, "Payload": io.BytesIO()}


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    with using_transport(LambdaTransport("mail", client=client)):
        yield client


def test_a_task_is_one_asynchronous_invocation_with_its_message(client: Client) -> None:
    handle = send.with_headers(a=1).with_priority(Priority.HIGH).with_group("tenant-7").dispatch(5)
    (request,) = client.requests
    assert (request["FunctionName"], request["InvocationType"]) == ("mail", "Event")
    envelope = Envelope.decode(request["Payload"])
    assert (envelope.id, envelope.args, envelope.headers) == (handle.id, [5], {"a": 1})


def test_boto3_takes_the_request() -> None:
    boto = boto3.client("lambda", region_name="eu-west-1")
    call = send.call(5)
    with Stubber(boto) as stub:
        stub.add_response(
            "invoke",
            {"StatusCode": 202, "Payload": StreamingBody(io.BytesIO(b""), 0)},
            {"FunctionName": "mail:live", "InvocationType": "Event", "Payload": call.body.encode()},
        )
        LambdaTransport(function_name="mail:live", client=boto).send([call])


def test_invocations_share_a_connection() -> None:
    connections: set[Any] = set()

    class Accepts(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            connections.add(self.client_address)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (as in the base class)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Accepts) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        boto = boto3.client("lambda", endpoint_url=f"http://127.0.0.1:{server.server_port}")
        try:
            for number in range(3):
                LambdaTransport("mail", client=boto).send([send.call(number)])
        finally:
            boto.close()
            server.shutdown()
            serving.join()
    assert len(connections) == 1


def test_several_are_invoked_each(client: Client) -> None:
    handles = send.dispatch_many(send.call(number) for number in range(25))
    assert {Envelope.decode(request["Payload"]).id for request in client.requests} == {one.id for one in handles}
    assert len(client.requests) == 25


def test_what_lambda_refuses_is_raised_with_what_was_not_sent_and_the_others_are() -> None:
    client = Client(3, 7)
    calls = [send.call(number) for number in range(10)]
    with pytest.raises(DispatchError) as caught:
        LambdaTransport("mail", client=client).send(calls)
    assert len(client.requests) == 10
    assert [(one.id, one.code) for one in caught.value.failed] == [
        (calls[number].envelope.id, "ClientError") for number in (3, 7)
    ]
    assert str(caught.value).startswith("2 of 10 invocations of mail were not accepted: ClientError: An error occurred")
    assert "AccessDeniedException" in str(caught.value)


def test_an_answer_that_is_not_accepted_is_a_failure() -> None:
    call = send.call(1)
    with pytest.raises(DispatchError, match="Lambda answered 200, not 202: it did not take the event") as caught:
        LambdaTransport("mail", client=Client(status=200)).send([call])
    assert [one.id for one in caught.value.failed] == [call.envelope.id]


def test_without_credentials_the_dispatch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def invoke(self, **_: Any) -> None:
            raise NoCredentialsError

    monkeypatch.setattr(clients, "_clients", {"lambda": Nobody()})
    with using_transport(LambdaTransport("mail")), pytest.raises(DispatchError, match="Unable to locate credentials"):
        send.dispatch(1)


def test_the_function_may_be_named_by_fops_variable(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setenv(contract.ENV_FOPS_FUNCTION_NAME, "from-the-environment")
    assert LambdaTransport().function_name == "from-the-environment"
    assert LambdaTransport("given").function_name == "given"


def test_without_a_function_the_dispatch_fails_and_says_how_to_name_one() -> None:
    message = "LambdaTransport has no function: pass function_name or set FOPS_BACKGROUND_TASKS_LAMBDA_NAME"
    with using_transport(LambdaTransport(client=Client())), pytest.raises(DispatchError, match=message):
        send.dispatch(1)


INSTEAD = "; serve the task by a ManagedAsyncTask or PriorityTaskQueues instead"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: send.with_delay(5).call(1),
            (
                "send cannot be delayed by 5 s: an asynchronous invocation starts now, unless "
                "grant_dispatch(function, delayed=True) lets it wait in a schedule"
            ),
        ),
        (
            slowly.call,
            (
                "slowly has a Retry with first_delay or max_delay: an asynchronous invocation is retried after one and two "
                "minutes, whatever it says"
            ),
        ),
        (asks_later.call, "asks_later raises RetryLater, which an asynchronous invocation cannot do"),
    ],
)
def test_what_an_asynchronous_invocation_cannot_do_is_refused_and_nothing_is_sent(
    client: Client, call: Any, said: str
) -> None:
    with pytest.raises(DispatchError) as caught:
        LambdaTransport("mail", client=client).send([send.call(1), call()])
    assert str(caught.value).endswith(said + INSTEAD)
    assert client.requests == []


def test_retry_later_is_also_seen_below_other_decorators_and_as_an_attribute(client: Client) -> None:
    module = load("""
        import functools, runtime_lib
        from runtime_lib import task
        def logged(function):
            @functools.wraps(function)
            def inner(): return function()
            return inner
        @task
        @logged
        def send(): raise runtime_lib.RetryLater(5)
        """)
    with pytest.raises(DispatchError, match="raises RetryLater"):
        module.send.dispatch()


def test_more_attempts_without_delays_of_their_own_and_tasks_of_other_apps_are_sent(client: Client) -> None:
    dispatch_task("other.tasks.resize", 1)
    often.dispatch(2)
    assert len(client.requests) == 2
