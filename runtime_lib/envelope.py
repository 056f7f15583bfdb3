"""The message of a dispatched task and its codec.

Wire-compatible with taskhawk's format 1.0 in both directions: metadata keys that a reader does not know are ignored.
"""

import json
import time
from collections.abc import Mapping
from os import urandom
from typing import Any, NamedTuple, NoReturn

from runtime_lib.context import current_context
from runtime_lib.contract import ENVELOPE_VERSION, Priority
from runtime_lib.errors import ArgumentError, EnvelopeError, NewerMessageError

__all__ = ["Envelope", "decode_json", "derived_id"]


class Envelope(NamedTuple):
    """One dispatched task.

    ``{"id", "metadata": {"priority", "timestamp" (epoch ms), "version", …}, "headers", "task", "args", "kwargs"}``

    ``metadata`` also holds, where set: ``chain`` (id of the first message of a chain of dispatches), ``parent`` (id),
    ``source`` (task name), ``hops``, ``schema`` (version of the task's arguments), ``group``, ``lane``.
    """

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    metadata: dict[str, Any]

    @classmethod
    def new(
        cls,
        task: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        priority: Priority,
        headers: dict[str, Any] | None = None,
        group: str | None = None,
        lane: int | None = None,
        schema: int | None = None,
    ) -> "Envelope":
        """An envelope with an id of its own, that remembers the task that is running, if one is.

        It goes into that one's group and lane unless it has its own.
        """
        metadata: dict[str, Any] = {
            "priority": priority._value_,
            "timestamp": time.time_ns() // 1_000_000,
            "version": ENVELOPE_VERSION,
        }
        parent = current_context()
        if parent:
            metadata["chain"] = parent.chain
            metadata["parent"] = parent.id
            metadata["source"] = parent.task
            metadata["hops"] = parent.hops + 1
            group = parent.group if group is None else group
            lane = parent.lane if lane is None else lane
        if group is not None:
            metadata["group"] = group
        if lane:
            metadata["lane"] = lane
        if schema is not None:
            metadata["schema"] = schema
        return cls(_new_id(), task, args, kwargs, headers or {}, metadata)

    def encode(self) -> str:
        """The envelope as strict JSON in ASCII, which every queue takes whatever the text.

        Raises:
            ArgumentError: something in it is no JSON value, or is NaN or infinite; names the argument.
        """
        try:
            return _encode(
                {
                    "id": self.id,
                    "metadata": self.metadata,
                    "headers": self.headers,
                    "task": self.task,
                    "args": self.args,
                    "kwargs": self.kwargs,
                }
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise self._unencodable(error) from None

    def _unencodable(self, error: Exception) -> ArgumentError:
        named = [(f"argument {index}", value) for index, value in enumerate(self.args, 1)]
        named += [(f"argument {name!r}", value) for name, value in self.kwargs.items()]
        named += [(f"header {name!r}", value) for name, value in self.headers.items()]
        for name, value in named:
            try:
                _encode(value)
            except (TypeError, ValueError, RecursionError) as found:
                return ArgumentError(f"{self.task}() {name} cannot be sent as JSON: {found}")
        return ArgumentError(f"{self.task}() cannot be sent as JSON: {error}")

    @classmethod
    def decode(cls, text: str | bytes) -> "Envelope":
        """Read an envelope from JSON.

        Raises:
            EnvelopeError: not JSON, or a field is missing or of another type; says which, what was expected and found.
            NewerMessageError: a format version that this release does not know.
        """
        try:
            message = decode_json(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError) as error:
            raise EnvelopeError(f"the message is not JSON: {error}") from None
        try:
            metadata = message["metadata"]
            envelope_id, task = message["id"], message["task"]
            args, kwargs, headers = message["args"], message["kwargs"], message["headers"]
            if (
                metadata["version"] == ENVELOPE_VERSION
                and metadata["priority"] in _PRIORITIES
                and type(metadata["timestamp"]) is int
                and envelope_id
                and task
                and type(envelope_id) is type(task) is str
                and type(args) is list
                and type(kwargs) is type(headers) is dict
                and (len(metadata) == _NEEDED or _has_types(metadata))
            ):
                return _make(cls, (envelope_id, task, args, kwargs, headers, metadata))
        except (KeyError, TypeError, IndexError):
            pass
        return _examine(message)

    @property
    def priority(self) -> Priority:
        """The priority it was dispatched with."""
        return _PRIORITIES[self.metadata["priority"]]

    @property
    def chain(self) -> str:
        """The id of the first message of its chain of dispatches: its own if it is the first."""
        chain: str = self.metadata.get("chain") or self.id
        return chain

    @property
    def hops(self) -> int:
        """How many tasks dispatched one another before this one."""
        hops: int = self.metadata.get("hops", 0)
        return hops


_UUID_BITS = 0xF << 76 | 0x3 << 62  # its version and variant
_UUID_4 = 0x4 << 76 | 0x2 << 62


def _new_id() -> str:
    """A random UUID (RFC 9562, version 4), at half the time of `uuid.uuid4` and without importing it."""
    digits = f"{int.from_bytes(urandom(16), 'big') & ~_UUID_BITS | _UUID_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_id(*parts: str) -> str:
    """A UUID (RFC 9562, version 5) that is the same for the same parts, in their order."""
    from uuid import NAMESPACE_OID, uuid5

    return str(uuid5(NAMESPACE_OID, _encode(parts)))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if abs(number) == float("inf"):
        raise ValueError(f"{digits[:_SHOWN_CHARACTERS]} is too large a number")
    return number


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
decode_json = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).decode
"""Reads strict JSON: ValueError (mostly JSONDecodeError, which knows where) or RecursionError for anything else."""
_SHOWN_CHARACTERS = 100
"""Of a wrong value, which a message may make as long as itself."""
_make = tuple.__new__  # (what a NamedTuple does as well, at twice the cost)
_PRIORITIES = {priority.value: priority for priority in Priority}
_NEEDED = len(("version", "priority", "timestamp"))

