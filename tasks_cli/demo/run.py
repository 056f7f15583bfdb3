"""Runs the demo: synthesize, start, deploy, dispatch, watch, check."""

import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime_lib.handle import TaskHandle
from tasks_cli import deployed
from tasks_cli.cloud import Cloud
from tasks_cli.demo.books import Books, take_books
from tasks_cli.demo.night import Report, run_schedule
from tasks_cli.demo.observation import Observation, TaskFigures
from tasks_cli.demo.progress import Progress
from tasks_cli.demo.sales import LOST_REPORT, Sales, expected_report, problems, run_sales
from tasks_cli.demo.storefront import ORDERS, PlacedOrder, Placement, Storefront, storefront
from tasks_cli.errors import CliError
from tasks_cli.local import deployment, detached, function_runtime
from tasks_cli.local.apis import local_text
from tasks_cli.local.process import LocalCloud
from tasks_cli.synthesis import app_command, synthesize

if TYPE_CHECKING:
    from tasks_cli.demo.audit import Problem, Row

_APP = "sample_app"
_PLACE = "sample_app.storefront.place"
_BUSY_PERCENT = 5
"""Of the mails the gateway turns away at first: `sample_app.faults`."""
_DRAWING = Path(".tasks", "sales-report.svg")
_DISPATCHED_AT_ONCE = 100
_POLL_SECONDS = 1.0
_STALLED_SECONDS = 60.0
"""After so long without news, what has not ended is lost. Longer than any retry of the sample waits here."""


class Result(NamedTuple):
    """What the demo found."""

    orders: str
    rows: int
    seconds: float
    outcomes: dict[str, int]
    """Rows that are accounted for, by what became of them."""
    tasks: list[TaskFigures]
    emails: int
    invoices: int
    emails_left_over: int
    """E-mails that no order explains, or that came twice."""
    placed: list[PlacedOrder]
    """The orders that came by HTTP; they are rows as well."""
    report: Report | None
    """What the nightly report counts; None if the schedule did not bring it."""
    sales: Sales
    """The workflow that makes the sales report, run twice."""
    books: Books
    """The export of all orders, as a stream."""
    unaccounted: "list[Problem]"


def run(
    project: Path,
    orders: Path | None,
    *,
    enforce_iam: bool,
    keep: bool,
    lost_invoice: str | None,
    progress: Progress,
) -> Result:
    """Run the sample app of ``project`` on a file of orders, its own by default.

    ``keep`` leaves the cloud running, as that of the folder. ``lost_invoice`` is the id of an order whose invoice gets
    lost on purpose.

    Raises:
        CliError: this is not Linux, there is no sample app here, or the file is no file of orders.
    """
    if not function_runtime.is_available():
        raise CliError(
            "the demo reads what functions log on AWS's runtime client, awslambdaric, which is for Linux: run it "
            "there, or in a Linux container"
        )
    file = orders or project / _APP / "orders.csv"
    fields = _read_rows(project, file)
    progress.step(f"{len(fields):,} orders in {file}")
    progress.step("Synthesizing the app with the CDK")
    assembly, _ = synthesize(app_command(project, None), project)
    faults = {"busy_percent": _BUSY_PERCENT, "lost_invoice": lost_invoice, "lost_report": LOST_REPORT}
    progress.step("Starting the local cloud")
    with _cloud(project, {"SHOP_FAULTS": json.dumps(faults)}, enforce_iam=enforce_iam, keep=keep) as cloud:
        progress.step(f"Deploying to {cloud}")
        (stack,) = deployment.deploy(cloud, assembly)
        functions = deployed.functions(cloud, [stack.name])
        observation = Observation(cloud, functions)
        started = time.monotonic()
        progress.step("Dispatching a task for each order")
        # From here on this process is a sender like any other: it has the routes in its environment.
        cloud.use_in_this_process()
        os.environ.update(deployed.routes(deployed.targets(cloud, [stack.name])))
        rows = _dispatch(fields, observation, progress)
        with storefront(cloud, stack.name) as shop:
            progress.step(f"Placing {len(ORDERS)} more by HTTP: POST {shop.url}/orders")
            web_rows, placed = _place(shop, observation)
            _watch(observation, progress)
            placed_orders = shop.follow(placed)
        seconds = time.monotonic() - started
        progress.step("Letting the night come: the report's schedule is moved to now")
        bucket = stack.outputs["Bucket"]
        report = run_schedule(cloud, stack.outputs["ReportSchedule"], bucket)
        progress.step("Making the sales report: once for real, and once without room for it")
        sales = run_sales(cloud, stack.name, bucket, project / _DRAWING)
        url = local_text(cloud, stack.outputs["ExportUrl"])
        progress.step(f"Exporting all orders: GET {url}")
        books = take_books(cloud, url, bucket)
        progress.step("Checking what arrived against the orders")
        return _result(
            cloud,
            [*rows, *web_rows],
            observation,
            bucket=bucket,
            file=str(file),
            seconds=seconds,
            placed=placed_orders,
            report=report,
            sales=sales,
            books=books,
        )


