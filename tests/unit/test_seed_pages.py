"""The examples of the pages of fops.background, taskhawk and easyjobs run here with their imports renamed."""

import importlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import runtime_lib
import runtime_lib as taskhawk
from runtime_lib import (
    ArgumentError,
    EagerTransport,
    RecordingTransport,
    TaskDefinitionError,
    clients,
    registry,
    set_transport,
    using_transport,
)
from runtime_lib.context import Delivery
from runtime_lib.envelope import Envelope
from runtime_lib.execution import Succeeded, run
from runtime_lib.testing import RecordedWorkflows, record_workflows
from tests.task_modules import load

Write = Callable[[dict[str, str]], None]

FOPS = {
    "my_module/__init__.py": "",
    "my_module/tasks.py": """
import requests
from runtime_lib import task


@task()
def long_process(identifier: str, message: str):
    requests.post(f"https://external.service.com/{identifier}", json={"message": message}).raise_for_status()

from bootstrap import lambda_transport

handler = lambda_transport.lambda_handler
""",
    "main.py": """
from my_module.tasks import long_process

# Task is launched in the background
long_process.fire_and_forget("123ABC", "Order received")
""",
    "bootstrap.py": """
from runtime_lib import set_transport
from runtime_lib.transports import LambdaTransport

lambda_transport = LambdaTransport(function_name='my-lambda-function-name')
set_transport(lambda_transport)
""",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files that can be imported, until the test ends."""

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"my_module", "main", "bootstrap", "company"}:
            del sys.modules[name]
    set_transport(None)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the example's `requests` posts."""
    found: list[Any] = []

    def post(url: str, *, json: Any) -> Any:
        found.append((url, json))
        return SimpleNamespace(raise_for_status=lambda: None)

    requests = ModuleType("requests")
    requests.post = post  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "requests", requests)
    return found


@pytest.fixture
def invoked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests to AWS Lambda."""
    found: list[dict[str, Any]] = []

    def invoke(**request: Any) -> dict[str, Any]:
        found.append(request)
        return {"StatusCode": 202, "Payload": io.BytesIO()}

    monkeypatch.setattr(clients, "_clients", {"lambda": SimpleNamespace(invoke=invoke)})
    return found


POSTED = [("https://external.service.com/123ABC", {"message": "Order received"})]

# --- fops.background -------------------------------------------------------------------------------------------------


def test_a_task_is_invoked_in_the_background_and_its_handler_runs_it(
    write: Write, posted: list[Any], invoked: list[dict[str, Any]]
) -> None:
    write(FOPS)
    importlib.import_module("main")
    (request,) = invoked
    assert (request["FunctionName"], request["InvocationType"]) == ("my-lambda-function-name", "Event")
    assert posted == []
    importlib.import_module("my_module.tasks").handler(json.loads(request["Payload"]), None)
    assert posted == POSTED


def test_the_function_may_be_named_by_the_environment(
    write: Write, posted: list[Any], invoked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOPS_BACKGROUND_TASKS_LAMBDA_NAME", "named-by-the-environment")
    without_a_name = FOPS["bootstrap.py"].replace("function_name='my-lambda-function-name'", "")
    write({**FOPS, "bootstrap.py": without_a_name})
    importlib.import_module("main")
    assert [request["FunctionName"] for request in invoked] == ["named-by-the-environment"]


def test_by_default_the_task_runs_synchronously(write: Write, posted: list[Any]) -> None:
    write({**FOPS, "my_module/tasks.py": FOPS["my_module/tasks.py"].partition("from bootstrap")[0]})
    importlib.import_module("main")
    assert posted == POSTED


def test_a_transport_may_be_used_for_a_block(write: Write, posted: list[Any], invoked: list[dict[str, Any]]) -> None:
    write(
        {
            **FOPS,
            "main.py": """
from runtime_lib import using_transport
from runtime_lib.transports import EagerTransport
from my_module.tasks import long_process

with using_transport(EagerTransport()):
    long_process.fire_and_forget("123ABC", "Order received")
