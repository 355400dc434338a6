"""What stands in metrics.json is counted right, and the picture can be drawn for any labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trident.datasets import Example
from trident.evaluation import draw_confusion_matrix, evaluate, summarize
from trident.service import load_service
from trident.stages.text.preprocess import Settings, TextPreprocessor


def spam_if_free(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A model that calls a text spam (class 1) if it holds the word `free` (2)."""
    return {"logits": np.array([[0.0, 1.0] if 2 in row else [1.0, 0.0] for row in inputs["input_ids"]])}


def test_precision_recall_and_f1_of_each_label() -> None:
    assert summarize([[8, 2], [1, 3]], ["ham", "spam"]) == {
        "accuracy": 0.7857,
        "per_class": {
            "ham": {"precision": 0.8889, "recall": 0.8, "f1": 0.8421, "support": 10},
            "spam": {"precision": 0.6, "recall": 0.75, "f1": 0.6667, "support": 4},
        },
        "confusion_matrix": [[8, 2], [1, 3]],
    }


def test_a_label_that_is_never_predicted_has_zeros() -> None:
    figures = summarize([[4, 0], [2, 0]], ["ham", "spam"])["per_class"]["spam"]
    assert figures == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}


def test_a_label_without_texts_has_zeros() -> None:
    figures = summarize([[3, 1], [0, 0]], ["ham", "spam"])["per_class"]["spam"]
    assert figures == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_figures_are_plain_numbers_for_json() -> None:
    figures = summarize([[1, 0], [0, 1]], ["ham", "spam"])["per_class"]["ham"]
    assert [type(value) for value in figures.values()] == [float, float, float, int]


def test_predictions_are_counted_by_true_label_whatever_the_order_of_the_texts(
    service_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real one loads TensorFlow.
    monkeypatch.setattr("trident.savedmodel.load_model", lambda service: spam_if_free)
    examples = [
        *[Example("hello free prize", "spam")] * 70,  # more than one batch, the long texts first
        *[Example("prize", "spam")] * 3,
        *[Example("hello", "ham")] * 5,
        *[Example("free hello", "ham")] * 2,
    ]
    measured = evaluate(
        load_service(service_folder),
        TextPreprocessor(service_folder / "tokenizer.json", Settings(max_length=8)),
        examples,
    )
    assert measured["confusion_matrix"] == [[5, 2], [3, 70]]


@pytest.mark.parametrize("labels", [["ham", "spam"], ["$\\frac$", "under_score^"]], ids=["usual", "dollars"])
def test_the_picture_is_a_png(tmp_path: Path, labels: list[str]) -> None:
    measured = summarize(np.eye(len(labels), dtype=int).tolist(), labels)
    draw_confusion_matrix(measured, labels, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
