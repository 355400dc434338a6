"""`trident train`: labelled texts to a service folder."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trident.options import AsJson, Services
from trident.output import print_table


class EncoderName(str, Enum):
    """Choices of `--encoder`."""

    minilm = "minilm"
    none = "none"


class ClassWeightsName(str, Enum):
    """Choices of `--class-weights`."""

    none = "none"
    balanced = "balanced"


def train(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Labelled texts: .tsv, .csv or .jsonl with label and text.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the service.")],
    services: Services = Path("services"),
    encoder: Annotated[
        EncoderName, typer.Option(help="minilm: frozen pretrained transformer; none: small model from scratch.")
    ] = EncoderName.minilm,
    max_length: Annotated[int, typer.Option(metavar="N", min=1, max=512, help="Tokens of a text that count.")] = 128,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="At most; training stops early.")] = 200,
    patience: Annotated[int, typer.Option(metavar="N", min=1, help="Epochs without improvement before it stops.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Makes the run repeatable.")] = 42,
    class_weights: Annotated[
        ClassWeightsName, typer.Option(help="balanced: weigh rare labels up.")
    ] = ClassWeightsName.none,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of pretrained weights.", show_default="fetched once by name"),
    ] = None,
    text_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(metavar="NAME", help="Column of the labels.")] = "label",
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Go on without rows that are broken.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a text classifier and write its service folder.

    \b
    trident train messages.tsv --name spam
    trident train reviews.csv --name stars --text-column body --label-column stars

    A folder of that name is replaced; its [serving] table, top_k and threshold are kept.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from trident.training import TrainOptions
    from trident.training import train as run

    options = TrainOptions(
        encoder=encoder.value,
        max_length=max_length,
        epochs=epochs,
        patience=patience,
        seed=seed,
        class_weights=class_weights.value,
        weights=weights,
        text_column=text_column,
        label_column=label_column,
        skip_bad_rows=skip_bad_rows,
    )
    folder, metrics = run(file, name, services, options)
    if as_json:
        print(json.dumps({"service": str(folder)} | metrics, indent=2))
        return
    _print_metrics(metrics)
    print(f"service folder: {folder}   next: trident build {folder}")


def _print_metrics(metrics: dict[str, Any]) -> None:
    data = metrics["data"]
    names = {"bad_rows": "bad row", "duplicates": "duplicate", "contradictions": "contradictory text"}
    left_out = [(data[key], name) for key, name in names.items() if data[key]]
    notes = "".join(f", {count} {name}{'s' if count > 1 else ''} left out" for count, name in left_out)
    print(f"{data['train']} texts trained on, {data['validation']} to stop early, {data['test']} held out{notes}")
    table = Table("label", "precision", "recall", "F1", "texts")
    for label, row in metrics["per_class"].items():
        table.add_row(escape(label), *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")), str(row["support"]))
    print_table(table)
    print(f"held-out accuracy {metrics['accuracy']:.4f}, trained in {metrics['training_s']:.0f} s")
