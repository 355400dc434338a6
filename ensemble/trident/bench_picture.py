"""Pictures of what was measured: throughput against latency."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.errors import BenchError
from trident.perf_report import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trident.tuning import Outcome

SUFFIXES = (".png", ".svg")


def check_picture(path: Path) -> None:
    """See before anything is measured that a picture can be drawn.

    Raises:
        BenchError: matplotlib is missing, the name has another suffix, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"--picture is {path}; expected a name that ends in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise BenchError(f"no folder {path.parent}; make it, or choose another --picture")
    try:
        import matplotlib.figure  # noqa: F401 - found out now
    except ImportError:
        raise BenchError("--picture needs matplotlib: pip install '.[bench]' in Trident's folder") from None


def draw_bench(points: Sequence[Point], title: str, path: Path) -> None:
    """Draw median and 99th percentile over throughput, with the concurrency at each point."""
    figure, axes = _figure(title)
    rates = [point.throughput for point in points]
    for name in ("p50", "p99"):
        axes.plot(rates, [getattr(point, f"{name}_ms") for point in points], marker="o", label=name)
    for point in points:
        axes.annotate(str(point.concurrency), (point.throughput, point.p50_ms), (0, -12), textcoords="offset points")
    axes.set_xlim(left=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("requests/s")
    axes.set_ylabel("latency, ms (at each point: callers)")
    axes.legend()
    figure.savefig(path, dpi=120)


def draw_trials(outcome: "Outcome", title: str, concurrency: int, path: Path) -> None:
    """Draw throughput over the latency of a lone caller, and which candidates no other beats in both."""
    figure, axes = _figure(title)
    usable = [trial for trial in outcome.trials if not trial.refused]
    points = [(trial.figures.alone_ms, trial.figures.throughput) for trial in usable]
    unbeaten = frontier(points)
    axes.plot(*zip(*unbeaten, strict=True), color="tab:gray", linewidth=1, zorder=1)
    for trial, point in zip(usable, points, strict=True):
        color = "tab:green" if trial is outcome.best else "tab:red" if trial is outcome.untuned else "tab:blue"
        axes.scatter(*point, color=color, zorder=2)
        if point in unbeaten or trial in (outcome.best, outcome.untuned):
            label = trial.candidate.described(outcome.untuned.candidate).replace(", ", "\n")
            axes.annotate(label, point, (5, -3), textcoords="offset points", fontsize="x-small", va="top")
    axes.margins(0.3)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("median latency of a lone caller, ms")
    axes.set_ylabel(f"requests/s of {concurrency} callers")
    figure.savefig(path, dpi=120)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (latency, throughput) those that no other beats in both, by latency."""
    found: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or point[1] > found[-1][1]:
            found.append(point)
    return found


def _figure(title: str) -> tuple[Any, "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title.replace("$", r"\$"), fontsize="medium")  # matplotlib takes what stands between two for TeX
    axes.grid(alpha=0.3)
    return figure, axes
