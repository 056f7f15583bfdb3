"""Where tasks are recorded: what a store does, and the one that is a DynamoDB table.

A store knows records, by envelope id, and leases. To begin an attempt takes the record's lease: while it is held, and
once the task has succeeded or was cancelled, no other attempt begins, whatever is delivered.
"""

import json
import re
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from runtime_lib.clients import client as shared_client
from runtime_lib.contract import DEFAULT_STORE_TTL_SECONDS, STORE_EXPIRES_AT, STORE_KEY
from runtime_lib.errors import NotRecordedError, StoreError
from runtime_lib.task_record import FINISHED, Ending, Progress, RecordedError, Refused, TaskRecord, TaskStatus
from runtime_lib.tracking import get_store, set_store, using_store

__all__ = ["Store", "TaskStore", "get_store", "set_store", "using_store"]


class Store(Protocol):
    """What the library asks of a store; each method is atomic. Every one raises StoreError if the store fails."""

    @abstractmethod
    def add(self, task_id: str, task: str, *, delay: float = 0) -> bool:
        """Record that a task is queued, and starts in ``delay`` seconds at the earliest; False: it has a record."""

    @abstractmethod
    def take_back(self, task_id: str) -> None:
        """Forget a task that was added and is still queued: its message was not sent."""

    @abstractmethod
    def begin(
        self, task_id: str, task: str, *, owner: str, seconds: float, message_id: str | None = None
    ) -> int | Refused:
        """Begin an attempt under a lease of ``seconds``: the attempt's number, or why it may not begin.

        A task that failed, or whose latest attempt ended without a report, begins anew, at attempt 1, for another
        ``message_id``: someone sent its dead letter back. For the same one, a failed task does not begin.
        """

    @abstractmethod
    def end(self, task_id: str, ending: Ending, *, owner: str) -> bool:
        """Record how an attempt ended, and give its lease back; False: the lease is another attempt's by now."""

    @abstractmethod
    def note_progress(self, task_id: str, progress: Progress) -> None:
        """Record how far a task is, if it is running."""

    @abstractmethod
    def cancel(self, task_id: str) -> bool:
        """Let a task not begin any more; False: it runs or has finished.

        Raises:
            NotRecordedError: the task has no record.
        """

    @abstractmethod
    def find(self, task_id: str) -> TaskRecord | None:
        """A task's record, if there is one."""

    @abstractmethod
    def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """Take the lease ``key``, or renew it; False: another owner has it."""

    @abstractmethod
    def renew(self, key: str, owner: str, seconds: float) -> bool:
        """Let the lease ``key``, or of the task of that id, last ``seconds`` from now; False: another owner has it."""

    @abstractmethod
    def release(self, key: str, owner: str) -> None:
        """Give the lease ``key`` back, if ``owner`` has it."""


# --- In DynamoDB -----------------------------------------------------------------------------------------------------

_KEY, _EXPIRES = f"#{STORE_KEY}", f"#{STORE_EXPIRES_AT}"
_CRASHED = "#status = :running AND #lease_until < :now"
_STATUSES = {f":{status.value}": {"S": status.value} for status in TaskStatus}
_NAME, _VALUE = re.compile(r"#(\w+)"), re.compile(r":\w+")
_Item = Mapping[str, Mapping[str, str]]


class _Unmet(NamedTuple):
    """The item as it is, for which the condition of a request is not met; empty if there is none."""

    item: _Item

    @property
    def status(self) -> TaskStatus | None:
        return TaskStatus(self.item["status"]["S"]) if "status" in self.item else None


