"""Deploys a synthesized CDK app to the local cloud, as `cdk deploy` does to AWS."""

import json
import time
from pathlib import Path
from typing import NamedTuple

from botocore.exceptions import ClientError

from tasks_cli import stacks
from tasks_cli.cloud import Cloud
from tasks_cli.errors import CliError
from tasks_cli.local import function_runtime, repairs
from tasks_cli.local.assembly import Asset, Stack, Template, read_stacks

STACK_TIMEOUT_SECONDS = 120.0
"""A stack takes well below a second; a custom resource takes as long as its function."""
_POLL_SECONDS = 0.02
_BOOTSTRAP_VERSION = ("/cdk-bootstrap/hnb659fds/version", "32")
"""What `cdk bootstrap` leaves in an account: templates check it."""
_TEMPLATES = "tasks-local-templates"
"""Bucket of the stacks' templates: a request takes 51,200 bytes of one, an object in S3 a megabyte."""
_NO_CHANGES = "No updates are to be performed"


class DeploymentError(CliError):
    """A stack could not be deployed."""


class DeployedStack(NamedTuple):
    """A stack that is now in the local cloud."""

    name: str
    outputs: dict[str, str]
    seconds: float


def deploy(cloud: Cloud, directory: Path) -> list[DeployedStack]:
    """Create or update every stack of the assembly in ``directory``, each after those it depends on.

    Python functions run on Lambda's own runtime client where it is installed, else in the emulator's worker.

    Raises:
        AssemblyError: there is no assembly, or the local cloud cannot hold it.
        DeploymentError: a stack failed; the message has the failed resources.
    """
    assembly = read_stacks(directory)
    name, value = _BOOTSTRAP_VERSION
    cloud.client("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    return [_deploy_stack(cloud, stack) for stack in assembly]


def _deploy_stack(cloud: Cloud, stack: Stack) -> DeployedStack:
    started = time.monotonic()
    template = stack.template
    nested = {asset: json.loads(asset.content()) for asset in stack.assets if _is_nested_template(asset)}
    keys: dict[str, str] = {}
    for part in (template, *nested.values()):
        if function_runtime.is_available():
            keys |= function_runtime.use_runtime_client(part)
        repairs.ask(part)
    for asset in stack.assets:
        _upload(cloud, asset, nested.get(asset), keys)
    _apply(cloud, stack, template)
    for name in sorted({resource.stack for resource in stacks.resources(cloud, stack.name)}):
        repairs.apply(cloud, _outputs(cloud, name))
    outputs = _outputs(cloud, stack.name).items()
    return DeployedStack(
        name=stack.name,
        outputs={key: value for key, value in outputs if not key.startswith(repairs.OUTPUT_PREFIX)},
        seconds=time.monotonic() - started,
    )


def _is_nested_template(asset: Asset) -> bool:
    return asset.path.name.endswith(".nested.template.json")


def _upload(cloud: Cloud, asset: Asset, template: Template | None, keys: dict[str, str]) -> None:
    """Put an asset where its template looks for it; ``keys`` are the new keys of those that get a bootstrap."""
    s3 = cloud.client("s3")
    # The emulator's answer is the same whether the bucket is new or was there.
    s3.create_bucket(Bucket=asset.bucket)
    if template is not None:
        s3.put_object(Bucket=asset.bucket, Key=asset.key, Body=json.dumps(template))
        return
    bootstrap = {function_runtime.BOOTSTRAP_NAME: function_runtime.BOOTSTRAP}
    for key, extra in ((asset.key, {}), (keys.get(asset.key), bootstrap)):
        # A key stands for its content.
        if key and not _is_uploaded(cloud, asset.bucket, key):
            s3.put_object(Bucket=asset.bucket, Key=key, Body=asset.content(extra))


def _is_uploaded(cloud: Cloud, bucket: str, key: str) -> bool:
    found = cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return found["KeyCount"] > 0


def _apply(cloud: Cloud, stack: Stack, template: Template) -> None:
    client = cloud.client("cloudformation")
    key = f"{stack.name}.json"
    cloud.client("s3").create_bucket(Bucket=_TEMPLATES)
    cloud.client("s3").put_object(Bucket=_TEMPLATES, Key=key, Body=json.dumps(template))
    current = stacks.describe(cloud, stack.name)
    if current and current["StackStatus"] == "ROLLBACK_COMPLETE":
        # What a failed first deployment leaves: it can only be deleted.
        _delete(cloud, stack.name)
        current = None
    change = client.update_stack if current else client.create_stack
    try:
        change(
            StackName=stack.name,
            TemplateURL=f"{cloud.url}/{_TEMPLATES}/{key}",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
    except ClientError as error:
        if _NO_CHANGES in str(error):
            return
        raise DeploymentError(f"stack {stack.name}: {error}") from error
    _wait_while_in_progress(cloud, stack.name)


def _delete(cloud: Cloud, name: str) -> None:
    cloud.client("cloudformation").delete_stack(StackName=name)
    _wait_while_in_progress(cloud, name)


def _wait_while_in_progress(cloud: Cloud, name: str) -> None:
    """Wait until a stack's change ends.

    Raises:
        DeploymentError: the change failed, or took longer than `STACK_TIMEOUT_SECONDS`.
    """
    deadline = time.monotonic() + STACK_TIMEOUT_SECONDS
    while stack := stacks.describe(cloud, name):
        status = stack["StackStatus"]
        if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            return
        if not status.endswith("_IN_PROGRESS"):
            raise DeploymentError(f"stack {name} ended as {status}: {_failures(cloud, name)}")
        if time.monotonic() > deadline:
            raise DeploymentError(f"stack {name} is still {status} after {STACK_TIMEOUT_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)


def _failures(cloud: Cloud, name: str) -> str:
    events = cloud.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    reasons = [f"{event.get('LogicalResourceId')}: {event.get('ResourceStatusReason')}" for event in failed]
    return "; ".join(dict.fromkeys(reasons)) or "no resource reported a failure"


def _outputs(cloud: Cloud, name: str) -> dict[str, str]:
    stack = stacks.describe(cloud, name)
    return stacks.outputs(stack) if stack else {}
