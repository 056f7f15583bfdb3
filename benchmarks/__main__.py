"""``python -m benchmarks``: measure, print, and exit with 1 if a promise is broken."""

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks import imports, messages, streaming, workflows
from benchmarks.figures import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures imports, messages, answers and workflows."
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--processes", type=int, default=15, help="fresh processes per import (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=300, help="rounds per way of a message, and definition (default: %(default)s)"
    )
    parser.add_argument("--invocations", type=int, default=50, help="per round of answers (default: %(default)s)")
    options = parser.parse_args(arguments)
    figures = [
        *imports.measure(options.processes),
        *messages.measure(options.rounds),
        *streaming.measure(options.invocations),
        *workflows.measure(options.rounds),
    ]
    if options.json:
        print(json.dumps([figure.as_dict() for figure in figures], indent=2))
    else:
        print(table(figures))
    return int(any(figure.holds is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
