"""Checks what arrived against the input, row by row: nothing may be missing, and nothing be other than ordered."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import NamedTuple

from runtime_lib.errors import Reject
from sample_app.intake import UNKNOWN_ORDER
from sample_app.orders import Order
from tasks_cli.cloud import Cloud
from tasks_cli.demo.observation import Message
from tasks_cli.demo.sales import is_notification
from tasks_cli.local.inspection import Email, emails

_INVOICES = "invoices/"
_DOWNLOADS_AT_ONCE = 8


class Row(NamedTuple):
    """An order of the input, and the id of the message that brought it in.

    ``number`` is that of its row in the file; of one that came by HTTP it is how it came.
    """

    number: int | str
    fields: dict[str, str]
    message_id: str


class Problem(NamedTuple):
    """What is wrong with one row; ``order`` is the id as the row spells it."""

    row: int | str
    order: str
    problem: str


class Arrivals:
    """What arrived: e-mails and invoices. Each is taken by the order that it was for."""

    def __init__(self, mails: Sequence[Email], invoices: Mapping[str, str]) -> None:
        self.emails = len(mails)
        self.invoices = dict(invoices)
        self._mails: dict[tuple[str, str], list[Email]] = {}
        for mail in mails:
            self._mails.setdefault((", ".join(mail.to), mail.subject), []).append(mail)

    @classmethod
    def read(cls, cloud: Cloud, bucket: str) -> "Arrivals":
        """Fetch all e-mails to customers and the invoices in a bucket."""
        s3 = cloud.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=_INVOICES)
        keys = [found.get("Key", "") for page in pages for found in page.get("Contents", [])]

        def download(key: str) -> str:
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as threads:
            pages_by_key = zip(keys, threads.map(download, keys), strict=True)
            invoices = {key.removeprefix(_INVOICES).removesuffix(".html"): page for key, page in pages_by_key}
        return cls([mail for mail in emails(cloud) if not is_notification(mail)], invoices)

    def take(self, to: str, subject: str) -> Email | None:
        """One e-mail, once; None if there is none (left)."""
        found = self._mails.get((to, subject))
        return found.pop() if found else None

    @property
    def left_over(self) -> int:
        """E-mails that nobody has taken: sent twice, or without an order."""
        return sum(map(len, self._mails.values()))


class Audit:
    """The input, held against what became of it.

    ``outcomes`` counts the rows that are accounted for by what became of them: accepted, refunded, duplicate, refused.
    """

    def __init__(self, rows: Sequence[Row], chains: Mapping[str, list[Message]], arrivals: Arrivals) -> None:
        self.outcomes: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self._chains = chains
        self._arrivals = arrivals
        self._orders = {row.number: _read(row) for row in rows}
        self._purchases = {order.key for order in self._orders.values() if isinstance(order, Order)}
        self._owners: dict[str, int | str] = {}
        """The row whose message has the order, by the order's key."""
        for row in rows:
            order = self._orders[row.number]
            if isinstance(order, Order) and self._intake(row).outcome == "Succeeded":
                self._owners.setdefault(order.key, row.number)
        for row in rows:
            outcome, problems = self._check(row)
            if problems:
                self.problems += [Problem(row.number, row.fields["order_id"], problem) for problem in problems]
            else:
                self.outcomes[outcome] += 1

    @property
    def accepted(self) -> list[Order]:
        """The orders and refunds that the shop has accepted, each once."""
        orders = (self._orders[number] for number in self._owners.values())
        return [order for order in orders if isinstance(order, Order)]

    def _check(self, row: Row) -> tuple[str, list[str]]:
        """What became of a row, and what is wrong with it."""
        intake, order = self._intake(row), self._orders[row.number]
        reason = self._refusal(order)
        if reason is not None:
            is_refused = intake.outcome == "DeadLettered" and intake.reason == reason
            return "refused", [] if is_refused else [f"should be refused because {reason}, but {_described(intake)}"]
        assert isinstance(order, Order), "all others are refused"
        owner = self._owners.get(order.key)
        if intake.outcome == "Discarded" and owner is not None:
            return "duplicate", []
        if intake.outcome != "Succeeded":
            return "", [_described(intake)]
        if owner != row.number:
            return "", [f"accepted although row {owner} has the order"]
        unfinished = [_described(one) for one in self._chains[row.message_id] if one.outcome != "Succeeded"]
        missing = self._missing_refund(order) if order.is_refund else self._missing_purchase(order)
        return "refunded" if order.is_refund else "accepted", [*unfinished, *missing]

    def _refusal(self, order: "Order | str") -> str | None:
        """Why an order has to be refused; None if it has not."""
        if isinstance(order, str):
            return order
        return UNKNOWN_ORDER if order.is_refund and order.purchase_key not in self._purchases else None

    def _intake(self, row: Row) -> Message:
        return next(message for message in self._chains[row.message_id] if message.id == row.message_id)

    def _missing_refund(self, order: Order) -> Iterator[str]:
        yield from self._missing_mail(order, f"Your refund for order {order.id}", [order.customer, order.total])

    def _missing_purchase(self, order: Order) -> Iterator[str]:
        yield from self._missing_mail(order, f"Your order {order.id}", [order.customer, order.total])
        invoice = self._arrivals.invoices.get(order.id)
        if invoice is None:
            yield "no invoice in S3"
        else:
            parts = [order.id, order.customer, order.item, order.total]
            yield from _lacking("invoice", unescape(invoice), parts)
        yield from self._missing_mail(order, f"Your receipt for order {order.id}", [order.id], html=invoice)
        if order.newsletter:
            yield from self._missing_mail(order, "Welcome to our newsletter", [order.customer])

    def _missing_mail(self, order: Order, subject: str, parts: list[str], *, html: str | None = None) -> Iterator[str]:
        mail = self._arrivals.take(order.email, subject)
        if mail is None:
            yield f"no mail {subject!r} to {order.email}"
            return
        yield from _lacking(f"mail {subject!r}", mail.text, parts)
        if html is not None and mail.html != html:
            yield f"mail {subject!r} has another invoice than S3"


def _read(row: Row) -> "Order | str":
    """The order, or why it is none."""
    try:
        return Order.read(row.fields)
    except Reject as refusal:
        return str(refusal)


def _lacking(where: str, text: str, parts: list[str]) -> Iterator[str]:
    for part in parts:
        if part not in text:
            yield f"{where} lacks {part!r}"


def _described(message: Message) -> str:
    if message.outcome is None:
        return f"{message.task} has not ended" if message.starts else f"{message.task} has not started"
    return f"{message.task} ended as {message.outcome}" + (f": {message.reason}" if message.reason else "")
