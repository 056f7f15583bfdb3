"""Every word that constructs_lib and runtime_lib must agree on, spelled once.

The constructs write these names into templates; the runtime reads them in Lambda. This module imports nothing of
either library.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, NamedTuple

__all__ = [
    "DEFAULT_NAMESPACE",
    "Priority",
    "Route",
    "is_fifo",
    "lane_route_variable",
    "namespace_route_variable",
    "task_route_variable",
    "taskhawk_queue_name",
]


class Priority(StrEnum):
    """The priority a task is dispatched with; ``Priority.high`` and ``Priority.HIGH`` are the same member."""

    DEFAULT = "default"
    HIGH = "high"
    LOW = "low"
    BULK = "bulk"
    default = DEFAULT
    high = HIGH
    low = LOW
    bulk = BULK


DEFAULT_NAMESPACE: Final = "DEFAULT"

# --- Handlers: what a construct sets as its function's Handler -------------------------------------------------------

API_STATUS_HANDLER: Final = "runtime_lib.handlers.api_status.handler"
API_TASK_HANDLER: Final = "runtime_lib.handlers.api_task.handler"
BACKGROUND_TASK_FUNCTION_HANDLER: Final = "runtime_lib.handlers.background_task_function.handler"
MANAGED_ASYNC_TASK_HANDLER: Final = "runtime_lib.handlers.managed_async_task.handler"
PRIORITY_TASK_QUEUES_HANDLER: Final = "runtime_lib.handlers.priority_task_queues.handler"
EVENT_TASK_HANDLER: Final = "runtime_lib.handlers.event_task.handler"
SCHEDULED_TASK_HANDLER: Final = "runtime_lib.handlers.scheduled_task.handler"
PURE_TASK_HANDLER: Final = "runtime_lib.handlers.pure_task.handler"
QUEUE_TASK_HANDLER: Final = "runtime_lib.handlers.queue_task.handler"
TASK_WORKFLOW_HANDLER: Final = "runtime_lib.handlers.task_workflow.handler"
STREAM_TASK_HANDLER: Final = "runtime_lib.handlers.stream_task.handler"
STREAMING_LAMBDA_HANDLER: Final = "runtime_lib.handlers.streaming_lambda.handler"

# --- Environment variables -------------------------------------------------------------------------------------------

ENV_MODULES: Final = "TASK_MODULES"
"""Comma-separated modules that a handler imports during INIT, so that their tasks are registered."""
ENV_TASK: Final = "TASK_NAME"
"""Registered name of the one task that a function serves whose events are no envelopes."""
ENV_API_RESPOND: Final = "TASK_API_RESPOND"
"""How an ApiTask's function answers: "result" (what the task returns) or "accepted" (202, once it is dispatched)."""
ENV_API_STATUS_PATH: Final = "TASK_API_STATUS_PATH"
"""Path in the API at which the status of a dispatched task is: ``/tasks/{id}``; without it there is none."""
ENV_API_CORS: Final = "TASK_API_CORS"
"""What other origins may do, as JSON, for every answer of a function, errors too:
``{"origins": ["https://shop.example"] or ["*"], "credentials": false, "expose_headers": ["Location"]}``."""
ENV_ROUTE_PREFIX: Final = "TASK_ROUTE__"
"""Prefix of a route; the rest is the key that `task_route_variable` and `namespace_route_variable` build."""
ENV_QUEUE_URL_PREFIX: Final = "TASK_QUEUE_URL_PREFIX"
"""What a bare queue name is appended to: ``https://sqs.<region>.<suffix>/<account>/``."""
ENV_DEAD_LETTER_QUEUE: Final = "TASK_DEAD_LETTER_QUEUE"
"""Name of the queue to which a handler writes the tasks that it gives up."""
ENV_TAKES_DEAD_LETTERS: Final = "TASK_TAKES_DEAD_LETTERS"
"""``1``: the queue of this function's task is the dead letter queue of others."""
ENV_MAX_RECEIVE_COUNT: Final = "TASK_MAX_RECEIVE_COUNT"
"""The source queue's maxReceiveCount: the runtime gives a message up before SQS would, to keep the reason.

Of an asynchronous invocation whose attempts a store counts: how many Lambda makes.
"""
ENV_STORE: Final = "TASK_STORE"
"""Name of the table in which tasks are recorded."""
ENV_STORE_TTL: Final = "TASK_STORE_TTL"
"""Seconds for which a record is kept after it last changed, where that is not `DEFAULT_STORE_TTL_SECONDS`."""
ENV_TRACKED: Final = "TASK_TRACKED"
"""``1``: what arrives at this function is recorded in its store; without it the store is for what it dispatches."""
ENV_SCHEDULES: Final = "TASK_SCHEDULES"
"""Where a function schedules what it dispatches for later: ``<schedule group> <role ARN> <dead letter queue ARN>``."""
ENV_PAYLOADS: Final = "TASK_PAYLOADS"
"""Name of the bucket in which arguments wait that are too large for a message."""
ENV_STREAMING_HANDLER: Final = "TASK_STREAMING_HANDLER"
"""The user's function that answers the events of a StreamingLambda: ``shop.export:export``."""
ENV_BACKGROUND_TIMEOUT: Final = "TASK_BACKGROUND_TIMEOUT"
"""Seconds after the answer in which work may go on; without it, until shortly before the function's deadline."""
ENV_URL_BUFFERED: Final = "TASK_URL_BUFFERED"
"""``1``: the function's URL is not in streaming mode, which its events do not tell."""
ENV_FOPS_FUNCTION_NAME: Final = "FOPS_BACKGROUND_TASKS_LAMBDA_NAME"
"""Function that runs background tasks when no route does, as fops.background spells it."""
ENV_LOG_LEVEL: Final = "LOG_LEVEL"

