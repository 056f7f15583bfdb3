"""`tasks demo`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks_cli import output
from tasks_cli.commands.local import EnforceIam

if TYPE_CHECKING:
    from tasks_cli.demo.run import Result
    from tasks_cli.demo.sales import WorkflowRun

Orders = Annotated[
    Path | None,
    typer.Option(
        "--orders", metavar="FILE", help="Orders as CSV, with the columns of sample_app/orders.csv, the default."
    ),
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the cloud running, for `tasks local` and `tasks dispatch`.")]
LoseInvoice = Annotated[
    str | None,
    typer.Option("--lose-invoice", metavar="ORDER", help="Have an order's invoice get lost, to see the check find it."),
]


def demo(
    *,
    orders: Orders = None,
    enforce_iam: EnforceIam = False,
    keep: Keep = False,
    lose_invoice: LoseInvoice = None,
    json: output.Json = False,
) -> None:
    """Deploy sample_app to a local cloud, run it on a file of orders, and check every one.

    A few more orders are placed by HTTP, the nightly report is started by its schedule, moved to now, the workflow of
    the sales report is run, once more with a failure on purpose, and in the end all orders are exported as a stream.
    What the workflow's tasks did is drawn into .tasks/sales-report.svg.
    Figures come from the functions' logs, the dead letter queues, the e-mails that SES was given and the files in S3.
    The mail gateway turns away some mails at first, so that there is something to retry. The exit code is 1 if an
    order is not accounted for, or a report is wrong. Everything that was started is ended, unless --keep was given.

    \b
    Examples:
      tasks demo
      tasks demo --orders my-orders.csv --json
      tasks demo --lose-invoice WB-10001
    """
    from tasks_cli.demo.progress import Progress  # noqa: PLC0415  (slow to import)
    from tasks_cli.demo.run import run  # noqa: PLC0415

    with Progress() as progress:
        result = run(
            Path.cwd(),
            orders,
            enforce_iam=enforce_iam,
            keep=keep,
            lost_invoice=lose_invoice,
            progress=progress,
        )
    if json:
        output.print_json(_as_json(result))
    else:
        _print(result)
        if keep:
            print("The cloud is left running: `tasks local status` shows it, `tasks local down` ends it.")
    if result.unaccounted:
        sys.exit(1)


def _as_json(result: "Result") -> dict[str, object]:
    return {
        **result._asdict(),
        "tasks": [figures._asdict() for figures in result.tasks],
        "placed": [order._asdict() for order in result.placed],
        "report": result.report._asdict() if result.report else None,
        "sales": {
            **result.sales._asdict(),
            "made": _run_as_json(result.sales.made),
            "refused": _run_as_json(result.sales.refused),
        },
        "books": result.books._asdict(),
        "unaccounted": [problem._asdict() for problem in result.unaccounted],
    }


def _run_as_json(run: "WorkflowRun") -> dict[str, Any]:
    return {**run._asdict(), "nodes": {name: node._asdict() for name, node in run.nodes.items()}}


def _print(result: "Result") -> None:
    from rich.table import Table  # noqa: PLC0415

    from tasks_cli.demo.progress import print_tables, task_table  # noqa: PLC0415

    reasons = Table(title="Dead letters", title_justify="left", box=None, pad_edge=False)
    for column in ("task", "reason", "count"):
        reasons.add_column(column, overflow="fold", justify="right" if column == "count" else "left")
    for figures in result.tasks:
        for reason, count in figures.reasons.items():
            reasons.add_row(figures.task, reason, str(count))
    tables = [task_table(result.tasks, "Tasks (p50, p95: from dispatch to start)")]
    print_tables([*tables, *([reasons] if reasons.row_count else [])])
    print(f"Arrived: {result.emails:,} e-mails, {result.invoices:,} invoices.")
    if result.emails_left_over:
        print(f"Of these, {result.emails_left_over:,} e-mails came twice, or belong to no order.")
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in result.outcomes.items())
    print(
        f"Of {result.rows:,} rows in {result.orders} and {len(result.placed)} orders by HTTP, "
        f"{outcomes or 'none is accounted for'}; in {result.seconds} s."
    )
    _print_web(result)
    if not result.unaccounted:
        print("Every order is accounted for.")
        return
    print(f"NOT accounted for: {len({problem.row for problem in result.unaccounted}):,}")
    for problem in result.unaccounted:
        where = f"row {problem.row}, order {problem.order!r}" if isinstance(problem.row, int) else problem.row
        print(f"  {where}: {problem.problem}")


def _print_web(result: "Result") -> None:
    for one in result.placed:
        print(
            f"POST /orders {one.order_id}: 202 in {one.milliseconds} ms, then {one.status}: {one.told}; "
            f"GET /orders/{one.order_id}: {one.shown}"
        )
    if result.report:
        counts = ", ".join(f"{count:,} {what}" for what, count in result.report.counts.items())
        print(f"The nightly report came by its schedule, as {result.report.key}: {counts}")
    _print_sales(result)
    books = result.books
    print(
        f"The export streamed {books.rows:,} rows in {books.chunks} chunks: first byte after {books.first_byte_ms} ms, "
        f"last byte after {books.last_byte_ms} ms, "
        + ("nothing on record." if books.recorded_ms is None else f"on record after {books.recorded_ms} ms.")
    )


def _print_sales(result: "Result") -> None:
    made, refused, told = result.sales.made, result.sales.refused, result.sales.notified
    print(f"The sales report {_ended(made)}, as run {made.id}:")
    print(f"  {_nodes(made)}")
    for currency, figures in (made.report or {}).get("currencies", {}).items():
        sold, refunded, median = (
            "none" if figures[name] is None else f"{figures[name] / 100:,.2f} {currency}"
            for name in ("sold", "refunded", "median_order")
        )
        print(f"  {figures['orders']:,} orders over {sold}, of which {refunded} was refunded; the median is {median}")
    print(f"Without room for it, it {_ended(refused)}, as run {refused.id}; mails about that: {told}")
    print(f"  {_nodes(refused)}")
    print(f"The first run is drawn in {result.sales.picture}")


def _ended(run: "WorkflowRun") -> str:
    from tasks_cli.drawing.words import duration  # noqa: PLC0415

    return run.status if run.seconds is None else f"{run.status} after {duration(run.seconds)}"


def _nodes(run: "WorkflowRun") -> str:
    """Each task, with how long it took, and what became of it unless it succeeded."""
    from tasks_cli.drawing.words import duration  # noqa: PLC0415

    told = []
    for name, node in run.nodes.items():
        parts = [name] if node.state == "succeeded" else [name, node.state]
        if node.seconds is not None:
            parts.append(duration(node.seconds))
        if node.items is not None:
            parts.append(f"for {node.items} pages")
        if node.attempts and node.attempts > 1:
            parts.append(f"in {node.attempts} attempts")
        told.append(" ".join(parts))
    return ", ".join(told)