class TaskStore:
    """Records in the table of the construct TaskStore; one request each.

    Args:
        table_name: its name.
        client: a boto3 DynamoDB client; by default one made from the environment when first needed.
        time_to_live: seconds for which a record is kept after it last changed, as its construct says. Default: 14 days.
    """

    def __init__(
        self, table_name: str, client: Any | None = None, *, time_to_live: int = DEFAULT_STORE_TTL_SECONDS
    ) -> None:
        self.table_name = table_name
        self._client = client
        self._time_to_live = time_to_live

    def __repr__(self) -> str:
        return f"TaskStore({self.table_name!r})"

    def add(self, task_id: str, task: str, *, delay: float = 0) -> bool:
        """See `Store.add`."""
        now = time.time()
        item = {
            STORE_KEY: _text(task_id),
            "task": _text(task),
            "status": _text(TaskStatus.QUEUED),
            "attempts": _number(0),
            "queued_at": _number(now),
            STORE_EXPIRES_AT: self._expiry(now + delay),
        }
        # DynamoDB deletes what has expired within some days: until then it counts as deleted here.
        condition = f"attribute_not_exists({_KEY}) OR {_EXPIRES} < :now"
        answer = self._request("put_item", {"Item": item}, {":now": _number(now)}, condition=condition)
        return not isinstance(answer, _Unmet)

    def take_back(self, task_id: str) -> None:
        """See `Store.take_back`."""
        self._request("delete_item", {"Key": {STORE_KEY: _text(task_id)}}, {}, condition="#status = :queued")

    def begin(
        self, task_id: str, task: str, *, owner: str, seconds: float, message_id: str | None = None
    ) -> int | Refused:
        """See `Store.begin`."""
        now = time.time()
        changes = {
            "task": _text(task),
            "status": _text(TaskStatus.RUNNING),
            "owner": _text(owner),
            "message_id": _text(message_id or ""),
            "started_at": _number(now),
            "lease_until": _number(now + seconds),
            STORE_EXPIRES_AT: self._expiry(now + seconds),
        }
        same = " AND #message_id IN (:message_id_, :unknown)" if message_id else ""
        answer = self._update(
            task_id,
            changes,
            {":now": _number(now), ":zero": _number(0), ":one": _number(1), ":unknown": _text("")},
            computed="#attempts = if_not_exists(#attempts, :zero) + :one",
            condition=f"attribute_not_exists({_KEY}) OR #status IN (:queued, :retrying) OR ({_CRASHED}{same})",
            returned="UPDATED_NEW",
        )
        if not isinstance(answer, _Unmet):
            return int(answer["Attributes"]["attempts"]["N"])
        if answer.status and _begins_anew(answer, message_id, now):
            anew = self._update(
                task_id,
                {**changes, "attempts": _number(1)},
                {":before": answer.item["status"], ":expired": answer.item[STORE_EXPIRES_AT]},
                remove=("finished_at", "result", "result_missing", "error", "progress"),
                condition=f"#status = :before AND {_EXPIRES} = :expired",
            )
            if not isinstance(anew, _Unmet):
                return 1
            answer = anew
        if answer.item.get("owner") == _text(owner):  # botocore repeats a request whose answer was lost
            return int(answer.item["attempts"]["N"])
        if answer.status is None:
            raise StoreError(f"the task store {self.table_name} has no record of a task under {task_id!r:.100}")
        until = answer.item.get("lease_until", _number(now))
        error = _error(answer.item) if answer.status is TaskStatus.FAILED else None
        return Refused(answer.status, max(0.0, float(until["N"]) - now), error)

    def end(self, task_id: str, ending: Ending, *, owner: str) -> bool:
        """See `Store.end`."""
        now = time.time()
        said = {
            "finished_at": _number(now) if ending.status in FINISHED else None,
            "result": None if ending.result is None else _text(ending.result),
            "result_missing": _text(ending.result_missing) if ending.result_missing else None,
            "error": _text(json.dumps(ending.error)) if ending.error else None,
        }
        answer = self._update(
            task_id,
            {"status": _text(ending.status), STORE_EXPIRES_AT: self._expiry(now)}
            | {name: value for name, value in said.items() if value},
            {":owner": _text(owner)},
            remove=("owner", "lease_until", *(name for name, value in said.items() if not value)),
            condition="#owner = :owner",
        )
        return not isinstance(answer, _Unmet)

    def note_progress(self, task_id: str, progress: Progress) -> None:
        """See `Store.note_progress`."""
        self._update(
            task_id,
            {"progress": _text(json.dumps(progress))},
            {},
            condition="#status = :running",
        )

    def cancel(self, task_id: str) -> bool:
        """See `Store.cancel`."""
        now = time.time()
        answer = self._update(
            task_id,
            {"status": _text(TaskStatus.CANCELLED), "finished_at": _number(now), STORE_EXPIRES_AT: self._expiry(now)},
            {":now": _number(now)},
            remove=("owner", "lease_until"),
            condition=f"#status IN (:queued, :retrying) OR ({_CRASHED})",
        )
        if isinstance(answer, _Unmet) and (answer.status is None or _has_expired(answer.item, now)):
            raise NotRecordedError(f"{self} has no record of task {task_id}")
        return not isinstance(answer, _Unmet)

    def find(self, task_id: str) -> TaskRecord | None:
        """See `Store.find`."""
        answer = self._request("get_item", {"Key": {STORE_KEY: _text(task_id)}, "ConsistentRead": True}, {})
        item = {} if isinstance(answer, _Unmet) else answer.get("Item", {})
        return _record(item) if "status" in item and not _has_expired(item, time.time()) else None

    def acquire(self, key: str, owner: str, seconds: float) -> bool:
        """See `Store.acquire`."""
        return self._hold(key, owner, seconds, "attribute_not_exists(#owner) OR #lease_until < :now OR #owner = :own")

    def renew(self, key: str, owner: str, seconds: float) -> bool:
        """See `Store.renew`."""
        return self._hold(key, owner, seconds, "#owner = :own")

    def release(self, key: str, owner: str) -> None:
        """See `Store.release`."""
        now = time.time()
        changes = {"lease_until": _number(now), STORE_EXPIRES_AT: self._expiry(now)}
        self._update(key, changes, {":own": _text(owner)}, remove=("owner",), condition="#owner = :own")

    def _hold(self, key: str, owner: str, seconds: float, condition: str) -> bool:
        now = time.time()
        until = now + seconds
        changes = {
            "owner": _text(owner),
            "lease_until": _number(until),
            STORE_EXPIRES_AT: self._expiry(until),
        }
        values = {":now": _number(now), ":own": _text(owner)}
        return not isinstance(self._update(key, changes, values, condition=condition), _Unmet)

    def _update(
        self,
        key: str,
        changes: _Item,
        values: _Item,
        *,
        condition: str,
        computed: str = "",
        remove: Iterable[str] = (),
        returned: str = "NONE",
    ) -> Mapping[str, Any] | _Unmet:
        """Set attributes to values and, as DynamoDB computes it, to others; remove some."""
        sets = ", ".join([f"#{name} = :{name}_" for name in changes] + ([computed] if computed else []))
        removes = ", ".join(f"#{name}" for name in remove)
        return self._request(
            "update_item",
            {
                "Key": {STORE_KEY: _text(key)},
                "UpdateExpression": f"SET {sets}" + (f" REMOVE {removes}" if removes else ""),
                "ReturnValues": returned,
            },
            {**values, **{f":{name}_": value for name, value in changes.items()}},
            condition=condition,
        )

    def _request(
        self, operation: str, request: dict[str, Any], values: _Item, *, condition: str = ""
    ) -> Mapping[str, Any] | _Unmet:
        """Ask DynamoDB, with names and values for the placeholders that the expressions have.

        Raises:
            StoreError: it failed, or did not allow it.
        """
        written = f"{request.get('UpdateExpression', '')} {condition}"
        if condition:
            request |= {
                "ConditionExpression": condition,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                "ExpressionAttributeNames": {f"#{name}": name for name in _NAME.findall(written)},
            }
            pool = {**_STATUSES, **values}
            request["ExpressionAttributeValues"] = {name: pool[name] for name in _VALUE.findall(written)}
        try:
            client = self._client or shared_client("dynamodb")
            answer: Mapping[str, Any] = getattr(client, operation)(TableName=self.table_name, **request)
        except Exception as error:  # (botocore's errors share no base class)
            response = getattr(error, "response", {})
            code = response.get("Error", {}).get("Code", "")
            if code == "ConditionalCheckFailedException":
                return _Unmet(response.get("Item", {}))
            needed = f" ({_GRANTS[operation]})" if code == "AccessDeniedException" else ""
            raise StoreError(f"the task store {self.table_name} failed: {error}{needed}") from error
        return answer

    def _expiry(self, moment: float) -> dict[str, str]:
        return _number(int(moment) + self._time_to_live)