""",
        }
    )
    importlib.import_module("main")
    assert (posted, invoked) == (POSTED, [])


@pytest.mark.parametrize(
    "source",
    [
        "class CustomClass:\n    @task()\n    def long_process(self, identifier: str, message: str):\n        pass",
        "x = task()(lambda: None)",
    ],
)
def test_its_restrictions_hold(source: str) -> None:
    with pytest.raises(TypeError, match=r"is a method|a lambda has no name"):
        load(f"from runtime_lib import task\n{source}")


# --- taskhawk --------------------------------------------------------------------------------------------------------

sent: list[Any] = []


@taskhawk.task
def send_email(to: str, subject: str, from_email: str = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
    sent.append((to, subject, from_email))


@taskhawk.task(priority=taskhawk.Priority.high, name="tasks.send_urgently")
def send_urgently(to: str, metadata: dict[str, Any], headers: dict[str, Any]) -> Any:
    return to, metadata, headers


@taskhawk.task
def with_kwargs(to: str, **kwargs: Any) -> Any:
    return kwargs


@pytest.fixture(autouse=True)
def forget() -> None:
    sent.clear()


def received(recording: RecordingTransport) -> Envelope:
    (call,) = recording.sent
    return Envelope.decode(call.body)


def test_a_task_is_dispatched_in_the_format_of_the_page() -> None:
    with using_transport(RecordingTransport()) as recording:
        send_email.dispatch("example@email.com", "Hello!", from_email="example@spammer.com")
    message = json.loads(recording.sent[0].body)
    assert isinstance(message["metadata"].pop("timestamp"), int)
    assert isinstance(message.pop("id"), str)
    assert message == {
        "metadata": {"priority": "default", "version": "1.0"},
        "headers": {},
        "task": f"{__name__}.send_email",
        "args": ["example@email.com", "Hello!"],
        "kwargs": {"from_email": "example@spammer.com"},
    }


def test_an_argument_may_be_none_where_that_is_its_default() -> None:
    with using_transport(taskhawk.EagerTransport()):
        send_email.dispatch("a", "b", from_email=None)  # type: ignore[arg-type]
        send_email.dispatch("a", "b")
    assert sent == [("a", "b", None)] * 2


def test_headers_and_priority_are_chained_and_a_missing_argument_is_refused_at_the_caller() -> None:
    invocation = send_email.with_headers(request_id="1234").with_priority(taskhawk.Priority.high)
    with using_transport(RecordingTransport()) as recording:
        # As the page has it, without the subject: the one example that does not run as it is.
        with pytest.raises(ArgumentError, match="missing 1 required positional argument: 'subject'"):
            invocation.dispatch("example@email.com")  # type: ignore[call-arg]
        invocation.dispatch("example@email.com", "Hello!")
    envelope = received(recording)
    assert (envelope.headers, envelope.priority) == ({"request_id": "1234"}, taskhawk.Priority.high)


def test_metadata_and_headers_are_passed_as_the_page_says() -> None:
    with using_transport(RecordingTransport()) as recording:
        send_urgently.with_headers(request_id="1234").dispatch("a@b.c")  # type: ignore[call-arg]
    envelope = received(recording)
    assert envelope.task == "tasks.send_urgently"
    outcome = run(send_urgently, envelope, Delivery(receipt="receipt"))
    assert isinstance(outcome, Succeeded)
    to, metadata, headers = outcome.result
    assert (to, headers) == ("a@b.c", {"request_id": "1234"})
    assert metadata == {
        "id": envelope.id,
        "priority": taskhawk.Priority.high,
        "receipt": "receipt",
        "timestamp": envelope.metadata["timestamp"],
        "version": "1.0",
    }


def test_kwargs_get_both() -> None:
    with using_transport(RecordingTransport()) as recording:
        with_kwargs.with_headers(request_id="1234").dispatch("a", other=1)
    outcome = run(with_kwargs, received(recording), Delivery())
    assert isinstance(outcome, Succeeded)
    assert outcome.result.keys() == {"other", "metadata", "headers"}
    assert outcome.result["headers"] == {"request_id": "1234"}


def test_the_message_of_the_page_runs() -> None:
    message = (Path(__file__).parent / "golden" / "envelope.json").read_text()
    send = taskhawk.task(name="tasks.send_email")(send_email.function)
    assert run(send, Envelope.decode(message), Delivery()) == Succeeded(None)
    assert sent == [("email@automatic.com", "Hello!", "spam@example.com")]


def test_every_name_of_the_pages_is_there() -> None:
    for name in (
        *("task", "Priority", "extend_visibility_timeout", "listen_for_messages"),
        *("process_messages_for_lambda_consumer", "set_transport", "using_transport", "get_transport"),
    ):
        assert callable(getattr(taskhawk, name))
    assert taskhawk.Priority.high is taskhawk.Priority.HIGH  # type: ignore[comparison-overlap]
    assert set(runtime_lib.__all__) <= set(dir(runtime_lib))
    for name in runtime_lib.__all__:
        assert getattr(runtime_lib, name) is not None
    with pytest.raises(AttributeError, match="module 'runtime_lib' has no attribute 'requeue_dead_letter'"):
        _ = runtime_lib.requeue_dead_letter


# --- easyjobs --------------------------------------------------------------------------------------------------------

EASYJOBS = (Path(__file__).parents[2] / "docs" / "coming-from-easyjobs.md").read_text()
FILE = re.compile(r"^`(?P<path>company/[\w/.]+)`:\n\n```python\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def company(write: Write, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package of the page, where tasks run at once."""
    monkeypatch.setenv("WORKER_TASK_DIR", "of this test")
    write({found["path"]: found["text"].replace("sleep(1)", "sleep(0.2)") for found in FILE.finditer(EASYJOBS)})
    set_transport(EagerTransport())
    return SimpleNamespace(**{name: importlib.import_module(f"company.{name}") for name in ("etl", "office")})


