"""Starts Lambda's runtime client in a function's process of the local cloud: `function_runtime` puts it there.

On Lambda the client hands each log record to the platform in a frame. Here it writes to standard output, where a record
that ends in a traceback has no line end: it would wait for the next invocation's output to complete its line.
"""

import sys

from awslambdaric import __main__ as client  # type: ignore[import-untyped]
from awslambdaric import bootstrap


class LineLogSink(bootstrap.StandardLogSink):  # type: ignore[misc]
    """Ends each record with a line end."""

    def log(self, msg: str, frame_type: object = None) -> None:
        """Write one record."""
        super().log(msg if msg.endswith("\n") else msg + "\n", frame_type)


if __name__ == "__main__":
    bootstrap.StandardLogSink = LineLogSink
    client.main(sys.argv)
