"""What Step Functions would refuse or not do, refused before any resource exists."""

import json
from typing import Any, Final

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._address import Loaded
from constructs_lib._validation import refusal, require_duration
from constructs_lib._workflow_graph import Run
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

__all__ = ["check_definition", "check_express", "check_runs", "check_timeout"]

_YEAR_SECONDS: Final = 366 * 86_400
_EXPRESS_SECONDS: Final = 300


def check_timeout(scope: Construct, argument: str, value: cdk.Duration | None) -> None:
    """Refuse a time above a year, or one that is known only when it is deployed: the definition has it as a number.

    Raises:
        ValueError: it is.
    """
    require_duration(scope, argument, value, 1, _YEAR_SECONDS, remedy="choose one in between")
    if value and value.is_unresolved():
        raise refusal(
            scope,
            argument,
            given="a value that is known only when the stack is deployed",
            allowed="a Duration of a number",
            remedy="write the number, or read it from the app's context",
        )


def check_express(scope: Construct, store: StoreAccess | None, timeout: cdk.Duration | None) -> None:
    """Refuse an Express workflow that nobody could ask for its end, or that takes longer than such a one may.

    Raises:
        ValueError: it has no store, or its timeout is above five minutes.
    """
    if store is None:
        raise refusal(
            scope,
            "express",
            given="True, and no store",
            allowed="True with a store, which is what knows of Express executions",
            remedy="give store=TaskStore(…), or leave express out",
        )
    require_duration(
        scope, "execution_timeout", timeout, 1, _EXPRESS_SECONDS, remedy="leave express out for longer executions"
    )


def check_runs(scope: Construct, root: Run, loaded: Loaded, *, express: bool, bucket: bool) -> None:
    """Refuse runs that would reach a function which does not know their task, and what this kind of workflow cannot do.

    Raises:
        ValueError: a module is missing, or an Express workflow would wait, or a map needs a bucket.
    """
    depth = root.depth()
    if depth > contract.WORKFLOW_MAX_DEPTH:
        raise refusal(
            scope,
            "start",
            given=f"a workflow with {depth} branches inside one another",
            allowed=f"{contract.WORKFLOW_MAX_DEPTH}",
            remedy="let a task dispatch a part of it as a workflow of its own, or name one task only in each run_after",
        )
    if express and root.waits() >= _EXPRESS_SECONDS:
        raise refusal(
            scope,
            "express",
            given=f"True, and waits of {root.waits():g} seconds one after another",
            allowed=f"executions within {_EXPRESS_SECONDS} seconds",
            remedy="leave express out",
        )
    for run in root.all_runs():
        _check_run(scope, run, loaded, express=express, bucket=bucket)


def _check_run(scope: Construct, run: Run, loaded: Loaded, *, express: bool, bucket: bool) -> None:
    if run.place.path == scope.node.path and run.task.module not in loaded.known():
        raise refusal(
            scope,
            "modules",
            given=f"{', '.join(loaded.modules)}, which do not load {run.task.module!r} of task {run.task.name!r}",
            allowed="the modules of all tasks that run on the workflow's own function",
            remedy=f"add {run.task.module!r}, or give the construct that serves the task to served_by",
        )
    if "${" in run.task.name:
        raise refusal(
            scope,
            "start",
            given=f"a workflow with a task called {run.task.name!r}",
            allowed="names without '${', which CloudFormation takes for a placeholder",
            remedy="give the task another name=",
        )
    timeout = run.task.timeout or 0
    if express and (run.place.via == "sqs" or timeout > _EXPRESS_SECONDS):
        what = (
            f"may take {timeout:g} seconds" if run.place.via == "lambda" else f"runs by the queue of {run.place.path}"
        )
        raise refusal(
            scope,
            "express",
            given=f"True, and {run.task.name!r} {what}",
            allowed="tasks that run on functions, within five minutes",
            remedy="leave express out",
        )
    if run.each and run.each.max_concurrency > contract.INLINE_CONCURRENCY and (express or not bucket):
        raise refusal(
            scope,
            "express" if express else "payloads",
            given=f"{run.each.max_concurrency:,} items of {run.task.name!r} at once",
            allowed=f"up to {contract.INLINE_CONCURRENCY} at once " + ("if express" if express else "without a bucket"),
            remedy="leave express out" if express else "give payloads=PayloadBucket(…)",
        )


def check_definition(scope: Construct, text: str, graph: list[dict[str, Any]]) -> None:
    """Refuse a definition that is larger than Step Functions takes, or than leaves room in its stack's template.

    ``graph`` is there as well, in the metadata.

    Raises:
        ValueError: it is.
    """
    in_template = len(json.dumps(text)) + len(json.dumps(graph, indent=10))
    for size, allowed, what in (
        (len(text.encode()), contract.STATES_DEFINITION_MAX_BYTES, "in the Amazon States Language"),
        (in_template, contract.WORKFLOW_MAX_TEMPLATE_BYTES, "in its stack's template"),
    ):
        if size > allowed:
            raise refusal(
                scope,
                "start",
                given=f"a workflow of {size:,} bytes {what}",
                allowed=f"{allowed:,} bytes",
                remedy="let a task dispatch a part of it as a workflow of its own",
            )
