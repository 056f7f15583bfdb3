"""What a topic publishes runs in the queues that are subscribed to it."""

from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_sns

from constructs_lib import Priority, PriorityTaskQueues
from tasks_cli.local.process import LocalCloud
from tests.deliveries import body_of
from tests.deployed import Field, field, wait_for

pytestmark = pytest.mark.xdist_group("local_cloud")


def test_messages_of_topics_run_wrapped_or_raw(tmp_path: Path) -> None:
    def build(app: cdk.App, environment: dict[str, str]) -> None:
        stack = cdk.Stack(app, "Topics")
        queues = PriorityTaskQueues(
            stack, "Queues", code=field(), modules=["field.relay"], namespace="queues", environment=environment
        )
        for name, raw in (("wrapped", False), ("raw", True)):
            topic = aws_sns.Topic(stack, name.title(), topic_name=name)
            queues.subscribe_topic(topic, priority=Priority.LOW, raw_message_delivery=raw)

    with LocalCloud() as cloud:
        app = Field(cloud, tmp_path, build)
        for name in ("wrapped", "raw"):
            arn = f"arn:aws:sns:us-east-1:000000000000:{name}"
            cloud.client("sns").publish(TopicArn=arn, Message=body_of("field.relay.queued", []))
        wait_for(lambda: len(app.marks("arrived")) == 2)
