"""Answers of deployed functions, as clients of HTTP and of Lambda have them: while they are written, before the end.

Each function goes on only when its caller says that it has what was sent: what is held back on the way ends no test.
"""

import http.client
import json
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import aws_cdk as cdk
import pytest

from constructs_lib import ApiTask, FunctionUrlSettings, StreamingLambda, TaskApi
from tasks_cli import deployed
from tasks_cli.local.api_proxy import ApiProxy, mounts
from tasks_cli.local.apis import deployed_apis, function_urls, local_text
from tasks_cli.local.logs import LogReader
from tasks_cli.local.process import LocalCloud
from tasks_cli.streaming_check import measure
from tests.deployed import Field, field, wait_for

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is Linux's"),
]


def _build(app: cdk.App, environment: dict[str, str]) -> None:
    stack = cdk.Stack(app, "Shop")
    code, everybody = field(), FunctionUrlSettings(auth="none")
    api = TaskApi(stack, "Api", authorization="none", cloud_watch_role=False)
    options: Any = {"code": code, "environment": environment, "timeout": cdk.Duration.seconds(20)}
    StreamingLambda(
        stack, "Rows", handler="field.streams:rows", function_url=everybody, api=api, path="/rows", **options
    )
    StreamingLambda(stack, "Greet", handler="field.streams:greet", function_url=True, **options)
    StreamingLambda(stack, "Ticks", handler="field.streams:ticks", function_url=True, **options)
    buffered = FunctionUrlSettings(auth="none", invoke_mode="BUFFERED")
    StreamingLambda(stack, "Whole", handler="field.streams:greet", function_url=buffered, **options)
    ApiTask(stack, "Count", task="field.streams:count", api=api, path="/count", **options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with LocalCloud() as cloud:
        yield Field(cloud, tmp_path_factory.mktemp("streaming"), _build)


@pytest.fixture
def proxy(shop: Field) -> Iterator[ApiProxy]:
    """What `tasks local serve` serves."""
    with ApiProxy(shop.cloud, mounts(deployed_apis(shop.cloud, shop.stacks)), tell=None) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


class Caller(NamedTuple):
    """One caller, who says what it has got."""

    shop: Field
    run: str

    def has(self, what: str) -> None:
        with self.shop.marks_file.open("a") as file:
            file.write(json.dumps({"kind": "caller", "run": self.run, "has": what}) + "\n")

    def read(self, lines: Iterator[bytes]) -> list[str]:
        """Read line by line, and say so of each; at last of all."""
        found = []
        for line in lines:
            found.append(line.decode().rstrip())
            self.has(found[-1])
        self.has("all")
        return found

    def wait_for(self, kind: str) -> dict[str, Any]:
        """The function's mark of this run."""
        [found] = wait_for(lambda: [each for each in self.shop.marks(kind) if each["run"] == self.run])
        return found


@pytest.fixture
def caller(shop: Field) -> Caller:
    return Caller(shop, uuid.uuid4().hex)


def _function(shop: Field, name: str) -> str:
    functions = deployed.functions(shop.cloud, shop.stacks)
    return next(each.name for each in functions if each.path == f"Shop/{name}")


def _url(shop: Field, name: str) -> str:
    """The path of a function's URL in the local cloud."""
    function = _function(shop, name)
    [url] = [each.url for each in function_urls(shop.cloud, shop.stacks) if each.function == function]
    return url.removeprefix(str(shop.cloud.url))


def _get(origin: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(origin.partition("//")[2], timeout=15)
    connection.request("GET", path, headers={"Connection": "close"})
    return connection.getresponse()


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines as they come.

    Raises:
        http.client.IncompleteRead: the connection ended before the answer did.
    """
    while chunk := response.read1(1000):
        yield from chunk.splitlines()


ROWS = ["row 0", "row 1", "row 2"]


def test_a_function_url_hands_on_each_row_when_it_is_written(shop: Field, caller: Caller) -> None:
    with _get(str(shop.cloud.url), f"{_url(shop, 'Rows')}?run={caller.run}") as response:
        assert (response.status, response.headers["content-type"]) == (201, "text/csv")
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert caller.read(_lines(response)) == ROWS
    assert caller.wait_for("audited")


def test_a_method_of_an_api_hands_on_each_row_when_it_is_written(shop: Field, caller: Caller) -> None:
    [api] = deployed_apis(shop.cloud, shop.stacks)
    with _get(str(shop.cloud.url), f"{api.stage_path}/rows?run={caller.run}") as response:
        assert (response.status, response.headers["content-type"]) == (201, "text/csv")
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert caller.read(_lines(response)) == ROWS
    assert caller.wait_for("audited")


def test_tasks_local_serve_hands_on_each_row_when_it_is_written(proxy: ApiProxy, caller: Caller) -> None:
    with _get(proxy.url, f"/rows?run={caller.run}") as response:
        assert response.status == 201
        assert caller.read(_lines(response)) == ROWS
    assert caller.wait_for("audited")


def test_tasks_local_serve_takes_the_next_request_over_the_connection_of_a_stream(proxy: ApiProxy, shop: Field) -> None:
    connection = http.client.HTTPConnection(proxy.url.partition("//")[2], timeout=15)
    for _ in range(2):
        caller = Caller(shop, uuid.uuid4().hex)
        connection.request("GET", f"/rows?run={caller.run}")
        assert caller.read(_lines(connection.getresponse())) == ROWS
    connection.close()


def test_tasks_local_serve_breaks_off_where_the_function_does(proxy: ApiProxy, caller: Caller) -> None:
    with (
        _get(proxy.url, f"/rows?run={caller.run}&end=error") as response,
        pytest.raises(http.client.IncompleteRead),
    ):
        caller.read(_lines(response))


def test_invoke_with_response_stream_hands_on_the_bytes_alone(shop: Field, caller: Caller) -> None:
    payload = json.dumps({"run": caller.run})
    client, name = shop.cloud.client("lambda"), _function(shop, "Rows")
    events = client.invoke_with_response_stream(FunctionName=name, Payload=payload)["EventStream"]
    found: list[dict[str, Any]] = []
    chunks = (each["PayloadChunk"]["Payload"] for each in _kept(events, found) if "PayloadChunk" in each)
    assert caller.read(line for chunk in chunks for line in chunk.splitlines()) == ROWS
    assert found[-1] == {"InvokeComplete": {}}
    assert caller.wait_for("audited")


def _kept(events: Any, found: list[Any]) -> Iterator[Any]:
    for event in events:
        found.append(event)
        yield event


@pytest.mark.parametrize(
    ("end", "message"), [("error", "the rows are lost"), ("before", "no rows")], ids=["in the middle", "before"]
)
def test_invoke_with_response_stream_tells_of_an_error(shop: Field, caller: Caller, end: str, message: str) -> None:
    payload = json.dumps({"run": caller.run, "end": end})
    client, name = shop.cloud.client("lambda"), _function(shop, "Rows")
    found = []
    for event in client.invoke_with_response_stream(FunctionName=name, Payload=payload)["EventStream"]:
        found.append(event)
        if "PayloadChunk" in event:
            caller.read(iter(event["PayloadChunk"]["Payload"].splitlines()))
    complete: Any = found[-1]["InvokeComplete"]
    assert complete["ErrorCode"] == "ValueError"
    assert json.loads(complete["ErrorDetails"])["errorMessage"] == message
    assert len(found) == (4 if end == "error" else 1)


def test_invoke_has_the_stream_as_a_whole(shop: Field, caller: Caller) -> None:
    for row in ROWS:
        caller.has(row)
    payload = json.dumps({"run": caller.run})
    response = shop.cloud.client("lambda").invoke(FunctionName=_function(shop, "Rows"), Payload=payload)
    assert response["Payload"].read() == b"row 0\nrow 1\nrow 2\n"
    caller.has("all")
    assert caller.wait_for("audited")


@pytest.mark.parametrize("end", ["error", "death"])
def test_a_client_sees_that_an_answer_is_not_whole(shop: Field, caller: Caller, end: str) -> None:
    with (
        _get(str(shop.cloud.url), f"{_url(shop, 'Rows')}?run={caller.run}&end={end}") as response,
        pytest.raises(http.client.IncompleteRead),
    ):
        caller.read(_lines(response))
    assert {"row 0", "row 1", "row 2"} <= {each["has"] for each in shop.marks("caller") if each["run"] == caller.run}
    again = Caller(shop, uuid.uuid4().hex)
    with _get(str(shop.cloud.url), f"{_url(shop, 'Rows')}?run={again.run}") as response:
        assert again.read(_lines(response)) == ROWS


def test_a_function_ends_its_work_for_a_client_that_went_away(shop: Field, caller: Caller) -> None:
    with _get(str(shop.cloud.url), f"{_url(shop, 'Rows')}?run={caller.run}&more=200") as response:
        assert next(_lines(response)) == b"row 0"
    for what in (*ROWS, "all"):
        caller.has(what)
    assert caller.wait_for("audited")


def test_a_function_ends_its_work_for_an_answer_that_cannot_be_sent(shop: Field, caller: Caller) -> None:
    for what in (*ROWS, "all"):
        caller.has(what)
    with _get(str(shop.cloud.url), f"{_url(shop, 'Rows')}?run={caller.run}&more=200&type=two%0Alines") as response:
        assert response.status == 500
    assert caller.wait_for("audited")


def test_a_function_that_dies_after_its_answer_is_replaced(shop: Field, caller: Caller) -> None:
    path = _url(shop, "Rows")
    with _get(str(shop.cloud.url), f"{path}?run={caller.run}&end=late%20death") as response:
        assert caller.read(_lines(response)) == ROWS
    again = Caller(shop, uuid.uuid4().hex)
    with _get(str(shop.cloud.url), f"{path}?run={again.run}") as response:
        assert again.read(_lines(response)) == ROWS


def test_an_error_before_the_first_byte_is_an_error_of_the_function(shop: Field, caller: Caller) -> None:
    with _get(str(shop.cloud.url), f"{_url(shop, 'Rows')}?run={caller.run}&end=before") as response:
        assert response.status == 502
        assert b"no rows" in response.read()


def test_an_answer_comes_before_the_work_and_the_next_event_goes_elsewhere(shop: Field) -> None:
    callers = [Caller(shop, uuid.uuid4().hex) for _ in range(2)]
    name = _function(shop, "Greet")
    for each in callers:
        answer = shop.cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"run": each.run}))
        assert json.loads(answer["Payload"].read()) == {"hello": each.run}
    assert not [each for each in shop.marks("greeted") if each["run"] in {one.run for one in callers}]
    for each in callers:
        each.has("all")
    assert len({each.wait_for("greeted")["process"] for each in callers}) == 2


def test_an_environment_is_used_again_once_its_work_has_ended(shop: Field) -> None:
    name, processes = _function(shop, "Whole"), set()
    for _ in range(2):
        caller = Caller(shop, uuid.uuid4().hex)
        caller.has("all")
        shop.cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"run": caller.run}))
        processes.add(caller.wait_for("greeted")["process"])
        _wait_for_log(shop, "Whole", f"greeted {caller.run}")
    assert len(processes) == 1


def test_what_is_logged_after_the_answer_is_of_the_invocation(shop: Field, caller: Caller) -> None:
    name = _function(shop, "Greet")
    shop.cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"run": caller.run}))
    caller.has("all")
    _wait_for_log(shop, "Greet", f"greeted {caller.run}")


def _wait_for_log(shop: Field, name: str, text: str) -> None:
    """Wait until a line is in the log, which has it when the invocation has ended."""
    reader = LogReader(shop.cloud, [_function(shop, name)])
    assert wait_for(lambda: [line for line in reader.read() if text in line.message])


def test_a_buffered_url_has_the_answer_before_the_work(shop: Field, caller: Caller) -> None:
    with _get(str(shop.cloud.url), f"{_url(shop, 'Whole')}?run={caller.run}") as response:
        assert (response.status, json.loads(response.read())) == (200, {"hello": caller.run})
    caller.has("all")
    assert caller.wait_for("greeted")


def test_a_url_that_asks_for_a_signature_refuses_others(shop: Field) -> None:
    with _get(str(shop.cloud.url), _url(shop, "Greet")) as response:
        assert response.status == 403


def test_tasks_check_streaming_tells_a_stream_from_an_answer_that_is_held_back(shop: Field, caller: Caller) -> None:
    streamed = measure(f"{shop.cloud.url}{_url(shop, 'Ticks')}", sign=True)
    assert streamed.buffered is None
    assert streamed.size == 28
    caller.has("all")
    whole = measure(f"{shop.cloud.url}{_url(shop, 'Whole')}?run={caller.run}", sign=False)
    assert whole.buffered


def test_a_task_behind_an_api_works_on_after_its_answer(shop: Field, caller: Caller) -> None:
    [api] = deployed_apis(shop.cloud, shop.stacks)
    with _get(str(shop.cloud.url), f"{api.stage_path}/count?run={caller.run}") as response:
        assert json.loads(response.read()) == {"counted": caller.run}
    caller.has("all")
    assert caller.wait_for("counted")


def test_the_address_of_a_function_url_is_one_of_this_machine(shop: Field) -> None:
    client = shop.cloud.client("lambda")
    real = client.get_function_url_config(FunctionName=_function(shop, "Rows"))["FunctionUrl"]
    assert ".lambda-url.us-east-1.on.aws/" in real
    assert local_text(shop.cloud, f"see {real}") == f"see {shop.cloud.url}{_url(shop, 'Rows')}"
