"""``python -m tasks_cli`` is the `tasks` command."""

from tasks_cli import main

main()
