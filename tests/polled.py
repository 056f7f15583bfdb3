"""What the tests of the polling worker share."""

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from runtime_lib import listen_for_messages

Requests = list[tuple[str, dict[str, Any]]]
"""Operations and their parameters."""
Answers = Callable[..., None]

DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "ReceiveMessage")
UNREACHABLE = EndpointConnectionError(endpoint_url="https://sqs")


def listen(queue: str = "mail", *, requests: int = 1, **options: Any) -> None:
    """Listen for as many requests, none of which waits."""
    listen_for_messages(queue=queue, loop_count=requests, wait_time_s=0, **options)


def asked(requests: Requests, operation: str) -> list[dict[str, Any]]:
    """The parameters of the requests of one operation."""
    return [params for name, params in requests if name == operation]


def until(what: Callable[[], Any], *, seconds: float = 5) -> None:
    """Wait until ``what`` returns something true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)
