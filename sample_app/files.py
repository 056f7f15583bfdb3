"""The shop's bucket in S3: invoices, and the ledger of accepted orders."""

import os
from functools import cache
from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["bucket", "s3"]


@cache
def s3() -> "S3Client":
    """The client: made at its first use, and kept for the invocations that follow."""
    return boto3.client("s3")


def bucket() -> str:
    """The bucket's name."""
    return os.environ["SHOP_BUCKET"]