# --- Limits of AWS services ------------------------------------------------------------------------------------------

SQS_MAX_BYTES: Final = 1_048_576
"""One message, and all messages of one SendMessageBatch together, attributes included. (Amazon SQS message quotas)"""
SQS_MAX_BATCH_ENTRIES: Final = 10
FAILURE_MAX_BYTES: Final = 4_096
"""Kept free in every message that is dispatched, so that its dead letter can carry the failure beside the body."""
MESSAGE_MAX_BYTES: Final = SQS_MAX_BYTES - FAILURE_MAX_BYTES
"""What a message may be large that is dispatched; the arguments of a larger one go to the payload bucket."""
SQS_MAX_DELAY_SECONDS: Final = 900
SQS_MAX_VISIBILITY_SECONDS: Final = 43_200
SQS_MAX_WAIT_SECONDS: Final = 20
SQS_QUEUE_NAME_MAX_LENGTH: Final = 80
SQS_FIFO_SUFFIX: Final = ".fifo"
"""How the name of a FIFO queue ends, and of no other."""
SQS_GROUP: Final = re.compile(r"[!-~]{1,128}")
"""What SQS takes as a message group, or as a deduplication id."""
LAMBDA_ASYNC_MAX_BYTES: Final = 1_048_576
"""Payload of an asynchronous invocation. (AWS Lambda quotas)"""
LAMBDA_MAX_TIMEOUT_SECONDS: Final = 900
API_MAX_TIMEOUT_SECONDS: Final = 29
"""How long API Gateway waits for a function, unless its quota was raised. (Amazon API Gateway quotas)"""
LAMBDA_CODE_MAX_BYTES: Final = 262_144_000
"""All files of a function's deployment package together, unzipped, layers included."""
LAMBDA_ENVIRONMENT_MAX_BYTES: Final = 4_096
"""All names and values of a function's environment variables together."""
LAMBDA_MAX_ASYNC_RETRIES: Final = 2
LAMBDA_MIN_EVENT_AGE_SECONDS: Final = 60
LAMBDA_MAX_EVENT_AGE_SECONDS: Final = 21_600
SCHEDULER_MAX_INPUT_BYTES: Final = 262_144
"""What a schedule sends to its target. (EventBridge Scheduler quotas)"""
IAM_ROLE_POLICY_MAX_CHARACTERS: Final = 10_240
"""All inline policies of one role together, white space not counted. (IAM and AWS STS quotas)"""
LAMBDA_RESPONSE_MAX_BYTES: Final = 6_291_556
"""Answer of a synchronous invocation, in JSON; API Gateway would take 10 MB. (AWS Lambda quotas)"""
PHYSICAL_NAME_MAX_LENGTH: Final = 64
"""Length of every name made from a construct path: Lambda's limit, the shortest of those concerned."""

