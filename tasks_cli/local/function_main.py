"""Starts Lambda's runtime client in a function's process of the local cloud: `function_runtime` puts it there.

On Lambda the client hands each log record to the platform in a frame. Here it writes to standard output, where a record
that ends in a traceback has no line end: it would wait for the next invocation's output to complete its line.
"""

import sys
from typing import Any

from awslambdaric import __main__ as client  # type: ignore[import-untyped]
from awslambdaric import bootstrap

_write = bootstrap.StandardLogSink.log


def _write_line(sink: object, message: str, *frame: Any) -> None:
    _write(sink, message if message.endswith("\n") else message + "\n", *frame)


if __name__ == "__main__":
    bootstrap.StandardLogSink.log = _write_line
    client.main(sys.argv)
