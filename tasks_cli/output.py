"""How a command answers: a table or a line for people, one JSON document for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead, for scripts.")]


def say(message: str) -> None:
    """Tell people what happens; not part of the answer, so on standard error."""
    print(message, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print the answer as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_json_line(value: Any) -> None:
    """Print one of many answers as a line of JSON, at once."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print the answer as a table; without a terminal as tab-separated lines, cut nowhere."""
    from rich.console import Console  # noqa: PLC0415  (slow to import)
    from rich.table import Table  # noqa: PLC0415

    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print(*row, sep="\t")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "id")  # to be copied
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
