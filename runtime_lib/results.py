"""What a task returned, as JSON."""

import json
from typing import Any

from runtime_lib.contract import STORE_RESULT_MAX_BYTES
from runtime_lib.errors import message_of

__all__ = ["encode_result", "plain"]


def encode_result(result: Any) -> tuple[str | None, str | None]:
    """The result as JSON text, or why it is none: the task has succeeded all the same.

    JSON values are taken as they are, tuples as lists; dataclasses, datetimes and the like as msgspec encodes them,
    pydantic's models as pydantic does.
    """
    try:
        text = json.dumps(result, default=plain, allow_nan=False, separators=(",", ":"))
    except Exception as error:  # noqa: BLE001  (whatever an object of the user's does when it is looked at)
        return None, f"a {type(result).__name__} that cannot be sent as JSON: {message_of(error)[:1_000]}"
    if len(text) > STORE_RESULT_MAX_BYTES:
        return None, (
            f"it is {len(text):,} bytes of JSON, and a record holds {STORE_RESULT_MAX_BYTES:,}: store it in S3 and "
            "return its key"
        )
    return text, None


def plain(value: Any) -> Any:
    """A value that JSON does not know as one that it does.

    Raises:
        TypeError: nothing that is installed knows it either.
    """
    if hasattr(type(value), "__pydantic_core_schema__"):
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(value)
    try:
        import msgspec
    except ImportError:
        raise TypeError(f"a {type(value).__name__} needs msgspec: pip install msgspec") from None
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_for_msgspec)


def _plain_for_msgspec(value: Any) -> Any:
    """What msgspec asks for a value that it does not know."""
    if hasattr(type(value), "__pydantic_core_schema__"):
        return plain(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value, and msgspec does not know it")
