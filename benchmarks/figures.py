"""What was measured, and what was promised of it."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One measurement.

    ``promise`` is the most that it may be: times ``floor`` where there is one, else in its own unit.
    """

    what: str
    unit: str
    value: float
    floor: float | None = None
    promise: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is."""
        return None if self.floor is None else self.value / self.floor

    @property
    def holds(self) -> bool | None:
        """Whether the promise is kept; None if there is none."""
        if self.promise is None:
            return None
        return (self.value if self.ratio is None else self.ratio) <= self.promise

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self._asdict(), "ratio": self.ratio, "holds": self.holds}


_HEADINGS = ("", "measured", "floor", "ratio", "promised", "")


def table(figures: Iterable[Figure]) -> str:
    """The figures as a table."""
    rows = [_HEADINGS, *map(_row, figures)]
    name_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "  ".join([name.ljust(name_width), *map(str.rjust, cells, widths)]).rstrip() for name, *cells in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    unit = figure.unit
    promised = "" if figure.promise is None else f"≤ {figure.promise:.2f} {unit if figure.floor is None else 'x'}"
    return (
        figure.what,
        f"{figure.value:.2f} {unit}",
        "" if figure.floor is None else f"{figure.floor:.2f} {unit}",
        "" if figure.ratio is None else f"{figure.ratio:.2f} x",
        promised,
        {None: "", True: "ok", False: "BROKEN"}[figure.holds],
    )