_FIELDS: dict[str, type] = {"id": str, "metadata": dict, "headers": dict, "task": str, "args": list, "kwargs": dict}
_OURS_WITH_TYPES: dict[str, type] = {
    "chain": str,
    "parent": str,
    "source": str,
    "hops": int,
    "schema": int,
    "group": str,
    "payload_key": str,
    "lane": int,
}
_KINDS = {str: "a string", dict: "an object", list: "an array", int: "a whole number", bool: "a boolean"}
_KINDS |= {float: "a number", type(None): "null"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _field(holder: Mapping[str, Any], name: str, expected: type, where: str) -> Any:
    if name not in holder:
        raise EnvelopeError(f"{where}{name} is missing: expected {_KINDS[expected]}")
    value = holder[name]
    if type(value) is not expected:
        raise EnvelopeError(f"{where}{name} is {_kind(value)}: expected {_KINDS[expected]}")
    if value == "":
        raise EnvelopeError(f"{where}{name} is empty: expected {_KINDS[expected]} that is not")
    return value


def _has_types(metadata: Mapping[str, Any]) -> bool:
    return all(
        type(metadata[name]) is expected and metadata[name] != ""
        for name, expected in _OURS_WITH_TYPES.items()
        if name in metadata
    )


def _examine(message: Any) -> Envelope:
    """Read what is unusual, or say what is wrong with it."""
    if type(message) is not dict:
        raise EnvelopeError(f"the message is {_kind(message)}: expected an object")
    for name, expected in _FIELDS.items():
        _field(message, name, expected, "")
    metadata = dict(message["metadata"])
    version = _field(metadata, "version", str, "metadata.")
    if version != ENVELOPE_VERSION:
        raise NewerMessageError(
            f"metadata.version is {version[:_SHOWN_CHARACTERS]!r}: this release reads {ENVELOPE_VERSION!r}"
        )
    if isinstance(metadata.get("timestamp"), str):
        metadata["timestamp"] = _milliseconds(metadata["timestamp"])
    _field(metadata, "timestamp", int, "metadata.")
    priority = _field(metadata, "priority", str, "metadata.")
    if priority not in _PRIORITIES:
        raise EnvelopeError(
            f"metadata.priority is {priority[:_SHOWN_CHARACTERS]!r}: expected one of {', '.join(_PRIORITIES)}"
        )
    for name, expected in _OURS_WITH_TYPES.items():
        if name in metadata:
            _field(metadata, name, expected, "metadata.")
    return Envelope(message["id"], message["task"], message["args"], message["kwargs"], message["headers"], metadata)


def _milliseconds(timestamp: str) -> int:
    """An ISO 8601 time, which taskhawk allows, as epoch milliseconds; UTC if it has no zone."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise EnvelopeError(
            f"metadata.timestamp is {timestamp[:_SHOWN_CHARACTERS]!r}: expected epoch milliseconds or an ISO 8601 time"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
