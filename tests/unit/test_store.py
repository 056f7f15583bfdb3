"""Task stores: what is recorded, and who may begin an attempt; the same in memory and in DynamoDB."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runtime_lib.contract import DEFAULT_STORE_TTL_SECONDS, STORE_EXPIRES_AT, STORE_KEY, STORE_RESULT_MAX_BYTES
from runtime_lib.errors import NotRecordedError, StoreError
from runtime_lib.memory_store import MemoryStore
from runtime_lib.store import Store, TaskStore
from runtime_lib.task_record import Ending, RecordedError, Refused, TaskRecord, TaskStatus
from tests.stores import dynamodb_store

TASK = "shop.tasks.invoice"
SUCCEEDED = Ending(TaskStatus.SUCCEEDED, result="[1]")
RETRYING = Ending(TaskStatus.RETRYING, error=RecordedError("ValueError", "no", "Traceback …"))
FAILED = Ending(TaskStatus.FAILED, error=RecordedError("ValueError", "no"))


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[TaskStore]:
    with dynamodb_store() as store:
        yield store


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = MemoryStore() if request.param == "memory" else request.getfixturevalue("dynamodb")
    return found


@pytest.fixture
def task_id(request: pytest.FixtureRequest) -> str:
    return request.node.name


def found(store: Store, task_id: str) -> TaskRecord:
    record = store.find(task_id)
    assert record is not None
    return record


def raw(store: TaskStore, key: str) -> dict[str, Any]:
    return store._client.get_item(TableName=store.table_name, Key={STORE_KEY: {"S": key}})["Item"]


# --- Queued ----------------------------------------------------------------------------------------------------------


def test_what_is_added_is_queued(store: Store, task_id: str) -> None:
    assert store.add(task_id, TASK)
    record = found(store, task_id)
    assert record == TaskRecord(task_id, TASK, TaskStatus.QUEUED, queued_at=record.queued_at)
    assert record.queued_at == pytest.approx(time.time(), abs=5)
    assert not record.has_finished


def test_what_has_a_record_is_not_added_again(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    assert not store.add(task_id, TASK)
    assert found(store, task_id).status is TaskStatus.RUNNING


def test_what_is_taken_back_is_forgotten(store: Store, task_id: str) -> None:
    store.add(task_id, TASK)
    store.take_back(task_id)
    assert store.find(task_id) is None


def test_what_has_begun_is_not_taken_back(store: Store, task_id: str) -> None:
    store.add(task_id, TASK)
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.take_back(task_id)
    assert found(store, task_id).status is TaskStatus.RUNNING


# --- Attempts --------------------------------------------------------------------------------------------------------


def test_attempts_are_counted_whoever_added_the_task(store: Store, task_id: str) -> None:
    for attempt in (1, 2, 3):
        assert store.begin(task_id, TASK, owner=f"owner {attempt}", seconds=60) == attempt
        assert store.end(task_id, RETRYING, owner=f"owner {attempt}")
    record = found(store, task_id)
    assert (record.status, record.attempts, record.error) == (TaskStatus.RETRYING, 3, RETRYING.error)
    assert record.started_at == pytest.approx(time.time(), abs=5)
    assert (record.queued_at, record.finished_at) == (None, None)


def test_the_result_is_kept_and_no_error_beside_it(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, RETRYING, owner="a")
    store.begin(task_id, TASK, owner="b", seconds=60)
    assert store.end(task_id, SUCCEEDED, owner="b")
    record = found(store, task_id)
    assert (record.status, record.result, record.error) == (TaskStatus.SUCCEEDED, [1], None)
    assert record.finished_at == pytest.approx(time.time(), abs=5)
    assert record.has_finished


@pytest.mark.parametrize("result", ["0", '""', "null", "[]", "{}", "false"])
def test_a_falsy_result_is_a_result(store: Store, task_id: str, result: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, Ending(TaskStatus.SUCCEEDED, result=result), owner="a")
    record = found(store, task_id)
    assert record.result == json.loads(result)
    assert (record.status, record.result_missing) == (TaskStatus.SUCCEEDED, None)


def test_a_result_as_large_as_is_allowed_fits_into_an_item_with_a_long_error(dynamodb: TaskStore, task_id: str) -> None:
    dynamodb.begin(task_id, "t" * 200, owner="a" * 32, seconds=60)
    ending = Ending(TaskStatus.SUCCEEDED, result=f'"{"x" * (STORE_RESULT_MAX_BYTES - 2)}"')
    assert dynamodb.end(task_id, ending, owner="a" * 32)
    assert len(found(dynamodb, task_id).result) == STORE_RESULT_MAX_BYTES - 2


@pytest.mark.parametrize("ending", [SUCCEEDED, Ending(TaskStatus.CANCELLED)])
def test_what_is_done_does_not_begin_again(store: Store, task_id: str, ending: Ending) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, ending, owner="a")
    assert store.begin(task_id, TASK, owner="b", seconds=60) == Refused(ending.status)
    assert found(store, task_id).attempts == 1


def test_what_failed_begins_anew_because_its_dead_letter_was_sent_back(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, RETRYING, owner="a")
    store.begin(task_id, TASK, owner="b", seconds=60)
    store.end(task_id, FAILED, owner="b")
    assert found(store, task_id).attempts == 2
    assert store.begin(task_id, TASK, owner="c", seconds=60) == 1
    record = found(store, task_id)
    assert (record.status, record.error, record.finished_at) == (TaskStatus.RUNNING, None, None)


def test_what_failed_does_not_begin_again_for_the_message_that_failed(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60, message_id="1")
    store.end(task_id, FAILED, owner="a")
    assert store.begin(task_id, TASK, owner="b", seconds=60, message_id="1") == Refused(
        TaskStatus.FAILED, error=FAILED.error
    )
    assert store.begin(task_id, TASK, owner="b", seconds=60, message_id="2") == 1


# --- The lease of an attempt -----------------------------------------------------------------------------------------


def test_nothing_begins_while_another_attempt_holds_the_lease(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    refused = store.begin(task_id, TASK, owner="b", seconds=60)
    assert isinstance(refused, Refused)
    assert refused.status is TaskStatus.RUNNING
    assert refused.seconds == pytest.approx(60, abs=5)


def test_after_a_crash_the_next_attempt_begins_when_the_lease_lapses(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=0.05)
    time.sleep(0.1)
    assert store.begin(task_id, TASK, owner="b", seconds=60) == 2


def test_after_a_crash_the_task_begins_anew_for_another_message(store: Store, task_id: str) -> None:
    for attempt in (1, 2):
        assert store.begin(task_id, TASK, owner=f"{attempt}", seconds=0.01, message_id="1") == attempt
        time.sleep(0.02)
    assert store.begin(task_id, TASK, owner="a", seconds=60, message_id="2") == 1
    assert isinstance(store.begin(task_id, TASK, owner="b", seconds=60, message_id="1"), Refused)


def test_an_attempt_whose_lease_has_lapsed_is_overdue(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=0.05)
    assert not found(store, task_id).is_overdue
    time.sleep(0.1)
    assert found(store, task_id).is_overdue
    store.renew(task_id, "a", 60)
    assert not found(store, task_id).is_overdue
    assert found(store, task_id).lease_until == pytest.approx(time.time() + 60, abs=5)
    store.end(task_id, SUCCEEDED, owner="a")
    assert (found(store, task_id).lease_until, found(store, task_id).is_overdue) == (None, False)


def test_a_renewed_lease_does_not_lapse(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=0.05)
    assert store.renew(task_id, "a", 60)
    time.sleep(0.1)
    assert isinstance(store.begin(task_id, TASK, owner="b", seconds=60), Refused)


def test_who_lost_the_lease_neither_renews_it_nor_records_an_end(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=0.01)
    time.sleep(0.05)
    store.begin(task_id, TASK, owner="b", seconds=60)
    assert not store.renew(task_id, "a", 60)
    assert not store.end(task_id, SUCCEEDED, owner="a")
    assert found(store, task_id).status is TaskStatus.RUNNING


@pytest.mark.parametrize("ending", [SUCCEEDED, RETRYING, FAILED])
def test_a_renewal_that_comes_late_changes_nothing(store: Store, task_id: str, ending: Ending) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, ending, owner="a")
    before = found(store, task_id)
    assert not store.renew(task_id, "a", 60)
    assert found(store, task_id) == before


@pytest.mark.parametrize("before", [None, RETRYING, FAILED])
def test_of_many_that_begin_at_once_one_does(task_id: str, before: Ending | None) -> None:
    store = MemoryStore()  # (of DynamoDB on the local cloud: moto checks and writes in two steps)
    if before:
        store.begin(task_id, TASK, owner="before", seconds=60)
        store.end(task_id, before, owner="before")
    barrier = threading.Barrier(8)

    def begin(number: int) -> int | Refused:
        barrier.wait()
        return store.begin(task_id, TASK, owner=f"owner {number}", seconds=60)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(begin, range(8)))
    assert len([answer for answer in answers if isinstance(answer, int)]) == 1


# --- Cancelling ------------------------------------------------------------------------------------------------------


def test_a_queued_task_is_cancelled_and_does_not_begin(store: Store, task_id: str) -> None:
    store.add(task_id, TASK)
    assert store.cancel(task_id)
    assert store.begin(task_id, TASK, owner="a", seconds=60) == Refused(TaskStatus.CANCELLED)
    assert found(store, task_id).finished_at == pytest.approx(time.time(), abs=5)


def test_a_task_that_waits_for_its_next_attempt_is_cancelled(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, RETRYING, owner="a")
    assert store.cancel(task_id)
    assert store.begin(task_id, TASK, owner="b", seconds=60) == Refused(TaskStatus.CANCELLED)


def test_a_task_that_crashed_is_cancelled(store: Store, task_id: str) -> None:
    store.begin(task_id, TASK, owner="a", seconds=0.01)
    time.sleep(0.05)
    assert store.cancel(task_id)
    assert not store.end(task_id, SUCCEEDED, owner="a")
    assert found(store, task_id).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("ending", [None, SUCCEEDED, FAILED, Ending(TaskStatus.CANCELLED)])
def test_what_runs_or_has_finished_is_not_cancelled(store: Store, task_id: str, ending: Ending | None) -> None:
    store.begin(task_id, TASK, owner="a", seconds=60)
    if ending:
        store.end(task_id, ending, owner="a")
    assert not store.cancel(task_id)
    assert found(store, task_id).status is (ending.status if ending else TaskStatus.RUNNING)


def test_what_has_no_record_cannot_be_cancelled(store: Store, task_id: str) -> None:
    with pytest.raises(NotRecordedError, match="no record of task"):
        store.cancel(task_id)
    assert store.find(task_id) is None


# --- Leases by name --------------------------------------------------------------------------------------------------


def test_a_lease_has_one_owner_until_it_is_released(store: Store, task_id: str) -> None:
    assert store.acquire(task_id, "a", 60)
    assert store.acquire(task_id, "a", 60)
    assert not store.acquire(task_id, "b", 60)
    store.release(task_id, "b")
    assert not store.acquire(task_id, "b", 60)
    store.release(task_id, "a")
    assert store.acquire(task_id, "b", 60)


def test_a_lease_that_was_released_is_not_renewed(store: Store, task_id: str) -> None:
    store.acquire(task_id, "a", 60)
    store.release(task_id, "a")
    assert not store.renew(task_id, "a", 60)
    assert store.acquire(task_id, "b", 60)


def test_a_lease_lapses(store: Store, task_id: str) -> None:
    assert store.acquire(task_id, "a", 0.01)
    time.sleep(0.05)
    assert store.acquire(task_id, "b", 60)


def test_a_lease_is_no_record(store: Store, task_id: str) -> None:
    store.acquire(task_id, "a", 60)
    assert store.find(task_id) is None


def test_a_lease_by_name_is_no_task_that_can_begin_or_be_cancelled(dynamodb: TaskStore, task_id: str) -> None:
    dynamodb.acquire(task_id, "a", 60)
    with pytest.raises(StoreError, match="has no record of a task under"):
        dynamodb.begin(task_id, TASK, owner="b", seconds=60)
    with pytest.raises(NotRecordedError):
        dynamodb.cancel(task_id)
    assert not dynamodb.acquire(task_id, "b", 60)


# --- DynamoDB --------------------------------------------------------------------------------------------------------


def test_every_change_moves_the_expiry(dynamodb: TaskStore, task_id: str) -> None:
    def expires_in() -> float:
        return int(raw(dynamodb, task_id)[STORE_EXPIRES_AT]["N"]) - time.time()

    dynamodb.add(task_id, TASK, delay=900)
    assert expires_in() == pytest.approx(DEFAULT_STORE_TTL_SECONDS + 900, abs=5)
    dynamodb.begin(task_id, TASK, owner="a", seconds=30)
    assert expires_in() == pytest.approx(DEFAULT_STORE_TTL_SECONDS + 30, abs=5)
    dynamodb.end(task_id, SUCCEEDED, owner="a")
    assert expires_in() == pytest.approx(DEFAULT_STORE_TTL_SECONDS, abs=5)


@pytest.fixture
def expiring(dynamodb: TaskStore) -> TaskStore:
    return TaskStore(dynamodb.table_name, dynamodb._client, time_to_live=-10)


@pytest.mark.parametrize("ending", [None, SUCCEEDED, FAILED])
def test_what_has_expired_counts_as_deleted_before_dynamodb_deletes_it(
    expiring: TaskStore, task_id: str, ending: Ending | None
) -> None:
    expiring.begin(task_id, TASK, owner="a", seconds=1)
    if ending:
        expiring.end(task_id, ending, owner="a")
    assert expiring.find(task_id) is None
    with pytest.raises(NotRecordedError):
        expiring.cancel(task_id)
    assert expiring.begin(task_id, TASK, owner="b", seconds=1) == 1
    assert expiring.add(task_id, TASK)


def test_what_is_queued_and_expired_is_taken_for_new(expiring: TaskStore, task_id: str) -> None:
    assert expiring.add(task_id, TASK)
    assert expiring.add(task_id, TASK)


class Asked:
    """A client that keeps what it is asked, and asks DynamoDB ``times`` for it, as botocore does after a lost answer."""

    def __init__(self, client: Any, times: int = 1) -> None:
        self._client = client
        self._times = times
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Any:
        def ask(**request: Any) -> Any:
            self.requests.append((operation, request))
            for _ in range(self._times - 1):
                getattr(self._client, operation)(**request)
            return getattr(self._client, operation)(**request)

        return ask


@pytest.mark.parametrize("before", [None, RETRYING, FAILED])
def test_an_attempt_begins_once_though_its_request_is_repeated(
    dynamodb: TaskStore, task_id: str, before: Ending | None
) -> None:
    if before:
        dynamodb.begin(task_id, TASK, owner="before", seconds=60)
        dynamodb.end(task_id, before, owner="before")
    repeating = TaskStore(dynamodb.table_name, Asked(dynamodb._client, times=2))
    attempt = 2 if before is RETRYING else 1
    assert repeating.begin(task_id, TASK, owner="a", seconds=60) == attempt
    assert found(dynamodb, task_id).attempts == attempt
    assert isinstance(repeating.begin(task_id, TASK, owner="b", seconds=60), Refused)


def test_a_task_costs_three_writes_and_no_request_brings_its_result_back(dynamodb: TaskStore, task_id: str) -> None:
    client = Asked(dynamodb._client)
    store = TaskStore(dynamodb.table_name, client)
    store.add(task_id, TASK)
    store.begin(task_id, TASK, owner="a", seconds=60)
    store.end(task_id, SUCCEEDED, owner="a")
    assert [operation for operation, _ in client.requests] == ["put_item", "update_item", "update_item"]
    assert client.requests[-1][1]["ReturnValues"] == "NONE"


def test_a_failing_table_is_a_store_error_with_its_name(dynamodb: TaskStore, task_id: str) -> None:
    missing = TaskStore("Missing", dynamodb._client)
    for ask in (
        lambda: missing.find(task_id),
        lambda: missing.add(task_id, TASK),
        lambda: missing.begin(task_id, TASK, owner="a", seconds=1),
        lambda: missing.cancel(task_id),
    ):
        with pytest.raises(StoreError, match=r"the task store Missing failed: .*ResourceNotFoundException"):
            ask()