STATES_MAX_BYTES: Final = 262_144
"""What goes into a state of Step Functions, or comes out of it. (AWS Step Functions quotas)"""
STATES_DEFINITION_MAX_BYTES: Final = 1_048_576
STATES_NAME_MAX_LENGTH: Final = 80
"""Length of the name of a state."""

# --- Task store ------------------------------------------------------------------------------------------------------

STORE_KEY: Final = "id"
"""Partition key of the table: an envelope's id, or the name of a lease."""
STORE_EXPIRES_AT: Final = "expires_at"
"""The attribute by which DynamoDB deletes a record, in epoch seconds."""
DEFAULT_STORE_TTL_SECONDS: Final = 14 * 86_400
"""No message is kept longer by SQS, so no duplicate of one comes later."""
STORE_RESULT_MAX_BYTES: Final = 393_216
"""Of the 409,600 bytes of a DynamoDB item, 16 KiB are kept free for the rest of the record."""

# --- Payload bucket --------------------------------------------------------------------------------------------------

PAYLOAD_PREFIX: Final = "payloads/"
"""What every key in the bucket begins with; the rest is the id of the message whose arguments are there."""

# --- Workflows -------------------------------------------------------------------------------------------------------

WORKFLOW_INPUT_MAX_BYTES: Final = 240_000
"""What a message may be large that starts a workflow: its first state holds it with what is said of the state."""
RESULT_CLAIM_BYTES: Final = 100_000
"""The result of a task in a workflow that is larger goes to the payload bucket: two fit into a state together."""
INLINE_CONCURRENCY: Final = 40
"""How many items of a list Step Functions works on at once without executions of their own."""
INLINE_ITEMS: Final = 1_000
"""A list that is mapped inside its execution, whose history holds 25,000 events; a longer one goes to the bucket."""
TELLING_ITEMS: Final = 50
"""So many of a list's first items say how they failed; of the others only `LATER_ITEM` fits into a state."""
LATER_ITEM: Final = "one of the later items of a list failed"
SPREAD: Final = " (spread)"
"""Behind the names of states that work on an item in an execution of its own."""
MAPPED_ITEMS: Final = 80_000
"""Of one list: what the executions of its items return fits into a state, an empty object each."""
WORKFLOW_MAX_RUNS: Final = 400
"""Runs of tasks in one workflow: about as many as `WORKFLOW_MAX_TEMPLATE_BYTES` hold."""
WORKFLOW_MAX_LENGTH: Final = 250
"""Tasks one after another in a workflow."""
WORKFLOW_MAX_TEMPLATE_BYTES: Final = 800_000
"""What a workflow may take of the 1,000,000 bytes of its stack's template. (AWS CloudFormation quotas)"""
FAILURE_CHARACTERS: Final = 1_000
"""Of what failed in a workflow: the failures of many branches have to fit into one state."""
WORKFLOW_MAX_DEPTH: Final = 50
"""Branches inside branches of one workflow: readers of its definition, as JSON, take no depth that one likes."""
NODE_KEY: Final = "workflow"
"""The one key of what a state machine sends for a run of a task, by invoking a function or through a queue.

``{"workflow": {"run": {"id" (that of the dispatched message), "headers", "metadata"} (what was dispatched),
"node": "load" (unique in the workflow), "task": "shop.etl.load", "entered": "2026-11-30T…Z" (the same at each attempt),
"retries": 0 (by the engine), "index": "0" (of a list's items, "0.2" of an item's items),
"token": "…" (to report the end to, through a queue),
one of these, or none, for what it is given: "dispatched": {the message},
"result": {"value": …} or {"key": "payloads/…"}, "results": [{"value": …}, …],
"each": {"node": "resize", "count": 3, "index"?} (results that are in the bucket),
"failed": {"task", "node", "error", "cause", "prerequisite"? (the failure of what was to run before it)},
"claim": 100000 (its result is wanted; above so many bytes by way of the bucket), "items": 1000 (it has to be a list, by
way of the bucket if it is longer), "inline": true (nothing may go by way of the bucket),
"kept": true (it goes into the bucket besides)}}``

The answer is the result as ``{"value": …}``, or as ``{"key": "payloads/<id>"}``; null where it is not wanted.
"""
NODE_RETRY: Final = "TaskRetry"
"""Error of an attempt after which the task's retry policy allows another."""
NODE_FAILED: Final = "TaskFailed"
NODE_NOT_BEGUN: Final = "TaskNotBegun"
"""Error of an attempt that did not run: its store failed, or another delivery has its lease. None of the policy's."""
NODE_DISCARDED: Final = "TaskDiscarded"
"""Error of a run whose path ends there without having failed."""
PREREQUISITE_FAILED: Final = "PrerequisiteFailed"
"""Error of a run that did not begin, because what was to run before it failed."""

