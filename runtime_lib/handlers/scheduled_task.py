"""The handler of a ScheduledTask's own function, which EventBridge Scheduler invokes asynchronously for each run."""

from runtime_lib.handlers.background_task_function import handler

__all__ = ["handler"]
