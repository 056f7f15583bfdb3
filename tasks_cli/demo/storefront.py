"""Orders placed by HTTP: taken with 202, followed to their end by the address in the answer, and asked for."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tasks_cli.cloud import Cloud
from tasks_cli.errors import CliError
from tasks_cli.local.api_proxy import ApiProxy, mounts
from tasks_cli.local.apis import deployed_apis

ORDERS: tuple[dict[str, str], ...] = (
    {
        "order_id": "ZZ-90001",
        "customer": "Ann Web",
        "email": "ann@example.com",
        "item": "Kettle",
        "amount": "49.90",
        "currency": "EUR",
    },
    {
        "order_id": "ZZ-90002",
        "customer": "石川 花子",
        "email": "hanako@example.com",
        "item": "茶筅",
        "amount": "18",
        "currency": "USD",
    },
    {
        "order_id": "ZZ-90003",
        "customer": "Bo Coin",
        "email": "bo@example.com",
        "item": "Spoon",
        "amount": "3.50",
        "currency": "BTC",
    },
)
"""The last one is refused: the shop takes no such currency."""
_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.5


class Placement(NamedTuple):
    """An order that was taken, and where its status is."""

    order: dict[str, str]
    id: str
    status_url: str
    milliseconds: int
    """Until the answer."""


class PlacedOrder(NamedTuple):
    """What the API tells of an order in the end."""

    order_id: str
    status: str
    told: str
    """The result of the task that took it, or why it was refused."""
    shown: int
    """HTTP's status of ``GET /orders/{order_id}``."""
    milliseconds: int
    """Until the order was taken."""

    @property
    def problem(self) -> str:
        """What does not fit together; empty if all does: an order that was taken is shown, a refused one is not."""
        expected = {"succeeded": 200, "failed": 404}.get(self.status)
        if expected is None:
            return f"its status is {self.status!r} after {_TIMEOUT_SECONDS:.0f} s"
        return "" if self.shown == expected else f"answers {self.shown}, and its status is {self.status!r}"


class Storefront:
    """The shop's API at an address of this machine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open = build_opener(ProxyHandler({})).open

    def place(self, orders: Sequence[dict[str, str]]) -> list[Placement]:
        """Place orders.

        Raises:
            CliError: one was not taken.
        """
        placements = []
        for order in orders:
            started = time.monotonic()
            status, answer = self._ask("POST", f"{self.url}/orders", order)
            if status != 202:  # noqa: PLR2004
                raise CliError(f"POST /orders answered {status}: {answer}")
            elapsed = round(1000 * (time.monotonic() - started))
            placements.append(Placement(order, answer["id"], answer["status_url"], elapsed))
        return placements

    def follow(self, placements: Sequence[Placement]) -> list[PlacedOrder]:
        """Ask for each order's status until it has one that stays, and then for the order."""
        return [self._follow(placement) for placement in placements]

    def _follow(self, placement: Placement) -> PlacedOrder:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            _, record = self._ask("GET", placement.status_url)
            status = record.get("status", "unknown")
            if status in {"succeeded", "failed", "cancelled"} or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        told = json.dumps(record.get("result")) if status == "succeeded" else record.get("error", {}).get("message", "")
        shown, _ = self._ask("GET", f"{self.url}/orders/{placement.order['order_id']}")
        return PlacedOrder(placement.order["order_id"], status, told, shown, placement.milliseconds)

    def _ask(self, method: str, url: str, body: dict[str, str] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310  (http, loopback)
        try:
            with self._open(request, timeout=_TIMEOUT_SECONDS) as response:
                return response.status, json.loads(response.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@contextmanager
def storefront(cloud: Cloud, stack: str) -> Iterator[Storefront]:
    """Serve a stack's API on this machine for the block."""
    with ApiProxy(cloud, mounts(deployed_apis(cloud, [stack])), tell=None) as proxy:
        thread = Thread(target=proxy.serve_forever, name="demo-api")
        thread.start()
        try:
            yield Storefront(proxy.url)
        finally:
            proxy.shutdown()
            thread.join()
