"""Invoices, rendered one by one, as files in S3."""

from html import escape
from string import Template

from runtime_lib import task
from sample_app import files, receipts

__all__ = ["page", "render"]

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Invoice $order_id</title>
<h1>Invoice $order_id</h1>
<p>For $customer</p>
<table>
<tr><td>$item</td><td>$total</td></tr>
</table>
</html>
""")


@task
def render(order_id: str, customer: str, email: str, item: str, total: str) -> None:
    """Write an order's invoice, then have it sent; a second run writes the same file again."""
    key = f"invoices/{order_id}.html"
    files.s3().put_object(
        Bucket=files.bucket(),
        Key=key,
        Body=page(order_id, customer, item, total).encode(),
        ContentType="text/html; charset=utf-8",
    )
    # By its key: a message holds 1 MiB, and S3 is where the invoice is anyway.
    receipts.send.dispatch(email, order_id, key)


def page(order_id: str, customer: str, item: str, total: str) -> str:
    """The invoice as a web page."""
    fields = {"order_id": order_id, "customer": customer or "our customer", "item": item, "total": total}
    return _PAGE.substitute({name: escape(value) for name, value in fields.items()})
