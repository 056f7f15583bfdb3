"""Tags that every taggable resource of a construct gets."""

import re
from collections.abc import Mapping
from typing import Final

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._validation import refusal, require_number

__all__ = ["add_tags", "check_tags"]

# The strictest of the services concerned is IAM, which also takes keys for one that differ in case alone.
# (IAM: Tags for IAM resources, Requirements)
_ALLOWED: Final = re.compile(r"[\w .:/=+\-@]*")
_KEY_LENGTH: Final = 128
_VALUE_LENGTH: Final = 256
_MOST: Final = 50
_RESERVED: Final = "aws:"


def check_tags(scope: Construct, tags: Mapping[str, str]) -> None:
    """Refuse tags that AWS would refuse.

    Raises:
        ValueError: a key or a value is too long, has characters that are not allowed, or there are too many.
    """
    require_number(scope, "len(tags)", len(tags), 0, _MOST, remedy="AWS takes no more on one resource")
    spelled: dict[str, str] = {}
    for key, value in tags.items():
        other = spelled.setdefault(key.lower(), key)
        if other != key:
            raise refusal(
                scope,
                f"tags[{key!r}]",
                given=f"there, and so is {other!r}",
                allowed="keys that differ in more than case",
                remedy="remove one: IAM takes them for the same",
            )
        if not 1 <= len(key) <= _KEY_LENGTH or not _ALLOWED.fullmatch(key) or key.lower().startswith(_RESERVED):
            raise refusal(
                scope,
                f"tags[{key!r}]",
                given="no key that AWS takes",
                allowed=f"1 to {_KEY_LENGTH} letters, digits, spaces and . : / = + - @ _, not beginning with aws:",
                remedy="rename the tag",
            )
        _check_value(scope, key, value)


def _check_value(scope: Construct, key: str, value: str) -> None:
    if not isinstance(value, str):
        raise refusal(scope, f"tags[{key!r}]", given=repr(value), allowed="a string", remedy=f"write {str(value)!r}")
    if cdk.Token.is_unresolved(value) or (len(value) <= _VALUE_LENGTH and _ALLOWED.fullmatch(value)):
        return
    raise refusal(
        scope,
        f"tags[{key!r}]",
        given=repr(value),
        allowed=f"at most {_VALUE_LENGTH} letters, digits, spaces and . : / = + - @ _",
        remedy="shorten or reword it",
    )


def add_tags(construct: Construct, tags: Mapping[str, str]) -> None:
    """Tag everything of ``construct`` that can be tagged."""
    for key, value in tags.items():
        cdk.Tags.of(construct).add(key, value)
