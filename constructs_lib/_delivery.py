"""How long EventBridge tries to deliver: the same bounds for the runs of a schedule and the events of a rule.

(https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html,
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html)
"""

from typing import Final

import aws_cdk as cdk
from constructs import Construct

from constructs_lib._validation import require_duration, require_number

__all__ = ["check_delivery"]

_RETRIES: Final = (0, 185)
_AGE_SECONDS: Final = (60, 86_400)


def check_delivery(scope: Construct, *, retry_attempts: int | None, max_age: cdk.Duration | None) -> None:
    """Refuse retries that EventBridge does not have.

    Raises:
        ValueError: a number is outside what is allowed.
    """
    require_number(
        scope,
        "delivery_retry_attempts",
        retry_attempts,
        *_RETRIES,
        remedy="leave it out for as many as EventBridge makes",
    )
    require_duration(
        scope,
        "max_delivery_age",
        max_age,
        *_AGE_SECONDS,
        remedy="leave it out for a day, as long as EventBridge tries",
    )
