"""Shared by the tests of constructs_lib's source reading, and by those of the handlers."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from constructs_lib._source import SourceTree, TaskReferenceError
from runtime_lib import clients, contract, queues
from tests.deliveries import TaskQueue


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
    from boto3 import client
    from moto import mock_aws

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
