"""The nightly report: what the shop has done so far, as a file in S3."""

import json

from runtime_lib import ScheduledEvent, task
from sample_app import files

__all__ = ["nightly"]


@task
def nightly(event: ScheduledEvent) -> dict[str, int]:
    """Count the orders, refunds and invoices; a second run of the same night writes the same file again."""
    orders = files.names("orders/")
    report = {
        "orders": sum(name.endswith("/purchase") for name in orders),
        "refunds": sum(name.endswith("/refund") for name in orders),
        "invoices": len(files.names("invoices/")),
    }
    files.s3().put_object(
        Bucket=files.bucket(),
        Key=f"reports/{event.scheduled_time:%Y-%m-%dT%H%M}.json",
        Body=json.dumps(report).encode(),
        ContentType="application/json",
    )
    return report
