"""`trident bench`: the options, and what is printed."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from trident_client import Client
from trident_client.settings import without_secrets

from trident.addresses import address
from trident.options import AsJson, Timeout, Url

if TYPE_CHECKING:
    from trident.perf_report import Point

CONCURRENCIES = "1,2,4,8,16,32,64"
MOST_CALLERS = 1024

TextsFile = Annotated[
    Path | None,
    typer.Option("--texts", metavar="FILE", help="To send: a text a line; or .csv, .tsv, .jsonl.", show_default=False),
]
Column = Annotated[str, typer.Option(metavar="NAME", help="Where the texts are in .csv, .tsv and .jsonl.")]
Picture = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also draw it, as .png or .svg.", show_default=False)
]


def bench(
    service: Annotated[str, typer.Argument(metavar="NAME", help="Name of the service.", show_default=False)],
    texts: TextsFile = None,
    column: Column = "text",
    input_data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For services of other things: perf_analyzer's JSON.", show_default=False),
    ] = None,
    url: Url = None,
    concurrency: Annotated[
        str, typer.Option(metavar="N,N,...", help="Callers at once, each with one request under way.")
    ] = CONCURRENCIES,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.3, help="Measured at each concurrency.")] = 5.0,
    timeout: Timeout = 30.0,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Measure throughput and latency of a running service.

    \b
    trident bench spam --texts messages.tsv
    trident bench spam --texts messages.tsv --picture spam.png --json > spam.json

    NVIDIA's perf_analyzer sends the texts, one a request, in three windows at each concurrency; `spread` is how far
    these are apart. For each model: mean milliseconds in its queue + in its execution, which requests share.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.bench_picture import check_picture, draw_bench
    from trident.benching import Load, check_target, requests_file
    from trident.benching import bench as run
    from trident.machine import title
    from trident.progress import bar

    callers, server = _callers(concurrency), address(url)
    if picture is not None:
        check_picture(picture)
    with requests_file(texts, column, input_data) as data:
        check_target(server, service, timeout, of_texts=texts is not None)
        with bar(f"Measuring {service}", total=len(callers) + 1) as update:
            points = run(Load(service, server, data, seconds, timeout), callers, update)
    if picture is not None:
        draw_bench(points, f"{service}, {title()}", picture)
    if as_json:
        print(json.dumps(_record(service, server, seconds, timeout, points), indent=2))
        return
    _print_tables(service, points)


def _callers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= MOST_CALLERS for part in parts):
        expected = f"whole numbers from 1 to {MOST_CALLERS} with commas between, such as {CONCURRENCIES}"
        raise typer.BadParameter(f"'{text}'; expected {expected}", param_hint="--concurrency")
    return [int(part) for part in parts]


def _record(service: str, url: str, seconds: float, timeout: float, points: "Sequence[Point]") -> dict[str, Any]:
    from trident.machine import describe
    from trident.perf_analyzer import version

    with Client(url, timeout_s=timeout) as client:
        server = client.get_server_metadata()
    found = describe()
    found["versions"] |= {"tritonserver": server.get("version", ""), "perf_analyzer": version()}
    asked = {"service": service, "url": without_secrets(url), "command": shlex.join(sys.argv), "seconds": seconds}
    return found | asked | {"points": [asdict(point) for point in points]}


def _print_tables(service: str, points: "Sequence[Point]") -> None:
    from trident.service import STEPS

    load = _table("callers", "requests/s", "spread", "p50 ms", "p95 ms", "p99 ms")
    for point in points:
        latencies = map(_ms, (point.p50_ms, point.p95_ms, point.p99_ms))
        load.add_row(str(point.concurrency), f"{point.throughput:,.1f}", f"{point.spread:.0%}", *latencies)
    names = list(dict.fromkeys(time.name for point in points for time in point.models))
    names.sort(key=[*(f"{service}_{step}" for step in STEPS), *names].index)
    steps = _table("callers", *(escape(name.removeprefix(f"{service}_")) for name in names))
    for point in points:
        found = {time.name: f"{_ms(time.queue_ms)} + {_ms(time.compute_ms)} ({time.rows:.1f})" for time in point.models}
        steps.add_row(str(point.concurrency), *(found.get(name, "") for name in names))
    console = Console()
    console.print(load)
    console.print("in each model, ms: queue + execution (rows of an execution)")
    console.print(steps)


def _ms(value: float) -> str:
    """At most five characters, below a hundred seconds: the tables must fit into 80 columns."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
