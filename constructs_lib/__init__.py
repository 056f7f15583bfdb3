"""AWS CDK constructs for background tasks.

Everything is loaded when it is first used: a name costs what it needs, and listing them costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from constructs_lib._address import DispatchTarget
    from constructs_lib._api_options import ApiOptions
    from constructs_lib._event_source import QueueSettings
    from constructs_lib._function import FunctionOptions
    from constructs_lib._function_url import FunctionUrlSettings
    from constructs_lib._schedule import Schedule
    from constructs_lib._task_definition import TaskReferenceError
    from constructs_lib.api_task import ApiTask
    from constructs_lib.background_task_function import BackgroundTaskFunction
    from constructs_lib.event_task import EventTask
    from constructs_lib.managed_async_task import ManagedAsyncTask
    from constructs_lib.payload_bucket import PayloadBucket
    from constructs_lib.priority_task_queues import PriorityTaskQueues
    from constructs_lib.pure_task import PureTask
    from constructs_lib.queue_task import QueueTask
    from constructs_lib.scheduled_task import ScheduledTask
    from constructs_lib.stage_config import ScheduleOptions, StageConfig, TaskOptions
    from constructs_lib.stream_task import StreamTask
    from constructs_lib.streaming_lambda import StreamingLambda
    from constructs_lib.task_api import TaskApi
    from constructs_lib.task_code import TaskCode
    from constructs_lib.task_store import TaskStore
    from constructs_lib.task_workflow import TaskWorkflow
    from runtime_lib.contract import Priority

__all__ = [
    "ApiOptions",
    "ApiTask",
    "BackgroundTaskFunction",
    "DispatchTarget",
    "EventTask",
    "FunctionOptions",
    "FunctionUrlSettings",
    "ManagedAsyncTask",
    "PayloadBucket",
    "Priority",
    "PriorityTaskQueues",
    "PureTask",
    "QueueSettings",
    "QueueTask",
    "Schedule",
    "ScheduleOptions",
    "ScheduledTask",
    "StageConfig",
    "StreamTask",
    "StreamingLambda",
    "TaskApi",
    "TaskCode",
    "TaskOptions",
    "TaskReferenceError",
    "TaskStore",
    "TaskWorkflow",
]

_MODULES = {
    "ApiOptions": "constructs_lib._api_options",
    "ApiTask": "constructs_lib.api_task",
    "BackgroundTaskFunction": "constructs_lib.background_task_function",
    "DispatchTarget": "constructs_lib._address",
    "EventTask": "constructs_lib.event_task",
    "FunctionOptions": "constructs_lib._function",
    "FunctionUrlSettings": "constructs_lib._function_url",
    "ManagedAsyncTask": "constructs_lib.managed_async_task",
    "PayloadBucket": "constructs_lib.payload_bucket",
    "Priority": "runtime_lib.contract",
    "PriorityTaskQueues": "constructs_lib.priority_task_queues",
    "PureTask": "constructs_lib.pure_task",
    "QueueSettings": "constructs_lib._event_source",
    "QueueTask": "constructs_lib.queue_task",
    "Schedule": "constructs_lib._schedule",
    "ScheduleOptions": "constructs_lib.stage_config",
    "ScheduledTask": "constructs_lib.scheduled_task",
    "StageConfig": "constructs_lib.stage_config",
    "StreamTask": "constructs_lib.stream_task",
    "StreamingLambda": "constructs_lib.streaming_lambda",
    "TaskApi": "constructs_lib.task_api",
    "TaskCode": "constructs_lib.task_code",
    "TaskOptions": "constructs_lib.stage_config",
    "TaskReferenceError": "constructs_lib._task_definition",
    "TaskStore": "constructs_lib.task_store",
    "TaskWorkflow": "constructs_lib.task_workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
