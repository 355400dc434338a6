"""The picture: a panel for each load, a bar for each server."""

from pathlib import Path

from comparison.results import LOADS, Load, Results
from comparison.servers import ACCELERATED, OURS, PEER

COLOURS = {PEER: "#9aa5b1", OURS: "#2a7ab9", ACCELERATED: "#d97a1f"}


def draw(results: Results, title: str, path: Path) -> None:
    """Draw the medians of all rounds, with the least and the largest.

    Args:
        results: what was measured.
        title: of the picture.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(LOADS) + 2, 0.32 * len(results.rows) + 1.6), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    first = None
    for place, load in enumerate(LOADS, start=1):
        axes = figure.add_subplot(1, len(LOADS), place, sharey=first)
        first = first or axes
        bars, errors, colours = _bars(results, load)
        drawn = axes.barh([row.name for row in results.rows], bars, xerr=errors, color=colours, error_kw={"lw": 0.8})
        axes.bar_label(drawn, labels=[f"{bar:.0f}" if bar else "" for bar in bars], padding=4, fontsize="small")
        axes.set_title(load.name, fontsize="medium")
        axes.set_xlabel("texts a second")
        axes.margins(x=0.15)
        axes.tick_params(labelleft=place == 1)
    if first is not None:
        first.invert_yaxis()
    figure.savefig(path, dpi=120)


def _bars(results: Results, load: Load) -> tuple[list[float], list[list[float]], list[str]]:
    """Medians, distances to the least and the largest, and colours; 0 for what was not measured."""
    bars, below, above, colours = [], [], [], []
    for row in results.rows:
        rates = row.values(load.name, lambda sample: sample.rate) or [0.0]
        bar = row.rate(load.name) if row.samples.get(load.name) and rates != [0.0] else 0.0
        bars.append(bar)
        below.append(bar - min(rates))
        above.append(max(rates) - bar)
        colours.append(COLOURS[row.kind])
    return bars, [below, above], colours
