"""Pictures of what was measured: throughput against latency."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident.errors import BenchError
from trident.perf_report import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def _figure(title: str) -> tuple[Any, "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title.replace("$", r"\$"), fontsize="medium")  # matplotlib takes what stands between two for TeX
    axes.grid(alpha=0.3)
    return figure, axes
