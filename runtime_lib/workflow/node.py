"""One run of a task inside an execution: the message that Step Functions sends for it, and the arguments in it."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from runtime_lib.contract import ENVELOPE_VERSION, NODE_FAILED, NODE_KEY, NODE_RETRY, Priority
from runtime_lib.envelope import Envelope, derived_id
from runtime_lib.errors import ArgumentError, EnvelopeError, message_of

if TYPE_CHECKING:
    from runtime_lib.task import Task

__all__ = [
    "JobFailed",
    "Node",
    "arguments",
    "bind_result",
    "envelope_of",
    "failed_in",
    "failure_of",
    "node_id",
    "node_of",
    "result_text",
]

_REQUIRED: dict[str, type] = {"run": dict, "node": str, "task": str}
_OPTIONAL: dict[str, type] = {
    "index": str,
    "entered": str,
    "retries": int,
    "token": str,
    "claim": int,
    "items": int,
    "inline": bool,
    "kept": bool,
    "dispatched": dict,
    "result": dict,
    "results": list,
    "each": dict,
    "failed": dict,
}
_OF_THE_RUN: dict[str, type] = {"metadata": dict, "headers": dict}
_OF_THE_FIRST_TASK = ("payload_key", "schema", "overlap")
"""What a dispatched message says of its own task alone, not of those that follow."""


class Node(NamedTuple):
    """What a message says of its run: see `contract.NODE_KEY`."""

    name: str
    task: str
    item: str | None
    entered: str | None
    retries: int
    token: str | None
    claim: int | None
    items: int | None
    inline: bool
    kept: bool


class JobFailed(NamedTuple):
    """What a task of ``on_failure`` is told, as a dict: which task failed, in which run, and how."""

    task: str
    node: str
    run: str
    error: dict[str, str]

    def __str__(self) -> str:
        return f"{self.task} failed: {self.error['type']}: {self.error['message']}"


def node_id(run_id: str, node: str, index: str | None = None) -> str:
    """The id of a run, the same at each attempt: its message, its record and its object in the bucket have it."""
    return derived_id(run_id, node) if index is None else derived_id(run_id, node, index)


def node_of(message: dict[str, Any]) -> Node:
    """Read a message.

    Raises:
        EnvelopeError: a field is missing or of another type.
    """
    said = _said(message)
    return Node(
        said["node"],
        said["task"],
        said.get("index"),
        said.get("entered"),
        said.get("retries", 0),
        said.get("token"),
        said.get("claim"),
        said.get("items"),
        said.get("inline", False),
        said.get("kept", False),
    )


def envelope_of(message: dict[str, Any]) -> Envelope:
    """The envelope of a run; of the first task it has the arguments, of the others they are in its metadata.

    Raises:
        EnvelopeError: a field is missing or of another type.
    """
    said = _said(message)
    run = said["run"]
    run_id = str(run["id"])
    sent = run.get("metadata", {})
    here = {name: value for name, value in said.items() if name not in {"run", "dispatched", "token"}} | {"run": run_id}
    envelope_id = node_id(run_id, said["node"], said.get("index"))
    if "dispatched" in said:
        first = Envelope.decode(json.dumps(said["dispatched"]))
        metadata = {**first.metadata, "chain": first.chain, NODE_KEY: here}
        return first._replace(id=envelope_id, task=said["task"], metadata=metadata)
    metadata = {name: value for name, value in sent.items() if name not in _OF_THE_FIRST_TASK}
    metadata |= {"chain": sent.get("chain") or run_id, "parent": run_id, NODE_KEY: here}
    metadata.setdefault("version", ENVELOPE_VERSION)
    metadata.setdefault("priority", Priority.DEFAULT.value)
    envelope = {"id": envelope_id, "task": said["task"], "args": [], "kwargs": {}, "headers": run.get("headers", {})}
    return Envelope.decode(json.dumps({**envelope, "metadata": metadata}))


def arguments(task: "Task[..., Any]", envelope: Envelope) -> tuple[list[Any], dict[str, Any]]:
    """What a run is given: what was dispatched, the result of the task before it, or what failed.

    Raises:
        EnvelopeError: the message names another key in the bucket than it may, or there is no JSON.
        PayloadLostError: what it was to be given is not in the bucket any more.
        PayloadUnavailableError: it cannot be read from there now.
    """
    said = envelope.metadata[NODE_KEY]
    run = said["run"]
    if "failed" in said:
        return _told(task, failure_of(said["failed"], run))
    if "result" in said:
        return bind_result(task, _value(said["result"]))
    if "results" in said:
        return bind_result(task, [_value(one) for one in said["results"]])
    if "each" in said:
        from runtime_lib.payloads import read_values

        each = said["each"]
        outer = f"{each['index']}." if "index" in each else ""
        ids = [node_id(run, each["node"], f"{outer}{number}") for number in range(each["count"])]
        return bind_result(task, read_values(ids))
    if "payload_key" in envelope.metadata:
        from runtime_lib.payloads import claim

        return claim(envelope._replace(id=run))
    return envelope.args, envelope.kwargs


def bind_result(task: "Task[..., Any]", result: Any) -> tuple[list[Any], dict[str, Any]]:
    """A result as arguments: by name if it is a dict of the parameters, else as the first, if there is one.

    An empty dict, which names none, is a value as others are.
    """
    signature = task.signature
    if not signature.parameters and not signature.takes_any_name:
        return [], {}
    if isinstance(result, dict) and (result or signature.takes_any_name):
        try:
            signature.accept([], result)
        except ArgumentError:
            pass
        else:
            return [], result
    return [result], {}


def result_text(task: str, result: Any, *, is_list: bool = False) -> str:
    """A result as JSON, for what follows the task.

    Raises:
        TypeError: it is none, or no list although ``is_list`` asks for one.
    """
    from runtime_lib.results import plain

    try:
        text = json.dumps(result, default=plain, allow_nan=False, separators=(",", ":"))
    except Exception as error:  # noqa: BLE001  (whatever an object of the user's does when it is looked at)
        raise TypeError(
            f"{task} returned a {type(result).__name__}, which cannot be sent as JSON to what follows it: "
            f"{message_of(error)}"
        ) from None
    if is_list and not isinstance(result, list | tuple):
        raise TypeError(f"{task} returned a {type(result).__name__}, and for_each takes a list")
    return text


def failed_in(cause: str) -> dict[str, Any] | None:
    """What failed, in the cause of a failed execution; None if that is none of a workflow."""
    try:
        failed = json.loads(cause)
    except ValueError:
        return None
    return failed if isinstance(failed, dict) and "task" in failed else None


def failure_of(failed: dict[str, Any], run_id: str) -> JobFailed:
    """What failed, as Step Functions tells it: by the runtime, by Lambda, or by the engine itself."""
    error, cause = str(failed.get("error")), str(failed.get("cause", ""))
    try:
        told = json.loads(cause)
    except ValueError:
        told = {}
    message = str(told.get("errorMessage", cause)) if isinstance(told, dict) else cause
    kind = error
    if error in {NODE_FAILED, NODE_RETRY} and ": " in message:
        kind, _, message = message.partition(": ")
    elif isinstance(failed.get("prerequisite"), dict):
        message = str(failure_of(failed["prerequisite"], run_id))
    return JobFailed(str(failed.get("task")), str(failed.get("node")), run_id, {"type": kind, "message": message})


def _told(task: "Task[..., Any]", failed: JobFailed) -> tuple[list[Any], dict[str, Any]]:
    """The failure for ``job_failed``, or for the only parameter; as a text where it takes one."""
    parameters = [parameter.name for parameter in task.signature.parameters]
    if not parameters and not task.signature.takes_any_name:
        return [], {}
    by_name = "job_failed" in parameters or not parameters
    given: list[tuple[list[Any], dict[str, Any]]] = [
        ([], {"job_failed": value}) if by_name else ([value], {}) for value in (failed._asdict(), str(failed))
    ]
    for args, kwargs in given:
        try:
            task.signature.accept(args, kwargs)
        except ArgumentError:
            continue
        return args, kwargs
    return given[0]


def _value(result: dict[str, Any]) -> Any:
    if "key" not in result:
        return result.get("value")
    from runtime_lib.payloads import read_value

    return read_value(result["key"])


def _said(message: dict[str, Any]) -> dict[str, Any]:
    said = message.get(NODE_KEY)
    if not isinstance(said, dict):
        raise EnvelopeError(f"the message of a workflow has {NODE_KEY} {said!r:.100}: expected an object")
    _require_types(said, _REQUIRED)
    _require_types({"run.id": said["run"].get("id")}, {"run.id": str})
    _require_types(said, {name: kind for name, kind in _OPTIONAL.items() if name in said})
    _require_types(said["run"], {name: kind for name, kind in _OF_THE_RUN.items() if name in said["run"]})
    if "each" in said:
        _require_types(said["each"], {"node": str, "count": int})
    for result in (*said.get("results", ()), *([said["result"]] if "key" in said.get("result", {}) else ())):
        _require_types({"results": result}, {"results": dict})
        _require_types(result, {"key": str} if "key" in result else {})
    return said


def _require_types(said: dict[str, Any], types: dict[str, type]) -> None:
    for name, expected in types.items():
        value = said.get(name)
        if type(value) is not expected or (expected is str and not value):
            raise EnvelopeError(f"the message of a workflow has {name} {value!r:.100}: expected {expected.__name__}")
