"""Sets through the services' APIs what the emulator's CloudFormation drops from functions and tables.

The values may be references that only CloudFormation can resolve, so `ask` adds them to the template as outputs, which
`apply` reads after the deployment.
"""

from collections.abc import Mapping
from typing import Any

from tasks_cli.cloud import Cloud
from tasks_cli.local.assembly import Template

OUTPUT_PREFIX = "TasksLocalRepair"
_FUNCTION = f"{OUTPUT_PREFIX}Function"
_TABLE = f"{OUTPUT_PREFIX}Table"
_SEPARATOR = " "


def ask(template: Template) -> None:
    """Add an output for each function and table: its name, and what is dropped of its properties."""
    for logical_id, resource in template.get("Resources", {}).items():
        properties: dict[str, Any] = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Function":
            target = properties.get("DeadLetterConfig", {}).get("TargetArn", "")
            prefix, values = _FUNCTION, [target, properties.get("ReservedConcurrentExecutions", "")]
        elif resource["Type"] == "AWS::DynamoDB::Table":
            expiry = properties.get("TimeToLiveSpecification", {})
            prefix, values = _TABLE, [expiry.get("AttributeName", "") if expiry.get("Enabled") else ""]
        else:
            continue
        output = {"Value": {"Fn::Join": [_SEPARATOR, [{"Ref": logical_id}, *values]]}}
        if "Condition" in resource:
            output["Condition"] = resource["Condition"]
        template.setdefault("Outputs", {})[prefix + logical_id] = output


def apply(cloud: Cloud, outputs: Mapping[str, str]) -> None:
    """Set what the outputs of a deployed stack ask for, where it differs."""
    for name, value in outputs.items():
        if name.startswith(_FUNCTION):
            _repair_function(cloud, *value.split(_SEPARATOR))
        elif name.startswith(_TABLE):
            _repair_table(cloud, *value.split(_SEPARATOR))


def _repair_function(cloud: Cloud, function: str, target: str, concurrency: str) -> None:
    functions = cloud.client("lambda")
    current = functions.get_function(FunctionName=function)
    if current["Configuration"].get("DeadLetterConfig", {}).get("TargetArn", "") != target:
        functions.update_function_configuration(FunctionName=function, DeadLetterConfig={"TargetArn": target})
    reserved = current.get("Concurrency", {}).get("ReservedConcurrentExecutions")
    if concurrency and reserved != int(concurrency):
        functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=int(concurrency))
    if not concurrency and reserved is not None:
        functions.delete_function_concurrency(FunctionName=function)


def _repair_table(cloud: Cloud, table: str, expires_at: str) -> None:
    tables = cloud.client("dynamodb")
    current = tables.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    attribute = current.get("AttributeName", "") if current["TimeToLiveStatus"] == "ENABLED" else ""
    if attribute != expires_at:
        expiry = {"AttributeName": expires_at or attribute, "Enabled": bool(expires_at)}
        tables.update_time_to_live(TableName=table, TimeToLiveSpecification=expiry)
