"""A module with one task, as a function's own code has."""

from runtime_lib import task


@task
def send_email(to: str, subject: str, from_email: str | None = None) -> None:
    """Does nothing: what is measured is everything around it."""
