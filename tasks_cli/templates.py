"""Reads every template of a synthesized CDK app, for whatever account it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_NESTED = ".nested.template.json"


class SynthesizedTemplate(NamedTuple):
    """The template of a stack, or of one nested in it."""

    stack: str
    """Name of the stack, of a nested one that of the outermost."""
    folder: Path
    """Where the assets lie beside it."""
    resources: dict[str, Any]


def read_templates(folder: Path) -> Iterator[SynthesizedTemplate]:
    """The templates of an assembly, those of its stages and nested stacks included."""
    artifacts = _read(folder / "manifest.json").get("artifacts", {})
    for name, artifact in artifacts.items():
        properties = artifact.get("properties", {})
        if artifact["type"] == "cdk:cloud-assembly":
            yield from read_templates(folder / properties["directoryName"])
        elif artifact["type"] == "aws:cloudformation:stack":
            manifests = [artifacts[one] for one in artifact.get("dependencies", ()) if one in artifacts]
            for file in [properties["templateFile"], *_nested_templates(folder, manifests)]:
                resources = _read(folder / file).get("Resources", {})
                yield SynthesizedTemplate(properties.get("stackName", name), folder, resources)


def _nested_templates(folder: Path, artifacts: list[dict[str, Any]]) -> Iterator[str]:
    for artifact in artifacts:
        if artifact["type"] == "cdk:asset-manifest":
            for file in _read(folder / artifact["properties"]["file"]).get("files", {}).values():
                path = file["source"].get("path", "")
                if path.endswith(_NESTED):
                    yield path


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
