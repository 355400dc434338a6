"""What the commands print for people: tables of models and of predictions."""

import shutil
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from trident_client import Prediction

if TYPE_CHECKING:
    from trident.server.lifecycle import ModelStatus

LABEL_WIDTH = 12
LONE_TEXTS = (
    "padding changes this model's answers, so a request carries one text, and only texts of equal length share a batch"
)
UNLIMITED = 10_000
TEXT_WIDTH = 40  # at least; more where the terminal is wider


def printable(text: str) -> str:
    """A text without what a terminal would obey: control characters, as an escape sequence begins with, are spelt."""
    return "".join(repr(char)[1:-1] if unicodedata.category(char) == "Cc" and char != "\n" else char for char in text)


def print_table(table: Table) -> None:
    """Print a table whose cells stay whole: one that is too wide loses its frame, and then the terminal folds lines."""
    for column in table.columns:
        column.no_wrap = True
    if natural_width(table) > Console().width:
        table.box, table.show_edge, table.padding = SIMPLE_HEAD, False, (0, 1, 0, 0)
    print_whole(table)


def print_whole(table: Table) -> None:
    """Print a table with lines as long as it takes; its columns have `no_wrap`."""
    console = Console()
    console.width = max(console.width, natural_width(table))
    console.print(table)


def natural_width(table: Table) -> int:
    """Characters that a table's lines take if no cell is folded or cut; its columns have `no_wrap`."""
    return Console(width=UNLIMITED).measure(table).maximum


def print_models(models: "Sequence[ModelStatus]") -> None:
    """Print a table of models with their state, and below it why some are not ready."""
    table = Table("model", "version", "state")
    for model in models:
        color = "green" if model.state == "READY" else "red"
        table.add_row(escape(model.name), model.version, f"[{color}]{model.state}[/]")
    print_table(table)
    for model in models:
        if model.reason:
            print(f"{model.name}: {printable(model.reason)}")


def print_predictions(texts: Sequence[str], predictions: Sequence[Prediction], *, header: bool = True) -> None:
    """Print texts with their labels, best first: a row a label, the text beside the best.

    Args:
        texts: what was asked.
        predictions: one a text.
        header: print the names of the columns first.
    """
    wide = max((len(label) for prediction in predictions for label in prediction.labels), default=0)
    width = max(LABEL_WIDTH, wide)
    room = max(TEXT_WIDTH, shutil.get_terminal_size(fallback=(100, 24)).columns - width - 10)
    if header:
        print(f"{'label':<{width}} {'score':<7} text")
    for text, prediction in zip(texts, predictions, strict=True):
        folded = printable(" ".join(text.split()))
        shown = folded if len(folded) <= room else folded[: room - 1] + "…"
        if not prediction.labels:
            print(f"{'(none)':<{width}} {'':<7} {shown}".rstrip())
        for label, score in zip(prediction.labels, prediction.scores, strict=True):
            print(f"{printable(label):<{width}} {score:<7.4f} {shown}".rstrip())
            shown = ""
