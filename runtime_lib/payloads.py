"""The claim check: arguments that are too large for a message wait in a bucket, and the message says where.

They stay there until the bucket's lifecycle removes them, not until the task has succeeded: a message can be delivered
more than once, and a dead letter sent again weeks later.
"""

import json
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_lib.clients import client
from runtime_lib.contract import ENV_PAYLOADS, MESSAGE_MAX_BYTES, PAYLOAD_PREFIX
from runtime_lib.errors import (
    DispatchError,
    EnvelopeError,
    PayloadLostError,
    PayloadTooLargeError,
    PayloadUnavailableError,
)

if TYPE_CHECKING:
    from runtime_lib.envelope import Envelope
    from runtime_lib.task import Call

__all__ = ["checked_in", "claim", "put_value", "read_value", "read_values"]

_PARALLEL = 8
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def checked_in(calls: "Sequence[Call]", *, limit: int = MESSAGE_MAX_BYTES) -> "list[Call]":
    """The calls with the arguments of those in the bucket that are larger than a message of ``limit`` bytes.

    Raises:
        PayloadTooLargeError: there is no bucket, or a message is too large without its arguments as well: its headers.
        DispatchError: the bucket did not take them.
    """
    bucket = os.environ.get(ENV_PAYLOADS)
    large = [call for call in calls if len(call.body) > limit]
    if large and not bucket:
        raise PayloadTooLargeError.of(large[0].envelope.task, len(large[0].body))
    light = {call.envelope.id: _without_arguments(call, limit) for call in large}
    s3 = client("s3")

    def put(call: "Call") -> Exception | None:
        body = _encode({"args": call.envelope.args, "kwargs": call.envelope.kwargs})
        try:
            s3.put_object(Bucket=bucket, Key=_key(call.envelope), Body=body.encode(), ContentType="application/json")
        except Exception as error:  # noqa: BLE001  (botocore's errors share no base class; all mean: not there)
            return error
        return None

    if len(large) == 1:
        errors = [put(large[0])]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_PARALLEL) as threads:
            errors = list(threads.map(put, large))
    for call, error in zip(large, errors, strict=True):
        if error:
            raise DispatchError(
                f"{call.envelope.task}() was not dispatched: the bucket {bucket} did not take its arguments: {error}"
            ) from error
    return [light.get(call.envelope.id, call) for call in calls]


def _without_arguments(call: "Call", limit: int) -> "Call":
    envelope = call.envelope
    metadata = {**envelope.metadata, "payload_key": _key(envelope)}
    light = envelope._replace(args=[], kwargs={}, metadata=metadata)
    body = light.encode()
    if len(body) > limit:
        raise PayloadTooLargeError(
            f"{envelope.task}() makes a message of {len(body):,} bytes without its arguments, and AWS takes "
            f"{limit:,}: its headers are too large"
        )
    return call._replace(envelope=light, body=body)


def claim(envelope: "Envelope") -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a message that says it left them in the bucket.

    Only this function's own bucket is read, and of it only what belongs to this message, whatever it says.

    Raises:
        EnvelopeError: it names another key than its own, or what is there are no arguments.
        PayloadLostError: they are not there any more.
        PayloadUnavailableError: they cannot be read now.
    """
    key, bucket = envelope.metadata["payload_key"], os.environ.get(ENV_PAYLOADS)
    if not _ID.fullmatch(envelope.id) or key != _key(envelope):
        raise EnvelopeError(f"metadata.payload_key is {key!r:.100}: expected {PAYLOAD_PREFIX!r} and the message's id")
    if not bucket:
        raise PayloadUnavailableError(
            f"the arguments are in a bucket at {key!r}, and {ENV_PAYLOADS} names none here: give the construct that "
            "serves the task payloads=PayloadBucket(…)"
        )
    found = _read(bucket, key, "arguments are")
    match found:
        case {"args": list(args), "kwargs": dict(kwargs)}:
            return args, kwargs
    raise EnvelopeError(f"{key!r} in the bucket {bucket} has no arguments: expected args and kwargs")


def put_value(value_id: str, text: str) -> str:
    """Put JSON there that is too large for the state of a workflow, under an id; its key.

    Raises:
        PayloadUnavailableError: there is no bucket, or it did not take it.
    """
    bucket, key = os.environ.get(ENV_PAYLOADS), PAYLOAD_PREFIX + value_id
    if not bucket:
        raise PayloadUnavailableError(
            f"a result of {len(text):,} bytes is too large for a state of the workflow, and {ENV_PAYLOADS} names no "
            "bucket here: give the TaskWorkflow payloads=PayloadBucket(…), or store it in S3 and return its key"
        )
    try:
        client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="application/json")
    except Exception as error:
        raise PayloadUnavailableError(f"the bucket {bucket} did not take a result: {error}") from error
    return key


def read_value(key: str) -> Any:
    """What `put_value` put there.

    Raises:
        EnvelopeError: the key is none of its keys, or what is there is no JSON.
        PayloadLostError: it is not there any more.
        PayloadUnavailableError: it cannot be read now.
    """
    bucket = os.environ.get(ENV_PAYLOADS)
    if not _ID.fullmatch(key.removeprefix(PAYLOAD_PREFIX)) or not key.startswith(PAYLOAD_PREFIX):
        raise EnvelopeError(f"the key of a result is {key!r:.100}: expected {PAYLOAD_PREFIX!r} and an id")
    if not bucket:
        raise PayloadUnavailableError(f"a result is in a bucket at {key!r}, and {ENV_PAYLOADS} names none here")
    return _read(bucket, key, "result is")


def read_values(value_ids: "Sequence[str]") -> list[Any]:
    """What was put there under these ids, in their order.

    Raises:
        EnvelopeError: what is there is no JSON.
        PayloadLostError: something is not there any more.
        PayloadUnavailableError: it cannot be read now.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_PARALLEL) as threads:
        return list(threads.map(read_value, [PAYLOAD_PREFIX + value_id for value_id in value_ids]))


def _read(bucket: str, key: str, what: str) -> Any:
    """JSON in the bucket; ``what`` is there, in words for errors, with its verb."""
    s3 = client("s3")
    try:
        content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        raise PayloadLostError(f"the {what} not in the bucket {bucket} any more: {key!r} is missing") from None
    except Exception as error:
        raise PayloadUnavailableError(
            f"the {what.partition(' ')[0]} cannot be read from {bucket} at {key!r}: {error}"
        ) from error
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(f"{key!r} in the bucket {bucket} is not JSON: {error}") from None


def _key(envelope: "Envelope") -> str:
    return PAYLOAD_PREFIX + envelope.id
