"""Reads what the functions of the local cloud print, from its CloudWatch Logs."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tasks_cli.cloud import Cloud

_PLATFORM_LINES = ("START RequestId: ", "END RequestId: ", "REPORT RequestId: ")


class LogLine(NamedTuple):
    """One line of a function's log."""

    timestamp: float
    """Seconds since the epoch; all lines of an invocation have the time of its end."""
    function: str
    message: str

    @property
    def is_platforms(self) -> bool:
        """Whether Lambda itself wrote it, and not the function."""
        return self.message.startswith(_PLATFORM_LINES)

    def readable(self) -> str:
        """The message for people: of a JSON record its level and text, with the traceback below."""
        try:
            record = json.loads(self.message)
        except ValueError:
            return self.message
        if not isinstance(record, dict) or "level" not in record:
            return self.message
        error = ": ".join(filter(None, [record.get("errorType"), record.get("errorMessage")]))
        text = " - ".join(filter(None, [record.get("message"), error]))
        return "\n".join([f"{record['level']} {text}", *(line.rstrip("\n") for line in record.get("stackTrace", []))])


class LogReader:
    """The logs of some functions; each line is read once."""

    def __init__(self, cloud: Cloud, functions: Iterable[str]) -> None:
        self._client = cloud.client("logs")
        self._functions: dict[str, str] = {}
        for name in functions:
            config = cloud.client("lambda").get_function_configuration(FunctionName=name)
            group = config.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}")
            self._functions[group] = name
        self._since = 0
        # The emulator writes an invocation at once, to a stream of its own.
        self._read_streams: set[str] = set()

    def read(self) -> list[LogLine]:
        """The lines that came since the last call, the oldest first."""
        lines = [line for group in self._functions for line in self._read_group(group)]
        self._since = max((int(line.timestamp * 1000) for line in lines), default=self._since)
        return sorted(lines, key=lambda line: line.timestamp)

    def _read_group(self, group: str) -> Iterator[LogLine]:
        streams: set[str] = set()
        try:
            for page in self._client.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=self._since
            ):
                for event in page["events"]:
                    stream = event.get("logStreamName", "")
                    if stream not in self._read_streams:
                        streams.add(stream)
                        timestamp = event.get("timestamp", 0) / 1000
                        yield LogLine(timestamp, self._functions[group], event.get("message", "").rstrip("\n"))
        except self._client.exceptions.ResourceNotFoundException:
            # The function's first invocation makes it.
            return
        self._read_streams |= streams
