"""For your own tests: a stack's template without what changes from run to run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk.assertions import Template

__all__ = ["template_of"]

_HASHED_TYPES: Final = frozenset({"AWS::ApiGateway::Deployment", "AWS::Lambda::Version"})
_TRAILING_HASH: Final = re.compile(r"[0-9a-f]{32}$")
_CDK_METADATA: Final = ("aws:asset:", "aws:cdk:")
# CDK's own additions to a template, by section.
_CDK_ENTRIES: Final = {
    "Conditions": "CDKMetadataAvailable",
    "Parameters": "BootstrapVersion",
    "Resources": "CDKMetadata",
    "Rules": "CheckBootstrapVersion",
}


def template_of(stack: cdk.Stack) -> dict[str, Any]:
    """The synthesized template of a stack, for a snapshot test.

    ::

        def test_shop(snapshot):  # syrupy
            assert template_of(ShopStack(cdk.App(), "Shop")) == snapshot

    It is equal wherever and whenever the stack is synthesized, until the stack itself changes: hashes of assets read
    ``<asset hash>``, those in the logical ids of Lambda versions and API deployments ``<hash>``; CDK's metadata and its
    check of the bootstrap version are left out. Names made from construct paths stay. With ``CDK_VALIDATION=false`` in
    the environment a synthesis takes a quarter of its time.

    Raises:
        RuntimeError: the stack cannot be synthesized, or its resources depend on each other in a circle.
    """
    template = Template.from_stack(stack).to_json()
    text = json.dumps(template)
    for churn, replacement in {**_hashed_ids(template), **dict.fromkeys(_asset_hashes(stack), "<asset hash>")}.items():
        text = text.replace(churn, replacement)
    return _without_cdk_entries(json.loads(text))


def _hashed_ids(template: Mapping[str, Any]) -> dict[str, str]:
    """Logical ids that end in a hash of what they stand for, with what to write instead."""
    return {
        logical_id: _TRAILING_HASH.sub("<hash>", logical_id)
        for logical_id, resource in template.get("Resources", {}).items()
        if resource["Type"] in _HASHED_TYPES
    }


def _asset_hashes(stack: cdk.Stack) -> set[str]:
    """The hashes of every asset that the stack's app or stage publishes."""
    stage = cdk.Stage.of(stack)
    assert stage is not None
    hashes: set[str] = set()
    # The assembly of the synthesis that has just been: it is kept.
    for manifest in Path(stage.synth().directory).glob("*.assets.json"):
        assets = json.loads(manifest.read_text("utf-8"))
        hashes.update(assets.get("files", {}), assets.get("dockerImages", {}))
    return hashes


def _without_cdk_entries(template: dict[str, Any]) -> dict[str, Any]:
    for section, entry in _CDK_ENTRIES.items():
        template.get(section, {}).pop(entry, None)
    for resource in template.get("Resources", {}).values():
        if "Metadata" in resource:
            metadata = {
                key: value for key, value in resource.pop("Metadata").items() if not key.startswith(_CDK_METADATA)
            }
            if metadata:
                resource["Metadata"] = metadata
    return {section: entries for section, entries in template.items() if entries}
