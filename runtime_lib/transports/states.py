"""Tasks as executions of a Step Functions state machine: workflows."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_lib.clients import client as shared_client
from runtime_lib.contract import ENV_QUEUE_URL_PREFIX, WORKFLOW_INPUT_MAX_BYTES
from runtime_lib.errors import DispatchError, FailedMessage, PayloadTooLargeError

if TYPE_CHECKING:
    from runtime_lib.task import Call

__all__ = ["StatesTransport", "state_machine_arn"]

_PARALLEL = 8


class StatesTransport:
    """Starts an execution for each task, named after its message's id, so that a message starts no second one.

    Args:
        state_machine: name of the state machine in this account and region, or its ARN.
        client: a boto3 Step Functions client; by default one made from the environment when first needed.
    """

    def __init__(self, state_machine: str, client: Any | None = None) -> None:
        self.state_machine = state_machine
        self._client = client

    def send(self, calls: "Sequence[Call]") -> None:
        """Start an execution for each of them, several at a time.

        Raises:
            PayloadTooLargeError: one is too large for an execution, and there is no payload bucket; nothing is started.
            DispatchError: one asks for a delay, which an execution has not (nothing is started), or AWS did not take
                some of them: ``failed`` says which and why.
        """
        for call in calls:
            if call.delay:
                raise DispatchError(
                    f"{call.envelope.task} cannot be delayed by {call.delay:,} s: a workflow starts now, unless "
                    "grant_dispatch(function, delayed=True) lets it wait in a schedule"
                )
        calls = _fitting(calls)
        states = self._client or shared_client("stepfunctions")
        arn = state_machine_arn(self.state_machine, states)
        if len(calls) == 1:
            failures = [_start(calls[0], arn, states)]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_PARALLEL) as threads:
                failures = list(threads.map(lambda call: _start(call, arn, states), calls))
        failed = [failure for failure in failures if failure]
        if failed:
            raise DispatchError(
                f"{len(failed)} of {len(calls)} executions of {self.state_machine} were not started: "
                f"{failed[0].code}: {failed[0].message}",
                failed=failed,
            )


def state_machine_arn(name: str, states: Any) -> str:
    """The ARN of a state machine by its name, in the region of the client and the account of this function."""
    if ":" in name:
        return name
    region = states.meta.region_name
    # https://sqs.<region>.<suffix>/<account>/
    account = os.environ.get(ENV_QUEUE_URL_PREFIX, "").rstrip("/").rpartition("/")[2]
    if not account.isdigit():
        account = shared_client("sts").get_caller_identity()["Account"]
    return f"arn:{states.meta.partition}:states:{region}:{account}:stateMachine:{name}"


def _fitting(calls: "Sequence[Call]") -> "Sequence[Call]":
    large = [call for call in calls if len(call.body) > WORKFLOW_INPUT_MAX_BYTES]
    if not large:
        return calls
    from runtime_lib.contract import ENV_PAYLOADS

    if not os.environ.get(ENV_PAYLOADS):
        raise PayloadTooLargeError.of(large[0].envelope.task, len(large[0].body), WORKFLOW_INPUT_MAX_BYTES)
    from runtime_lib.payloads import checked_in

    return checked_in(calls, limit=WORKFLOW_INPUT_MAX_BYTES)


def _start(call: "Call", arn: str, states: Any) -> FailedMessage | None:
    try:
        states.start_execution(stateMachineArn=arn, name=call.envelope.id, input=call.body)
    except states.exceptions.ExecutionAlreadyExists:
        return None  # started by an earlier attempt of this request, or of the task that dispatches
    except Exception as error:  # noqa: BLE001  (botocore's errors share no base class; all mean: not started)
        return FailedMessage(call.envelope.id, type(error).__name__, str(error))
    return None
