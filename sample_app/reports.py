"""The nightly report: what the shop has done so far, as a file in S3."""

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
    files.put_json(f"reports/{event.scheduled_time:%Y-%m-%dT%H%M}.json", report)
    return report
