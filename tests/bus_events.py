"""Events of EventBridge and records of DynamoDB streams, as Lambda gets them."""

from typing import Any

NOON = 1_772_368_200
"""2026-03-01 12:30 UTC."""
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/Orders/stream/2026-03-01T00:00:00.000"


def bus_event(detail_type: str, detail: dict[str, Any], *, source: str = "shop", number: int = 1) -> dict[str, Any]:
    """An event of EventBridge."""
    return {
        "version": "0",
        "id": f"6a7e8feb-b491-4cf7-a9f1-{number:012}",
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": "2026-03-01T12:30:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
    }


def s3_event(bucket: str, key: str, *, kind: str = "Object Created", **described: Any) -> dict[str, Any]:
    """An event of S3, as EventBridge delivers it."""
    return bus_event(kind, {"bucket": {"name": bucket}, "object": {"key": key, **described}}, source="aws.s3")


def stream_record(
    kind: str,
    keys: dict[str, Any],
    *,
    number: int = 1,
    new: dict[str, Any] | None = None,
    old: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A record of a DynamoDB stream."""
    images = {name: image for name, image in {"NewImage": new, "OldImage": old}.items() if image is not None}
    return {
        "eventID": f"c4ca4238a0b923820dcc509a6f75{number:04}",
        "eventName": kind,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": NOON,
            "Keys": keys,
            "SequenceNumber": f"{number:04}",
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **images,
        },
        "eventSourceARN": STREAM,
    }