_GRANTS = {
    "get_item": "grant_read(function) of the TaskStore allows to read records",
    "put_item": "grant_dispatch(function) of the construct that serves the task allows to add records",
    "delete_item": "grant_dispatch(function) of the construct that serves the task allows to take records back",
    "update_item": "grant_write(function) of the TaskStore allows to change records",
}


def _text(value: str) -> dict[str, str]:
    return {"S": str(value)}


def _number(value: float) -> dict[str, str]:
    return {"N": str(value)}


def _has_expired(item: _Item, now: float) -> bool:
    return float(item[STORE_EXPIRES_AT]["N"]) < now


def _begins_anew(unmet: _Unmet, message_id: str | None, now: float) -> bool:
    if unmet.status is TaskStatus.RUNNING and float(unmet.item["lease_until"]["N"]) < now:
        return True
    if unmet.status is not TaskStatus.FAILED:
        return _has_expired(unmet.item, now)
    return not message_id or unmet.item.get("message_id") != _text(message_id)


def _error(item: _Item) -> RecordedError | None:
    return RecordedError(*json.loads(item["error"]["S"])) if "error" in item else None


_TIMES = ("queued_at", "started_at", "finished_at", "lease_until")


def _record(item: _Item) -> TaskRecord:
    texts = {name: item[name]["S"] for name in ("result", "result_missing") if name in item}
    times = {name: float(item[name]["N"]) for name in _TIMES if name in item}
    return TaskRecord(
        item[STORE_KEY]["S"],
        item["task"]["S"],
        TaskStatus(item["status"]["S"]),
        int(item["attempts"]["N"]),
        result=json.loads(texts.get("result", "null")),
        result_missing=texts.get("result_missing"),
        error=_error(item),
        progress=Progress(*json.loads(item["progress"]["S"])) if "progress" in item else None,
        **times,
    )
