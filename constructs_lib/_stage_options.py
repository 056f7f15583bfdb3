"""The options of a configuration file: which there are, what they look like, and to what they apply."""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, NamedTuple, get_args

from constructs_lib._function import LogLevel

__all__ = ["OPTIONS", "RETENTION_DAYS", "Kind", "Option", "Where", "is_intrinsic", "nearest"]

_BARE_KEY: Final = re.compile(r"[\w-]+")
_LAYER: Final = re.compile(r"arn:[\w-]+:lambda:[\w-]+:\d{12}:layer:[\w-]+:\d+", re.ASCII)
_POLICY: Final = re.compile(r"arn:[\w-]+:iam::(aws|\d{12}):policy/\S+", re.ASCII)
# What the CDK calls RetentionDays, as CloudWatch Logs takes them.
RETENTION_DAYS: Final = {
    1: "ONE_DAY",
    3: "THREE_DAYS",
    5: "FIVE_DAYS",
    7: "ONE_WEEK",
    14: "TWO_WEEKS",
    30: "ONE_MONTH",
    60: "TWO_MONTHS",
    90: "THREE_MONTHS",
    120: "FOUR_MONTHS",
    150: "FIVE_MONTHS",
    180: "SIX_MONTHS",
    365: "ONE_YEAR",
    400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS",
    731: "TWO_YEARS",
    1096: "THREE_YEARS",
    1827: "FIVE_YEARS",
    2192: "SIX_YEARS",
    2557: "SEVEN_YEARS",
    2922: "EIGHT_YEARS",
    3288: "NINE_YEARS",
    3653: "TEN_YEARS",
}


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str | None:
    """The known name that is most like ``name``, None if none is."""
    found = get_close_matches(name, known, 1)
    return found[0] if found else None


