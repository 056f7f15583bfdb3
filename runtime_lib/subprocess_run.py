"""Runs a task's function in a process of its own: this side of it; the other one is `subprocess_child`.

The child is a fresh interpreter, in a session and a folder of its own. It gets what it needs as one line of JSON
through its stdin, which then stays open for as long as this process lives, and answers with one line through a pipe.
"""

import json
import logging
import os
import signal
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from shutil import rmtree
from subprocess import PIPE, Popen
from tempfile import mkdtemp
from threading import Lock
from typing import TYPE_CHECKING, Any

from runtime_lib.errors import SubprocessError, TaskDefinitionError, TaskTimeoutError
from runtime_lib.log import logger
from runtime_lib.subprocess_errors import restored
from runtime_lib.time_limit import overrun

if TYPE_CHECKING:
    from runtime_lib.context import TaskContext
    from runtime_lib.task import Task

__all__ = ["ENV_SCRIPTS", "in_its_own_process"]

ENV_SCRIPTS = "WORKER_TASK_DIR"
"""Folder of scripts that run in place of tasks, as easyjobs spells it."""

_PROGRAM = "from runtime_lib.subprocess_child import main; main()"
_MARGIN_SECONDS = 0.5
"""Before the function's deadline: what was killed is to be reported in time."""
_EXIT_SECONDS = 1.0
"""How long a process may take to end after its answer."""
_CHECK_SECONDS = 0.1
_ENDING_CHECK_SECONDS = 0.005
_TAIL_CHARACTERS = 2_000
_CHUNK_BYTES = 65_536


def in_its_own_process(task: "Task[..., Any]", context: "TaskContext") -> Callable[..., Any]:
    """What runs in place of the task's function; async if that is.

    Raises:
        TaskDefinitionError: no other process could import the task.
    """
    script = _script(task)
    if script is None and task.definition.__module__ == "__main__":
        raise TaskDefinitionError(
            f"{task.name} has subprocess=True and is defined in the program itself, which its process cannot import: "
            "move it to a module, and import that"
        )

    def run_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Run:
        return _Run(task, context, _request(task, context, script, args, kwargs))

    def call(*args: Any, **kwargs: Any) -> Any:
        return run_of(args, kwargs).result()

    async def acall(*args: Any, **kwargs: Any) -> Any:
        return await _in_a_thread(run_of(args, kwargs))

    return acall if task.is_async else call


async def _in_a_thread(run: "_Run") -> Any:
    from asyncio import CancelledError, create_task, shield, wait

    from runtime_lib.daemon_threads import DaemonThreads

    thread = DaemonThreads(1, "task-subprocess")
    running = create_task(thread.call(run.result))
    try:
        return await shield(running)
    except CancelledError:
        run.kill()
        await wait([running], timeout=_EXIT_SECONDS)  # its folder goes, too
        raise
    finally:
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # which nobody awaits any more
        thread.end()


def _script(task: "Task[..., Any]") -> str | None:
    """The file that runs in place of the task's function, if there is one."""
    folder = os.environ.get(ENV_SCRIPTS)
    if not folder:
        return None
    path = Path(folder, f"{task.definition.__name__}.py").absolute()
    return str(path) if path.is_file() else None