@pytest.fixture
def runs() -> Iterator[RecordedWorkflows]:
    with record_workflows() as found:
        yield found


def test_tasks_run_before_and_after_one_another_as_the_page_says(
    company: Any, runs: RecordedWorkflows, capsys: pytest.CaptureFixture[str]
) -> None:
    company.etl.extract.dispatch(**company.etl.default_args["kwargs"])
    runs.assert_order("extract", "transform", "load", "deploy_environment", "configure_environment", "compute")
    runs.assert_order("load", "prepare_db", "configure_environment")
    runs.assert_overlapped("deploy_environment", "prepare_db")
    runs.assert_result("load", {"data": {"a": 3, "b": 4, "c": 5}})
    runs.assert_result("compute", {"a": 6, "b": 8, "c": 10})
    runs.assert_not_ran("failure_notify")
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["extract started", "get_data: http://stats"]
    assert printed[-1] == "configure_environment - finished"


def test_the_page_s_failure_is_tried_once_more_and_told_once(company: Any, runs: RecordedWorkflows) -> None:
    with pytest.raises(ValueError, match="the table takes no -8"):
        company.etl.extract.dispatch(url="http://refunds")
    [load], [told] = runs.of("load"), runs.of("failure_notify")
    assert load.attempts == 2
    assert told.kwargs["job_failed"] == {
        "task": "company.etl.load",
        "node": "load",
        "run": told.kwargs["job_failed"]["run"],
        "error": {"type": "ValueError", "message": "the table takes no -8"},
    }
    runs.assert_not_ran("compute")


def test_the_page_s_pipeline_awaits_compute(company: Any, runs: RecordedWorkflows) -> None:
    company.etl.pipeline.dispatch()
    runs.assert_order("deploy_environment", "configure_environment", "compute")
    runs.assert_overlapped("pipeline", "compute")
    runs.assert_result("pipeline", {"test": "datadata"})


def test_the_page_s_other_tasks_run(company: Any, runs: RecordedWorkflows) -> None:
    company.office.general_work.dispatch({"a": 1, "b": 2})
    runs.assert_result("more_general_work", "more_general_results: 3")
    company.office.basic_blocking.dispatch(1, 2, 3)
    runs.assert_result("basic_blocking", {"result": "I slept for 1 second - blocking with 1 2 3"})
    with pytest.raises(KeyError):
        company.office.finance_work.dispatch("8", {"hours": 2})
    runs.assert_result("send_failure_email", "email sent for company.office.finance_work failed: KeyError: 'rate'")


def test_the_page_s_default_arguments_are_checked_where_they_are_declared() -> None:
    with pytest.raises(TaskDefinitionError, match=r"default_args: .*'url'"):
        load(
            """
            from runtime_lib import task

            @task(schedule="* * * * *", default_args={"kwargs": {"url": ["http://stats"]}})
            async def extract(url: str): ...
            """
        )