# --- Work after the answer -------------------------------------------------------------------------------------------

METRICS_NAMESPACE: Final = "LambdaTaskConstructs"
METRICS_DIMENSION: Final = "FunctionName"
METRIC_BACKGROUND_FAILURES: Final = "BackgroundFailures"
"""Counts what was raised after the answer was out, which no caller and no metric of Lambda's sees."""
METRIC_BACKGROUND_TIMEOUTS: Final = "BackgroundTimeouts"
"""Counts the invocations whose work after the answer was asked to stop."""

# --- Messages --------------------------------------------------------------------------------------------------------

ENVELOPE_VERSION: Final = "1.0"
FAILURE_ATTRIBUTE: Final = "TaskFailure"
"""Message attribute in which a dead letter carries its failure, as JSON."""
LETTER_FAILURE_ATTRIBUTE: Final = "LetterFailure"
"""And in which one that a ``dead_letter_task`` gave up carries the failure that it told that task."""
DEFAULT_MAX_HOPS: Final = 16
DEFAULT_MAX_RECEIVE_COUNT: Final = 10
"""Generous, because the runtime decides when a task is exhausted: throttled and crashed deliveries count as well."""
SCHEDULED_TIME: Final = "<aws.scheduler.scheduled-time>"
"""What EventBridge Scheduler replaces in a schedule's input with the time that the run was scheduled for."""
SCHEDULER_PLACEHOLDER: Final = "<aws.scheduler."
"""How everything begins that it replaces."""
METADATA_KEY: Final = "lambda-task-constructs"
"""Key in the ``Metadata`` of a function resource under which its construct tells tools what it serves.

``{"construct": "ManagedAsyncTask", "path": "Shop/Invoice", "trigger": "queue" (what starts it, in a few words for
people), "modules": ["shop.tasks"],
"tasks": {"shop.tasks.invoice": "DEFAULT"} (those that arrive there, with the namespace to dispatch them to),
"routes": {"TASK_ROUTE__SHOP_TASKS_INVOICE": "sqs:Shop-Invoice-1A2B"},
"dead_letter_queue": "Shop-DeadLetters-3C4D",
"store": {"TASK_STORE": "Shop-Store-5E6F"} (left out if its tasks are not recorded)}``

A function behind an API also has ``"api": {"path": "/orders/{id}", "method": "GET", "respond": "result" (or "accepted";
"stream": a StreamingLambda; "status": a TaskApi's own function, which tells what became of a task),
"api": "Shop/Api" (path of the TaskApi), "authorization": "NONE" (or "AWS_IAM", "COGNITO_USER_POOLS", "CUSTOM"),
"api_key": false}``.

A TaskWorkflow's StateMachine resource has the same, with ``"express": false`` and ``"graph": [RUN, …]``: the runs of
its tasks, the first of which starts it, each before those that it names by their places in the list,
``{"name": "load" (its state), "task": "shop.etl.load", "on": "Shop/Etl" (path of the construct that runs it),
"via": "lambda" (or "sqs"), "subprocess": true, "before": [1, …], "after": [2, …], "failure": 3,
"wait": 1800 (seconds before it starts), "each": {"max_concurrency": 40, "then": 4} (once for each item of a list)}``,
where what does not apply is left out.

A TaskApi's RestApi resource has ``{"construct": "TaskApi", "path": "Shop/Api", "stage": "prod", "domain_name":
"api.example.com" (if it has one), "base_path": "shop" (if it has one)}``.
"""

