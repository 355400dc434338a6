"""What `scaling.py` found, as tables and as a picture: a row for each size of the work."""

from collections.abc import Sequence
from pathlib import Path

Row = dict[str, float]  # name of a column → figure; counts are int


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [list(rows[0]), ["---:"] * len(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def draw(rows: Sequence[Row], heading: str, path: Path) -> None:
    """Draw throughput and latency over callers.

    Args:
        rows: with `callers`, `requests/s` and `p50, ms`.
        heading: of the picture.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    figure.suptitle(heading, fontsize="medium")
    callers = [row["callers"] for row in rows]
    for place, name in enumerate(("requests/s", "p50, ms"), start=1):
        axes = figure.add_subplot(1, 2, place)
        axes.plot(callers, [row[name] for row in rows], marker="o", color="#2a7ab9")
        axes.set_xscale("log", base=2)
        axes.set_xticks(callers, [f"{count:g}" for count in callers])
        axes.set_xlabel("callers")
        axes.set_title(name, fontsize="medium")
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=120)