def _request(
    task: "Task[..., Any]",
    context: "TaskContext",
    script: str | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    injected = task.signature.injected
    sent = task.signature.to_wire(args, {name: value for name, value in kwargs.items() if name not in injected})
    delivery = context.delivery._replace(lambda_context=None, arguments=None)
    try:
        json.dumps(delivery.event)
    except (TypeError, ValueError, RecursionError):  # it is what a trigger of the user's delivered
        delivery = delivery._replace(event=None)
    root = logging.getLogger()
    return {
        "task": task.name,
        "module": task.definition.__module__,
        "script": script,
        "args": sent[0],
        "kwargs": sent[1],
        "envelope": context.envelope._asdict(),
        "delivery": delivery._asdict(),
        "python_path": os.environ.get("PYTHONPATH"),
        "log_level": logger.logger.level,
        "root_log_level": root.level if root.handlers else None,
    }


class _Run:
    """One attempt. It runs in the thread that asks for its result, and may be killed from any other."""

    def __init__(self, task: "Task[..., Any]", context: "TaskContext", request: dict[str, Any]) -> None:
        self._task = task
        self._request = request
        self._ends_at, self._out_of_time = _limit(task, context.delivery.deadline)
        self._process: Popen[bytes] | None = None
        self._is_killed = False
        self._lock = Lock()
        self._unsent = memoryview(b"")
        self._answer = bytearray()
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._tail = ""

    def result(self) -> Any:
        """What the task returned, as its JSON form comes back.

        Raises:
            TaskTimeoutError: it took too long.
            SubprocessError: its process ended without an answer, or the task raised what is not known here.
            Exception: what the task raised.
        """
        if time.monotonic() >= self._ends_at:
            raise self._out_of_time
        folder = mkdtemp(prefix="task-")
        try:
            self._run_in(folder)
        finally:
            rmtree(folder, ignore_errors=True)
        return self._answered()

    def kill(self) -> None:
        """End the process and what it has started, or keep it from starting; nothing if it has ended."""
        with self._lock:
            self._is_killed = True
            if self._process and self._process.returncode is None:
                _kill_group(self._process)

    def _run_in(self, folder: str) -> None:
        receiving, answering = os.pipe()
        try:
            request = json.dumps(self._request | {"answer_fd": answering}, separators=(",", ":"))
            self._unsent = memoryview(request.encode() + b"\n")
            process = self._start(folder, answering)
        except BaseException:
            os.close(receiving)
            raise
        finally:
            os.close(answering)
        try:
            self._attend(process, receiving)
        finally:
            os.close(receiving)
            self._end(process)

    def _start(self, folder: str, answering: int) -> "Popen[bytes]":
        with self._lock:
            if self._is_killed:
                raise SubprocessError(f"{self._task.name} was cancelled before its process began")
            self._process = Popen(  # noqa: S603  (this interpreter)
                [sys.executable, "-P", "-c", _PROGRAM],
                bufsize=0,
                stdin=PIPE,
                stderr=PIPE,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                pass_fds=(answering,),
                start_new_session=True,
            )
            return self._process

    def _attend(self, process: "Popen[bytes]", receiving: int) -> None:
        """Send the request, take the answer and pass stderr on, until the process has ended or its time is up."""
        assert process.stdin
        assert process.stderr
        with DefaultSelector() as selector:
            for fd, event, act in (
                (process.stdin.fileno(), EVENT_WRITE, self._send),
                (process.stderr.fileno(), EVENT_READ, self._pass_on),
                (receiving, EVENT_READ, self._receive),
            ):
                os.set_blocking(fd, False)
                selector.register(fd, event, act)
            while process.poll() is None:
                if self._is_answered():
                    self._ends_at = min(self._ends_at, time.monotonic() + _EXIT_SECONDS)
                left = self._ends_at - time.monotonic()
                if left <= 0:
                    break
                # A process that ends closes its pipes a moment before it can be waited for.
                is_ending = self._is_answered() or receiving not in selector.get_map()
                for key, _ in selector.select(min(left, _ENDING_CHECK_SECONDS if is_ending else _CHECK_SECONDS)):
                    if not key.data(key.fd):
                        selector.unregister(key.fd)
        was_running = process.returncode is None
        with self._lock:
            _kill_group(process)  # it could write for longer than its time, and what it has left running for ever
        # What has left the group of the process may write for ever.
        enough = time.monotonic() + _EXIT_SECONDS
        for fd, act in ((receiving, self._receive), (process.stderr.fileno(), self._pass_on)):
            while act(fd, at_end=True) and time.monotonic() < enough:
                pass
        if was_running:
            if not self._is_answered():
                raise self._out_of_time
            logger.warning("the process of %s went on after its result, and is ended", self._task.name)

    def _end(self, process: "Popen[bytes]") -> None:
        with self._lock:
            _kill_group(process)  # also what it has left running
            process.wait()
        for pipe in (process.stdin, process.stderr):
            if pipe:
                pipe.close()

    def _answered(self) -> Any:
        assert self._process
        if not self._is_answered():
            raise self._unanswered(self._process.returncode)
        answer = json.loads(self._answer)
        if "error" in answer:
            raise restored(self._task.name, answer["error"])
        return answer["result"]

    def _unanswered(self, code: int) -> SubprocessError:
        ended = f"ended with exit code {code}"
        if code < 0:
            ended = f"was ended by {_signal_name(-code)}"
            if -code == signal.SIGKILL:
                ended += " (out of memory?)"
        said = (
            f"; the end of its stderr:\n{self._tail.strip()}" if self._tail.strip() else ", and nothing on its stderr"
        )
        return SubprocessError(f"the process of {self._task.name} {ended} and without a result{said}", code)

    # --- The pipes: each of these says whether there may be more ------------------------------------------------------

    def _send(self, fd: int) -> bool:
        try:
            self._unsent = self._unsent[os.write(fd, self._unsent[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it has ended: why, its exit code says
            return False
        return bool(self._unsent)

    def _receive(self, fd: int, *, at_end: bool = False) -> bool:
        data = _read(fd)
        self._answer += data or b""
        return bool(data) if at_end else data != b""

    def _pass_on(self, fd: int, *, at_end: bool = False) -> bool:
        data = _read(fd)
        text = self._decode(data or b"", final=data == b"")
        if text:
            self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]
            with suppress(Exception):  # the task is not to fail for where its parent's stderr leads
                sys.stderr.write(text)
                sys.stderr.flush()
        return bool(data) if at_end else data != b""

    def _is_answered(self) -> bool:
        return self._answer.endswith(b"\n")


def _limit(task: "Task[..., Any]", deadline: float | None) -> tuple[float, TaskTimeoutError]:
    """Until when it may run, by the monotonic clock, and what it fails with then."""
    by_timeout = float("inf") if task.timeout is None else task.timeout
    by_deadline = float("inf") if deadline is None else deadline - _MARGIN_SECONDS - time.time()
    now = time.monotonic()
    if by_timeout <= by_deadline and task.timeout is not None:
        return now + by_timeout, overrun(task)
    error = TaskTimeoutError(f"{task.name} did not end before its function's deadline: raise the function's timeout")
    return now + by_deadline, error


def _read(fd: int) -> bytes | None:
    """What is there; nothing at the end, None if there is nothing yet."""
    try:
        return os.read(fd, _CHUNK_BYTES)
    except BlockingIOError:
        return None


def _kill_group(process: "Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):  # (macOS says the latter of a group that has ended)
        os.killpg(process.pid, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
