"""The context of an invocation."""

import time
from uuid import uuid4

from runtime_lib.testing._names import ACCOUNT, REGION

__all__ = ["MockLambdaContext"]


class MockLambdaContext:
    """What Lambda passes to a handler beside the event, with time that runs.

    (https://docs.aws.amazon.com/lambda/latest/dg/python-context.html)

    Args:
        function_name: the function's name.
        timeout: seconds until its deadline, from now on.
        memory_limit_in_mb: its memory.
        aws_request_id: the invocation's id, which stays the same when Lambda retries it. Default: a new one.
    """

    def __init__(
        self,
        function_name: str = "function",
        *,
        timeout: float = 60,
        memory_limit_in_mb: int = 128,
        aws_request_id: str | None = None,
    ) -> None:
        self.function_name = function_name
        self.function_version = "$LATEST"
        self.invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function_name}"
        self.memory_limit_in_mb = str(memory_limit_in_mb)
        self.aws_request_id = aws_request_id or str(uuid4())
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.log_stream_name = "2030/01/01/[$LATEST]0123456789abcdef0123456789abcdef"
        self.identity = None
        self.client_context = None
        self._deadline = time.monotonic() + timeout

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline; 0 after it."""
        return max(0, int(1000 * (self._deadline - time.monotonic())))
