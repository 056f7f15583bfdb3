"""The shop's bucket in S3: invoices, reports, and the ledger of accepted orders."""

import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["bucket", "exists", "get_json", "names", "put_json", "s3"]


@cache
def s3() -> "S3Client":
    """The client: made at its first use, and kept for the invocations that follow."""
    return boto3.client("s3")


def bucket() -> str:
    """The bucket's name."""
    return os.environ["SHOP_BUCKET"]


def exists(prefix: str) -> bool:
    """Whether there is an object whose name begins like this."""
    # Listed, not read: to whom may not list, S3 answers 403 for an object that is not there.
    return s3().list_objects_v2(Bucket=bucket(), Prefix=prefix, MaxKeys=1)["KeyCount"] > 0


def names(prefix: str) -> list[str]:
    """The names of all objects that begin like this."""
    pages = s3().get_paginator("list_objects_v2").paginate(Bucket=bucket(), Prefix=prefix)
    return [found.get("Key", "") for page in pages for found in page.get("Contents", [])]


def get_json(key: str) -> Any:
    """What an object holds as JSON."""
    return json.loads(s3().get_object(Bucket=bucket(), Key=key)["Body"].read())


def put_json(key: str, content: Any) -> None:
    """Write an object that holds JSON, in place of what is there."""
    s3().put_object(Bucket=bucket(), Key=key, Body=json.dumps(content).encode(), ContentType="application/json")
