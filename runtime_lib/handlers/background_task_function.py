"""The handler of a BackgroundTaskFunction: one task per asynchronous invocation, which Lambda itself retries."""

import json
from typing import Any

from runtime_lib.context import Delivery
from runtime_lib.contract import NODE_KEY
from runtime_lib.errors import EnvelopeError
from runtime_lib.execution import DeadLettered, Message, Outcome, admit
from runtime_lib.handlers._async_invocation import delivery_of, settle
from runtime_lib.handlers._init_phase import start
from runtime_lib.handlers._running import run_message
from runtime_lib.log import logger

__all__ = ["handler"]

start()


def handler(event: Any, context: Any) -> Any:
    """Run the task in ``event``: an envelope, or an event of fops.background.

    One of a workflow's tasks, for which Step Functions waits, is answered with its result.

    Raises:
        Exception: what the task raised, or that it is not known here, so that Lambda retries and then writes the
            dead letter; also if the message is given up and its dead letter cannot be written here.
    """
    if isinstance(event, dict) and NODE_KEY in event:
        from runtime_lib.handlers._node import answer

        return answer(event, context)
    delivery = delivery_of(event, context)
    body = json.dumps(event, separators=(",", ":"))
    settle(_outcome(event, body, delivery, context), body, delivery)
    return None


def _outcome(event: Any, body: str, delivery: Delivery, context: Any) -> Outcome:
    if isinstance(event, dict) and "target" in event:
        from runtime_lib.handlers._fops import envelope_of

        # The invocation's id stays the same when Lambda retries it.
        envelope_id = context.aws_request_id if context else "fops"
        try:
            body = json.dumps(envelope_of(event, envelope_id=envelope_id))
        except EnvelopeError as error:
            logger.error("a message is dead-lettered unread: %s", error)
            return DeadLettered(str(error), error)
    admitted = admit(body, delivery)
    return run_message(admitted, delivery) if isinstance(admitted, Message) else admitted
