"""TaskCode: the one asset that every function of an app runs from."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final, NamedTuple, final
from weakref import WeakKeyDictionary, finalize

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda
from constructs import Construct

from constructs_lib._asset_files import content_digest, lay_down, package_files, package_root
from constructs_lib._source import SourceTree
from constructs_lib._wheels import install_wheels, installed_files
from runtime_lib.contract import LAMBDA_CODE_MAX_BYTES

__all__ = ["TaskCode"]

_RUNTIME: Final = "runtime_lib"
# The other packages of this distribution: naming it in a requirements file brings them, and no function needs them.
_NOT_FOR_LAMBDA: Final = frozenset({"constructs_lib", "tasks_cli"})
_CDK: Final = "aws_cdk"


class _Target(NamedTuple):
    """What wheels are chosen for."""

    python: str
    architecture: str


@final
class TaskCode:
    """Your package, ``runtime_lib``, and your requirements where given: the one asset of all functions.

    Made by `from_package`.

    Attributes:
        package: the top-level package.
        source: finds tasks, modules and handlers in the package's source.
    """

    def __init__(
        self,
        package: str,
        root: Path,
        files: Mapping[str, Path],
        requirements: Path | None,
        environment: Mapping[str, str],
    ) -> None:
        self.package: Final = package
        self.source: Final = SourceTree(package, root, _modules(package, files))
        self._root = root
        self._files = {f"{package}/{name}": path for name, path in files.items()} | _runtime_files()
        self._requirements = requirements
        self._environment = dict(environment)
        self._installed: dict[_Target, Path] = {}
        self._codes: WeakKeyDictionary[cdk.Stack, dict[_Target | None, aws_lambda.Code]] = WeakKeyDictionary()

    @classmethod
    def from_package(
        cls,
        package: str,
        *,
        exclude: Sequence[str] = (),
        requirements: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> "TaskCode":
        """The code of one package; nothing of it is imported.

        Never in the asset: names that begin with a dot (``.env``, ``.git``, caches), ``__pycache__``, ``*.pyc``,
        ``node_modules`` and ``cdk.out``. Every file has the module path that it has here.

        Args:
            package: top-level package, importable from here.
            exclude: patterns of more files and directories to leave out, relative to the package: ``tests`` is only the
                directory at its top, ``**/tests`` every one; ``*`` and ``?`` stay within a name; a directory goes with
                everything in it.
            requirements: a requirements file to install with pip, from wheels for the functions' Python version and
                architecture; without it no tool and no network is needed. Its environment markers
                (``; python_version < "3.12"``) are judged by the Python that runs this.
            environment: environment variables while the requirements are installed, besides those of this process: pip
                reads its options from ``PIP_…``, and the file may say ``${NAME}``. Default: none.

        Raises:
            ValueError: the package cannot be found or is one of this library's, a pattern is not relative, the
                requirements file does not exist, or a variable is known at deployment only.
        """
        if package in {_RUNTIME, *_NOT_FOR_LAMBDA, _CDK}:
            raise ValueError(f"package={package!r}: give your own package; runtime_lib is added to it")
        file = None if requirements is None else Path(requirements).resolve()
        if file is not None and not file.is_file():
            raise ValueError(f"requirements={os.fspath(requirements or '')!r}: there is no file {file}")
        for name, value in (environment or {}).items():
            if not isinstance(value, str) or cdk.Token.is_unresolved(value):
                raise ValueError(
                    f"environment[{name!r}] is {value!r}, allowed is a string that is known now: "
                    "the requirements are installed before anything is deployed"
                )
        root = package_root(package)
        return cls(package, root, package_files(root, exclude), file, environment or {})

    def for_stack(
        self,
        scope: Construct,
        *,
        runtime: aws_lambda.Runtime | None = None,
        architecture: aws_lambda.Architecture | None = None,
    ) -> aws_lambda.Code:
        """The one `Code` of the scope's stack, which CDK does not let several stacks share.

        Args:
            scope: any construct of the stack, or of the nested stack.
            runtime: the function's; needed with requirements, which are installed for it.
            architecture: likewise.

        Raises:
            ValueError: there are requirements, but no runtime or architecture, or the runtime is not Python.
        """
        target = self._target(runtime, architecture)
        codes = self._codes.setdefault(cdk.Stack.of(scope), {})
        if target not in codes:
            codes[target] = aws_lambda.Code.from_asset(
                str(self._root),
                asset_hash_type=cdk.AssetHashType.OUTPUT,
                bundling=cdk.BundlingOptions(
                    image=cdk.DockerImage.from_registry("docker-is-never-used"),
                    local=_LocalBundling(lambda output: self._bundle(output, target)),
                    # CDK takes bundles of equal options and source path for one: the content has to be among them.
                    command=[self._digest, *(target or ())],
                ),
            )
        return codes[target]

    def _target(
        self, runtime: aws_lambda.Runtime | None, architecture: aws_lambda.Architecture | None
    ) -> _Target | None:
        if self._requirements is None:
            return None
        if runtime is None or architecture is None:
            raise ValueError(
                f"{self._requirements} is installed for one Python version and architecture: "
                "give for_stack() the function's runtime= and architecture="
            )
        python = runtime.name.removeprefix("python")
        if python == runtime.name:
            raise ValueError(f"runtime={runtime.name!r}: tasks run on a Python runtime, as in Runtime.PYTHON_3_13")
        return _Target(python, architecture.name)

    @cached_property
    def _digest(self) -> str:
        digest = content_digest(self._files)
        if self._requirements is None:
            return digest
        environment = json.dumps(self._environment, sort_keys=True).encode()
        return sha256(digest.encode() + environment + self._requirements.read_bytes()).hexdigest()

    def _bundle(self, output: Path, target: _Target | None) -> None:
        files = self._files if target is None else self._requirement_files(target) | self._files
        size = sum(path.stat().st_size for path in files.values())
        if size > LAMBDA_CODE_MAX_BYTES:
            largest = sorted(files, key=lambda name: files[name].stat().st_size, reverse=True)[:3]
            raise ValueError(
                f"the asset of package {self.package!r} has {size:,} bytes, Lambda allows {LAMBDA_CODE_MAX_BYTES:,}: "
                f"leave files out with exclude= or take fewer requirements; the largest are {', '.join(largest)}"
            )
        lay_down(files, output)

    def _requirement_files(self, target: _Target) -> dict[str, Path]:
        """What the requirements bring for a target; they are installed once in a process."""
        assert self._requirements is not None
        directory = self._installed.get(target)
        if directory is None:
            directory = Path(mkdtemp(prefix="task-code-"))
            finalize(self, rmtree, directory, ignore_errors=True)
            install_wheels(
                self._requirements,
                directory,
                python=target.python,
                architecture=target.architecture,
                environment=self._environment,
            )
            self._installed[target] = directory
        files = {}
        for name, path in installed_files(directory):
            top = name.partition("/")[0]
            if top in {self.package, _CDK}:
                raise ValueError(
                    f"{self._requirements} installs {top}, "
                    + ("which is synthesized with, not run" if top == _CDK else "as your own package is called")
                    + ": leave out the requirement that brings it"
                )
            if top not in {_RUNTIME, *_NOT_FOR_LAMBDA}:
                files[name] = path
        return files


@jsii.implements(cdk.ILocalBundling)
class _LocalBundling:
    """Bundles in this process. It raises what goes wrong: to return False would start docker."""

    def __init__(self, bundle: Callable[[Path], None]) -> None:
        self._bundle = bundle

    def try_bundle(self, output_dir: str, options: object = None, **_: object) -> bool:  # noqa: ARG002
        """CDK passes its options as one argument, its type declares them as keywords; neither is needed."""
        self._bundle(Path(output_dir))
        return True


def _runtime_files() -> dict[str, Path]:
    files = package_files(package_root(_RUNTIME), ["**/py.typed"])
    return {f"{_RUNTIME}/{name}": path for name, path in files.items()}


def _modules(package: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """The file of each module, by its full name."""
    modules = {}
    for name, path in files.items():
        parts = [package, *name.removesuffix(".py").split("/")]
        if name.endswith(".py") and all(part.isidentifier() for part in parts):
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules
