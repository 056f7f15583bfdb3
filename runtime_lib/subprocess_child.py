"""What runs in the process of a task: its function, or the script that stands for it; see `subprocess_run`."""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from threading import Thread
from types import CoroutineType
from typing import Any

from runtime_lib.context import Delivery, TaskContext, running
from runtime_lib.envelope import Envelope
from runtime_lib.errors import SubprocessError, message_of
from runtime_lib.log import logger

__all__ = ["Request", "main", "take"]

_STDIN = 0


class Request:
    """One run: what is asked for, and where the answer goes."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.task: str = told["task"]
        self.module: str = told["module"]
        self.script: str | None = told["script"]
        self.args: list[Any] = told["args"]
        self.kwargs: dict[str, Any] = told["kwargs"]
        self.context = TaskContext(Envelope(**told["envelope"]), Delivery(**told["delivery"]))
        self.is_answered = False
        self.error: BaseException | None = None
        """What was answered, if that is an exception."""
        self._answer_fd: int = told["answer_fd"]
        os.set_inheritable(self._answer_fd, False)  # noqa: FBT003

    def run(self, call: Callable[[], Any]) -> Any:
        """Make the call, run what it returns to its end if that is a coroutine, and answer with how it ended.

        A call that ends the process is no answer: its exit code is.

        Raises:
            BaseException: what the call raised, once that is answered.
        """
        try:
            result = call()
            if isinstance(result, CoroutineType):
                from asyncio import run

                result = run(result)
            answer = self._encoded(result)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.fail(error)
            raise
        self._send(answer)
        return result

    def fail(self, error: BaseException) -> None:
        """Answer with an exception."""
        self.error = error
        from runtime_lib.subprocess_errors import described

        self._send(json.dumps({"error": described(error)}))

    def _encoded(self, result: Any) -> str:
        from runtime_lib.results import plain

        try:
            return json.dumps({"result": result}, default=plain, allow_nan=False, separators=(",", ":"))
        except Exception as error:
            raise SubprocessError(
                f"{self.task} returned a {type(result).__name__}, which its process cannot send as JSON: "
                f"{message_of(error)[:1_000]}"
            ) from error

    def _send(self, answer: str) -> None:
        self.is_answered = True
        with os.fdopen(self._answer_fd, "wb") as pipe:
            pipe.write(answer.encode() + b"\n")


_untaken: Request | None = None
"""What a script has not yet taken."""


def take() -> Request | None:
    """The run that this process is for, once; None in any other process."""
    global _untaken
    request, _untaken = _untaken, None
    return request


def main() -> None:
    """Run what the other process asks for."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # the other process has ended
        sys.exit(1)
    told = json.loads(line)
    _watch_other_process()
    _restore(told["python_path"])
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is killed has printed all the same
    request = Request(told)
    running.set(request.context)
    logger.setLevel(told["log_level"])
    try:
        if request.script is None:
            _run_task(request, told["root_log_level"])
        else:
            _set_up_logging(told["root_log_level"])
            _run_script(request, request.script)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        if not request.is_answered:
            request.fail(error)
        if error is not request.error:
            raise
        sys.exit(1)  # it is told where the answer is waited for


def _watch_other_process() -> None:
    """Do not outlive the process that waits: its end closes the pipe, however it ends."""
    pipe = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)  # what the task starts is not to read from the pipe
    os.close(nothing)

    def watch() -> None:
        os.read(pipe, 1)
        os.killpg(0, signal.SIGKILL)

    Thread(target=watch, name="task-parent", daemon=True).start()


def _restore(python_path: str | None) -> None:
    """What the task starts is to have the environment that it would have without a process of its own."""
    if python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = python_path


def _set_up_logging(level: int | None) -> None:
    """Write log lines to stderr as the other process does, unless the task's own module has set that up."""
    if level is not None:
        logging.basicConfig(level=level, format="[%(levelname)s] %(name)s: %(message)s")


def _run_task(request: Request, log_level: int | None) -> None:
    from runtime_lib import hooks, registry

    registry.load_modules([request.module])
    _set_up_logging(log_level)
    task = registry.resolve(request.task)
    hooks.run_init_tasks()
    args, kwargs = task.signature.accept(request.args, request.kwargs)
    kwargs |= {name: inject(request.context) for name, inject in task.signature.injected.items()}
    request.run(lambda: task.function(*args, **kwargs))


def _run_script(request: Request, script: str) -> None:
    from runpy import run_path

    global _untaken  # noqa: PLW0603
    _untaken = request
    sys.path.insert(0, str(Path(script).parent))  # as Python does for a script
    run_path(script, run_name="__main__")
    if not request.is_answered:
        raise SubprocessError(
            f"{script} ended without a result for {request.task}: its last lines are to call the function that has "
            "@subprocess, without arguments"
        )
