"""The task in a process of its own whose start is measured."""

from runtime_lib import task


@task(subprocess=True)
def compute(number: int) -> int:
    """Compute next to nothing."""
    return number * number
