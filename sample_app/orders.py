"""Orders as the shop exports them: what a row has to hold, and why one is refused.

Nothing here needs AWS: the rules can be read, and tested, by themselves.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Self

from runtime_lib import Reject

__all__ = ["COLUMNS", "Order", "read_rows"]

COLUMNS = ("order_id", "customer", "email", "item", "amount", "currency", "newsletter")
_SURPLUS = "surplus"
"""Where a row keeps fields that no column is for: usually a comma that nobody put in quotes."""

# Plain [0-9], because \d also takes the digits of other scripts, and no guessing: "12,50" and "1e3" may mean anything.
_AMOUNT = re.compile(r"-?[0-9]{1,7}(\.[0-9]{1,2})?")
_ID = re.compile(r"[A-Z]{2}-[0-9]{5}")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+"
_MAILBOX = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_DOMAIN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]")
_CURRENCIES = ("EUR", "USD", "GBP")
_YES = frozenset({"yes", "y", "true", "1"})


class Order(NamedTuple):
    """A row that is in order. ``cents`` are negative for a refund, which has the id of the order it is for."""

    id: str
    customer: str
    email: str
    item: str
    cents: int
    currency: str
    newsletter: bool

    @classmethod
    def read(cls, row: Mapping[str, str]) -> Self:
        """Read a row.

        Raises:
            Reject: the row breaks a rule. Reasons name the rule alone, so that dead letters can be counted by them;
                the row itself is in the dead letter.
        """
        if row.get(_SURPLUS):
            raise Reject("row has more fields than the header")
        fields = {column: _clean(row.get(column, "")) for column in COLUMNS}
        return cls(
            id=_order_id(fields["order_id"]),
            customer=fields["customer"],
            email=_email(fields["email"]),
            item=fields["item"],
            cents=_cents(fields["amount"]),
            currency=_currency(fields["currency"]),
            # Consent is given, never assumed: whatever else stands there means no.
            newsletter=fields["newsletter"].casefold() in _YES,
        )

    @property
    def is_refund(self) -> bool:
        """Whether money goes back."""
        return self.cents < 0

    @property
    def key(self) -> str:
        """What there is one of: an order is placed once, and refunded once."""
        return f"{self.id}/{'refund' if self.is_refund else 'purchase'}"

    @property
    def purchase_key(self) -> str:
        """The key of the order that a refund is for."""
        return f"{self.id}/purchase"

    @property
    def total(self) -> str:
        """The amount, without a sign, as customers read it: ``12.50 EUR``."""
        units, cents = divmod(abs(self.cents), 100)
        return f"{units}.{cents:02d} {self.currency}"


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row of a CSV file in UTF-8, by its number as spreadsheets count: the header is row 1.

    Raises:
        ValueError: the file is not UTF-8, or lacks a column.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = csv.reader(file)
        header = [name.strip() for name in next(records, [])]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise ValueError(
                f"{path} lacks the columns {', '.join(missing)}: its first row is {','.join(header)!r:.100}"
            )
        for number, record in enumerate(records, 2):
            if not record:
                continue
            # A short row lacks its last fields.
            row = dict.fromkeys(COLUMNS, "") | dict(zip(header, record, strict=False))
            surplus = record[len(header) :]
            yield number, row | ({_SURPLUS: ",".join(surplus)} if surplus else {})


def _clean(text: str) -> str:
    """One form for what looks the same: accents composed, and single spaces for every run of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _order_id(text: str) -> str:
    if not text:
        raise Reject("order id is missing")
    if not _ID.fullmatch(text.upper()):
        raise Reject("order id is not like AB-12345")
    return text.upper()


def _email(text: str) -> str:
    """The address as SES takes it: ASCII, with the domain in Punycode where it is in another script."""
    if not text:
        raise Reject("e-mail address is missing")
    mailbox, _, domain = text.rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        domain = ""
    if not (_MAILBOX.fullmatch(mailbox) and _DOMAIN.fullmatch(domain)):
        raise Reject("e-mail address is not valid")
    return f"{mailbox}@{domain}"


def _cents(text: str) -> int:
    if not text:
        raise Reject("amount is missing")
    if not _AMOUNT.fullmatch(text):
        raise Reject("amount is not a number like 12.50")
    cents = int(Decimal(text) * 100)
    if not cents:
        raise Reject("amount is zero")
    return cents


def _currency(text: str) -> str:
    if text.upper() not in _CURRENCIES:
        raise Reject("currency is not one we take" if text else "currency is missing")
    return text.upper()
