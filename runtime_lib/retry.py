"""When a failed task runs again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from runtime_lib.contract import SQS_MAX_VISIBILITY_SECONDS
from runtime_lib.errors import seconds

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["Retry"]

_DEFAULT_FIRST_DELAY = 1.0
_DEFAULT_MAX_DELAY = 900.0


class _Policy(NamedTuple):
    max_attempts: int | None
    first_delay: float
    multiplier: float
    max_delay: float
    jitter: Literal["full", "none"]
    on: tuple[type[BaseException], ...]
    give_up_on: tuple[type[BaseException], ...]


class Retry(_Policy):
    """A retry policy: exponential backoff with full jitter.

    Args:
        max_attempts: how often the task runs at most, the first time included; None: as often as its queue allows.
        first_delay: seconds (or a timedelta) before the second attempt; each further delay is ``multiplier`` times
            longer, up to ``max_delay``.
        multiplier: see ``first_delay``; 1 keeps the delay constant.
        max_delay: 15 minutes by default; at most 12 hours, the longest that SQS keeps a message invisible.
        jitter: "full" waits a random time between 0 and the delay, so that tasks that failed together do not return
            together; "none" waits the delay itself.
            (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)
        on: exception classes that are retried; by default every one, sys.exit()'s included.
        give_up_on: exception classes that are dead-lettered at once, even if ``on`` has them or a base of theirs.
    """

    __slots__ = ()

    def __new__(
        cls,
        max_attempts: int | None = 3,
        *,
        first_delay: "float | timedelta" = _DEFAULT_FIRST_DELAY,
        multiplier: float = 2,
        max_delay: "float | timedelta" = _DEFAULT_MAX_DELAY,
        jitter: Literal["full", "none"] = "full",
        on: Iterable[type[BaseException]] = (BaseException,),
        give_up_on: Iterable[type[BaseException]] = (),
    ) -> Self:
        """Check the values; ValueError and TypeError name the one that is wrong."""
        if max_attempts is not None and (type(max_attempts) is not int or max_attempts < 1):
            raise ValueError(f"max_attempts is a whole number from 1, or None for no limit, given {max_attempts!r}")
        if not isinstance(multiplier, int | float) or not 1 <= multiplier < float("inf"):
            raise ValueError(f"multiplier is a number from 1, given {multiplier!r}")
        if jitter not in ("full", "none"):
            raise ValueError(f"jitter is 'full' or 'none', given {jitter!r}")
        longest = _seconds("max_delay", max_delay)
        if longest > SQS_MAX_VISIBILITY_SECONDS:
            raise ValueError(
                f"max_delay is at most 12 hours ({SQS_MAX_VISIBILITY_SECONDS} seconds), given {max_delay!r}"
            )
        return super().__new__(
            cls,
            max_attempts,
            _seconds("first_delay", first_delay),
            multiplier,
            longest,
            jitter,
            _exception_classes("on", on),
            _exception_classes("give_up_on", give_up_on),
        )

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:  # for copy and pickle
        return (), self._asdict()

    @classmethod
    def never(cls) -> "Retry":
        """The first failure is the last."""
        return cls(1)

    @classmethod
    def once(cls) -> "Retry":
        """Two attempts."""
        return cls(2)

    @classmethod
    def always(cls) -> "Retry":
        """As often as the queue's ``max_receive_count`` allows, with backoff."""
        return cls(None)

    @classmethod
    def of(cls, policy: "Retry | str | None") -> "Retry":
        """The policy itself, the default for None, or the one that easyjobs' name stands for.

        Raises:
            ValueError: the name is unknown.
        """
        if policy is None:
            return cls()
        if isinstance(policy, Retry):
            return policy
        named = {
            "never": cls.never,
            "retry_once": cls.once,
            "retry_always": cls.always,
            "always": cls.always,
        }
        if not isinstance(policy, str) or policy not in named:
            raise ValueError(f"retry is a Retry or one of {', '.join(map(repr, named))}, given {policy!r}")
        return named[policy]()

    def delay(self, error: BaseException, attempt: int) -> float | None:
        """Seconds until the attempt after ``attempt`` (from 1), or None if there is none."""
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        if isinstance(error, self.give_up_on) or not isinstance(error, self.on):
            return None
        try:
            delay = min(self.max_delay, self.first_delay * self.multiplier ** (attempt - 1))
        except OverflowError:
            delay = self.max_delay if self.first_delay else 0.0
        if self.jitter == "none":
            return delay
        from random import SystemRandom

        return SystemRandom().uniform(0, delay)

    @property
    def is_delayed(self) -> bool:
        """Whether the policy asks for delays of its own, which an asynchronous invocation cannot give."""
        return (self.first_delay, self.max_delay) != (_DEFAULT_FIRST_DELAY, _DEFAULT_MAX_DELAY)


def _seconds(argument: str, duration: "float | timedelta") -> float:
    try:
        return seconds(duration)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{argument}: {error}") from None


def _exception_classes(argument: str, classes: Iterable[type[BaseException]]) -> tuple[type[BaseException], ...]:
    found = tuple(classes) if isinstance(classes, Iterable) else (classes,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f"{argument} holds exception classes, given {one!r}")
    return found
