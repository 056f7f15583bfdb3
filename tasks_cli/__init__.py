"""The `tasks` command: synthesize, run and look into an app on the local cloud, or on AWS."""

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name; exits with 0 (done), 1 (failed) or 2 (called wrongly)."""
    from tasks_cli.app import run  # noqa: PLC0415  (importing this package costs nothing)

    run()
