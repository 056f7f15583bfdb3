"""Task stores for tests: both kinds, which must do the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from boto3 import client
from moto import mock_aws

from runtime_lib.contract import STORE_KEY
from runtime_lib.errors import StoreError
from runtime_lib.memory_store import MemoryStore
from runtime_lib.store import TaskStore


class BrokenStore(MemoryStore):
    """Fails in the methods that ``broken`` names."""

    def __init__(self, *broken: str) -> None:
        super().__init__()
        for name in broken:
            setattr(self, name, self._fail)

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise StoreError("the task store Records failed: ThrottlingException")


class SlowStore(MemoryStore):
    """Waits in the method that ``slow`` names until it is ``free``; ``has_blocked`` if who frees it waits as well."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.free = Event()
        self.has_blocked = False
        ask = getattr(self, slow)

        def take_long(*args: Any, **kwargs: Any) -> Any:
            self.has_blocked |= not self.free.wait(2)
            return ask(*args, **kwargs)

        setattr(self, slow, take_long)


@contextmanager
def dynamodb_store(**options: Any) -> Iterator[TaskStore]:
    """A store in a table of its own."""
    with mock_aws():
        dynamodb = client("dynamodb", region_name="us-east-1")
        dynamodb.create_table(
            TableName="Records",
            KeySchema=[{"AttributeName": STORE_KEY, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": STORE_KEY, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield TaskStore("Records", dynamodb, **options)
