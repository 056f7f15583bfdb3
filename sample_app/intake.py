"""The intake: one task for each row of an export, which dispatches what the order calls for."""

from runtime_lib import Discard, Reject, Retry, RetryLater, TaskContext, dispatch_batch, task
from sample_app import invoices, ledger, mail
from sample_app.orders import Order

__all__ = ["UNKNOWN_ORDER", "accept"]

UNKNOWN_ORDER = "refund of an order that we do not have"
# A refund may overtake its order in the queue, but not by much.
_PATIENCE_DELIVERIES = 20
_PATIENCE_SECONDS = 3


@task(retry=Retry(max_attempts=5, first_delay=1, max_delay=60))
def accept(row: dict[str, str], context: TaskContext | None = None) -> None:
    """Check a row, enter the order, and dispatch all that follows from it.

    If this fails after it has dispatched, it runs again and dispatches again: a customer would rather get a mail twice
    than not at all.
    """
    assert context, "the library passes it to every task that has such a parameter"
    order = Order.read(row)
    if order.is_refund and not ledger.has(order.purchase_key):
        if context.attempt >= _PATIENCE_DELIVERIES:
            raise Reject(UNKNOWN_ORDER)
        raise RetryLater(_PATIENCE_SECONDS)
    if not ledger.claim(order.key, context.id, order.total):
        raise Discard(f"{order.key} has been accepted before")
    # Sent together at the end of the block: one request for each queue.
    with dispatch_batch():
        if order.is_refund:
            mail.refund.dispatch(order.email, order.customer, order.id, order.total)
            return
        mail.confirm.dispatch(order.email, order.customer, order.id, order.total)
        invoices.render.dispatch(order.id, order.customer, order.email, order.item, order.total)
        if order.newsletter:
            mail.newsletter.dispatch(order.email, order.customer)
