"""What the local cloud's process changes in MiniStack."""

import queue
import threading
import time
from typing import Any

import pytest
from ministack.core import iam_actions
from ministack.core.lambda_runtime import ProvidedWorker

from tasks_cli.local import emulator

ANNOUNCEMENT, END = "\x1eannouncement", "\x1eend"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function's environment whose output is written by the test."""
    for name in ("_drain_stderr", "_drain_stderr_bounded"):
        monkeypatch.setattr(ProvidedWorker, name, getattr(ProvidedWorker, name))
    emulator.keep_the_output_of_invocations_whole(ANNOUNCEMENT, END)
    worker: Any = object.__new__(ProvidedWorker)
    worker._stderr_queue = queue.Queue()
    return worker


def write(worker: Any, *lines: str) -> None:
    for line in lines:
        worker._stderr_queue.put(line)


def test_mail_is_permitted_by_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("extract_resource_arn", "request_tag_context"):
        monkeypatch.setattr(iam_actions, name, getattr(iam_actions, name))
    emulator.permit_mail_by_its_sender()

    def asked(service: str, action: str, **parameters: str) -> tuple[str, dict[str, Any]]:
        query = {"Action": [action], **{name: [value] for name, value in parameters.items()}}
        arn = iam_actions.extract_resource_arn(service, "POST", "/", {}, b"", query, "eu-west-1", "1" * 12)
        return arn, iam_actions.request_tag_context(service, f"{service}:{action}", b"", query)

    address = "shop@example.com"
    identity = f"arn:aws:ses:eu-west-1:{'1' * 12}:identity/{address}"
    for source in (address, f"The Shop <{address}>"):
        assert asked("ses", "SendEmail", Source=source) == (identity, {"ses:FromAddress": address})
    assert asked("ses", "GetSendQuota") == ("*", {})
    assert asked("sns", "ListTopics") == ("*", {})


def test_output_that_comes_late_is_still_of_its_invocation(worker: Any) -> None:
    write(worker, ANNOUNCEMENT, "at init", "first")
    late = threading.Timer(0.1, write, [worker, "last", END, "of the next"])
    late.start()
    assert worker._drain_stderr_bounded() == "at init\nfirst\nlast"
    late.join()
    write(worker, f"no line end{END}")
    assert worker._drain_stderr_bounded() == "of the next\nno line end"


def test_output_without_an_end_is_not_waited_for_long(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "OUTPUT_SECONDS", 0.05)
    write(worker, ANNOUNCEMENT, "killed")
    assert worker._drain_stderr_bounded() == "killed"


def test_functions_that_announce_no_end_are_read_as_before(worker: Any) -> None:
    write(worker, "first")
    started = time.monotonic()
    assert worker._drain_stderr_bounded() == "first"
    assert time.monotonic() - started < emulator.OUTPUT_SECONDS / 2


def test_output_of_a_crash_has_no_marks(worker: Any) -> None:
    write(worker, ANNOUNCEMENT, "first", END, "second")
    assert worker._drain_stderr() == "first\nsecond"
