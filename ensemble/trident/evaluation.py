"""How good a service folder is on held-out examples, measured on what was exported with the code that serves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trident import progress, savedmodel
from trident.datasets import Example
from trident.service import Service
from trident.stages.text.preprocess import TextPreprocessor, pad

BATCH = 64
DRAWN_LABELS = 30


def evaluate(service: Service, preprocess: TextPreprocessor, examples: Sequence[Example]) -> dict[str, Any]:
    """Classify examples with the exported SavedModel.

    Args:
        service: the service folder.
        preprocess: its preprocessor.
        examples: N labelled texts that it was not trained on.

    Returns:
        accuracy in [0, 1]; per_class: label → precision, recall, f1 in [0, 1] and support;
        confusion_matrix: rows are true labels, columns predicted ones, in the order of the service's labels.
    """
    call = savedmodel.load_model(service)
    ids = preprocess.encode([example.text for example in examples])
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    matrix = np.zeros((len(service.labels), len(service.labels)), dtype=int)
    with progress.bar("Measuring on held-out texts", len(order)) as advance:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            logits = call({"input_ids": pad([ids[index] for index in batch])})["logits"]
            for index, predicted in zip(batch, logits.argmax(axis=1), strict=True):
                matrix[service.labels.index(examples[index].label), predicted] += 1
            advance(start + len(batch))
    return summarize(matrix.tolist(), service.labels)


def summarize(matrix: list[list[int]], labels: list[str]) -> dict[str, Any]:
    """Accuracy and per-class figures of a confusion matrix (rows true, columns predicted)."""
    counts = np.array(matrix)
    hits, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    per_class = {}
    for number, label in enumerate(labels):
        precision = float(hits[number] / max(predicted[number], 1))
        recall = float(hits[number] / max(true[number], 1))
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        figures = {"precision": precision, "recall": recall, "f1": f1}
        per_class[label] = {key: round(value, 4) for key, value in figures.items()} | {"support": int(true[number])}
    accuracy = round(float(hits.sum() / counts.sum()), 4)
    return {"accuracy": accuracy, "per_class": per_class, "confusion_matrix": matrix}


def draw_confusion_matrix(measured: dict[str, Any], labels: list[str], path: Path) -> None:
    """Draw the confusion matrix as a picture, shaded by the share of each true label."""
    from matplotlib.figure import Figure

    counts = np.array(measured["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.6 * min(len(labels), DRAWN_LABELS)
    labels = [label.replace("$", r"\$") for label in labels]  # matplotlib takes what stands between two for TeX
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= DRAWN_LABELS:  # more could not be read, and would take gigabytes
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"held-out accuracy {measured['accuracy']:.4f}", fontsize="medium")
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    figure.colorbar(image, ax=axes, label="share of the true label")
    figure.savefig(path, dpi=120)
