"""What a queue delivers: a message that was dispatched, and one that others sent."""

from typing import Any

from runtime_lib.context import Injected, TaskContext
from runtime_lib.errors import ArgumentError

__all__ = ["ManagedSqsEvent", "UnmanagedSqsEvent"]


class ManagedSqsEvent(Injected):
    """A dispatched message, as a task gets it for a parameter annotated ``ManagedSqsEvent``."""

    __slots__ = ("_context",)

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    @classmethod
    def of(cls, context: TaskContext) -> "ManagedSqsEvent":
        """The message that started the task: one that was dispatched, whichever way it came."""
        return cls(context)

    def __repr__(self) -> str:
        return f"ManagedSqsEvent(task={self._context.task!r}, id={self._context.id!r})"

    @property
    def payload(self) -> Any:
        """What was dispatched, in JSON's types: the one argument, else all by position, or all by name.

        Of arguments of both kinds, ``{"args": […], "kwargs": {…}}``.
        """
        args, kwargs = self._context.envelope.args, self._context.envelope.kwargs
        if args and kwargs:
            return {"args": args, "kwargs": kwargs}
        return kwargs if not args else args[0] if len(args) == 1 else args

    @property
    def source_task_id(self) -> str | None:
        """The name of the task that dispatched it; None if none did."""
        return self._context.source

    @property
    def chain_id(self) -> str:
        """The id of the first message of the chain of dispatches that led here."""
        return self._context.chain


class UnmanagedSqsEvent(Injected):
    """A message that others sent to a queue of theirs, as a task gets it for a parameter annotated with this."""

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        """The record as Lambda delivered it."""

    @classmethod
    def of(cls, context: TaskContext) -> "UnmanagedSqsEvent":
        """The message that started the task.

        Raises:
            ArgumentError: something else did.
        """
        event = context.event
        if not isinstance(event, dict) or "receiptHandle" not in event:
            raise ArgumentError(
                f"{context.task} takes an UnmanagedSqsEvent, and what started it is no message of a queue: serve it by "
                "ManagedAsyncTask.from_queue"
            )
        return cls(event)

    def __repr__(self) -> str:
        return f"UnmanagedSqsEvent(message_id={self.message_id!r})"

    @property
    def body(self) -> str:
        """The text that was sent."""
        return str(self.raw["body"])

    def json(self) -> Any:
        """The text as JSON.

        Raises:
            Reject: it is none; the message is dead-lettered at once, as no retry makes it better.
        """
        from json import loads

        try:
            return loads(self.body)
        except (ValueError, RecursionError) as error:
            from runtime_lib.errors import Reject

            raise Reject(f"the message is not JSON: {error}") from None

    @property
    def message_id(self) -> str:
        """SQS's id of the message, the same at every delivery."""
        return str(self.raw["messageId"])

    @property
    def receipt(self) -> str:
        """The receipt handle of this delivery, for `extend_visibility_timeout`."""
        return str(self.raw["receiptHandle"])

    @property
    def attributes(self) -> dict[str, str]:
        """What SQS tells of the message: ``SentTimestamp``, ``SenderId``, ``MessageGroupId``, and so on."""
        return dict(self.raw.get("attributes", {}))

    @property
    def message_attributes(self) -> dict[str, Any]:
        """What the sender told: str, int or float, or bytes, by its name."""
        return {name: _value(attribute) for name, attribute in self.raw.get("messageAttributes", {}).items()}


def _value(attribute: dict[str, Any]) -> str | int | float | bytes:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    kind = attribute["dataType"].partition(".")[0]
    if kind == "Binary":
        from base64 import b64decode

        return b64decode(attribute["binaryValue"])
    text: str = attribute["stringValue"]
    if kind != "Number":
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)
