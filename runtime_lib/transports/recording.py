"""The task is remembered and not run: for tests that ask what was dispatched."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime_lib.task import Call

__all__ = ["RecordingTransport"]


class RecordingTransport:
    """Keeps what is dispatched in ``sent``, in order.

    ::

        with using_transport(RecordingTransport()) as recording:
            checkout(order)
        assert [call.envelope.args for call in recording.sent] == [["a@b.c", "Hi"]]
    """

    def __init__(self) -> None:
        self.sent: list[Call] = []

    def send(self, calls: "Sequence[Call]") -> None:
        """Remember the calls."""
        self.sent.extend(calls)
