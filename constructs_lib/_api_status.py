"""The function of an API that tells what became of a task."""

from collections.abc import Mapping
from typing import Final

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._address import Address, DispatchTarget, Loaded, physical_name
from constructs_lib._function import TaskFunction
from constructs_lib.task_code import TaskCode
from constructs_lib.task_store import StoreAccess
from runtime_lib import contract

__all__ = ["ApiTaskStatus"]


class ApiTaskStatus(DispatchTarget):
    """Reads records of a store; it runs no task and loads no module.

    Attributes:
        function: the function.
        function_name: its name.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        construct: type[Construct],
        trigger: str,
        code: TaskCode,
        store: StoreAccess,
        environment: Mapping[str, str],
        described: Mapping[str, object],
    ) -> None:
        super().__init__(scope, construct_id)
        self.address = Address({}, {})
        self.function_name: Final = physical_name(self)
        self.function: Final = TaskFunction(
            self,
            construct=construct,
            trigger=trigger,
            function_name=self.function_name,
            code=code,
            handler=contract.API_STATUS_HANDLER,
            loaded=Loaded(code.source, ()),
            dead_letter_queue=None,
            task_environment=environment,
            timeout=cdk.Duration.seconds(contract.API_MAX_TIMEOUT_SECONDS),
            described=described,
        )
        store.grant_read(self.function)
