"""The answers of services as values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """The labels of one text, image or record, best first; empty if none reached the threshold.

    Attributes:
        labels: at most top_k names.
        scores: one for each label, in [0, 1], not increasing.

    Example:
        >>> from trident_client import Prediction
        >>> prediction = Prediction(("spam", "ham"), (0.75, 0.25))
        >>> prediction.label, prediction.score
        ('spam', 0.75)
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


@dataclass(frozen=True)
class Span:
    """A labelled part of a text.

    Attributes:
        label: its label.
        score: how certain it is, in [0, 1].
        start: its first character in the text, ≥ 0.
        end: the character behind its last, > start.
        text: what stands there.

    Example:
        >>> from trident_client import Span
        >>> span = Span("NAME", 0.99, start=6, end=9, text="Ada")
        >>> "I met Ada"[span.start : span.end] == span.text
        True
    """

    label: str
    score: float
    start: int
    end: int
    text: str


def from_tensors(label: NDArray[Any], score: NDArray[np.float32]) -> list[Prediction]:
    """Read a service's answer.

    Args:
        label: UTF-8 bytes [B, K]; empty where nothing reached the threshold.
        score: float32 [B, K].

    Raises:
        ValueError: their shapes differ, or a label is not UTF-8.
    """
    predictions = []
    for names, values in zip(label.tolist(), score.tolist(), strict=True):
        pairs = [(name.decode("utf-8"), value) for name, value in zip(names, values, strict=True) if name]
        predictions.append(Prediction(tuple(name for name, _ in pairs), tuple(value for _, value in pairs)))
    return predictions
