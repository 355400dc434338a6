"""What the commands print for people: tables of models and of predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from trident_client import Prediction

if TYPE_CHECKING:
    from trident.server.lifecycle import ModelStatus

TEXT_WIDTH = 72


def print_models(models: "Sequence[ModelStatus]") -> None:
    """Print a table of models with their state."""
    table = Table("model", "version", "state")
    for model in models:
        color = "green" if model.state == "READY" else "red"
        reason = f"  {escape(model.reason)}" if model.reason else ""
        table.add_row(model.name, model.version, f"[{color}]{model.state}[/]{reason}")
    Console().print(table)


def print_predictions_header() -> None:
    """Print the head of the table whose rows are `prediction_line`s."""
    print(f"{'label':<12} {'score':<7} text")


def prediction_line(text: str, prediction: Prediction) -> str:
    """One text as rows of the table: a row a label, the text beside the best."""
    shown = " ".join(text.split())
    shown = shown if len(shown) <= TEXT_WIDTH else shown[: TEXT_WIDTH - 1] + "…"
    pairs = list(zip(prediction.labels, prediction.scores, strict=True)) or [("-", 0.0)]
    rows = [f"{label:<12} {score:<7.4f} {shown if number == 0 else ''}" for number, (label, score) in enumerate(pairs)]
    return "\n".join(row.rstrip() for row in rows)
