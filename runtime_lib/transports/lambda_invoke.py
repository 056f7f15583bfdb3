"""Tasks as asynchronous invocations of a Lambda function."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_lib import registry
from runtime_lib.clients import client as shared_client
from runtime_lib.contract import ENV_FOPS_FUNCTION_NAME
from runtime_lib.errors import DispatchError, FailedMessage
from runtime_lib.transports import sendable

if TYPE_CHECKING:
    from runtime_lib.task import Call

__all__ = ["LambdaTransport", "invoke"]

_PARALLEL = 8
_ACCEPTED = 202


class LambdaTransport:
    """Invokes a function asynchronously for each task; Lambda retries it up to twice and cannot delay it.

    Args:
        function_name: its name or ARN, an alias behind a colon; by default what the environment variable
            FOPS_BACKGROUND_TASKS_LAMBDA_NAME says.
        client: a boto3 Lambda client; by default one made from the environment when first needed.
    """

    def __init__(self, function_name: str | None = None, client: Any | None = None) -> None:
        self.function_name = function_name or os.environ.get(ENV_FOPS_FUNCTION_NAME)
        self._client = client

    def send(self, calls: "Sequence[Call]") -> None:
        """Invoke the function for each of them, several at a time.

        Raises:
            PayloadTooLargeError: one is too large for an event, and there is no payload bucket; nothing is sent.
            DispatchError: a call asks for what an asynchronous invocation has not (nothing is sent), or AWS did not
                take some of them: ``failed`` says which and why.
        """
        if not self.function_name:
            raise DispatchError(f"LambdaTransport has no function: pass function_name or set {ENV_FOPS_FUNCTION_NAME}")
        for call in calls:
            _refuse_delays(call)
        calls = sendable(calls)
        lambda_client = self._client or shared_client("lambda")
        if len(calls) == 1:
            failures = [self._invoke(calls[0], lambda_client)]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_PARALLEL) as threads:
                failures = list(threads.map(lambda call: self._invoke(call, lambda_client), calls))
        failed = [failure for failure in failures if failure]
        if failed:
            raise DispatchError(
                f"{len(failed)} of {len(calls)} invocations of {self.function_name} were not accepted: "
                f"{failed[0].code}: {failed[0].message}",
                failed=failed,
            )

    def _invoke(self, call: "Call", lambda_client: Any) -> FailedMessage | None:
        try:
            invoke(str(self.function_name), call.body, lambda_client)
        except Exception as error:  # noqa: BLE001  (botocore's errors share no base class; all mean: not sent)
            return FailedMessage(call.envelope.id, type(error).__name__, str(error))
        return None

    def lambda_handler(self, event: Any, context: Any) -> None:
        """The handler of the function that runs the tasks: ``handler = lambda_transport.lambda_handler``."""
        from runtime_lib.handlers.background_task_function import handler

        handler(event, context)


def invoke(function_name: str, body: str, lambda_client: Any) -> None:
    """Invoke a function asynchronously.

    Raises:
        Exception: AWS did not take the event.
    """
    response = lambda_client.invoke(FunctionName=function_name, InvocationType="Event", Payload=body.encode())
    response["Payload"].read()  # it is empty, and a connection serves the next request only after its answer was read
    if response["StatusCode"] != _ACCEPTED:
        raise DispatchError(f"Lambda answered {response['StatusCode']}, not {_ACCEPTED}: it did not take the event")


def _refuse_delays(call: "Call") -> None:
    """An asynchronous invocation starts at once and is retried after Lambda's own delays: refuse to ask for others."""
    name = call.envelope.task
    instead = "serve the task by a ManagedAsyncTask or PriorityTaskQueues instead"
    if call.delay:
        raise DispatchError(
            f"{name} cannot be delayed by {call.delay:,} s: an asynchronous invocation starts now, unless "
            f"grant_dispatch(function, delayed=True) lets it wait in a schedule; {instead}"
        )
    task = registry.find(name)
    if task is None:
        return
    if task.retry.is_delayed:
        raise DispatchError(
            f"{name} has a Retry with first_delay or max_delay: an asynchronous invocation is retried after one and "
            f"two minutes, whatever it says; {instead}"
        )
    if "RetryLater" in task.definition.__code__.co_names:
        raise DispatchError(f"{name} raises RetryLater, which an asynchronous invocation cannot do; {instead}")
