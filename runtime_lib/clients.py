"""Clients of boto3, one per service and process, made when first needed: boto3 takes longer to load than the rest."""

from threading import Lock
from typing import Any

from runtime_lib.errors import TaskError

__all__ = ["client"]

_clients: dict[str, Any] = {}
_lock = Lock()  # clients are thread-safe, making them is not
_DYNAMODB_SECONDS = 10
"""How long a request to DynamoDB may take before it is tried again: botocore's minute is as long as a lease."""


def client(service: str, region: str | None = None) -> Any:
    """The client of a service, with the environment's credentials and endpoint, and its region unless one is given.

    Raises:
        TaskError: boto3 is not installed (Lambda's runtime has it).
    """
    with _lock:
        key = f"{service} {region}" if region else service
        if key not in _clients:
            try:
                import boto3
            except ImportError:
                raise TaskError(f"boto3 is needed to reach {service}: pip install boto3") from None
            options = _options(service) | ({"region_name": region} if region else {})
            _clients[key] = boto3.client(service, **options)  # type: ignore[call-overload]
        return _clients[key]


def _options(service: str) -> dict[str, Any]:
    if service != "dynamodb":
        return {}
    from botocore.config import Config

    return {"config": Config(connect_timeout=_DYNAMODB_SECONDS, read_timeout=_DYNAMODB_SECONDS)}
