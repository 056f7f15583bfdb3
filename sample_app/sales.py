"""The sales report of every night: a workflow of tasks, each of which hands its result to the next.

::

    list_orders ----.
                    +--> extract --> transform --> compute --> load
    list_invoices --'                for each page               `-- on failure: notify

It starts where `extract` is dispatched. What is computed is in `figures`.
"""

from decimal import Decimal
from typing import Any

from runtime_lib import Retry, TaskContext, for_each, task
from sample_app import figures, files, gateway, ledger

__all__ = ["extract", "list_invoices", "list_orders", "load", "notify", "transform"]

_ENTRIES_A_PAGE = 250
_PAGES_AT_ONCE = 4
_RETRY = Retry(max_attempts=3, first_delay=1, max_delay=60)


@task(retry=_RETRY)
def list_orders(context: TaskContext | None = None) -> None:
    """Take down which orders there are: what comes while the report is made is for the next one."""
    files.put_json(_list("orders", context), files.names("orders/"))


@task(retry=_RETRY)
def list_invoices(context: TaskContext | None = None) -> None:
    """Take down which invoices there are."""
    files.put_json(_list("invoices", context), files.names("invoices/"))


# What runs before it takes and gives nothing: the two lists are in the bucket, where every page finds them.
@task(
    run_before=["list_orders", "list_invoices"],
    run_after=for_each("transform", max_concurrency=_PAGES_AT_ONCE, then=figures.compute),
    retry=_RETRY,
)
def extract(context: TaskContext | None = None) -> list[dict[str, int]]:
    """Cut the list of orders into pages. An execution hands on 256 KiB, so they are named here, not passed."""
    count = len(files.get_json(_list("orders", context)))
    return [{"first": first, "end": min(first + _ENTRIES_A_PAGE, count)} for first in range(0, count, _ENTRIES_A_PAGE)]


@task(retry=_RETRY)
def transform(first: int, end: int, context: TaskContext | None = None) -> dict[str, Any]:
    """Read a page of the ledger: the amounts in cents by kind and currency, and the orders that have no invoice."""
    names = files.get_json(_list("orders", context))[first:end]
    invoiced = set(files.get_json(_list("invoices", context)))
    page: dict[str, Any] = {"purchase": {}, "refund": {}, "without_invoice": []}
    for entry in ledger.entries(names):
        page[entry.kind].setdefault(entry.currency, []).append(int(Decimal(entry.amount) * 100))
        if entry.kind == "purchase" and f"invoices/{entry.order_id}.html" not in invoiced:
            page["without_invoice"].append(entry.order_id)
    return page


@task(on_failure="notify", retry=_RETRY)
def load(report: dict[str, Any], context: TaskContext | None = None) -> None:
    """Store the report, under the id of the run; a second attempt writes the same file again."""
    files.put_json(f"sales/{_run(context)}.json", report)


@task(retry=Retry(max_attempts=6, first_delay=2, max_delay=300, give_up_on=[gateway.MailRefusedError]))
def notify(job_failed: dict[str, Any]) -> None:
    """Tell the shop that there is no report, and why."""
    error = job_failed["error"]
    text = (
        f"{job_failed['task']} failed: {error['type']}: {error['message']}\n\n"
        f"What the other tasks did: tasks runs show {job_failed['run']}\n"
    )
    gateway.send_to_shop(f"No sales report: {job_failed['run']}", text)


def _list(name: str, context: TaskContext | None) -> str:
    """Where a run keeps a list: no other run may change it."""
    return f"sales-lists/{_run(context)}/{name}.json"


def _run(context: TaskContext | None) -> str:
    """The id of the dispatch, or of the night, that all tasks of a run have in common."""
    assert context, "the library passes it to every task that has such a parameter"
    return context.chain
