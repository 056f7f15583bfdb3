"""Why a message was given up, as its dead letter carries it."""

import json
from typing import NamedTuple

from runtime_lib.contract import FAILURE_ATTRIBUTE, FAILURE_MAX_BYTES

__all__ = ["Failure"]

_REASON_BYTES = 900
_MESSAGE_BYTES = 700
_SHORT_BYTES = 150


class Failure(NamedTuple):
    """Why a message was given up. Times are epoch seconds; what its shape does not tell is None or empty.

    ``source`` is where it was given up, as a route: ``sqs:<queue>`` or ``lambda:<function>``.
    ``shape`` is how it came to the dead letter queue: "task" (this library), "redrive" (SQS, after deliveries without
    a report), "destination" (Lambda, after an asynchronous invocation), "schedule" (EventBridge Scheduler), "event"
    (a rule of EventBridge) or "stream" (a stream's event source mapping).
    """

    shape: str
    reason: str
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    attempts: int = 0
    first_at: float | None = None
    last_at: float | None = None
    source: str | None = None
    chain: str | None = None

    def attribute(self, free: int = FAILURE_MAX_BYTES) -> str:
        """The failure as the JSON of a message attribute, cut to the bytes that the message has free for it.

        What this library dispatches always has 4 KiB.
        """
        part = max(0, min(1, free / FAILURE_MAX_BYTES))
        fields = {
            "reason": _cut(self.reason, int(part * _REASON_BYTES)),
            "error_type": _cut(self.error_type, int(part * _SHORT_BYTES)),
            "error_message": _cut(self.error_message, int(part * _MESSAGE_BYTES)),
            "traceback": "",
            "attempts": self.attempts,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "source": self.source and _cut(self.source, _SHORT_BYTES),
            "chain": self.chain and _cut(self.chain, _SHORT_BYTES),
        }
        room = min(free, FAILURE_MAX_BYTES) - len(FAILURE_ATTRIBUTE) - len("String")
        # The end of a traceback tells where it happened.
        fields["traceback"] = _cut(self.traceback, max(0, room - len(_json(fields))), end=True)
        return _json(fields)


_json = json.JSONEncoder(separators=(",", ":")).encode


def _cut(text: str, room: int, *, end: bool = False) -> str:
    """The beginning or end of a text that takes ``room`` bytes in JSON, where escapes take up to twelve a character."""
    text = text[len(text) - min(room, len(text)) :] if end else text[:room]
    while (size := len(_json(text)) - len('""')) > room:
        keep = len(text) * room // size
        text = text[len(text) - keep :] if end else text[:keep]
    return text
