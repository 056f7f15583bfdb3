"""Where a dispatch goes when the environment says so, and when nothing does."""

import io
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from runtime_lib import (
    DispatchError,
    EagerTransport,
    NoRouteError,
    Priority,
    RecordingTransport,
    clients,
    dispatch_batch,
    dispatch_task,
    queues,
    set_transport,
    task,
    using_transport,
)
from runtime_lib.contract import Route
from runtime_lib.transports import RouteTransport
from runtime_lib.transports.routes import find_route

ran: list[Any] = []


@task(name="mail.send", namespace=["mail", "news"])
def send(to: str = "") -> None:
    ran.append(to)


@task(name="shop.plain")
def plain() -> None:
    ran.append("plain")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    ran.clear()
    yield
    set_transport(None)


ROUTES = [
    ("TASK_ROUTE__MAIL_SEND", "sqs:own"),
    ("TASK_ROUTE__MAIL__HIGH", "sqs:high"),
    ("TASK_ROUTE__MAIL", "lambda:mail:live"),
    ("FOPS_BACKGROUND_TASKS_LAMBDA_NAME", "fops"),
]


def test_the_tasks_own_route_comes_first_then_its_namespaces_by_priority_then_its_namespaces_then_fops_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = send.with_priority(Priority.HIGH).call()
    for variable, route in ROUTES:
        monkeypatch.setenv(variable, route)
    for variable, route in ROUTES[:-1]:
        assert find_route(call) == Route.parse(route, variable=variable)
        monkeypatch.delenv(variable)
    assert find_route(call) == Route("lambda", "fops")
    monkeypatch.delenv("FOPS_BACKGROUND_TASKS_LAMBDA_NAME")
    assert find_route(call) is None


def test_another_priority_or_namespace_is_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TASK_ROUTE__MAIL__LOW", "TASK_ROUTE__NEWS", "TASK_ROUTE__DEFAULT", "TASK_ROUTE__MAIL_SENDS"):
        monkeypatch.setenv(variable, "sqs:other")
    monkeypatch.setenv("TASK_ROUTE__MAIL", "")
    assert find_route(send.with_priority(Priority.HIGH).call()) is None
    assert find_route(send.with_priority(Priority.LOW).call()) == Route("sqs", "other")


def test_a_task_by_name_goes_to_its_own_route_or_the_default_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_ROUTE__OTHER_TASKS_RESIZE", "sqs:resize")
    monkeypatch.setenv("TASK_ROUTE__DEFAULT", "sqs:default")
    with using_transport(RecordingTransport()) as recording:
        dispatch_task("other.tasks.resize")
        dispatch_task("other.tasks.render")
    assert [find_route(call) for call in recording.sent] == [Route("sqs", "resize"), Route("sqs", "default")]


def test_an_override_comes_before_the_process_transport_and_that_before_the_routes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL_SEND", "sqs:nowhere")
    process = RecordingTransport()
    set_transport(process)
    send.dispatch("process")
    with using_transport(EagerTransport()):
        send.dispatch("override")
    assert ran == ["override"]
    assert [call.envelope.args for call in process.sent] == [["process"]]


def test_a_function_is_invoked_by_its_route(monkeypatch: pytest.MonkeyPatch) -> None:
    invoked: list[str] = []

    def invoke(*, FunctionName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        invoked.append(FunctionName)
        return {"StatusCode": 202, "Payload": io.BytesIO()}

    monkeypatch.setattr(clients, "_clients", {"lambda": SimpleNamespace(invoke=invoke)})
    monkeypatch.setenv("TASK_ROUTE__MAIL", "lambda:mail:live")
    monkeypatch.setenv("FOPS_BACKGROUND_TASKS_LAMBDA_NAME", "background")
    send.dispatch()
    plain.dispatch()
    assert invoked == ["mail:live", "background"]
    with pytest.raises(DispatchError, match="cannot be delayed by 5 s"):
        send.with_delay(5).dispatch()
    assert ran == []


@pytest.mark.parametrize("value", ["mail", "sns:topic", "sqs:"])
def test_a_bad_route_is_refused_with_its_variable_and_what_is_allowed(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_ROUTE__MAIL", value)
    with pytest.raises(DispatchError, match=rf"TASK_ROUTE__MAIL is '{value}': a route is 'lambda:.*', 'sqs:.*' or"):
        send.dispatch()
    assert ran == []


def test_nothing_is_sent_if_one_of_several_has_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    monkeypatch.setenv("TASK_ROUTE__MAIL", "sqs:mail")
    monkeypatch.setattr(clients, "_clients", {"sqs": None})  # (would fail in another way)
    with pytest.raises(NoRouteError), dispatch_batch():  # noqa: PT012
        send.dispatch()
        plain.dispatch()


def test_each_task_of_a_batch_goes_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws():
        sqs = boto3.client("sqs")
        urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("mail", "urgent")}
        monkeypatch.setattr(clients, "_clients", {"sqs": sqs})
        monkeypatch.setattr(queues, "_urls", {})
        monkeypatch.setenv("TASK_ROUTE__MAIL", "sqs:mail")
        monkeypatch.setenv("TASK_ROUTE__MAIL__HIGH", f"sqs:{urls['urgent']}")
        with dispatch_batch():
            send.dispatch("a")
            send.with_priority(Priority.HIGH).dispatch("b")
            plain.dispatch()
        for name, to in (("mail", "a"), ("urgent", "b")):
            (message,) = sqs.receive_message(QueueUrl=urls[name])["Messages"]
            assert f'"args":["{to}"]' in message["Body"]
    assert ran == ["plain"]


def test_outside_lambda_a_task_without_a_route_runs_now_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_transport(RouteTransport())
    with caplog.at_level(logging.WARNING, "runtime_lib"):
        send.dispatch("a")
        send.dispatch("b")
        plain.dispatch()
    assert ran == ["a", "b", "plain"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "no route to mail.send and this is no Lambda function: running tasks here and now (set_transport, or "
        "TASK_ROUTE__MAIL_SEND, sends them elsewhere)"
    )


def test_inside_lambda_a_task_without_a_route_is_an_error_that_names_construct_and_grant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop-api")
    with pytest.raises(NoRouteError) as caught:
        send.dispatch("a")
    assert isinstance(caught.value, DispatchError)
    assert str(caught.value) == (
        "the function 'shop-api' has no route to 'mail.send': neither TASK_ROUTE__MAIL_SEND nor TASK_ROUTE__MAIL is "
        "set. Call grant_dispatch(function) on the ManagedAsyncTask of 'mail.send', or on the construct that serves "
        "the namespace 'mail'"
    )
    assert ran == []


def test_a_route_set_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop-api")
    with pytest.raises(NoRouteError):
        send.dispatch("a")
    monkeypatch.setenv("TASK_ROUTE__MAIL", "lambda:mail")
    assert find_route(send.call("a")) == Route("lambda", "mail")
