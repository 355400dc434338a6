"""Labelled texts → service folder: split, train, export, and measure what was exported."""

import json
import platform
import time
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident import encoders, evaluation
from trident.datasets import Dataset, Example, read_dataset, split
from trident.errors import ServiceError
from trident.pretrained import MINILM, find_weights
from trident.service import TextClassification, TextPreprocess, check_name, former_spec, load_service, write_spec
from trident.stages.text.preprocess import Settings, TextPreprocessor, clean
from trident.staging import staged

Encoder = Literal["minilm", "none"]
ClassWeights = Literal["none", "balanced"]
VERSIONS_OF = ("tensorflow", "keras", "keras-hub", "tokenizers", "numpy", "trident-serving")


@dataclass(frozen=True)
class TrainOptions:
    """What a training run can be told.

    Attributes:
        encoder: `minilm`, a frozen pretrained transformer with a trained head; `none`, a small model from scratch.
        max_length: tokens of a text that count, 1–512 for minilm.
        epochs: at most.
        patience: epochs without a better validation loss before it stops.
        seed: the same seed gives the same split and the same weights.
        class_weights: `balanced` weighs rare labels up.
        weights: folder of pretrained weights; found by the encoder's name if None.
        text_column: column of the texts.
        label_column: column of the labels.
        skip_bad_rows: go on without rows that cannot be used.
    """

    encoder: Encoder = "minilm"
    max_length: int = 128
    epochs: int = 200
    patience: int = 5
    seed: int = 42
    class_weights: ClassWeights = "none"
    weights: Path | None = None
    text_column: str = "text"
    label_column: str = "label"
    skip_bad_rows: bool = False


def train(file: Path, name: str, services: Path, options: TrainOptions) -> tuple[Path, dict[str, Any]]:
    """Train a text classifier and write its service folder.

    An existing folder of that name is replaced when the new one is complete; its description, its
    `[serving]` table and its top_k and threshold are kept, as they are by then.

    Args:
        file: labelled texts, see `read_dataset`.
        name: of the service.
        services: where service folders lie.
        options: see `TrainOptions`.

    Returns:
        The service folder and what stands in its metrics.json.

    Raises:
        ServiceError: the name cannot be served, or the folder in its place is no service.
        DataError: the file cannot be used.
        DownloadError: the pretrained weights cannot be had.
    """
    started = time.monotonic()
    folder = services / check_name(name)
    former = _former(folder)
    dataset = read_dataset(
        file,
        text_column=options.text_column,
        label_column=options.label_column,
        skip_bad_rows=options.skip_bad_rows,
    )
    with staged(folder) as staging:
        metrics = _train_into(staging, dataset, _spec(name, options, former), options)
        metrics["data"]["file"] = file.name
        metrics["training_s"] = round(time.monotonic() - started, 1)
        (staging / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        write_spec(_spec(name, options, _former(folder)), staging)  # `trident tune` may have changed it meanwhile
    return folder, metrics


def _former(folder: Path) -> TextClassification | None:
    spec = former_spec(folder)
    if spec is not None and not isinstance(spec, TextClassification):
        raise ServiceError(f"{folder} is a service of the task '{spec.task}'; choose another --name or --services")
    return spec


def _spec(name: str, options: TrainOptions, former: TextClassification | None) -> TextClassification:
    spec = TextClassification(name=name, preprocess=TextPreprocess(max_length=options.max_length))
    if former is None:
        return spec
    old: dict[str, Any] = {"description": former.description, "serving": former.serving}
    if not former.custom.postprocess:
        kept = {key: getattr(former.postprocess, key) for key in ("top_k", "threshold")}
        old["postprocess"] = spec.postprocess.model_copy(update=kept)
    return spec.model_copy(update=old)


def _train_into(folder: Path, dataset: Dataset, spec: TextClassification, options: TrainOptions) -> dict[str, Any]:
    """Write everything but metrics.json; returns the metrics."""
    parts = split(dataset, options.seed)
    encoders.seed_everything(options.seed)
    settings = Settings(max_length=spec.preprocess.max_length)
    if options.encoder == "minilm":
        weights = find_weights(MINILM, options.weights)
        tokenizer = encoders.load_tokenizer(weights, options.max_length)
    else:
        texts = [clean(example.text, settings.lowercase) for example in parts.train]  # as the tokenizer will meet them
        tokenizer = encoders.train_tokenizer(texts, options.max_length)
    tokenizer.save(str(folder / spec.preprocess.tokenizer))
    (folder / spec.postprocess.labels).write_text("\n".join(dataset.labels) + "\n", encoding="utf-8")
    write_spec(spec, folder)

    preprocess = TextPreprocessor(folder / spec.preprocess.tokenizer, settings)
    train_set, validation_set = (
        _labelled(part, preprocess, dataset.labels) for part in (parts.train, parts.validation)
    )
    fit = encoders.FitOptions(options.epochs, options.patience, _weights(train_set.classes, options.class_weights))
    if options.encoder == "minilm":
        fitted = encoders.fit_pretrained(weights, train_set, validation_set, len(dataset.labels), fit)
    else:
        size = tokenizer.get_vocab_size()
        fitted = encoders.fit_scratch(size, train_set, validation_set, len(dataset.labels), fit)
    encoders.export(fitted, folder / spec.model.savedmodel)
    if fitted.model is not None:
        fitted.model.save(folder / "model.keras")

    service = load_service(folder)
    measured = evaluation.evaluate(service, preprocess, parts.test)
    evaluation.draw_confusion_matrix(measured, dataset.labels, folder / "confusion_matrix.png")
    return measured | {
        "encoder": options.encoder,
        "class_weights": options.class_weights,
        "seed": options.seed,
        "epochs": fitted.epochs,
        "data": {
            "sha256": dataset.sha256,
            "rows": dataset.rows,
            "bad_rows": dataset.bad_rows,
            "duplicates": dataset.duplicates,
            "contradictions": dataset.contradictions,
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONS_OF},
    }


def _labelled(examples: list[Example], preprocess: TextPreprocessor, labels: list[str]) -> encoders.Labelled:
    numbers = {label: number for number, label in enumerate(labels)}
    classes = np.array([numbers[example.label] for example in examples], dtype=np.int32)
    return encoders.Labelled(preprocess.encode([example.text for example in examples]), classes)


def _weights(classes: NDArray[np.int32], kind: ClassWeights) -> dict[int, float] | None:
    if kind == "none":
        return None
    counts = Counter(classes.tolist())
    return {number: len(classes) / (len(counts) * count) for number, count in counts.items()}
