"""The points that Trident wants to reach, from what was measured: a figure each, and whether it is reached."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from comparison.results import ALONE, BATCH, EIGHT, MANY, MIXED, TINY_ALONE, TINY_MANY, Load, Results, Row, median
from comparison.servers import ACCELERATED, OURS, PEER

EXTRA_MS = 1.5  # of a lone request beyond the call in process
ACCURACY = 0.002  # of 1
TINY_MS = 2.5
EXTRA_MB = 250.0


@dataclass(frozen=True)
class Point:
    """One line.

    Attributes:
        number: of the point.
        what: is compared, with the servers that were best.
        value: the figure; NaN if something of it was not measured.
        goal: what it should be, as text.
        reached: whether it is; None if it was not measured.
    """

    number: int
    what: str
    value: float
    goal: str
    reached: bool | None


def evaluate(results: Results) -> list[Point]:
    """All points; each is judged by that one of our servers that does best in it, which is named."""
    return [
        *_plain(results),
        *_accelerated(results),
        *_alone(results),
        *_mixed(results),
        *_tiny(results),
        *_many_texts(results),
        *_resources(results),
    ]


def _plain(results: Results) -> Iterator[Point]:
    yield _against_peers(1, results, OURS, MANY, 1.5)
    name, rate = results.best([OURS], _rate(MANY))
    bound = median(results.bounds.windows["short"])
    yield _at_least(1, f"{MANY.name}: {name} / in process, windows of 64 sorted and cut", rate / bound, 0.9)
    yield _against_peers(1, results, OURS, EIGHT, 1.3)


def _accelerated(results: Results) -> Iterator[Point]:
    yield _against_peers(2, results, ACCELERATED, MANY, 3.0)
    yield _against_peers(2, results, ACCELERATED, ALONE, 2.0)
    found = [abs(results.bounds.accuracy - accuracy) for accuracy in results.accuracy.values()]
    yield _at_most(2, "accuracy, accelerated against f32, points", 100 * max(found, default=math.nan), 100 * ACCURACY)


def _alone(results: Results) -> Iterator[Point]:
    name, ours = results.best([OURS], _p50(ALONE), least=True)
    beyond = ours - median(results.bounds.one_ms)
    yield _at_most(3, f"{ALONE.name}: {name} - call in process, ms", beyond, EXTRA_MS)
    peer, theirs = results.best([PEER], _p50(ALONE), least=True)
    yield _at_most(3, f"{ALONE.name}: latency of {name} / {peer}", ours / theirs, 1.0)


def _mixed(results: Results) -> Iterator[Point]:
    yield _against_peers(4, results, OURS, MIXED, 1.6)
    yield _against_peers(4, results, ACCELERATED, MIXED, 3.0)
    name, ours = results.best([OURS], _short_p95, least=True)
    peer, theirs = results.best([PEER], _short_p95, least=True)
    yield _at_most(4, f"{MIXED.name}: p95 of short texts, {name} / {peer}", ours / theirs, 0.5)


def _tiny(results: Results) -> Iterator[Point]:
    yield _against_peers(5, results, OURS, TINY_MANY, 1.0)
    name, ours = results.best([OURS], _p50(TINY_ALONE), least=True)
    yield _at_most(5, f"{TINY_ALONE.name}: p50 of {name}, ms", ours, TINY_MS)


def _many_texts(results: Results) -> Iterator[Point]:
    name, rate = results.best([OURS], lambda row: row.rate(BATCH))
    ratio = rate / median(results.bounds.batch_rate)
    yield _at_least(6, f"{BATCH}: {name} / the same in process, one call", ratio, 0.95)


def _resources(results: Results) -> Iterator[Point]:
    one_mb, one_s = median(results.bounds.memory_mb), median(results.bounds.start_s)
    for row in (row for row in results.rows if row.kind == OURS):
        limit = 1.1 * row.processes * one_mb + EXTRA_MB
        yield _at_most(7, f"memory of {row.name} beyond the limit of {limit:.0f} MB", median(row.memory_mb) - limit, 0)
        yield _at_most(7, f"start of {row.name} / of a process with the model", median(row.start_s) / one_s, 1.5)


def _against_peers(number: int, results: Results, kind: str, load: Load, goal: float) -> Point:
    name, ours = results.best([kind], _rate(load))
    peer, theirs = results.best([PEER], _rate(load))
    return _at_least(number, f"{load.name}: {name or kind} / {peer or 'peers'}", ours / theirs, goal)


def _rate(load: Load) -> Callable[[Row], float]:
    return lambda row: row.rate(load.name)


def _p50(load: Load) -> Callable[[Row], float]:
    return lambda row: row.p50_ms(load.name)


def _short_p95(row: Row) -> float:
    return row.short_p95_ms(MIXED.name)


def _at_least(number: int, what: str, value: float, goal: float) -> Point:
    return Point(number, what, value, f"≥ {goal:g}", None if math.isnan(value) else value >= goal)


def _at_most(number: int, what: str, value: float, goal: float) -> Point:
    return Point(number, what, value, f"≤ {goal:g}", None if math.isnan(value) else value <= goal)