def _read_rows(project: Path, file: Path) -> list[tuple[int, dict[str, str]]]:
    if not (project / _APP / "app.py").is_file():
        raise CliError(f"the demo runs in a checkout of lambda-task-constructs: {project} has no {_APP}")
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    from sample_app.orders import read_rows  # noqa: PLC0415  (the project's, found just now)

    try:
        return list(read_rows(file))
    except (OSError, ValueError, csv.Error) as error:
        raise CliError(f"{file} cannot be read as orders: {error}") from error


@contextmanager
def _cloud(project: Path, environment: dict[str, str], *, enforce_iam: bool, keep: bool) -> Iterator[Cloud]:
    """The cloud to run on: for the block only, or the folder's, which stays when the block ends without an error."""
    if not keep:
        with LocalCloud(environment=environment, enforce_iam=enforce_iam, tls=enforce_iam) as cloud:
            yield cloud
        return
    running = detached.start(project, environment=environment, enforce_iam=enforce_iam)
    try:
        yield running.cloud()
    except BaseException:
        detached.end(project)
        raise


def _dispatch(fields: list[tuple[int, dict[str, str]]], observation: Observation, progress: Progress) -> "list[Row]":
    from sample_app.intake import accept  # noqa: PLC0415
    from tasks_cli.demo.audit import Row  # noqa: PLC0415

    rows: list[Row] = []
    for start in range(0, len(fields), _DISPATCHED_AT_ONCE):
        chunk = fields[start : start + _DISPATCHED_AT_ONCE]
        handles = accept.dispatch_many(accept.call(row) for _, row in chunk)
        rows += [Row(number, row, handle.id) for (number, row), handle in zip(chunk, handles, strict=True)]
        observation.add_dispatched(handles)
        observation.update()
        progress.show(observation.figures())
    return rows


def _place(shop: Storefront, observation: Observation) -> "tuple[list[Row], list[Placement]]":
    from tasks_cli.demo.audit import Row  # noqa: PLC0415

    placed = shop.place(ORDERS)
    observation.add_dispatched(TaskHandle(one.id, _PLACE) for one in placed)
    return [Row(f"POST /orders {one.order['order_id']}", one.order, one.id) for one in placed], placed


def _watch(observation: Observation, progress: Progress) -> None:
    """Wait until every message has ended, or nothing happens any more."""
    news = time.monotonic()
    while observation.unfinished and time.monotonic() - news < _STALLED_SECONDS:
        time.sleep(_POLL_SECONDS)
        if observation.update():
            news = time.monotonic()
        progress.show(observation.figures())


def _result(
    cloud: Cloud,
    rows: "list[Row]",
    observation: Observation,
    *,
    bucket: str,
    file: str,
    seconds: float,
    placed: list[PlacedOrder],
    report: Report | None,
    sales: Sales,
    books: Books,
) -> Result:
    from tasks_cli.demo.audit import Arrivals, Audit, Problem  # noqa: PLC0415

    arrivals = Arrivals.read(cloud, bucket)
    audit = Audit(rows, observation.chains(), arrivals)
    expected = expected_report(audit.accepted, arrivals.invoices)
    return Result(
        orders=file,
        rows=len(rows) - len(placed),
        seconds=round(seconds, 1),
        outcomes=dict(audit.outcomes.most_common()),
        tasks=observation.figures(),
        emails=arrivals.emails,
        invoices=len(arrivals.invoices),
        emails_left_over=arrivals.left_over,
        placed=placed,
        report=report,
        sales=sales,
        books=books,
        unaccounted=[
            *audit.problems,
            *(Problem(f"GET /orders/{one.order_id}", one.order_id, one.problem) for one in placed if one.problem),
            *([] if report else [Problem("nightly report", "", "its schedule did not bring it within a minute")]),
            *(Problem("sales report", "", problem) for problem in problems(sales, expected)),
            *([Problem("export of all orders", "", books.problem)] if books.problem else []),
        ],
    )
