"""Workflows: tasks that run before and after one another, as an execution of Step Functions or eagerly.

`graph` finds what belongs together, `eager` runs it here, `node` is one run of a task inside an execution, `executions`
are what has been started.
"""
