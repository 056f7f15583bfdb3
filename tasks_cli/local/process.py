"""Starting and ending the process of the local cloud."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tasks_cli.cloud import Cloud
from tasks_cli.errors import CliError
from tasks_cli.local import certificate, function_runtime

START_TIMEOUT_SECONDS = 30.0
"""The process answers within half a second; a busy machine needs more."""
_LOG_NAME = "emulator.log"
_LOG_TAIL_LINES = 15
_INHERITED_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH")
"""What of the user's environment the emulator, and by it every function, sees."""


class LocalCloudError(CliError):
    """The local cloud could not be started."""


class Emulator(NamedTuple):
    """A process of the local cloud, and the way to it."""

    process: subprocess.Popen[bytes]
    cloud: Cloud

    def detach(self) -> None:
        """Let it outlive this process; until then it ends with it."""
        assert self.process.stdin, "started with a pipe"
        self.process.stdin.write(b"detach")
        self.process.stdin.close()

    def end(self) -> None:
        """End it with everything that it started."""
        self.cloud.close()
        end_group(self.process.pid)
        self.process.wait()
        assert self.process.stdin, "started with a pipe"
        self.process.stdin.close()


class LocalCloud:
    """A local cloud for as long as a ``with`` block takes: ``with LocalCloud() as cloud: cloud.client("sqs")``.

    Options: ``port`` 0 takes a free one; ``enforce_iam`` checks the policies of the functions' roles (the caller's own
    credentials count as root); ``tls`` serves https, which queues with a TLS-only policy need under ``enforce_iam``;
    ``environment`` adds variables for the emulator and every function. The process ends with this one, however that
    ends.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        enforce_iam: bool = False,
        tls: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._port = port
        self._enforce_iam = enforce_iam
        self._tls = tls
        self._environment = dict(environment or {})
        self._directory: Path | None = None
        self._emulator: Emulator | None = None

    def __enter__(self) -> Cloud:
        self._directory = new_directory()
        try:
            self._emulator = start_emulator(
                self._directory,
                log=self._directory / _LOG_NAME,
                port=self._port,
                enforce_iam=self._enforce_iam,
                tls=self._tls,
                environment=self._environment,
            )
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        return self._emulator.cloud

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._emulator, "entered before"
        assert self._directory, "entered before"
        self._emulator.end()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def process_id(self) -> int:
        """Of the emulator, which leads the group of every process of this cloud."""
        assert self._emulator, "only inside the with block"
        return self._emulator.process.pid

    @property
    def log(self) -> str:
        """What the emulator wrote so far: its warnings, and the output of failed functions."""
        assert self._directory, "only inside the with block"
        return (self._directory / _LOG_NAME).read_text(errors="replace")


def new_directory() -> Path:
    """A directory for everything a local cloud and its functions write; it ends with the cloud."""
    return Path(tempfile.mkdtemp(prefix="tasks-local-"))


def start_emulator(
    directory: Path,
    *,
    log: Path,
    port: int = 0,
    enforce_iam: bool = False,
    tls: bool = False,
    environment: Mapping[str, str] | None = None,
    keep_open: int | None = None,
) -> Emulator:
    """Start the emulator and wait until it answers; ``keep_open`` is a descriptor that it holds until it ends.

    The socket is bound here and handed over, so that no other process can take the port in between.

    Raises:
        LocalCloudError: the port is taken, or the emulator ended or did not answer in time.
    """
    pair = certificate.write(directory) if tls else None
    with _bind(port) as listener, log.open("wb") as output:
        url = f"{'https' if pair else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        cloud = Cloud(url=url, ca_bundle=pair.certificate if pair else None)
        variables = _environment(cloud, directory, enforce_iam=enforce_iam)
        command = [sys.executable, "-P", str(Path(__file__).with_name("emulator.py"))]
        command += ["--socket", str(listener.fileno()), "--directory", str(directory)]
        command += ["--certificate", str(pair.certificate), "--key", str(pair.key)] if pair else []
        process = subprocess.Popen(
            command,
            env=variables | dict(environment or {}),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()] if keep_open is None else [listener.fileno(), keep_open],
            start_new_session=True,
        )
    emulator = Emulator(process, cloud)
    try:
        _wait_until_ready(emulator, log)
    except BaseException:
        emulator.end()
        raise
    return emulator


def end_group(leader: int) -> None:
    """End every process of a group at once; the local cloud keeps nothing that a slower end could save."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise LocalCloudError(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}): choose another one, or none to get a free one"
        ) from error
    return listener


def _environment(cloud: Cloud, directory: Path, *, enforce_iam: bool) -> dict[str, str]:
    assert cloud.url, "a local cloud"
    variables = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    variables |= {
        "AUTH": "true" if enforce_iam else "false",
        "AWS_ENDPOINT_URL": cloud.url,
        # No docker: a path that does not exist keeps the emulator from removing the user's containers.
        "DOCKER_HOST": f"unix://{directory / 'no-docker'}",
        "GATEWAY_PORT": cloud.url.rpartition(":")[2],
        "LAMBDA_ACCOUNT_CONCURRENCY": "200",
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",
        "LOG_LEVEL": "WARNING",
        "MINISTACK_HOST": "127.0.0.1",
        "S3_DATA_DIR": str(directory / "s3"),
        "TMPDIR": str(directory),
        # They would listen on all interfaces.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    if cloud.ca_bundle:
        variables |= {"AWS_CA_BUNDLE": str(cloud.ca_bundle), "USE_SSL": "1"}
    return variables | function_runtime.environment(directory)


def _wait_until_ready(emulator: Emulator, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    failure = f"it did not answer within {START_TIMEOUT_SECONDS:.0f} s"
    while time.monotonic() < deadline:
        try:
            emulator.cloud.read("/_ministack/health", timeout=deadline - time.monotonic())
        except (OSError, http.client.HTTPException):
            # Refused or reset: the process ended, or is about to.
            time.sleep(0.05)
        else:
            return
        if emulator.process.poll() is not None:
            failure = f"it ended with exit code {emulator.process.returncode}"
            break
    lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    raise LocalCloudError("\n".join([f"the local cloud did not start: {failure}. The end of its log:", *lines]))
