"""The runtime of lambda-task-constructs: decorate functions, dispatch them, run them in Lambda or in a worker.

``import runtime_lib`` loads the standard library only, and little of it; the rest is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

from runtime_lib.contract import Priority
from runtime_lib.task import dispatch_task, task
from runtime_lib.transports import dispatch_batch, get_transport, set_transport, using_transport

if TYPE_CHECKING:
    from runtime_lib.batches import BatchFailures, BatchTask, batch_task
    from runtime_lib.context import TaskContext, current_context
    from runtime_lib.dead_letters import DeadLetter
    from runtime_lib.edges import delayed, for_each
    from runtime_lib.errors import (
        ArgumentError,
        Discard,
        DispatchError,
        EnvelopeError,
        HttpError,
        NoRouteError,
        NotRecordedError,
        PayloadTooLargeError,
        Reject,
        ResponseRefusedError,
        ResponseStateError,
        ResultUnavailableError,
        RetryLater,
        StoreError,
        SubprocessError,
        TaskCancelledError,
        TaskDefinitionError,
        TaskError,
        TaskFailedError,
        TaskTimeoutError,
        UnknownTaskError,
    )
    from runtime_lib.events.api import ApiEvent, ApiResponse, JsonResponse
    from runtime_lib.events.bus import BusEvent, S3Object
    from runtime_lib.events.schedule import ScheduledEvent
    from runtime_lib.events.sqs import ManagedSqsEvent, UnmanagedSqsEvent
    from runtime_lib.events.stream import StreamRecord
    from runtime_lib.external import external_task
    from runtime_lib.handle import TaskHandle
    from runtime_lib.handlers.consumer import process_messages_for_lambda_consumer
    from runtime_lib.hooks import after_task, before_task, default_headers, init_task, middleware
    from runtime_lib.lazy import lazy_value
    from runtime_lib.memory_store import MemoryStore
    from runtime_lib.progress_notes import progress
    from runtime_lib.redrive import requeue_dead_letters
    from runtime_lib.retry import Retry
    from runtime_lib.store import TaskStore
    from runtime_lib.streaming.background import BackgroundTimeoutError, after_response
    from runtime_lib.streaming.context import StreamingContext
    from runtime_lib.streaming.handlers import background_handler, streaming_handler
    from runtime_lib.streaming.writer import ResponseWriter
    from runtime_lib.task import Task
    from runtime_lib.task_group import TaskGroup
    from runtime_lib.task_record import Progress, RecordedError, TaskRecord, TaskStatus
    from runtime_lib.tracking import get_store, set_store, using_store
    from runtime_lib.transports.eager import EagerTransport
    from runtime_lib.transports.lambda_invoke import LambdaTransport
    from runtime_lib.transports.recording import RecordingTransport
    from runtime_lib.transports.sqs import SqsTransport
    from runtime_lib.worker import TaskWorker, extend_visibility_timeout, listen_for_messages

__all__ = [
    "ApiEvent",
    "ApiResponse",
    "ArgumentError",
    "BackgroundTimeoutError",
    "BatchFailures",
    "BatchTask",
    "BusEvent",
    "DeadLetter",
    "Discard",
    "DispatchError",
    "EagerTransport",
    "EnvelopeError",
    "HttpError",
    "JsonResponse",
    "LambdaTransport",
    "ManagedSqsEvent",
    "MemoryStore",
    "NoRouteError",
    "NotRecordedError",
    "PayloadTooLargeError",
    "Priority",
    "Progress",
    "RecordedError",
    "RecordingTransport",
    "Reject",
    "ResponseRefusedError",
    "ResponseStateError",
    "ResponseWriter",
    "ResultUnavailableError",
    "Retry",
    "RetryLater",
    "S3Object",
    "ScheduledEvent",
    "SqsTransport",
    "StoreError",
    "StreamRecord",
    "StreamingContext",
    "SubprocessError",
    "Task",
    "TaskCancelledError",
    "TaskContext",
    "TaskDefinitionError",
    "TaskError",
    "TaskFailedError",
    "TaskGroup",
    "TaskHandle",
    "TaskRecord",
    "TaskStatus",
    "TaskStore",
    "TaskTimeoutError",
    "TaskWorker",
    "UnknownTaskError",
    "UnmanagedSqsEvent",
    "after_response",
    "after_task",
    "background_handler",
    "batch_task",
    "before_task",
    "current_context",
    "default_headers",
    "delayed",
    "dispatch_batch",
    "dispatch_task",
    "extend_visibility_timeout",
    "external_task",
    "for_each",
    "get_store",
    "get_transport",
    "init_task",
    "lazy_value",
    "listen_for_messages",
    "middleware",
    "process_messages_for_lambda_consumer",
    "progress",
    "requeue_dead_letters",
    "set_store",
    "set_transport",
    "streaming_handler",
    "task",
    "using_store",
    "using_transport",
]

_LAZY = {
    "batches": ("BatchFailures", "BatchTask", "batch_task"),
    "context": ("TaskContext", "current_context"),
    "dead_letters": ("DeadLetter",),
    "edges": ("delayed", "for_each"),
    "errors": (
        "ArgumentError",
        "Discard",
        "DispatchError",
        "EnvelopeError",
        "HttpError",
        "NoRouteError",
        "NotRecordedError",
        "PayloadTooLargeError",
        "Reject",
        "ResponseRefusedError",
        "ResponseStateError",
        "ResultUnavailableError",
        "RetryLater",
        "StoreError",
        "SubprocessError",
        "TaskCancelledError",
        "TaskDefinitionError",
        "TaskError",
        "TaskFailedError",
        "TaskTimeoutError",
        "UnknownTaskError",
    ),
    "events.api": ("ApiEvent", "ApiResponse", "JsonResponse"),
    "events.bus": ("BusEvent", "S3Object"),
    "events.schedule": ("ScheduledEvent",),
    "events.sqs": ("ManagedSqsEvent", "UnmanagedSqsEvent"),
    "events.stream": ("StreamRecord",),
    "external": ("external_task",),
    "handle": ("TaskHandle",),
    "handlers.consumer": ("process_messages_for_lambda_consumer",),
    "hooks": ("after_task", "before_task", "default_headers", "init_task", "middleware"),
    "lazy": ("lazy_value",),
    "memory_store": ("MemoryStore",),
    "progress_notes": ("progress",),
    "redrive": ("requeue_dead_letters",),
    "retry": ("Retry",),
    "store": ("TaskStore",),
    "streaming.background": ("BackgroundTimeoutError", "after_response"),
    "streaming.context": ("StreamingContext",),
    "streaming.handlers": ("background_handler", "streaming_handler"),
    "streaming.writer": ("ResponseWriter",),
    "task": ("Task",),
    "task_group": ("TaskGroup",),
    "task_record": ("Progress", "RecordedError", "TaskRecord", "TaskStatus"),
    "tracking": ("get_store", "set_store", "using_store"),
    "transports": ("EagerTransport", "LambdaTransport", "RecordingTransport", "SqsTransport"),
    "worker": ("TaskWorker", "extend_visibility_timeout", "listen_for_messages"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
