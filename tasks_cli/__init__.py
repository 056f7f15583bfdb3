"""The `tasks` command: synthesize, run and look into an app on the local cloud, or on AWS."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name; exits with 0 (done), 1 (failed) or 2 (called wrongly)."""
    try:
        from tasks_cli.app import run  # noqa: PLC0415  (importing this package costs nothing)
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        # The runtime's installation has the command, but not what it needs.
        sys.exit("error: `tasks` needs more than the runtime: pip install 'lambda-task-constructs[local]'")
    run()
