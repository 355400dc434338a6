"""The picture of a report: one panel a section."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sections.common import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(results: dict[str, Result], title: str, path: Path) -> None:
    """Draw the sections that found something.

    Args:
        results: section → result.
        title: of the picture.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    shown = {name: result for name, result in results.items() if result.details}
    if not shown:
        return
    figure = Figure(figsize=(5.5 * len(shown), 4), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    for place, (name, result) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(1, len(shown), place)
        PANELS[name](axes, result.details)
    figure.savefig(path, dpi=120)


def _overhead(axes: "Axes", details: dict[str, Any]) -> None:
    beyond = {
        case: [1e6 * (execute - call) for execute, call in zip(times["execute"], times["call"], strict=True)]
        for case, times in details.items()
    }
    axes.boxplot(list(beyond.values()), orientation="horizontal", tick_labels=list(beyond), showfliers=False)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("µs inside execute beyond the TensorFlow call")


def _ragged(axes: "Axes", details: dict[str, Any]) -> None:
    rates = {name.replace("_", " "): median(values) for name, values in details["texts/s"].items()}
    axes.bar_label(axes.bar(list(rates), list(rates.values())), fmt="%.0f")
    axes.set_ylabel("texts/s (median of rounds)")
    axes.set_title("MiniLM, real texts", fontsize="medium")


def _openvino(axes: "Axes", details: dict[str, Any]) -> None:
    shapes = list(details["ms"])
    engines = list(details["ms"][shapes[0]])
    width = 0.8 / len(engines)
    for number, engine in enumerate(engines):
        computed = details["precisions"].get(engine)
        label = engine if computed is None or engine.endswith(computed) else f"{engine} (computed in {computed})"
        values = [median(details["ms"][shape][engine]) for shape in shapes]
        bars = axes.bar([place + number * width for place in range(len(shapes))], values, width, label=label)
        axes.bar_label(bars, fmt="%.3g", fontsize="small")
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(shapes))], shapes)
    axes.set_yscale("log")
    axes.set_ylabel("ms a call")
    axes.set_title("MiniLM in process, batch × length", fontsize="medium")
    axes.legend(fontsize="small")


def _memory(axes: "Axes", details: dict[str, Any]) -> None:
    samples = details["samples"]
    requests = [sample["requests"] for sample in samples]
    for name in sorted(set(samples[0]) - {"requests", "seconds"}):
        axes.plot(requests, [sample[name] / 1024 for sample in samples], marker=".", label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests of random shapes")
    axes.set_ylabel("resident set, MiB")
    axes.set_title("memory", fontsize="medium")
    axes.legend(fontsize="small")


PANELS: dict[str, Callable[["Axes", dict[str, Any]], None]] = {
    "overhead": _overhead,
    "ragged": _ragged,
    "openvino": _openvino,
    "memory": _memory,
}
