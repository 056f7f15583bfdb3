"""Sets through Lambda's API what the emulator's CloudFormation drops from a function.

Its values may be references that only CloudFormation can resolve, so `ask` adds them to the template as outputs, which
`apply` reads after the deployment.
"""

from collections.abc import Mapping

from tasks_cli.cloud import Cloud
from tasks_cli.local.assembly import Template

OUTPUT_PREFIX = "TasksLocalRepair"
_SEPARATOR = " "


def ask(template: Template) -> None:
    """Add an output for each function: its name, its dead letter target and its reserved concurrency."""
    for logical_id, resource in template.get("Resources", {}).items():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        properties = resource["Properties"]
        target = properties.get("DeadLetterConfig", {}).get("TargetArn", "")
        concurrency = properties.get("ReservedConcurrentExecutions", "")
        output = {"Value": {"Fn::Join": [_SEPARATOR, [{"Ref": logical_id}, target, concurrency]]}}
        if "Condition" in resource:
            output["Condition"] = resource["Condition"]
        template.setdefault("Outputs", {})[OUTPUT_PREFIX + logical_id] = output


def apply(cloud: Cloud, outputs: Mapping[str, str]) -> None:
    """Set what the outputs of a deployed stack ask for, where it differs."""
    functions = cloud.client("lambda")
    for name, value in outputs.items():
        if not name.startswith(OUTPUT_PREFIX):
            continue
        function, target, concurrency = value.split(_SEPARATOR)
        current = functions.get_function(FunctionName=function)
        if current["Configuration"].get("DeadLetterConfig", {}).get("TargetArn", "") != target:
            functions.update_function_configuration(FunctionName=function, DeadLetterConfig={"TargetArn": target})
        reserved = current.get("Concurrency", {}).get("ReservedConcurrentExecutions")
        if concurrency and reserved != int(concurrency):
            functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=int(concurrency))
        if not concurrency and reserved is not None:
            functions.delete_function_concurrency(FunctionName=function)
