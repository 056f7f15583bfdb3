"""The shop's window: orders by HTTP, one at a time.

An order is taken at once and worked on in the background: who placed it asks for its status by the URL in the answer.
"""

from runtime_lib import JsonResponse, Reject, task
from sample_app import files, intake, ledger
from sample_app.orders import Order

__all__ = ["place", "show"]


@task
def place(
    *, order_id: str, customer: str, email: str, item: str, amount: str, currency: str, newsletter: bool = False
) -> dict[str, str]:
    """Place an order. What breaks a rule is refused, and so is a refund; the status tells why.

    Once placed, it takes the way of the orders of an export.
    """
    row = {
        "order_id": order_id,
        "customer": customer,
        "email": email,
        "item": item,
        "amount": amount,
        "currency": currency,
        "newsletter": "yes" if newsletter else "no",
    }
    order = Order.read(row)
    if order.is_refund:
        # Whoever knows an order's id could have it refunded to themselves.
        raise Reject("amount is negative: refunds are the shop's to make")
    intake.accept.dispatch(row)
    return {"order_id": order.id, "total": order.total}


@task
def show(order_id: str) -> JsonResponse:
    """What the shop knows of an order; 404 while it has not been accepted."""
    if not ledger.has(f"{order_id}/purchase"):
        return JsonResponse({"message": f"there is no order {order_id}"}, status=404)
    return JsonResponse(
        {
            "order_id": order_id,
            "refunded": ledger.has(f"{order_id}/refund"),
            "invoice": files.exists(f"invoices/{order_id}.html"),
        }
    )
