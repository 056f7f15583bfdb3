"""Tasks that run in processes of their own, for tests: those processes import this module, and little with it."""

import asyncio
import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runtime_lib import Discard, HttpError, Reject, Retry, RetryLater, TaskContext, current_context, hooks, task
from runtime_lib.events.api import ApiEvent

started: list[str] = []
"""What has run in this process."""


class OutOfStockError(Exception):
    def __init__(self, item: str) -> None:
        super().__init__(f"{item} is out of stock")
        self.item = item


class UnspeakableError(Exception):
    def __init__(self, what: object) -> None:
        super().__init__(what)


@dataclasses.dataclass
class Order:
    number: int
    at: datetime


# --- Results ---------------------------------------------------------------------------------------------------------


@task(subprocess=True)
def returns(value: Any) -> Any:
    started.append("returns")
    return value


@task(subprocess=True)
async def areturns(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


@task(subprocess=True)
def measures(text: str) -> int:
    return len(text)


@task(subprocess=True)
def repeats(count: int) -> str:
    return "x" * count


@task(subprocess=True)
def is_typed(order: Order, /, *extra: timedelta, flag: bool = False) -> Any:
    assert isinstance(order.at, datetime)
    assert all(isinstance(one, timedelta) for one in extra)
    return {"year": order.at.year, "seconds": sum(one.total_seconds() for one in extra), "flag": flag, "order": order}


@task(subprocess=True)
def returns_an_object() -> Any:
    return object()


@task(subprocess=True)
def knows(number: int, context: TaskContext, metadata: dict[str, Any], **others: Any) -> Any:
    assert current_context() is context
    return {
        "number": number,
        "others": others,
        "metadata": metadata,
        "id": context.id,
        "chain": context.chain,
        "attempt": context.attempt,
        "receipt": context.receipt,
        "remaining": context.remaining_seconds(),
        "delivery": context.delivery._asdict(),
    }


@task(subprocess=True)
def answers(event: ApiEvent) -> str:
    return event.path


@task(subprocess=True)
def surroundings() -> Any:
    threads = [thread.name for thread in threading.enumerate()]
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "folder": str(Path.cwd()),
        "stdin": sys.stdin.read(),
        "python_path": os.environ.get("PYTHONPATH"),
        "sys_path": sys.path,
        "modules": sorted(sys.modules),
        "threads": threads,
    }


@task(subprocess=True)
def hands_down() -> list[str]:
    """The files that a process has open which takes over all that can be inherited."""
    listing = "import os; print(*os.listdir('/proc/self/fd'))"
    command = [sys.executable, "-c", listing]
    return subprocess.run(command, capture_output=True, text=True, check=True, close_fds=False).stdout.split()


@task(subprocess=True)
def leaves_a_file() -> str:
    Path("left.txt").write_text("here")
    return str(Path.cwd())


@task(subprocess=True)
def prints(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"{text} on stderr\n")


@task(subprocess=True, timeout=2)
def prints_and_hangs(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    time.sleep(60)


@task(subprocess=True)
def dispatches() -> str:
    return child_of.dispatch().id


@task
def child_of() -> None:
    context = current_context()
    assert context
    sys.stdout.write(f"parent={context.parent} chain={context.chain} source={context.source}\n")


@hooks.init_task
def prepare() -> None:
    started.append("prepare")


@task(subprocess=True)
def is_prepared() -> list[str]:
    return started


@task(subprocess=True)
def goes_on_after_its_result(mark: str) -> int:
    def go_on() -> None:
        time.sleep(60)

    threading.Thread(target=go_on).start()
    del mark
    return os.getpid()


# --- Failures --------------------------------------------------------------------------------------------------------


@task(subprocess=True, retry=Retry(3, first_delay=30, jitter="none", give_up_on=[OutOfStockError]))
def raises(what: str) -> None:
    known: dict[str, Any] = {
        "OutOfStockError": lambda: OutOfStockError("tea"),
        "LookupError": lambda: LookupError("no such order", 17),
        "FileNotFoundError": lambda: Path("/nowhere/at/all").read_text(),
        "HttpError": lambda: HttpError(404, "no such order", {"X-Shop": "1"}, {"order": 7}),
        "UnspeakableError": lambda: UnspeakableError(object()),
        "RetryLater": lambda: RetryLater(timedelta(minutes=2), "busy"),
        "Discard": lambda: Discard("done already"),
        "Reject": lambda: Reject("no such customer"),
        "CancelledError": asyncio.CancelledError,
        "a class of another module": _of_another_module,
    }
    error = known[what]()
    raise error


def _of_another_module() -> Exception:
    from sqlite3 import dbapi2  # noqa: PLC0415  (which the tests do not load)

    return dbapi2.IntegrityError("UNIQUE failed")


@task(subprocess=True)
async def araises() -> None:
    raise OutOfStockError("tea")


@task(subprocess=True)
def ends(how: str) -> None:
    sys.stderr.write(f"about to {how}\n")
    sys.stderr.flush()
    match how:
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "exit 3":
            sys.exit(3)
        case "exit with a text":
            sys.exit("no disk left")
        case "exit 0":
            os._exit(0)
        case "be killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "talk":
            sys.stderr.write("x" * 10_000 + "\nthe last line\n")
            sys.exit(1)


# --- Time ------------------------------------------------------------------------------------------------------------


@task(subprocess=True, timeout=2.5, retry="never")
def hangs(note: str) -> None:
    _hang(note)


@task(subprocess=True, retry="never")
def hangs_without_timeout(note: str) -> None:
    _hang(note)


@task(subprocess=True, retry="never")
async def ahangs(note: str) -> None:
    _hang(note)


def _hang(note: str) -> None:
    """Write down this process and one that it has started, and wait."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    written = Path(f"{note}.new")
    written.write_text(f"{os.getpid()} {child.pid} {Path.cwd()}")
    written.rename(note)
    time.sleep(60)


@task
async def counts(name: str) -> None:
    started.append(name)


@task(subprocess=True)
async def computes(go: str) -> None:
    """Goes on when the file is there, and does nothing else meanwhile."""
    _compute_until(go)


def _compute_until(go: str) -> None:
    while not Path(go).exists():
        time.sleep(0.02)
