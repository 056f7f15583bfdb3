"""What a dispatch returns."""

from typing import NamedTuple

__all__ = ["TaskHandle"]


class TaskHandle(NamedTuple):
    """A dispatched task: its message's id and its name."""

    id: str
    task: str
