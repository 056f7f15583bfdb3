"""Receipts by e-mail, on the asynchronous invocation of one function: no queue, and two retries by Lambda itself."""

import os
from functools import cache
from typing import TYPE_CHECKING

import boto3

from runtime_lib import Retry, task
from sample_app import gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["send"]


@cache
def _s3() -> "S3Client":
    return boto3.client("s3")


# Lambda decides when it invokes again, about one and two minutes later: a Retry with delays would be refused here.
@task(namespace="receipts", retry=Retry(give_up_on=[gateway.MailRefusedError]))
def send(to: str, order_id: str, invoice_key: str) -> None:
    """Mail an invoice to the customer."""
    invoice = _s3().get_object(Bucket=os.environ["SHOP_BUCKET"], Key=invoice_key)["Body"].read().decode()
    text = f"Thank you for your payment. The invoice for your order {order_id} is the other part of this mail.\n"
    gateway.send(to, f"Your receipt for order {order_id}", text, html=invoice)
