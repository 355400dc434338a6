"""The answer of a classification service."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """The labels of one text, best first; empty if none reached the threshold.

    Attributes:
        labels: at most top_k names.
        scores: one for each label, in [0, 1], not increasing.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def label(self) -> str | None:
        """The best label, or None."""
        return self.labels[0] if self.labels else None

    @property
    def score(self) -> float | None:
        """The best label's score, or None."""
        return self.scores[0] if self.scores else None


def from_tensors(label: NDArray[Any], score: NDArray[np.float32]) -> list[Prediction]:
    """Read a service's answer.

    Args:
        label: UTF-8 bytes [B, K]; empty where nothing reached the threshold.
        score: float32 [B, K].
    """
    predictions = []
    for names, values in zip(label, score, strict=True):
        pairs = [(name.decode("utf-8"), float(value)) for name, value in zip(names, values, strict=True) if name]
        predictions.append(Prediction(tuple(name for name, _ in pairs), tuple(value for _, value in pairs)))
    return predictions
