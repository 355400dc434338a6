"""What perf_analyzer measured, out of its profile export and of what it printed.

Source: perf_analyzer 2.40.0; the export has when each request was sent and answered, the report what the statistics API
said of each composing model within the same windows.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trident.errors import BenchError

MODEL = re.compile(r"^ {2}(\S+), version: *(\S*) *$")
COUNT = re.compile(r"^ +(Inference|Execution) count: (\d+)$")
TIMES = re.compile(r"^ +Avg request latency: \d+ usec \((.*)\)$")
TIME = re.compile(r"([a-z ]+?) (\d+) usec")


@dataclass(frozen=True)
class ModelTime:
    """Where a request's time goes in one model, in milliseconds.

    Attributes:
        name: of the model.
        version: of it; empty if the report does not say.
        rows: of an execution, on average.
        queue_ms: mean wait for an execution.
        compute_ms: mean time of the execution that the request was in.
    """

    name: str
    version: str
    rows: float
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True)
class Point:
    """A service under one load.

    Attributes:
        concurrency: callers, each of whom sends the next request when the last is answered.
        requests: answered within the windows.
        throughput: requests answered a second.
        p50_ms: median latency; p95_ms and p99_ms likewise.
        p95_ms: see p50_ms.
        p99_ms: see p50_ms.
        spread: how far the windows' throughputs are apart, as a share of the mean.
        models: those of the service, in the order of its steps.
    """

    concurrency: int
    requests: int
    throughput: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    spread: float
    models: tuple[ModelTime, ...]


def read_point(concurrency: int, export: dict[str, Any], report: str, model: str) -> Point:
    """The figures of one run at one concurrency.

    Args:
        concurrency: of the run.
        export: perf_analyzer's profile export.
        report: what it printed.
        model: that was asked.

    Raises:
        BenchError: no request was answered, or the export is of another form.
    """
    try:
        (experiment,) = export["experiments"]
        bounds: list[int] = experiment["window_boundaries"]
        ended = sorted(
            (answers[-1], answers[-1] - request["timestamp"])
            for request in experiment["requests"]
            if (answers := request["response_timestamps"])
        )
        start, end = bounds[0], bounds[-1]
    except (LookupError, TypeError, ValueError) as error:
        raise BenchError(
            f"perf_analyzer's profile export has another form ({error!r}); take it off PATH, and Trident fetches one"
        ) from None
    answered_at = [answered for answered, _ in ended]
    first, last = bisect_left(answered_at, start), bisect_right(answered_at, end)
    latencies = sorted(latency / 1e6 for _, latency in ended[first:last])
    if not latencies:
        raise BenchError(f"no request was answered at concurrency {concurrency}; allow more with --seconds")
    return Point(
        concurrency=concurrency,
        requests=len(latencies),
        throughput=len(latencies) / (end - start) * 1e9,
        p50_ms=_percentile(latencies, 50),
        p95_ms=_percentile(latencies, 95),
        p99_ms=_percentile(latencies, 99),
        spread=_spread(answered_at, bounds),
        models=read_models(report, model),
    )


def read_models(report: str, model: str) -> tuple[ModelTime, ...]:
    """The composing models of a report; of a model that is no ensemble, itself.

    Args:
        report: what perf_analyzer printed of one concurrency.
        model: that was asked.
    """
    server, _, composing = report.partition("Composing models:")
    sections: list[tuple[str, str, list[str]]] = []
    for line in composing.splitlines():
        if found := MODEL.match(line):
            sections.append((found[1], found[2], []))
        elif sections:
            sections[-1][2].append(line)
    if not sections:
        sections = [(model, "", server.partition("Server:")[2].splitlines())]
    return tuple(time for name, version, lines in sections if (time := _read_model(name, version, lines)))


def _read_model(name: str, version: str, lines: Sequence[str]) -> ModelTime | None:
    """None if the report says nothing of it, as of one that got no request."""
    counts = {found[1]: int(found[2]) for line in lines if (found := COUNT.match(line))}
    texts = [found[1] for line in lines if (found := TIMES.match(line))]
    if not texts or not counts.get("Execution"):
        return None
    times = {part.strip(): int(microseconds) / 1000 for part, microseconds in TIME.findall(texts[0])}
    compute = sum(value for part, value in times.items() if part.startswith("compute"))
    return ModelTime(name, version, counts["Inference"] / counts["Execution"], times.get("queue", 0.0), compute)


def _percentile(values: Sequence[float], percent: int) -> float:
    """Of sorted values, the first that is not below so many of a hundred."""
    return values[min(len(values) - 1, len(values) * percent // 100)]


def _spread(answered_at: Sequence[int], bounds: Sequence[int]) -> float:
    rates = [
        (bisect_right(answered_at, end) - bisect_left(answered_at, start)) / (end - start)
        for start, end in pairwise(bounds)
    ]
    mean = sum(rates) / len(rates)
    return (max(rates) - min(rates)) / mean if mean else 0.0
