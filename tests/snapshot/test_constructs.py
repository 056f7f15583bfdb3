"""The default template of each construct. Update with ``pytest tests/snapshot --snapshot-update`` and read the diff."""

from collections.abc import Callable

import aws_cdk as cdk
import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from constructs_lib import PayloadBucket, TaskStore
from constructs_lib.testing import template_of
from tests.apps import add_api_task, add_invoice, add_mail, add_nightly, add_receipts, new_stack
from tests.event_apps import add_changes, add_uploads
from tests.queue_apps import add_payments, add_quote
from tests.streaming_apps import add_export
from tests.workflow_apps import add_restock


@pytest.mark.parametrize(
    "add",
    [
        pytest.param(add_api_task, id="api_task"),
        pytest.param(add_receipts, id="background_task_function"),
        pytest.param(add_invoice, id="managed_async_task"),
        pytest.param(add_mail, id="priority_task_queues"),
        pytest.param(add_quote, id="pure_task"),
        pytest.param(add_payments, id="queue_task"),
        pytest.param(add_nightly, id="scheduled_task"),
        pytest.param(add_changes, id="stream_task"),
        pytest.param(lambda stack: add_export(stack, function_url=True), id="streaming_lambda"),
        pytest.param(add_uploads, id="event_task"),
        pytest.param(lambda stack: PayloadBucket(stack, "Payloads"), id="payload_bucket"),
        pytest.param(lambda stack: TaskStore(stack, "Store"), id="task_store"),
        pytest.param(add_restock, id="task_workflow"),
    ],
)
def test_default_template(add: Callable[[cdk.Stack], object], snapshot: SnapshotAssertion) -> None:
    stack = new_stack()
    add(stack)
    assert template_of(stack) == snapshot(extension_class=JSONSnapshotExtension)
