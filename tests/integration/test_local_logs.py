"""The logs of the local cloud's functions: every line is read, and once."""

import sys
from collections.abc import Iterator

import pytest

from tasks_cli.cloud import Cloud
from tasks_cli.local.logs import LogReader
from tasks_cli.local.process import LocalCloud

pytestmark = [
    pytest.mark.xdist_group("local_cloud"),
    pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric and /proc are Linux's"),
]
START = 1_700_000_000_000


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def reader(cloud: Cloud, request: pytest.FixtureRequest) -> LogReader:
    """A reader of two functions that never run: what they log is written by the test."""
    names = [f"{request.node.name}-{letter}"[-64:] for letter in "ab"]
    for name in names:
        cloud.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="shop.handler",
            Role="arn:aws:iam::000000000000:role/any",
            Code={"ZipFile": b"PK\x05\x06" + bytes(18)},
        )
        cloud.client("logs").create_log_group(logGroupName=f"/aws/lambda/{name}")
    return LogReader(cloud, names)


def write(cloud: Cloud, reader: LogReader, function: int, stream: str, lines: list[tuple[int, str]]) -> None:
    group = [*reader._functions][function]
    cloud.client("logs").create_log_stream(logGroupName=group, logStreamName=stream)
    cloud.client("logs").put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": START + offset, "message": message} for offset, message in lines],
    )


def test_a_line_is_read_once(cloud: Cloud, reader: LogReader) -> None:
    write(cloud, reader, 0, "one", [(0, "first"), (0, "second")])
    assert [line.message for line in reader.read()] == ["first", "second"]
    write(cloud, reader, 0, "two", [(10, "third")])
    assert [line.message for line in reader.read()] == ["third"]
    assert reader.read() == []


def test_a_line_that_is_written_after_younger_ones_are_read_is_not_lost(cloud: Cloud, reader: LogReader) -> None:
    write(cloud, reader, 0, "quick", [(900, "younger")])
    write(cloud, reader, 1, "other", [(1_000, "of another function")])
    assert len(reader.read()) == 2
    write(cloud, reader, 0, "slow", [(850, "older")])
    assert [line.message for line in reader.read()] == ["older"]


def test_more_lines_than_the_emulator_returns_at_once_are_all_read(cloud: Cloud, reader: LogReader) -> None:
    for stream in range(30):
        lines = [(stream * 100, f"{stream}.{number}") for number in range(700)]
        write(cloud, reader, 0, str(stream), lines)
    messages = [line.message for line in reader.read()]
    assert len(messages) == len(set(messages)) == 21_000
    assert reader.read() == []
