"""Apps for tests of constructs: the code they run, stacks to put them in, and templates to look at."""

import atexit
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template
from constructs import Construct

from constructs_lib import (
    ApiTask,
    BackgroundTaskFunction,
    ManagedAsyncTask,
    PriorityTaskQueues,
    ScheduledTask,
    StageConfig,
    TaskApi,
    TaskCode,
)

_FIXTURES = Path(__file__).parent / "fixtures"


@cache
def back_office() -> TaskCode:
    """The code of tests/fixtures/back_office."""
    sys.path.insert(0, str(_FIXTURES))
    try:
        return TaskCode.from_package("back_office")
    finally:
        sys.path.remove(str(_FIXTURES))


@cache
def _outputs() -> str:
    directory = TemporaryDirectory(prefix="constructs-")
    atexit.register(directory.cleanup)
    return directory.name


def new_app(context: Mapping[str, Any] | None = None) -> cdk.App:
    """An app whose assembly is deleted with the process."""
    return cdk.App(outdir=mkdtemp(dir=_outputs()), context=context)


def new_stack(name: str = "Shop", context: Mapping[str, Any] | None = None, **props: Any) -> cdk.Stack:
    """A stack in an app of its own."""
    return cdk.Stack(new_app(context), name, **props)


def new_config(data: Mapping[str, Any], scope: Construct, *, stage: str | None = None) -> StageConfig:
    """A configuration file, ``stages.json``, that has been read."""
    file = Path(mkdtemp(dir=_outputs())) / "stages.json"
    file.write_text(json.dumps(data))
    return StageConfig.from_file(file, scope, stage=stage)


def add_invoice(scope: Construct, construct_id: str = "Invoice", **arguments: Any) -> ManagedAsyncTask:
    """The task that renders an invoice."""
    return ManagedAsyncTask(scope, construct_id, code=back_office(), task="back_office.invoices:render", **arguments)


def add_receipts(scope: Construct, construct_id: str = "Receipts", **arguments: Any) -> BackgroundTaskFunction:
    """The function that sends receipts."""
    arguments = {"modules": ["back_office.receipts"], "namespace": "receipts", **arguments}
    return BackgroundTaskFunction(scope, construct_id, code=back_office(), **arguments)


def add_mail(scope: Construct, construct_id: str = "Mail", **arguments: Any) -> PriorityTaskQueues:
    """The queues of mail."""
    arguments = {"modules": ["back_office.mail"], "namespace": ["mail", "campaigns"], **arguments}
    return PriorityTaskQueues(scope, construct_id, code=back_office(), **arguments)


def add_orders(scope: Construct, construct_id: str = "Orders", **arguments: Any) -> BackgroundTaskFunction:
    """The function that processes orders, and dispatches the rest."""
    arguments = {"modules": ["back_office.orders"], "namespace": "orders", **arguments}
    return BackgroundTaskFunction(scope, construct_id, code=back_office(), **arguments)


def add_api(scope: Construct, construct_id: str = "Api", **arguments: Any) -> TaskApi:
    """An API in an account that has a role for its logs."""
    return TaskApi(scope, construct_id, **{"cloud_watch_role": False, **arguments})


def add_api_task(
    scope: Construct, construct_id: str = "Get", *, api: TaskApi | None = None, **arguments: Any
) -> ApiTask:
    """The task that answers with an order."""
    arguments = {"task": "back_office.web:get_order", "path": "/", **arguments}
    return ApiTask(scope, construct_id, code=back_office(), api=api or add_api(scope), **arguments)


def add_nightly(scope: Construct, construct_id: str = "Nightly", **arguments: Any) -> ScheduledTask:
    """The report of every night, in a function of its own unless the arguments say where."""
    if "target" not in arguments:
        arguments = {"code": back_office(), **arguments}
    arguments = {"task": "back_office.reports:nightly", "schedule": "0 2 * * *", "args": ["eu"], **arguments}
    return ScheduledTask(scope, construct_id, **arguments)


def add_plain_function(scope: Construct, construct_id: str = "Plain") -> lambda_.Function:
    """A function that is not of this library."""
    code = lambda_.Code.from_inline("def handler(event, context): pass")
    return lambda_.Function(
        scope, construct_id, runtime=lambda_.Runtime.PYTHON_3_14, handler="index.handler", code=code
    )


def resources(stack: cdk.Stack, resource_type: str, *, under: str = "") -> list[dict[str, Any]]:
    """Properties of the stack's resources of one type whose logical id begins with ``under``; synthesizes the app."""
    found = Template.from_stack(stack).find_resources(resource_type)
    return [resource["Properties"] for logical_id, resource in found.items() if logical_id.startswith(under)]


def only(stack: cdk.Stack, resource_type: str, *, under: str = "") -> dict[str, Any]:
    """The same of the one that there is."""
    [properties] = resources(stack, resource_type, under=under)
    return properties


def environment(stack: cdk.Stack, *, under: str = "") -> dict[str, Any]:
    """The environment of the stack's one function whose logical id begins with ``under``."""
    return only(stack, "AWS::Lambda::Function", under=under)["Environment"]["Variables"]


def statements(stack: cdk.Stack, *, under: str = "") -> list[dict[str, Any]]:
    """The inline statements of the stack's one role whose logical id begins with ``under``."""
    [policy] = only(stack, "AWS::IAM::Role", under=under)["Policies"]
    return policy["PolicyDocument"]["Statement"]


def literal(value: Any) -> str:
    """A template value as one string, with what only CloudFormation knows as ``<name>``."""
    match value:
        case {"Ref": name} | {"Fn::GetAtt": [name, _]}:
            return f"<{name}>"
        case {"Fn::Join": [separator, parts]}:
            return separator.join(map(literal, parts))
        case _:
            return str(value)


def allowed(stack: cdk.Stack, action: str, *, under: str = "") -> set[str]:
    """The resources on which the stack's one role whose logical id begins with ``under`` may do ``action``."""
    found: set[str] = set()
    for statement in statements(stack, under=under):
        if action in _listed(statement["Action"]) and statement["Effect"] == "Allow":
            found |= {literal(arn) for arn in _listed(statement["Resource"])}
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
