"""Receipts by e-mail, on the asynchronous invocation of one function: no queue, and two retries by Lambda itself."""

from runtime_lib import Retry, task
from sample_app import files, gateway

__all__ = ["send"]


# Lambda decides when it invokes again, about one and two minutes later: a Retry with delays would be refused here.
@task(namespace="receipts", retry=Retry(give_up_on=[gateway.MailRefusedError]))
def send(to: str, order_id: str, invoice_key: str) -> None:
    """Mail an invoice to the customer."""
    invoice = files.s3().get_object(Bucket=files.bucket(), Key=invoice_key)["Body"].read().decode()
    text = f"Thank you for your payment. The invoice for your order {order_id} is the other part of this mail.\n"
    gateway.send(to, f"Your receipt for order {order_id}", text, html=invoice)
