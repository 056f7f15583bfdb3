"""Mail of every urgency, in the priority queues of the namespace "mail".

Who has just ordered, or waits for money, reads mail now; nobody waits for a newsletter. So they do not share a queue.
"""

from runtime_lib import Priority, Retry, task
from sample_app import gateway

__all__ = ["confirm", "newsletter", "refund"]

# The gateway is busy for seconds to minutes: wait longer each time, and do not repeat what it will never take.
_RETRY = Retry(max_attempts=6, first_delay=2, max_delay=300, give_up_on=[gateway.MailRefusedError])


@task(namespace="mail", priority=Priority.HIGH, retry=_RETRY)
def confirm(to: str, customer: str, order_id: str, total: str) -> None:
    """Say that the order has arrived."""
    text = f"{_greeting(customer)}\n\nwe have your order {order_id} over {total}. The invoice follows.\n"
    gateway.send(to, f"Your order {order_id}", text)


@task(namespace="mail", priority=Priority.HIGH, retry=_RETRY)
def refund(to: str, customer: str, order_id: str, total: str) -> None:
    """Say that money is on its way back."""
    text = f"{_greeting(customer)}\n\nwe have sent you {total} back for your order {order_id}.\n"
    gateway.send(to, f"Your refund for order {order_id}", text)


@task(namespace="mail", priority=Priority.BULK, retry=_RETRY)
def newsletter(to: str, customer: str) -> None:
    """Welcome a new reader."""
    gateway.send(to, "Welcome to our newsletter", f"{_greeting(customer)}\n\nnews from the shop, once a month.\n")


def _greeting(customer: str) -> str:
    return f"Dear {customer}," if customer else "Hello,"
