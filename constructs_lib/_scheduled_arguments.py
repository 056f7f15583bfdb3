"""What a schedule's runs are given: their arguments and priority, and the message that carries them."""

import ast
import json
from typing import Any, NamedTuple

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._source import SourceTree
from constructs_lib._task_definition import TaskDefinition, TaskReferenceError
from constructs_lib._validation import refusal
from runtime_lib import contract
from runtime_lib.contract import Priority

__all__ = ["ScheduledArguments", "declared_arguments", "declared_priority"]


class ScheduledArguments(NamedTuple):
    """The arguments of every run."""

    args: list[Any]
    kwargs: dict[str, Any]

    def check(self, scope: Construct, definition: TaskDefinition) -> None:
        """Refuse what the task would be dead-lettered for at each of its runs.

        Raises:
            ValueError: an argument is missing, or is none of the task's.
        """
        parameters = definition.parameters
        positional = [*parameters.posonlyargs, *parameters.args]
        by_name = {one.arg: one for one in (*parameters.args, *parameters.kwonlyargs)}
        taken = [one.arg for one in positional[: len(self.args)]]
        problems = []
        if len(self.args) > len(positional) and parameters.vararg is None:
            problems.append(f"{len(self.args)} args for {len(positional)} parameters")
        if not parameters.kwarg:
            problems += [f"{name!r}, which is no parameter" for name in self.kwargs if name not in by_name]
        problems += [f"{name!r} in args and in kwargs" for name in self.kwargs if name in taken]
        problems += [f"nothing for {name!r}" for name in definition.required() if name not in {*taken, *self.kwargs}]
        if problems:
            raise refusal(
                scope,
                "args and kwargs",
                given="; ".join(problems),
                allowed=f"{definition.function}({ast.unparse(parameters)}) ({definition.path.name}:{definition.line})",
                remedy="give args= and kwargs=, or default_args={'args': […], 'kwargs': {…}} to its @task",
            )

    def message(
        self, scope: Construct, *, schedule: str, task: str, priority: Priority, skips: bool, is_workflow: bool
    ) -> str:
        """What the schedule sends for each run, as ``runtime_lib.occurrence`` reads it; to a workflow, an envelope.

        Raises:
            ValueError: the arguments cannot be sent as JSON, or are too large.
        """
        self._check_json(scope)
        begin = json.dumps({"schedule": schedule, "scheduled_time": contract.SCHEDULED_TIME})
        rest: dict[str, Any] = {"task": task, "args": self.args, "kwargs": self.kwargs, "priority": priority.value}
        if is_workflow:  # no code of this library reads it before its first state does
            sent = {"priority": rest.pop("priority"), "version": contract.ENVELOPE_VERSION, "schedule": schedule}
            sent |= dict.fromkeys(("timestamp", "scheduled_time"), contract.SCHEDULED_TIME)
            begin = json.dumps({"id": f"{schedule} {contract.SCHEDULED_TIME}", "metadata": sent})
            rest["headers"] = {}
        end = json.dumps({**rest, "overlap": "skip"} if skips else rest)
        # What only looks like a placeholder stays what it is: JSON has another way to write it.
        end = end.replace(contract.SCHEDULER_PLACEHOLDER, f"\\u003c{contract.SCHEDULER_PLACEHOLDER[1:]}")
        message = f"{begin[:-1]}, {end[1:]}"
        if len(message) > contract.SCHEDULER_MAX_INPUT_BYTES:
            raise refusal(
                scope,
                "args and kwargs",
                given=f"a message of {len(message):,} bytes",
                allowed=f"{contract.SCHEDULER_MAX_INPUT_BYTES:,} bytes",
                remedy="store the data in S3 and send its key",
            )
        return message

    def _check_json(self, scope: Construct) -> None:
        for argument, value in (("args", self.args), ("kwargs", self.kwargs)):
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise refusal(
                    scope, argument, given=repr(value), allowed="JSON values", remedy=f"correct what is none: {error}"
                ) from None
            _refuse_tokens(scope, argument, value)


def declared_arguments(source: SourceTree | None, definition: TaskDefinition | None) -> ScheduledArguments:
    """The decorator's ``default_args=``, as easyjobs has it: ``{"args": […], "kwargs": {…}}``.

    Raises:
        TaskReferenceError: it cannot be read, or is something else.
    """
    declared = source.option(definition, "default_args") if source and definition else None
    if declared is None:
        return ScheduledArguments([], {})
    match declared:
        case {**given} if given.keys() <= {"args", "kwargs"}:
            args, kwargs = given.get("args", []), given.get("kwargs", {})
            if isinstance(args, list | tuple) and isinstance(kwargs, dict):
                return ScheduledArguments(list(args), kwargs)
    raise TaskReferenceError(f"default_args={declared!r} of @task: write {{'args': […], 'kwargs': {{…}}}}")


def declared_priority(source: SourceTree | None, definition: TaskDefinition | None) -> Priority:
    """The decorator's ``priority=``.

    Raises:
        TaskReferenceError: it cannot be read.
    """
    declared = source.option(definition, "priority") if source and definition else None
    if declared is None:
        return Priority.DEFAULT
    try:
        return Priority[str(declared).upper()]
    except KeyError:
        raise TaskReferenceError(
            f"priority={declared!r} of @task: write Priority.HIGH or the like, or give priority to the construct"
        ) from None


def _refuse_tokens(scope: Construct, argument: str, value: Any) -> None:
    """CloudFormation fills in texts; for a number or a list that it knows, what stands for it would be sent."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    elif not isinstance(value, str) and cdk.Token.is_unresolved(value):
        raise refusal(
            scope,
            argument,
            given=f"{value!r}, which is known at deployment only",
            allowed="texts that are known then, and nothing else",
            remedy="pass it through an environment variable of the function",
        )
    for inner in value if isinstance(value, list | tuple) else ():
        _refuse_tokens(scope, argument, inner)
