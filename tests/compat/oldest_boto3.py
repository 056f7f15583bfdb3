"""A program for the oldest boto3 that is supported: dispatches, works on a queue, and runs a dead letter again."""

import json
import sys

import boto3

from runtime_lib import LambdaTransport, SqsTransport, listen_for_messages, requeue_dead_letters, task, using_transport
from runtime_lib.dead_letters import read_dead_letter
from runtime_lib.queues import queue_url

QUEUE, DEAD_LETTERS, FUNCTION = sys.argv[1:]
ran: list[int] = []
broken = True


@task(name="add", retry="never")
def add(number: int) -> None:
    """Note the number; one of them fails while ``broken``."""
    if broken and number == 7:
        raise ValueError("seven")
    ran.append(number)


def work() -> None:
    """Until the queue seems empty."""
    listen_for_messages(queue=QUEUE, loop_count=4, wait_time_s=1, concurrency=10)


with using_transport(SqsTransport(QUEUE)):
    add.dispatch_many([add.call(number) for number in range(12)])
    add.with_group("tenant-7").with_delay(1).dispatch(12)
with using_transport(LambdaTransport(FUNCTION)):
    add.dispatch(13)
work()
sqs = boto3.client("sqs")
lying = sqs.receive_message(
    QueueUrl=queue_url(DEAD_LETTERS), MessageAttributeNames=["All"], VisibilityTimeout=0, WaitTimeSeconds=2
)["Messages"]
broken = False
requeued = requeue_dead_letters(DEAD_LETTERS)
before = sorted(ran)
work()
json.dump(
    {
        "boto3": boto3.__version__,
        "before": before,
        "after": sorted(ran),
        "reasons": [read_dead_letter(message).failure.reason for message in lying],
        "requeued": requeued,
    },
    sys.stdout,
)
