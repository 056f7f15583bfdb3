"""The figures of the sales report.

Nothing here needs AWS: the process that computes them loads nothing else, and the rules can be tested by themselves.
"""

from statistics import median_low
from typing import Any

from runtime_lib import task

__all__ = ["compute"]


# It has a processor to itself for as long as it takes, which grows with the shop, and can be ended at any moment.
@task(run_after="load", subprocess=True, timeout=60)
def compute(pages: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what the pages of the ledger have, by currency. Amounts are in cents: they are added without rounding."""
    sold, refunded = (_by_currency(pages, kind) for kind in ("purchase", "refund"))
    return {
        "orders": sum(map(len, sold.values())),
        "refunds": sum(map(len, refunded.values())),
        "without_invoice": sorted(order for page in pages for order in page["without_invoice"]),
        "currencies": {
            currency: _figures(sold.get(currency, []), refunded.get(currency, []))
            for currency in sorted({*sold, *refunded})
        },
    }


def _by_currency(pages: list[dict[str, Any]], kind: str) -> dict[str, list[int]]:
    amounts: dict[str, list[int]] = {}
    for page in pages:
        for currency, cents in page[kind].items():
            amounts.setdefault(currency, []).extend(cents)
    return amounts


def _figures(sold: list[int], refunded: list[int]) -> dict[str, int | None]:
    return {
        "orders": len(sold),
        "sold": sum(sold),
        "refunded": sum(refunded),
        "remaining": sum(sold) - sum(refunded),
        # An amount that somebody has paid, unlike the mean of two.
        "median_order": median_low(sold) if sold else None,
    }
