"""The local cloud of a project folder, which runs until it is ended: `tasks local up` and `down`."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tasks_cli.cloud import Cloud
from tasks_cli.local.process import LocalCloudError, end_group, new_directory, start_emulator

END_TIMEOUT_SECONDS = 10.0
_FOLDER = ".tasks"


class RunningCloud(NamedTuple):
    """A local cloud that runs without the process that started it."""

    process_id: int
    url: str
    ca_bundle: str | None
    directory: str
    enforces_iam: bool

    def cloud(self) -> Cloud:
        """The way to its services."""
        return Cloud(url=self.url, ca_bundle=Path(self.ca_bundle) if self.ca_bundle else None)


def log_path(project: Path) -> Path:
    """What the project's local cloud writes: its warnings, and the output of failed functions."""
    return project / _FOLDER / "local.log"


def start(
    project: Path, *, port: int = 0, enforce_iam: bool = False, environment: Mapping[str, str] | None = None
) -> RunningCloud:
    """Start the local cloud of a project; with ``enforce_iam`` it serves https, which TLS-only queues then need.

    ``environment`` adds variables for every function.

    Raises:
        LocalCloudError: one runs already, or it cannot be started.
    """
    (project / _FOLDER).mkdir(exist_ok=True)
    (project / _FOLDER / ".gitignore").write_text("*\n")
    # The emulator holds the lock until it ends: that says whether one runs, whatever became of the state file.
    with _lock(project, fcntl.LOCK_EX) as (lock, is_free):
        if not is_free:
            running = find(project)
            where = f"at {running.url} (process {running.process_id})" if running else "and is starting or ending"
            raise LocalCloudError(f"a local cloud of this folder runs already {where}: `tasks local down` ends it")
        _forget(project)
        directory = new_directory()
        try:
            emulator = start_emulator(
                directory,
                log=log_path(project),
                port=port,
                enforce_iam=enforce_iam,
                tls=enforce_iam,
                environment=environment,
                keep_open=lock,
            )
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        cloud = emulator.cloud
        assert cloud.url, "a local cloud"
        running = RunningCloud(
            emulator.process.pid,
            cloud.url,
            str(cloud.ca_bundle) if cloud.ca_bundle else None,
            str(directory),
            enforce_iam,
        )
        _write(project, running)
        emulator.detach()
        return running


def find(project: Path) -> RunningCloud | None:
    """The project's local cloud, if one runs."""
    if not _lock_path(project).exists():
        return None
    # Shared, so that two commands that look at once do not take each other for a cloud.
    with _lock(project, fcntl.LOCK_SH) as (_, is_free):
        return None if is_free else _read(project)


def end(project: Path) -> RunningCloud | None:
    """End the project's local cloud and everything that it started; what ran, if anything did.

    Raises:
        LocalCloudError: it did not end within `END_TIMEOUT_SECONDS`.
    """
    running = find(project)
    if running is None:
        return None
    end_group(running.process_id)
    deadline = time.monotonic() + END_TIMEOUT_SECONDS
    while find(project):
        if time.monotonic() > deadline:
            raise LocalCloudError(f"process {running.process_id} did not end: end it with `kill -9`")
        time.sleep(0.01)
    _forget(project)
    return running


def _state_path(project: Path) -> Path:
    return project / _FOLDER / "local.json"


def _lock_path(project: Path) -> Path:
    return project / _FOLDER / "local.lock"


@contextmanager
def _lock(project: Path, kind: int) -> Iterator[tuple[int, bool]]:
    """Open the lock and try to take it: its descriptor, and whether it was free."""
    descriptor = os.open(_lock_path(project), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield descriptor, False
        else:
            yield descriptor, True
    finally:
        os.close(descriptor)


def _read(project: Path) -> RunningCloud | None:
    try:
        return RunningCloud(**json.loads(_state_path(project).read_text()))
    except FileNotFoundError:
        return None


def _forget(project: Path) -> None:
    """Remove what a cloud left that has ended."""
    if ended := _read(project):
        shutil.rmtree(ended.directory, ignore_errors=True)
        _state_path(project).unlink()


def _write(project: Path, running: RunningCloud) -> None:
    unfinished = _state_path(project).with_suffix(".new")
    unfinished.write_text(json.dumps(running._asdict(), indent=2) + "\n")
    unfinished.replace(_state_path(project))
