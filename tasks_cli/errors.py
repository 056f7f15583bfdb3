"""What goes wrong for the person at the terminal: one line, with what to do about it."""


class CliError(Exception):
    """A command failed; the message says what, and what to do."""


class UsageError(CliError):
    """A command was called in a way it does not have."""
