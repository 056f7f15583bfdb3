"""The types of what triggers deliver: events of EventBridge and S3, and records of a table's stream."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from runtime_lib import ArgumentError, BusEvent, S3Object, StreamRecord, TaskContext
from runtime_lib.context import Delivery
from runtime_lib.contract import Priority
from runtime_lib.envelope import Envelope
from tests.bus_events import bus_event, s3_event, stream_record
from tests.task_modules import run_program


def context(event: Any) -> TaskContext:
    return TaskContext(Envelope.new("shop.task", [], {}, priority=Priority.DEFAULT), Delivery(event=event))


def test_an_event_tells_what_eventbridge_delivered() -> None:
    event = BusEvent.of(context(bus_event("Order Placed", {"order": 7}, source="shop.orders")))
    assert (event.source, event.detail_type, event.detail) == ("shop.orders", "Order Placed", {"order": 7})
    assert event.id == event.raw["id"]
    assert event.time == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert event.resources == []


def test_an_event_of_s3_tells_the_object_with_its_key_as_it_is() -> None:
    event = BusEvent(s3_event("uploads", "in/Über uns+1%20.csv", size=17, etag="e1"))
    assert event.s3 == S3Object("uploads", "in/Über uns+1%20.csv", 17, "e1")


def test_a_deleted_object_has_no_size() -> None:
    assert BusEvent(s3_event("uploads", "a", kind="Object Deleted")).s3 == S3Object("uploads", "a")


def test_another_services_event_is_not_about_an_object() -> None:
    event = BusEvent(bus_event("Order Placed", {}, source="shop.orders"))
    with pytest.raises(ArgumentError, match=r"'Order Placed' of 'shop\.orders', and not about an object in S3"):
        _ = event.s3


ITEM = {
    "text": "größe",
    "number": Decimal("12345678901234567890.12345678"),
    "whole": Decimal(3),
    "yes": True,
    "no": False,
    "nothing": None,
    "raw": b"\x00\xff",
    "list": [Decimal(1), ["a"], {"b": None}],
    "map": {"inner": {"deep": Decimal("-0.5")}},
    "words": {"a", "b"},
    "numbers": {Decimal(1), Decimal("2.5")},
    "blobs": {b"a", b"b"},
    "empty": "",
    "empty list": [],
}


def as_json(value: Any) -> Any:
    """What boto3 makes of an item, as Lambda writes it in an event: bytes are base64."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {name: as_json(one) for name, one in value.items()}
        case list() | set():
            return [as_json(one) for one in value]
        case _ if hasattr(value, "value"):  # boto3's Binary
            return base64.b64encode(value.value).decode()
        case _:
            return value


def test_images_have_the_types_of_boto3() -> None:
    written = {name: TypeSerializer().serialize(value) for name, value in ITEM.items()}
    image = json.loads(json.dumps(as_json(written)))
    record = StreamRecord.of(context(stream_record("INSERT", {"id": {"S": "7"}}, new=image)))
    assert record.new_image == ITEM
    read = {name: TypeDeserializer().deserialize(value) for name, value in written.items() if name != "blobs"}
    assert record.new_image == {**read, "blobs": {b"a", b"b"}}
    assert (record.keys, record.old_image, record.event_name) == ({"id": "7"}, None, "INSERT")


def test_a_record_tells_where_and_when_it_changed() -> None:
    record = StreamRecord(stream_record("REMOVE", {"id": {"N": "7"}}, number=41))
    assert (record.table, record.sequence_number, record.keys) == ("Orders", "0041", {"id": Decimal(7)})
    assert record.changed_at == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert record.event_id == record.raw["eventID"]


@pytest.mark.parametrize(
    ("of", "construct"), [(BusEvent.of, "an EventTask"), (StreamRecord.of, "a StreamTask")], ids=["bus", "stream"]
)
@pytest.mark.parametrize("event", [None, {"Records": []}, "text", {"dynamodb": 1, "detail": {}}])
def test_what_another_trigger_delivered_is_refused_with_the_construct_to_use(
    of: Callable[[TaskContext], object], construct: str, event: Any
) -> None:
    with pytest.raises(ArgumentError, match=f"shop.task takes a .* serve it by {construct}"):
        of(context(event))


def test_a_record_is_read_without_boto3() -> None:
    printed = run_program(
        """
        import sys
        from runtime_lib import StreamRecord
        record = StreamRecord({"dynamodb": {"Keys": {"id": {"S": "7"}, "at": {"N": "1"}}}})
        print(record.keys["id"], record.keys["at"] + 1, "boto3" in sys.modules)
        """
    )
    assert printed == "7 2 False\n"


def test_a_task_may_import_the_types_for_checking_only() -> None:
    printed = run_program(
        """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from runtime_lib import task
        from runtime_lib.context import Delivery
        from runtime_lib.envelope import Envelope
        from runtime_lib.contract import Priority
        from runtime_lib.execution import run
        if TYPE_CHECKING:
            from runtime_lib import BusEvent, StreamRecord

        @task
        def on_event(event: BusEvent) -> None:
            print(event.source)

        @task
        def on_change(record: StreamRecord) -> None:
            print(record.event_name)

        def start(task, event):
            run(task, Envelope.new(task.name, [], {}, priority=Priority.DEFAULT), Delivery(event=event))

        start(on_event, {"detail-type": "x", "detail": {}, "source": "shop"})
        start(on_change, {"eventName": "INSERT", "dynamodb": {}})
        """
    )
    assert printed == "shop\nINSERT\n"