def is_intrinsic(value: object) -> bool:
    """Whether CloudFormation computes this value, as ``{"Fn::ImportValue": "bucket"}``."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    [name] = value
    return isinstance(name, str) and (name == "Ref" or name.startswith("Fn::"))


class Where(NamedTuple):
    """A place in a configuration file."""

    file: str
    path: str = ""

    def key(self, name: str) -> "Where":
        """The place of a table's entry."""
        if not _BARE_KEY.fullmatch(name):
            return Where(self.file, f'{self.path}["{name}"]')
        return Where(self.file, f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> "Where":
        """The place of a list's item."""
        return Where(self.file, f"{self.path}[{index}]")

    def refusal(self, *, given: object, allowed: str, remedy: str) -> ValueError:
        """An error about what stands here."""
        return ValueError(f"{self.file}: {self.path or 'the file'} is {given}, allowed is {allowed}: {remedy}")

    def wrong_type(self, value: object, allowed: str, remedy: str | None = None) -> ValueError:
        """An error about a value of another type."""
        match value:
            case Mapping():
                given = "a table"
            case list():
                given = "a list"
            case None:
                given = "null"
            case bool():
                given = str(value).lower()
            case _:
                given = repr(value)
        if value is None:
            remedy = "leave it out for its default"
        return self.refusal(given=given, allowed=allowed, remedy=remedy or f"write {allowed}")

    def unknown(self, name: str, known: Sequence[str], what: str, *, otherwise: str = "remove it") -> ValueError:
        """An error about an entry that does not exist."""
        near = nearest(name, known)
        return self.key(name).refusal(
            given=f"no {what}",
            allowed=", ".join(known),
            remedy=f"did you mean {near}?" if near else otherwise,
        )


Check = Callable[[Where, Any], None]


def _text(where: Where, value: Any) -> None:
    if not isinstance(value, str) and not is_intrinsic(value):
        quoted = f'write "{value}"' if isinstance(value, int | float) else None
        raise where.wrong_type(value, "a string", quoted)


def _plain_text(where: Where, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise where.wrong_type(value, "a string that is not empty")


def _whole_number(where: Where, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise where.wrong_type(value, "a whole number")


def _number(where: Where, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise where.wrong_type(value, "a number")


def _switch(where: Where, value: Any) -> None:
    if not isinstance(value, bool):
        raise where.wrong_type(value, "true or false")


def _one_of(*allowed: object) -> Check:
    def check(where: Where, value: Any) -> None:
        # True equals 1.
        if isinstance(value, bool) or value not in allowed:
            raise where.wrong_type(value, f"one of {', '.join(map(str, allowed))}")

    return check


def _like(pattern: re.Pattern[str], what: str) -> Check:
    def check(where: Where, value: Any) -> None:
        _text(where, value)
        if isinstance(value, str) and not pattern.fullmatch(value):
            raise where.wrong_type(value, what)

    return check


def _list_of(check: Check) -> Check:
    def check_list(where: Where, value: Any) -> None:
        if not isinstance(value, list):
            raise where.wrong_type(value, "a list")
        for index, item in enumerate(value):
            check(where.item(index), item)

    return check_list


def _table(where: Where, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise where.wrong_type(value, "a table")


def _table_of(check: Check) -> Check:
    def check_table(where: Where, value: Any) -> None:
        _table(where, value)
        for key, inner in value.items():
            check(where.key(key), inner)

    return check_table


def _record(what: str, entries: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    def check(where: Where, value: Any) -> None:
        _table(where, value)
        for key, inner in value.items():
            if key not in entries:
                raise where.unknown(key, [*entries], what)
            entries[key](where.key(key), inner)
        for key in required:
            if key not in value:
                raise where.refusal(given=f"without {key}", allowed=f"one with {key}", remedy="add it")

    return check


def _anything(where: Where, value: Any) -> None:
    """What CloudFormation or IAM judges."""


def _one_or_several(where: Where, value: Any) -> None:
    (_list_of(_text) if isinstance(value, list) else _text)(where, value)


_statement_entries: Final = _record(
    "entry of a statement",
    {
        "Sid": _plain_text,
        "Effect": _one_of("Allow", "Deny"),
        "Action": _one_or_several,
        "NotAction": _one_or_several,
        "Resource": _one_or_several,
        "NotResource": _one_or_several,
        "Condition": _table_of(_table_of(_anything)),
    },
    required=["Effect"],
)


def _statement(where: Where, value: Any) -> None:
    _statement_entries(where, value)
    for one, other in (("Action", "NotAction"), ("Resource", "NotResource")):
        if (one in value) == (other in value):
            raise where.refusal(
                given=f"with {one} and {other}" if one in value else f"without {one}",
                allowed=f"{one} or {other}",
                remedy=f"remove {other}" if one in value else "add it",
            )


_document: Final = _record(
    "entry of a policy document",
    {
        "Version": _one_of("2012-10-17"),
        "Statement": lambda where, value: (_list_of(_statement) if isinstance(value, list) else _statement)(
            where, value
        ),
    },
)


def _policy(where: Where, value: Any) -> None:
    if isinstance(value, str) or is_intrinsic(value):
        _like(_POLICY, "an ARN such as arn:aws:iam::aws:policy/ReadOnlyAccess, or a statement")(where, value)
    elif isinstance(value, Mapping) and "Statement" in value:
        _document(where, value)
    elif isinstance(value, Mapping):
        _statement(where, value)
    else:
        raise where.wrong_type(value, "the ARN of a policy, or a statement")


class Kind(Enum):
    """What an option applies to; its value is who asks for it."""

    FUNCTION = "task() or function()"
    QUEUE = "task()"
    SCHEDULE = "schedule()"
    API = "api()"


class Option(NamedTuple):
    """One option."""

    kind: Kind
    check: Check


OPTIONS: Final[Mapping[str, Option]] = {
    "environment_variables": Option(Kind.FUNCTION, _table_of(_text)),
    "policies": Option(Kind.FUNCTION, _list_of(_policy)),
    "layers": Option(
        Kind.FUNCTION,
        _list_of(
            _like(_LAYER, "the ARN of a layer's version, arn:aws:lambda:<region>:<account>:layer:<name>:<number>")
        ),
    ),
    "subnet_ids": Option(Kind.FUNCTION, _list_of(_text)),
    "security_group_ids": Option(Kind.FUNCTION, _list_of(_text)),
    "tags": Option(Kind.FUNCTION, _table_of(_text)),
    "logging": Option(
        Kind.FUNCTION,
        _record("entry of logging", {"level": _one_of(*get_args(LogLevel)), "retention": _one_of(*RETENTION_DAYS)}),
    ),
    "memory": Option(Kind.FUNCTION, _whole_number),
    "timeout": Option(Kind.FUNCTION, _whole_number),
    "ephemeral_storage": Option(Kind.FUNCTION, _whole_number),
    "reserved_concurrency": Option(Kind.FUNCTION, _whole_number),
    "max_concurrency": Option(Kind.QUEUE, _whole_number),
    "queue_age_alarm": Option(Kind.QUEUE, _whole_number),
    "managed_queue_extras": Option(Kind.QUEUE, _list_of(_table)),
    "paused": Option(Kind.SCHEDULE, _switch),
    "domain_name": Option(Kind.API, _plain_text),
    "tls_version": Option(Kind.API, _plain_text),
    "certificate_arn": Option(Kind.API, _plain_text),
    "auto_create_acm_certificate": Option(Kind.API, _switch),
    "hosted_zone_id": Option(Kind.API, _plain_text),
    "hosted_zone_name": Option(Kind.API, _plain_text),
    "method_settings": Option(
        Kind.API,
        _list_of(
            _record(
                "method setting",
                {
                    "HttpMethod": _plain_text,
                    "ResourcePath": _plain_text,
                    "CacheDataEncrypted": _switch,
                    "CacheTtlInSeconds": _whole_number,
                    "CachingEnabled": _switch,
                    "DataTraceEnabled": _switch,
                    "LoggingLevel": _one_of("OFF", "ERROR", "INFO"),
                    "MetricsEnabled": _switch,
                    "ThrottlingBurstLimit": _whole_number,
                    "ThrottlingRateLimit": _number,
                },
                required=["HttpMethod", "ResourcePath"],
            )
        ),
    ),
}
