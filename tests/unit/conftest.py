"""Shared by the tests of constructs_lib's source reading, and by those of the handlers and the polling worker."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from boto3 import client
from moto import mock_aws

from constructs_lib._source import SourceTree, TaskReferenceError
from runtime_lib import clients, contract, queues
from tests.buckets import BUCKET, Answering
from tests.deliveries import TaskQueue
from tests.polled import Answers, Requests


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[Mapping[str, str | bytes]], SourceTree]:
    """Writes the files of package ``shop`` and reads it back."""
    root = tmp_path / "shop"

    def write(files: Mapping[str, str | bytes]) -> SourceTree:
        modules = {}
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
            parts = ["shop", *name.removesuffix(".py").split("/")]
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return SourceTree("shop", root, modules)

    return write


@pytest.fixture
def refusal() -> Callable[[Callable[[], object]], str]:
    """The message of the TaskReferenceError that a call raises."""

    def refuse(call: Callable[[], object]) -> str:
        with pytest.raises(TaskReferenceError) as caught:
            call()
        assert isinstance(caught.value, ValueError)
        return str(caught.value)

    return refuse


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    """A client of an SQS of its own."""
    with mock_aws():
        yield client("sqs")


@pytest.fixture
def queue(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQueue]:
    """A queue there, whose dead letter queue the environment names."""
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs})
    monkeypatch.setattr(queues, "_urls", {})
    queue = TaskQueue(sqs, "mail")
    monkeypatch.setenv(contract.ENV_DEAD_LETTER_QUEUE, queue.dead_letter_queue)
    yield queue
    queue.delete()


@pytest.fixture
def s3(sqs: Any, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """A bucket, which the environment names: that of `tests.buckets`."""
    made = client("s3")
    made.create_bucket(Bucket=BUCKET)
    answering = Answering(made)
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs, "s3": answering})
    monkeypatch.setenv(contract.ENV_PAYLOADS, BUCKET)
    monkeypatch.setenv(contract.ENV_MAX_RECEIVE_COUNT, "10")
    yield answering
    answering.clear()
    made.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def mail(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQueue]:
    """A queue there, whose redrive policy names its dead letter queue after four deliveries."""
    monkeypatch.setattr(clients, "_clients", {"sqs": sqs})
    monkeypatch.setattr(queues, "_urls", {})
    queue = TaskQueue(sqs, "mail", max_receive_count=4)
    yield queue
    queue.delete()


@pytest.fixture
def requests(sqs: Any) -> Iterator[Requests]:
    """What is asked of SQS, in order."""
    found: Requests = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        found.append((model.name, dict(params)))

    sqs.meta.events.register("provide-client-params.sqs", note)
    yield found
    sqs.meta.events.unregister("provide-client-params.sqs", note)


@pytest.fixture
def answers(sqs: Any) -> Iterator[Answers]:
    """``answers("ReceiveMessage", error, None)`` lets the next request raise the error and the one after it pass."""
    prepared = []

    def prepare(operation: str, *errors: Exception | None) -> None:
        waiting = list(errors)

        def answer(**_: Any) -> None:
            if waiting and (error := waiting.pop(0)):
                raise error

        event = f"before-call.sqs.{operation}"
        sqs.meta.events.register(event, answer)
        prepared.append((event, answer))

    yield prepare
    for event, answer in prepared:
        sqs.meta.events.unregister(event, answer)


@pytest.fixture
def journal(queue: TaskQueue) -> Iterator[list[str]]:
    """The tasks of tests.sqs_tasks that ran, and what was asked of SQS, in order."""
    from tests.sqs_tasks import ran  # noqa: PLC0415  (its tasks are registered where they are used)

    ran.clear()

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "DeleteMessageBatch":
            ran.append("delete " + " ".join(name(entry["ReceiptHandle"]) for entry in params["Entries"]))
        elif model.name == "ChangeMessageVisibilityBatch":
            assert {entry["VisibilityTimeout"] for entry in params["Entries"]} == {0}
            ran.append("show " + " ".join(name(entry["ReceiptHandle"]) for entry in params["Entries"]))
        elif model.name == "ChangeMessageVisibility":
            ran.append(f"hide {name(params['ReceiptHandle'])} for {params['VisibilityTimeout']}")
        elif model.name == "SendMessageBatch":
            ran.append("dead-letter")

    def name(receipt: str) -> str:
        try:
            return json.loads(queue.bodies[receipt])["args"][0]
        except ValueError:
            return queue.bodies[receipt]

    events = clients.client("sqs").meta.events
    events.register("provide-client-params.sqs", note)
    yield ran
    events.unregister("provide-client-params.sqs", note)
