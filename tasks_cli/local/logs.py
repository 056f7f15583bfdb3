"""Reads what the functions of the local cloud print, from its CloudWatch Logs."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tasks_cli.cloud import Cloud

_PLATFORM_LINES = ("START RequestId: ", "END RequestId: ", "REPORT RequestId: ")
_LATE_MILLISECONDS = 5_000
"""How much later than its time an invocation's output can be there: the emulator notes the time, then writes."""
_MOST_EVENTS = 10_000
"""As many the emulator returns at once, from the oldest on, without saying that there are more."""


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
        self._since = dict.fromkeys(self._functions, 0)
        # The emulator writes an invocation at once, to a stream of its own.
        self._read_streams: set[str] = set()

    def read(self) -> list[LogLine]:
        """The lines that came since the last call, the oldest first."""
        lines = [line for group in self._functions for line in self._read_group(group)]
        return sorted(lines, key=lambda line: line.timestamp)

    def _read_group(self, group: str) -> Iterator[LogLine]:
        has_more = True
        while has_more:
            try:
                events: list[Any] = self._client.filter_log_events(
                    logGroupName=group, startTime=self._since[group], limit=_MOST_EVENTS
                )["events"]
            except self._client.exceptions.ResourceNotFoundException:
                # The function's first invocation makes it.
                return
            if not events:
                return
            end = events[-1]["timestamp"]
            has_more = len(events) == _MOST_EVENTS and events[0]["timestamp"] < end
            if has_more:
                # The invocations of the last moment may be cut: they come whole with the next ones.
                events = [event for event in events if event["timestamp"] < end]
            unread = [event for event in events if event["logStreamName"] not in self._read_streams]
            for event in unread:
                yield LogLine(event["timestamp"] / 1000, self._functions[group], event["message"].rstrip("\n"))
            self._read_streams.update(event["logStreamName"] for event in unread)
            self._since[group] = end if has_more else max(0, end - _LATE_MILLISECONDS)
