"""What the demo shows while it runs: a live table on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tasks_cli.demo.observation import TaskFigures

_LINE_SECONDS = 5.0
"""How often a line is printed where nothing can be overwritten."""
_WIDTH = 120
"""Of tables, where no terminal says."""


class Progress:
    """Shows on standard error how far the tasks are, for as long as a ``with`` block takes."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, transient=True, auto_refresh=False) if self._console.is_terminal else None
        )
        self._started = time.monotonic()
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def step(self, what: str) -> None:
        """Tell what is done next."""
        self._console.print(f"{self._elapsed:5.1f} s  {what}", markup=False, highlight=False, soft_wrap=True)

    def show(self, figures: Sequence[TaskFigures]) -> None:
        """Show the figures of the moment."""
        if self._live:
            self._live.update(task_table(figures, f"{self._elapsed:.0f} s"), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            self.step(_line(figures))

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _line(figures: Sequence[TaskFigures]) -> str:
    ended = sum(one.dispatched - one.unfinished for one in figures)
    return (
        f"{ended:,} of {sum(one.dispatched for one in figures):,} tasks ended, "
        f"{sum(one.retried for one in figures):,} retried, "
        f"{sum(one.dead_lettered for one in figures):,} dead-lettered"
    )


def task_table(figures: Sequence[TaskFigures], title: str) -> Table:
    """A row for each task."""
    columns = ["dispatched", "succeeded", "discarded", "retried", "dead-lettered", "p50", "p95"]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("task")
    for column in columns:
        table.add_column(column, justify="right")
    for one in figures:
        counts = [one.dispatched, one.succeeded, one.discarded, one.retried, one.dead_lettered]
        waits = ["" if wait is None else f"{wait:,} ms" for wait in (one.wait_p50_ms, one.wait_p95_ms)]
        table.add_row(one.task, *(f"{count:,}" for count in counts), *waits)
    return table


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on standard output, readable in a log file too."""
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for table in tables:
        console.print(table)
        console.print()
