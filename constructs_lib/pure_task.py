"""PureTask: one task without a trigger."""

from typing import Final, Unpack

from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded, physical_name
from constructs_lib._function import FunctionOptions, TaskFunction, check_function_options, handler_of
from constructs_lib._validation import named_by
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

__all__ = ["PureTask"]


class PureTask(DispatchTarget):
    """One task with a function that nothing starts: whoever invokes it gives the arguments and gets the result.

    The event of the invocation gives the arguments by name (an object) or by position (an array). Nothing is dispatched
    here: an invocation that nobody waits for would be lost if it failed.

    Args:
        code: the asset that has the task.
        task: the task as ``module:name``; it is looked for in the source, without importing it.
        store: where its runs are recorded, with their results. Default: nowhere.
        entry: a handler of your own as ``module:function``, which calls ours. Default: ours.
        options: see `FunctionOptions`.

    Attributes:
        function: the function that runs the task.

    Raises:
        ValueError: an argument is refused; the message says which, and what to do.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: TaskCode,
        task: str,
        store: StoreAccess | None = None,
        entry: str | None = None,
        **options: Unpack[FunctionOptions],
    ) -> None:
        super().__init__(scope, construct_id)
        with named_by(self):
            definition = code.source.task(task)
        handler = handler_of(self, code, entry, default=contract.PURE_TASK_HANDLER)
        check_function_options(self, options)

        self.address = Address.of_trigger(definition.name, store=store)
        self.function: Final = TaskFunction(
            self,
            construct=PureTask,
            trigger="none",
            function_name=physical_name(self),
            code=code,
            handler=handler,
            loaded=Loaded(code.source, (definition.module,)),
            dead_letter_queue=None,
            task_environment={contract.ENV_TASK: definition.name},
            **options,
        )

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let ``grantee`` invoke the function."""
        return self.function.grant_invoke(grantee)
