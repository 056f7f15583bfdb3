"""`runtime_lib` with the oldest boto3 that it supports, in an environment of its own."""

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tasks_cli.cloud import Cloud
from tasks_cli.local.process import LocalCloud
from tests.deployed import wait_for

pytestmark = pytest.mark.xdist_group("local_cloud")

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "oldest_boto3" / "bin" / "python"
FUNCTION = "background"


def _make_function(cloud: Cloud, *, writing_to: str) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr(
            "index.py",
            "import boto3, json, os\n"
            "def handler(event, context):\n"
            f"    boto3.client('sqs').send_message(QueueUrl={writing_to!r}, MessageBody=json.dumps(event))\n",
        )
    cloud.client("lambda").create_function(
        FunctionName=FUNCTION,
        Runtime="python3.13",
        Handler="index.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": code.getvalue()},
    )


def test_it_dispatches_works_and_requeues_with_the_oldest_boto3() -> None:
    assert PYTHON.exists(), "run 'make .venv/oldest_boto3/.ready', or 'make test'"
    with LocalCloud() as cloud:
        sqs = cloud.client("sqs")
        invoked = sqs.create_queue(QueueName="invoked")["QueueUrl"]
        dead_letters = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
        sqs.create_queue(QueueName="tasks", Attributes={"RedrivePolicy": redrive})
        _make_function(cloud, writing_to=invoked)
        with patch.dict(os.environ):
            cloud.use_in_this_process()
            program = Path(__file__).with_name("oldest_boto3.py")
            done = subprocess.run(
                [PYTHON, program, "tasks", "dead-letters", FUNCTION],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        [message] = wait_for(lambda: sqs.receive_message(QueueUrl=invoked, WaitTimeSeconds=1).get("Messages"))

    assert found == {
        "boto3": "1.34.0",
        "before": [number for number in range(13) if number != 7],
        "after": list(range(13)),
        "reasons": ["failed at attempt 1: ValueError: seven"],
        "requeued": 1,
    }
    assert json.loads(message["Body"])["args"] == [13]
