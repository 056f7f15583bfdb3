"""The role of a function, and how much fits into it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib._validation import check_at_synth, rendered
from runtime_lib import contract

__all__ = ["TaskRole"]

_WHITE_SPACE: Final = re.compile(r"\s")


class TaskRole(iam.Role):
    """A role with one inline policy, to which grants are added until synthesis, so that it stays one resource.

    Attributes:
        policy: the inline policy.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        statements: Sequence[iam.PolicyStatement],
        managed_policies: Sequence[iam.IManagedPolicy | iam.ManagedPolicy] | None = None,
        service: iam.ServicePrincipal | None = None,
    ) -> None:
        policy = iam.PolicyDocument(minimize=True, statements=statements)
        super().__init__(
            scope,
            construct_id,
            assumed_by=cast("iam.IPrincipal", service or iam.ServicePrincipal("lambda.amazonaws.com")),
            inline_policies={"task": policy},
            managed_policies=managed_policies,
        )
        self.policy: Final = policy
        check_at_synth(self, self._oversize)

    def _oversize(self) -> list[str]:
        """All inline policies count together: ours, and the one that CDK makes for grants of other libraries."""
        beside = self.node.try_find_child("DefaultPolicy")
        documents = [self.policy, *([beside.document] if isinstance(beside, iam.Policy) else [])]
        size = sum(map(self._size, documents))
        if size <= contract.IAM_ROLE_POLICY_MAX_CHARACTERS:
            return []
        error = (
            f"inline policies of {self.node.path} are {size:,} characters, allowed is "
            f"{contract.IAM_ROLE_POLICY_MAX_CHARACTERS:,}: grant fewer targets, put statements into managed_policies, "
            "or let several tasks share a namespace's server"
        )
        return [error]

    def _size(self, document: iam.PolicyDocument) -> int:
        text = json.dumps(_shortest(cdk.Stack.of(self).resolve(document)), separators=(",", ":"), ensure_ascii=False)
        # IAM does not count white space.
        return len(_WHITE_SPACE.sub("", text))


def _shortest(value: Any) -> Any:
    match value:
        case {"Ref": _} | {"Fn::Join": _} | {"Fn::GetAtt": _} | {"Fn::Sub": _} | {"Fn::ImportValue": _}:
            return rendered(value)
        case Mapping():
            return {key: _shortest(inner) for key, inner in value.items()}
        case list():
            return [_shortest(inner) for inner in value]
        case _:
            return value
