"""Starts Lambda's runtime client in a function's process of the local cloud: `function_runtime` puts it there.

On Lambda the client hands each log record to the platform in a frame. Here it writes to standard output, where a record
that ends in a traceback has no line end: it would wait for the next invocation's output to complete its line. And lines
of their own tell where an invocation's output ends, and at first of a function that goes on after it has answered;
`emulator` and `emulator_streaming` look for them, and take them out.
"""

import os
import sys
from typing import Any

from awslambdaric import __main__ as client  # type: ignore[import-untyped]
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient  # type: ignore[import-untyped]


class LineLogSink(bootstrap.StandardLogSink):  # type: ignore[misc]
    """Ends each record with a line end."""

    def log(self, msg: str, frame_type: object = None) -> None:
        """Write one record."""
        super().log(msg if msg.endswith("\n") else msg + "\n", frame_type)


class MarkingClient(LambdaRuntimeClient):  # type: ignore[misc]
    """Ends the output of an invocation before the invocation."""

    _has_asked = False

    def wait_next_invocation(self) -> Any:
        """Ask for an invocation, which ends the one before."""
        if _goes_on():
            _print("TASKS_LOCAL_END" if self._has_asked else "TASKS_LOCAL_GOES_ON")
        self._has_asked = True
        return super().wait_next_invocation()

    def post_invocation_result(self, *arguments: Any, **named: Any) -> None:
        """Send the result."""
        if not _goes_on():
            _print("TASKS_LOCAL_END")
        super().post_invocation_result(*arguments, **named)

    def post_invocation_error(self, *arguments: Any, **named: Any) -> None:
        """Send the error."""
        if not _goes_on():
            _print("TASKS_LOCAL_END")
        super().post_invocation_error(*arguments, **named)


_HANDLE_EVENT_REQUEST = bootstrap.handle_event_request


def _goes_on() -> bool:
    """Whether the function's code works on after it has answered: it has changed how the client handles an event."""
    return bootstrap.handle_event_request is not _HANDLE_EVENT_REQUEST


def _print(variable: str) -> None:
    print(os.environ[variable], flush=True)


if __name__ == "__main__":
    _print("TASKS_LOCAL_ANNOUNCEMENT")
    bootstrap.StandardLogSink = LineLogSink
    client.LambdaRuntimeClient = MarkingClient
    client.main(sys.argv)
