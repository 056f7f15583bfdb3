"""What the shop takes for an order, and how it reads files of them."""
# ruff: noqa: RUF001  (real files have characters that look like others)

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runtime_lib import Reject
from tests.shop import sample_app

ROOT = Path(__file__).parents[2]
GOOD = {
    "order_id": "WB-10001",
    "customer": "Zoë O’Neill",
    "email": "zoe@example.com",
    "item": "Teapot",
    "amount": "12.50",
    "currency": "EUR",
    "newsletter": "yes",
}
HEADER = ",".join(GOOD)


@pytest.fixture(scope="module")
def orders() -> Iterator[ModuleType]:
    with sample_app():
        yield import_module("sample_app.orders")


def read(orders: ModuleType, **fields: str) -> Any:
    return orders.Order.read({**GOOD, **fields})


def test_a_row_becomes_an_order(orders: ModuleType) -> None:
    order = read(orders)
    assert order == ("WB-10001", "Zoë O’Neill", "zoe@example.com", "Teapot", 1250, "EUR", True)
    assert (order.total, order.key, order.is_refund) == ("12.50 EUR", "WB-10001/purchase", False)


@pytest.mark.parametrize(
    ("amount", "cents", "total"),
    [("7", 700, "7.00 EUR"), ("0.3", 30, "0.30 EUR"), (" 12.05 ", 1205, "12.05 EUR"), ("0.07", 7, "0.07 EUR")],
)
def test_amounts_are_exact(orders: ModuleType, amount: str, cents: int, total: str) -> None:
    order = read(orders, amount=amount)
    assert (order.cents, order.total) == (cents, total)


def test_a_negative_amount_is_a_refund_of_the_order(orders: ModuleType) -> None:
    order = read(orders, amount="-12.50")
    assert order.is_refund
    assert (order.total, order.key) == ("12.50 EUR", "WB-10001/refund")
    assert order.purchase_key == read(orders).key


@pytest.mark.parametrize("spelling", ["wb-10001", " WB-10001", "WB-10001\u00a0", "\tWb-10001 "])
def test_an_order_has_one_id_however_it_is_spelled(orders: ModuleType, spelling: str) -> None:
    assert read(orders, order_id=spelling).key == read(orders).key


def test_names_have_one_form(orders: ModuleType) -> None:
    assert read(orders, customer="  Jose\u0301\u00a0 Núñez ").customer == "José Núñez"


@pytest.mark.parametrize("name", ["山田 太郎", "محمد علي", "Zoë 🎉", 'Anna "die Größte", geb. Klein', "<b>&</b>", ""])
def test_any_name_is_a_name(orders: ModuleType, name: str) -> None:
    assert read(orders, customer=name).customer == name


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (" zoe+shop@mail.example.com ", "zoe+shop@mail.example.com"),
        ("o'neill@example.org", "o'neill@example.org"),
        ("zoe@bücher.example", "zoe@xn--bcher-kva.example"),
    ],
)
def test_addresses_are_as_ses_takes_them(orders: ModuleType, given: str, address: str) -> None:
    assert read(orders, email=given).email == address


@pytest.mark.parametrize(
    ("given", "consent"), [("YES", True), ("1", True), ("", False), ("maybe", False), ("0", False)]
)
def test_consent_is_never_assumed(orders: ModuleType, given: str, consent: bool) -> None:
    assert read(orders, newsletter=given).newsletter is consent


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        *(
            ({"amount": amount}, "amount is not a number like 12.50")
            for amount in [
                "12,50",
                "free",
                "1e3",
                "NaN",
                "٤٢",
                "٤٢.٠٠",
                "−15.00",
                "12.505",
                "1,234.50",
                "€ 5",
                "5-",
                ".",
            ]
        ),
        ({"amount": "  "}, "amount is missing"),
        ({"amount": "-0.00"}, "amount is zero"),
        *(
            ({"email": email}, "e-mail address is not valid")
            for email in [
                *("a@", "@example.com", "a b@example.com", "Zoë <zoe@example.com>", "josé@example.com", "a@b", "n/a"),
                *("a..b@example.com", "a@example..com", "a@-example.com", "a@@example.com", f"a@{'x' * 70}.com"),
            ]
        ),
        ({"email": ""}, "e-mail address is missing"),
        ({"order_id": "\t"}, "order id is missing"),
        *(({"order_id": text}, "order id is not like AB-12345") for text in ["10001", "WB–10001", "ẞB-10001", "WB-1"]),
        ({"currency": "CHF"}, "currency is not one we take"),
        ({"currency": ""}, "currency is missing"),
        ({"surplus": "7"}, "row has more fields than the header"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_with_the_rule(
    orders: ModuleType, fields: dict[str, str], reason: str
) -> None:
    with pytest.raises(Reject) as refusal:
        read(orders, **fields)
    assert str(refusal.value) == reason


def test_rows_are_counted_as_spreadsheets_do(orders: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    text = f'{HEADER}\r\nWB-1,"Smith, ""Jo""\nand Co."\r\n\r\n,,,,,,\r\nWB-2,a,b,c,d,e,f,g,h\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    empty = dict.fromkeys(GOOD, "")
    assert list(orders.read_rows(path)) == [
        (2, {**empty, "order_id": "WB-1", "customer": 'Smith, "Jo"\nand Co.'}),
        (4, empty),
        (5, {**dict(zip(GOOD, ["WB-2", *"abcdef"], strict=True)), "surplus": "g,h"}),
    ]


def test_columns_may_come_in_any_order_and_with_others(orders: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    columns = ["shipped", *reversed(GOOD)]
    path.write_text(f"{','.join(columns)}\n{','.join({'shipped': 'no', **GOOD}[column] for column in columns)}\n")
    [(_, row)] = orders.read_rows(path)
    assert orders.Order.read(row) == orders.Order.read(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns order_id, customer"),
        (HEADER.replace("currency", "unit").encode(), "lacks the columns currency"),
        (f"{HEADER}\nWB-1,Zo\xeb".encode("latin-1"), "utf-8"),
    ],
)
def test_a_file_that_is_none_of_orders_is_refused(
    orders: ModuleType, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(orders.read_rows(path))


def test_the_file_that_is_shipped_has_what_real_files_have(orders: ModuleType) -> None:
    rows = list(orders.read_rows(ROOT / "sample_app" / "orders.csv"))
    found: Counter[str] = Counter()
    seen = set[str]()
    for _, row in rows:
        try:
            order = orders.Order.read(row)
        except Reject as refusal:
            found[str(refusal)] += 1
            continue
        found["duplicate" if order.key in seen else "refund" if order.is_refund else "purchase"] += 1
        seen.add(order.key)
    assert len(rows) == 1058
    assert found == {
        "purchase": 906,
        "duplicate": 39,
        "refund": 38,
        "amount is not a number like 12.50": 19,
        "e-mail address is not valid": 15,
        "amount is missing": 7,
        "order id is not like AB-12345": 7,
        "e-mail address is missing": 6,
        "currency is not one we take": 5,
        "order id is missing": 4,
        "currency is missing": 4,
        "row has more fields than the header": 4,
        "amount is zero": 4,
    }
