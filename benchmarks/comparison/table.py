"""The results as Markdown."""

import math
from collections.abc import Sequence

from comparison.points import Point
from comparison.results import BATCH, LOADS, MIXED, TINY_LOADS, Bounds, Results, Row, median

COLUMNS = [load.name for load in [*LOADS, *TINY_LOADS]]
VERDICTS = {True: "reached", False: "not reached", None: "not measured"}


def markdown(results: Results, points: Sequence[Point]) -> str:
    """Texts a second of every server, what failed, and the points; each figure is a median (least to largest)."""
    heads = [*COLUMNS, f"{MIXED.name}: p95 of short, ms", BATCH, "start, s", "memory, MB"]
    lines = ["| texts a second | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += [_line(row.name, _cells(row)) for row in results.rows]
    lines += _bound_lines(results.bounds)
    failures = [f"- {row.name}: {row.failure}" for row in results.rows if row.failure]
    if failures:
        lines += ["", "Not, or not fully, measured:", "", *failures]
    lines += ["", "| point | figure | goal | |", "|---|---|---|---|"]
    lines += [
        f"| {point.number}. {point.what} | {_number(point.value)} | {point.goal} | {VERDICTS[point.reached]} |"
        for point in points
    ]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    rates = [spread(row.values(column, lambda sample: sample.rate)) for column in COLUMNS]
    short = spread(row.values(MIXED.name, lambda sample: sample.short_p95_ms))
    batch = spread(row.values(BATCH, lambda sample: sample.rate))
    return [*rates, short, batch, spread(row.start_s), spread(row.memory_mb)]


def _bound_lines(bounds: Bounds) -> list[str]:
    one = dict.fromkeys(COLUMNS, "") | {LOADS[0].name: spread(bounds.one_rate)}
    cut = dict.fromkeys(COLUMNS, "") | {
        LOADS[2].name: spread(bounds.windows["short"]),
        MIXED.name: spread(bounds.windows["mixed"]),
    }
    rest = [spread(bounds.batch_rate), spread(bounds.start_s), spread(bounds.memory_mb)]
    return [
        _line("in process, one by one, all threads", [*one.values(), "", *rest]),
        _line("in process, a thread a core, windows of 64 sorted and cut", [*cut.values(), "", "", "", ""]),
    ]


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def spread(values: Sequence[float]) -> str:
    """The median, and how far the others are; empty for nothing."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return ""
    middle = _number(median(known))
    return middle if len(known) == 1 else f"{middle} ({_number(min(known))}–{_number(max(known))})"


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
