"""The runtime of lambda-task-constructs: decorate functions, dispatch them, run them in Lambda or in a worker.

``import runtime_lib`` loads the standard library only, and little of it; the rest is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

from runtime_lib.contract import Priority
from runtime_lib.task import dispatch_task, task
from runtime_lib.transports import dispatch_batch, get_transport, set_transport, using_transport

if TYPE_CHECKING:
    from runtime_lib.context import TaskContext, current_context
    from runtime_lib.errors import (
        ArgumentError,
        Discard,
        DispatchError,
        EnvelopeError,
        HttpError,
        NoRouteError,
        PayloadTooLargeError,
        Reject,
        RetryLater,
        TaskDefinitionError,
        TaskError,
        UnknownTaskError,
    )
    from runtime_lib.events.api import ApiEvent, ApiResponse, JsonResponse
    from runtime_lib.events.bus import BusEvent, S3Object
    from runtime_lib.events.schedule import ScheduledEvent
    from runtime_lib.events.stream import StreamRecord
    from runtime_lib.external import external_task
    from runtime_lib.handle import TaskHandle
    from runtime_lib.handlers.consumer import process_messages_for_lambda_consumer
    from runtime_lib.hooks import after_task, before_task, default_headers, init_task, middleware
    from runtime_lib.lazy import lazy_value
    from runtime_lib.redrive import requeue_dead_letters
    from runtime_lib.retry import Retry
    from runtime_lib.task import Task
    from runtime_lib.task_group import TaskGroup
    from runtime_lib.transports.eager import EagerTransport
    from runtime_lib.transports.lambda_invoke import LambdaTransport
    from runtime_lib.transports.recording import RecordingTransport
    from runtime_lib.transports.sqs import SqsTransport
    from runtime_lib.worker import TaskWorker, extend_visibility_timeout, listen_for_messages

__all__ = [
    "ApiEvent",
    "ApiResponse",
    "ArgumentError",
    "BusEvent",
    "Discard",
    "DispatchError",
    "EagerTransport",
    "EnvelopeError",
    "HttpError",
    "JsonResponse",
    "LambdaTransport",
    "NoRouteError",
    "PayloadTooLargeError",
    "Priority",
    "RecordingTransport",
    "Reject",
    "Retry",
    "RetryLater",
    "S3Object",
    "ScheduledEvent",
    "SqsTransport",
    "StreamRecord",
    "Task",
    "TaskContext",
    "TaskDefinitionError",
    "TaskError",
    "TaskGroup",
    "TaskHandle",
    "TaskWorker",
    "UnknownTaskError",
    "after_task",
    "before_task",
    "current_context",
    "default_headers",
    "dispatch_batch",
    "dispatch_task",
    "extend_visibility_timeout",
    "external_task",
    "get_transport",
    "init_task",
    "lazy_value",
    "listen_for_messages",
    "middleware",
    "process_messages_for_lambda_consumer",
    "requeue_dead_letters",
    "set_transport",
    "task",
    "using_transport",
]

_LAZY = {
    "context": ("TaskContext", "current_context"),
    "errors": (
        "ArgumentError",
        "Discard",
        "DispatchError",
        "EnvelopeError",
        "HttpError",
        "NoRouteError",
        "PayloadTooLargeError",
        "Reject",
        "RetryLater",
        "TaskDefinitionError",
        "TaskError",
        "UnknownTaskError",
    ),
    "events.api": ("ApiEvent", "ApiResponse", "JsonResponse"),
    "events.bus": ("BusEvent", "S3Object"),
    "events.schedule": ("ScheduledEvent",),
    "events.stream": ("StreamRecord",),
    "external": ("external_task",),
    "handle": ("TaskHandle",),
    "handlers.consumer": ("process_messages_for_lambda_consumer",),
    "hooks": ("after_task", "before_task", "default_headers", "init_task", "middleware"),
    "lazy": ("lazy_value",),
    "redrive": ("requeue_dead_letters",),
    "retry": ("Retry",),
    "task": ("Task",),
    "task_group": ("TaskGroup",),
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
