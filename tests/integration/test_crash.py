"""A message that kills the process which runs it, in a batch with nine that do not."""

from collections import Counter
from pathlib import Path

import aws_cdk as cdk

from constructs_lib import ManagedAsyncTask
from runtime_lib import dispatch_batch, dispatch_task
from runtime_lib.dead_letters import read_dead_letter
from tasks_cli import deployed
from tasks_cli.local import inspection
from tasks_cli.local.process import LocalCloud
from tests.deployed import Field, field, wait_for

_LIMIT = 4


def test_a_record_that_kills_the_process_takes_no_neighbour_with_it(tmp_path: Path) -> None:
    def build(app: cdk.App, environment: dict[str, str]) -> None:
        ManagedAsyncTask(
            cdk.Stack(app, "Crash"),
            "Step",
            code=field(),
            task="field.batches:step",
            batch_size=10,
            max_receive_count=_LIMIT,
            timeout=cdk.Duration.seconds(3),
            visibility_timeout=cdk.Duration.seconds(3),
            environment=environment,
        )

    with LocalCloud() as cloud:
        app = Field(cloud, tmp_path, build)
        with app.routes(), dispatch_batch():  # one request: they lie in the queue together
            for number in range(10):
                dispatch_task("field.batches.step", number)
        [function] = deployed.functions(cloud, app.stacks)
        dead_letters = f"{cloud.url}/000000000000/{function.dead_letter_queue}"
        [message] = wait_for(lambda: inspection.queued_messages(cloud, dead_letters), seconds=60)

    begun, ended = app.marks("begun"), Counter(mark["number"] for mark in app.marks("ended"))
    killer = begun[4]["number"]
    assert ended == dict.fromkeys([number for number in range(10) if number != killer], 1)
    assert [mark["attempt"] for mark in begun if mark["number"] == killer] == list(range(1, _LIMIT))
    done_before_it = [mark for mark in begun[:4] if mark["batch"] == begun[4]["batch"]]
    came_back_with_it = [mark for mark in begun if mark["attempt"] == 2 and mark["number"] != killer]
    assert done_before_it + came_back_with_it, "it had no neighbours in its batch"
    letter = read_dead_letter(message.as_received())
    assert letter.failure.reason == f"{_LIMIT - 1} deliveries ended without a report: timeout, out of memory or killed"
    assert letter.task == "field.batches.step"
