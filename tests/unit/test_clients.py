"""boto3's clients."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from runtime_lib import clients
from runtime_lib.contract import SQS_MAX_WAIT_SECONDS
from runtime_lib.errors import TaskError
from runtime_lib.leases import LEASE_SECONDS
from tests.task_modules import run_program


@pytest.fixture(autouse=True)
def no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_clients", {})


def test_a_client_is_made_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(service: str) -> object:
        made.append(service)
        time.sleep(0.01)  # (boto3 is slower, and its making is not thread-safe)
        return object()

    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=make))
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(clients.client("sqs"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["sqs"]
    assert len({id(one) for one in found}) == 1
    assert clients.client("lambda") is not clients.client("sqs")


def test_a_request_to_dynamodb_that_hangs_is_tried_again_while_a_lease_lasts() -> None:
    config = clients.client("dynamodb").meta.config
    assert max(config.connect_timeout, config.read_timeout) < LEASE_SECONDS / 2
    assert clients.client("sqs").meta.config.read_timeout > SQS_MAX_WAIT_SECONDS


def test_a_missing_boto3_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(TaskError, match="boto3 is needed to reach sqs: pip install boto3"):
        clients.client("sqs")


def test_boto3_is_loaded_by_the_first_request_only() -> None:
    printed = run_program(
        """
        import sys
        from runtime_lib import LambdaTransport, SqsTransport, set_transport, task
        @task
        def send(): ...
        set_transport(SqsTransport({"default": "https://sqs.eu-west-1.amazonaws.com/1/mail"}))
        LambdaTransport("mail")
        send.call()
        print([name for name in ("boto3", "botocore") if name in sys.modules])
        """
    )
    assert printed == "[]\n"
