"""The books: every order that the shop has accepted, as one CSV file for whoever keeps its accounts.

The file is as long as the shop is old, so it is streamed page by page while the ledger is read. Who has taken it is
recorded when it is out: nobody waits for that.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

from runtime_lib import ResponseWriter, StreamingContext, streaming_handler
from sample_app import files, ledger

__all__ = ["COLUMNS", "books"]

COLUMNS = ("order_id", "kind", "amount", "currency", "accepted_at", "message_id")
_HEADERS = {"content-type": "text/csv; charset=utf-8", "content-disposition": 'attachment; filename="books.csv"'}


@streaming_handler
def books(event: dict[str, Any], output: ResponseWriter, context: StreamingContext) -> None:
    """Stream the books, then record who has taken how much of them."""
    output.start(headers=_HEADERS)
    output.write(_csv([COLUMNS]))
    rows = 0
    for page in ledger.pages():
        output.write(_csv(page))
        rows += len(page)
    output.finish()
    # From here on the client has it all, and this costs nobody's time.
    files.put_json(f"audit/{context.request_id}.json", {"rows": rows, "taken_by": _caller(event)})
    context.logger.info("%d rows were taken, and that is on record", rows)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _caller(event: dict[str, Any]) -> str:
    """Who asked: IAM's principal, or the address where IAM was not asked."""
    request = event.get("requestContext", {})
    principal = request.get("authorizer", {}).get("iam", {}).get("userArn")
    return str(principal or request.get("http", {}).get("sourceIp", "somebody"))
