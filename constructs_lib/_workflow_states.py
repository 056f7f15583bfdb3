"""Single states of a workflow: a run's own, with its retries, and those by which a whole run is recorded."""

from typing import Any, Final, TypeAlias

from constructs_lib._workflow_graph import Run
from runtime_lib import contract

__all__ = [
    "INTEGRATIONS",
    "State",
    "broken",
    "caught",
    "fail",
    "item_reader",
    "recorded",
    "retriers",
    "task_state",
    "told",
]

State: TypeAlias = dict[str, Any]
INTEGRATIONS: Final = {
    "Invoke": "lambda:invoke",
    "SendMessage": "sqs:sendMessage.waitForTaskToken",
    "GetObject": "s3:getObject",
    "UpdateItem": "dynamodb:updateItem",
}
"""What a state asks of other services, by the placeholder that its definition has for it: ARNs tell the partition."""
_LOST: Final = {
    "ErrorEquals": [
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
        "SQS.SdkClientException",
        "SQS.AmazonSQSException",
    ],
    "IntervalSeconds": 2,
    "BackoffRate": 2,
    "MaxAttempts": 6,
    "JitterStrategy": "FULL",
}
"""What Step Functions calls has failed: the task has not run, or its answer was lost.

(https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html)
"""
_NOT_BEGUN: Final = {
    "ErrorEquals": [contract.NODE_NOT_BEGUN],
    "IntervalSeconds": 5,
    "BackoffRate": 1.5,
    "MaxDelaySeconds": 60,
    "MaxAttempts": 30,
}
_CRASHED: Final = ["Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory", "States.Timeout"]
"""Errors of an attempt that ended without a report."""


def told(run: Run, error: str = "$.error.Error", cause: str = "$.error.Cause") -> dict[str, str]:
    """What is said of a run that failed, from what was caught."""
    return {"task": run.task.name, "node": run.name, "error.$": error, "cause.$": cause}


def caught(following: str) -> list[State]:
    """Where a state goes if it fails, too large a result included, which ``States.ALL`` does not catch.

    (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html)
    """
    return [
        {"ErrorEquals": [error], "ResultPath": "$.error", "Next": following}
        for error in ("States.DataLimitExceeded", "States.ALL")
    ]


def broken() -> State:
    """The end of a scope in which something has failed; the scope around it is told."""
    return {"Type": "Pass", "Parameters": {"failure.$": "$.failure"}, "End": True}


def fail() -> State:
    """The end of a state machine in which something has failed."""
    return {"Type": "Fail", "Error": contract.NODE_FAILED, "CausePath": "States.JsonToString($.failure)"}


def item_reader(answer: str) -> State:
    """Where a list is that is too long for a state."""
    return {
        "ItemReader": {
            "Resource": "${GetObject}",
            "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {"Bucket": "${PayloadBucket}", "Key.$": f"{answer}.key"},
        }
    }


def task_state(run: Run, said: dict[str, Any]) -> State:
    """The state of a run: its function is invoked, or its message goes to a queue and is waited for."""
    if run.place.via == "sqs":
        resource = "${SendMessage}"
        message = {contract.NODE_KEY: {**said, "token.$": "$$.Task.Token"}}
        sent = {"QueueUrl": f"${{QueueUrlPrefix}}{run.place.target}", "MessageBody": message}
        answer = "$"
    else:
        resource = "${Invoke}"
        sent = {"FunctionName": run.place.target, "Payload": {contract.NODE_KEY: said}}
        answer = "$.Payload"
    return {
        "Type": "Task",
        "Resource": resource,
        "Parameters": sent,
        "ResultSelector": {"answer.$": answer},
        "TimeoutSeconds": run.place.timeout,
    }


def retriers(run: Run) -> list[dict[str, Any]]:
    """When an attempt is made again: what has not begun, what the policy retries, what did not get there, what crashed.

    What waits in a queue is retried there.
    """
    if run.place.via == "sqs":
        return [_LOST]
    attempts = min(run.task.max_attempts or contract.DEFAULT_MAX_RECEIVE_COUNT, contract.DEFAULT_MAX_RECEIVE_COUNT)
    if attempts == 1:
        return [_NOT_BEGUN, _LOST]
    first = max(1, round(run.task.first_delay))
    backoff = {
        "IntervalSeconds": first,
        "BackoffRate": run.task.multiplier,
        # Step Functions wants it above the interval.
        "MaxDelaySeconds": max(first + 1, round(run.task.max_delay)),
        "MaxAttempts": attempts - 1,
        "JitterStrategy": run.task.jitter.upper(),
    }
    retried = {"ErrorEquals": [contract.NODE_RETRY], **backoff}
    return [_NOT_BEGUN, retried, _LOST, {"ErrorEquals": _CRASHED, **backoff}]


def recorded(table: str, begun: str) -> dict[str, State]:
    """The states that record a run whose execution nobody can look at: that it has begun, and how it ended.

    One that is cancelled by then, or is started a second time, ends before it begins.
    """
    result = "States.JsonToString($.returned.answer.value)"
    error = "States.JsonToString(States.Array($.failure.error, States.JsonToString($.failure)))"
    refused = [{"ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"], "Next": ": skipped"}]
    begins = _update(table, "running", {":queued": {"S": "queued"}}, Catch=refused, Next=begun)
    begins["Retry"].insert(0, {"ErrorEquals": refused[0]["ErrorEquals"], "MaxAttempts": 0})
    # Its own mark as well: what is asked again may have been done.
    asked = begins["Parameters"]
    asked["ConditionExpression"] = "attribute_not_exists(#status) OR #status = :queued OR #execution = :execution"
    asked["UpdateExpression"] += ", #execution = :execution"
    asked["ExpressionAttributeNames"]["#execution"] = "execution"
    asked["ExpressionAttributeValues"][":execution"] = {"S.$": "$$.Execution.Id"}
    return {
        ": recorded": begins,
        ": skipped": {"Type": "Succeed"},
        ": done": _update(table, "succeeded", {":result": {"S.$": result}}, End=True),
        ": discarded": _update(table, "cancelled", {}, End=True),
        ": failed": _update(table, "failed", {":error": {"S.$": error}}, Next=": failure"),
        ": failure": fail(),
    }


def _update(table: str, status: str, values: dict[str, dict[str, str]], **state: Any) -> State:
    """Set the status of a run's record, and with it what ``values`` have a place for."""
    sets = [name for name in ("result", "error") if f":{name}" in values]
    return {
        "Type": "Task",
        "Resource": "${UpdateItem}",
        "Parameters": {
            "TableName": table,
            "Key": {contract.STORE_KEY: {"S.$": "$.run.id"}},
            "UpdateExpression": ", ".join(["SET #status = :status", *(f"#{name} = :{name}" for name in sets)]),
            "ExpressionAttributeNames": {"#status": "status", **{f"#{name}": name for name in sets}},
            "ExpressionAttributeValues": {":status": {"S": status}, **values},
        },
        "ResultPath": None,
        "Retry": [
            {
                "ErrorEquals": ["States.TaskFailed"],
                "IntervalSeconds": 1,
                "BackoffRate": 2,
                "MaxAttempts": 5,
                "JitterStrategy": "FULL",
            }
        ],
        **state,
    }
