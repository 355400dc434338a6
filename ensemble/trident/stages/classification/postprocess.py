"""Logits to labels: decode, filter, sort.

Axis letters: B items of one request, C outputs of the model, N labels, K = min(top_k, N) labels of an answer.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class InvalidInput(Exception):
    """A request's parameter cannot be served; the message names it."""


@dataclass(frozen=True)
class Settings:
    """How logits become an answer.

    Attributes:
        activation: what makes scores of the model's outputs: `softmax` (one label is right), `sigmoid` (any number
            of labels is), `none` (they are scores already).
        top_k: labels per item, ≥ 1.
        threshold: lowest score that is answered, in [0, 1].
    """

    activation: str
    top_k: int
    threshold: float

    def override(self, parameters: dict[str, Any]) -> "Settings":
        """These settings with a request's own `top_k` and `threshold`.

        Raises:
            InvalidInput: a value is of the wrong type or out of its range.
        """
        top_k = parameters.get("top_k", self.top_k)
        threshold = parameters.get("threshold", self.threshold)
        if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
            raise InvalidInput(f"parameter top_k is {top_k!r}; expected a whole number ≥ 1")
        if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise InvalidInput(f"parameter threshold is {threshold!r}; expected a number from 0 to 1")
        return Settings(self.activation, top_k, float(threshold))


def read_folder(folder: Path) -> tuple[NDArray[np.object_], Settings]:
    """The labels (UTF-8 bytes, one a class) and settings that lie in a version folder."""
    lines = (folder / "labels.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    return np.array([line.encode() for line in lines], dtype=object), Settings(**settings)


def postprocess(
    logits: NDArray[Any], labels: NDArray[np.object_], settings: Settings
) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
    """Turn the model's output into the best labels and their scores.

    Args:
        logits: numbers of any dtype [B, C], or [B, 1] with two labels: the model gives the second one's.
        labels: UTF-8 bytes [N].
        settings: see `Settings`.

    Returns:
        label [B, K] and score float32 [B, K], best first. Labels below the threshold are
        replaced by an empty one with score 0.

    Raises:
        ValueError: the number of labels is not the number of classes, or a logit is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("the model gave NaN or infinite logits")
    if logits.dtype != np.float32:  # unsigned numbers wrap below 0, and a float16 has too few digits
        logits = logits.astype(np.float64)
    scores = ACTIVATIONS[settings.activation](logits)
    if logits.shape[1] == 1 and len(labels) == 2:
        scores = np.concatenate([1 - scores, scores], axis=1)
    if scores.shape[1] != len(labels):
        raise ValueError(f"the model gives {logits.shape[1]} classes and labels.txt has {len(labels)} lines")
    order = np.argsort(-scores, axis=1, kind="stable")[:, : settings.top_k]
    best = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    names = labels[order]
    below = best < np.float32(settings.threshold)
    names[below], best[below] = b"", 0.0
    return names, best


def softmax(logits: Floats) -> Floats:
    """Softmax along the last axis; large logits do not overflow."""
    exponents: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Floats) -> Floats:
    """The logistic function; large logits do not overflow."""
    small: Floats = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def unchanged(scores: Floats) -> Floats:
    """What the model gives is a score already."""
    return scores


ACTIVATIONS = {"softmax": softmax, "sigmoid": sigmoid, "none": unchanged}
