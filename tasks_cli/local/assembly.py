"""Reads what a CDK app synthesized: its stacks in the order of their deployment, and their assets."""

import io
import json
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from tasks_cli.cloud import LOCAL_ACCOUNT, LOCAL_REGION
from tasks_cli.errors import CliError

Template = dict[str, Any]

_ANY_ENVIRONMENT = {"unknown-account", "unknown-region", LOCAL_ACCOUNT, LOCAL_REGION}
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip file can hold: equal content gives equal bytes."""


class AssemblyError(CliError):
    """The cloud assembly cannot be read, or the local cloud cannot hold what it describes."""


class Asset(NamedTuple):
    """A file or folder to upload, and where to."""

    path: Path
    is_folder: bool
    bucket: str
    key: str

    def content(self, extra: dict[str, bytes] | None = None) -> bytes:
        """The bytes to upload; of a folder a zip file, with ``extra`` executable files in it."""
        return _zip(self.path, extra or {}) if self.is_folder else self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack of an assembly."""

    name: str
    template_path: Path
    assets: tuple[Asset, ...]

    @property
    def template(self) -> Template:
        """The stack's template, read anew each time."""
        return _read(self.template_path)


def read_stacks(directory: Path) -> list[Stack]:
    """The stacks of the assembly in ``directory``, those of its stages included; each after those it depends on.

    Raises:
        AssemblyError: there is no assembly, or a stack needs a container image, an account or a region that the local
            cloud does not have.
    """
    manifest_path = directory / "manifest.json"
    if not manifest_path.is_file():
        raise AssemblyError(f"{directory} holds no synthesized CDK app (no manifest.json): run `tasks synth` first")
    artifacts = _read(manifest_path)["artifacts"]
    dependencies = {name: artifact.get("dependencies", []) for name, artifact in artifacts.items()}
    stacks: list[Stack] = []
    for name in TopologicalSorter(dependencies).static_order():
        artifact = artifacts[name]
        if artifact["type"] == "aws:cloudformation:stack":
            stacks.append(_stack(directory, name, artifacts))
        elif artifact["type"] == "cdk:cloud-assembly":
            stacks += read_stacks(directory / artifact["properties"]["directoryName"])
    return stacks


def _stack(directory: Path, artifact_name: str, artifacts: dict[str, Any]) -> Stack:
    artifact = artifacts[artifact_name]
    properties = artifact["properties"]
    name = properties.get("stackName", artifact_name)
    environment = artifact["environment"].removeprefix("aws://").split("/")
    if not _ANY_ENVIRONMENT.issuperset(environment):
        raise AssemblyError(
            f"stack {name} is for account {environment[0]} and region {environment[1]}; the local cloud is "
            f"{LOCAL_ACCOUNT} and {LOCAL_REGION}: leave out the stack's env, or take it from CDK_DEFAULT_ACCOUNT and "
            "CDK_DEFAULT_REGION"
        )
    manifests = (artifacts[dependency] for dependency in artifact.get("dependencies", []))
    assets = [
        asset
        for manifest in manifests
        if manifest["type"] == "cdk:asset-manifest"
        for asset in _assets(directory, directory / manifest["properties"]["file"])
    ]
    return Stack(name, directory / properties["templateFile"], tuple(assets))


def _assets(directory: Path, manifest_path: Path) -> Iterator[Asset]:
    manifest = _read(manifest_path)
    for image in manifest.get("dockerImages", {}).values():
        raise AssemblyError(f"the local cloud runs no container images: {image.get('displayName', image['source'])}")
    for file in manifest.get("files", {}).values():
        source = file["source"]
        if "executable" in source:
            raise AssemblyError(f"the local cloud cannot run the command that makes an asset: {source['executable']}")
        for destination in file["destinations"].values():
            yield Asset(
                path=directory / source["path"],
                is_folder=source["packaging"] == "zip",
                bucket=_local_name(destination["bucketName"]),
                key=destination["objectKey"],
            )


def _local_name(name: str) -> str:
    return (
        name.replace("${AWS::AccountId}", LOCAL_ACCOUNT)
        .replace("${AWS::Region}", LOCAL_REGION)
        .replace("${AWS::Partition}", "aws")
    )


def _zip(folder: Path, extra: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            if name not in extra:
                _add(archive, name, path.read_bytes(), path.stat().st_mode)
        for name, content in sorted(extra.items()):
            _add(archive, name, content, stat.S_IFREG | 0o755)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = mode << 16
    archive.writestr(entry, content)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
