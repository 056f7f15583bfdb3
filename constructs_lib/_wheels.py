"""Installs requirements for Lambda's platform, whatever machine this is."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["install_wheels", "installed_files"]

# Amazon Linux 2023, from Python 3.12 on, has glibc 2.34; Amazon Linux 2 before it 2.26. (AWS Lambda: Lambda runtimes)
_AL2023_SINCE: Final = (3, 12)
_GLIBC_MINOR_AL2023: Final = 34
_GLIBC_MINOR_AL2: Final = 26
_GLIBC_MINOR_OLDEST: Final = 5
_MACHINES: Final = {"arm64": "aarch64", "x86_64": "x86_64"}


def install_wheels(
    requirements: Path, target: Path, *, python: str, architecture: str, environment: Mapping[str, str]
) -> None:
    """Install a requirements file into a directory, from wheels alone.

    Args:
        requirements: a requirements file; pip's own options and environment variables apply.
        target: an empty directory.
        python: as in ``3.13``.
        architecture: Lambda's name of it, ``arm64`` or ``x86_64``.
        environment: variables for pip, besides those of this process.

    Raises:
        RuntimeError: pip is missing or failed; its output tells why.
    """
    if find_spec("pip") is None:
        raise RuntimeError(
            f"{requirements} cannot be installed: {sys.executable} has no pip. Install pip into it "
            "(python -m ensurepip, or uv pip install pip)"
        )
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-compile", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
        *(f"--platform={platform}" for platform in _platforms(python, architecture)),
        *("--target", str(target), "--requirement", str(requirements)),
    ]
    result = subprocess.run(  # noqa: S603
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(
            f"{requirements} cannot be installed for Python {python} on {architecture} (wheels only):\n"
            f"{result.stderr.strip()}"
        )


def _platforms(python: str, architecture: str) -> list[str]:
    """Platform tags of the wheels that run on Lambda, the newest first."""
    machine = _MACHINES[architecture]
    version = tuple(int(part) for part in python.split("."))
    newest = _GLIBC_MINOR_AL2023 if version >= _AL2023_SINCE else _GLIBC_MINOR_AL2
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, _GLIBC_MINOR_OLDEST - 1, -1)]
    return [*tags, f"manylinux2014_{machine}"]


def installed_files(target: Path) -> Iterator[tuple[str, Path]]:
    """What pip installed, without what names this machine: scripts, their hashes, and where wheels lay."""
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target)
        if path.is_dir() or name.parts[0] == "bin":
            continue
        if name.parent.suffix == ".dist-info" and name.name in {"RECORD", "direct_url.json"}:
            continue
        yield name.as_posix(), path