# --- Routes ----------------------------------------------------------------------------------------------------------

_NOT_A_KEY_CHARACTER = re.compile(r"[^A-Z0-9]")


def _key(name: str) -> str:
    key = _NOT_A_KEY_CHARACTER.sub("_", name.upper())
    if name.isascii():
        return key
    from hashlib import sha256

    return f"{key}_{sha256(name.encode()).hexdigest()[:8].upper()}"


def task_route_variable(task_name: str) -> str:
    """Name of the environment variable that holds the route of one task: ``TASK_ROUTE__SHOP_TASKS_INVOICE``."""
    return ENV_ROUTE_PREFIX + _key(task_name)


def namespace_route_variable(namespace: str, priority: Priority | None = None) -> str:
    """Name of the variable that holds a namespace's route: ``TASK_ROUTE__MAIL__HIGH``, or ``TASK_ROUTE__MAIL``."""
    variable = ENV_ROUTE_PREFIX + _key(namespace)
    return f"{variable}__{priority.name}" if priority else variable


def lane_route_variable(task_name: str, lane: int) -> str:
    """Name of the variable that holds the route of a task's lane, from 1: ``TASK_ROUTE__SHOP_TASKS_INVOICE__LANE_1``.

    Lane 0 is the task's own queue, of `task_route_variable`.
    """
    return f"{task_route_variable(task_name)}__LANE_{lane}"


def is_fifo(queue: str) -> bool:
    """Whether a queue, given by its name, URL or ARN, is a FIFO queue."""
    return queue.endswith(SQS_FIFO_SUFFIX)


_STORED = "+store"
_PAYLOADS = "+payloads"


class Route(NamedTuple):
    """Where a task goes: ``lambda:<function name>[:alias]``, ``sqs:<queue name or url>``, ``states:<machine or ARN>``.

    The last starts an execution of the state machine, with the workflow of which the task is the first.

    ``stored``, written ``lambda+store:…`` or ``sqs+store:…``: what serves it records its tasks, and so does the sender.
    ``payloads``, written ``sqs+payloads:…`` or ``sqs+store+payloads:…``: what serves it reads arguments that are too
    large for a message from the payload bucket.
    """

    kind: Literal["lambda", "sqs", "states"]
    target: str
    stored: bool = False
    payloads: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{_STORED if self.stored else ''}{_PAYLOADS if self.payloads else ''}:{self.target}"

    @classmethod
    def parse(cls, text: str, *, variable: str) -> "Route":
        """Read a route from the value of ``variable``.

        Raises:
            ValueError: the value is none of the forms.
        """
        written, _, target = text.partition(":")
        payloads = written.endswith(_PAYLOADS)
        unmarked = written.removesuffix(_PAYLOADS)
        kind = unmarked.removesuffix(_STORED)
        if kind not in {"lambda", "sqs", "states"} or not target:
            raise ValueError(
                f"{variable} is {text!r}: a route is 'lambda:<function name>[:alias]', 'sqs:<queue name or url>' or "
                "'states:<state machine or ARN>'"
            )
        return cls(kind, target, stored=unmarked != kind, payloads=payloads)  # type: ignore[arg-type]


def environment_bytes(environment: Mapping[str, str]) -> int:
    """Bytes that Lambda counts against `LAMBDA_ENVIRONMENT_MAX_BYTES`."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in environment.items())


# --- taskhawk --------------------------------------------------------------------------------------------------------

_TASKHAWK_SUFFIX = {
    Priority.DEFAULT: "",
    Priority.HIGH: "-HIGH-PRIORITY",
    Priority.LOW: "-LOW-PRIORITY",
    Priority.BULK: "-BULK",
}


def taskhawk_queue_name(app: str, priority: Priority, *, dead_letters: bool = False) -> str:
    """Name of the queue that taskhawk and its Terraform generator use: ``TASKHAWK-SHOP-HIGH-PRIORITY[-DLQ]``."""
    return f"TASKHAWK-{app.upper()}{_TASKHAWK_SUFFIX[priority]}{'-DLQ' if dead_letters else ''}"
