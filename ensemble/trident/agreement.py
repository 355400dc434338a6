"""Whether a service that computes in another way gives the same answers."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCES = {"f32": 1e-3, "bf16": 0.05}  # of scores, and of an embedding's numbers
ALLOWED = {"f32": 0.0, "bf16": 0.002}  # share of texts whose answers may differ, by default


@dataclass(frozen=True)
class Answers:
    """The answers to some texts.

    Attributes:
        labels: what must be equal, one a text.
        scores: what may differ a little, one row a text.
    """

    labels: list[Hashable]
    scores: list[NDArray[np.float32]]


def read_answers(responses: Sequence[Mapping[str, NDArray[Any]]]) -> Answers:
    """The answers in a service's output tensors.

    Args:
        responses: output tensors, one mapping a request.
    """
    answers = Answers([], [])
    for outputs in responses:
        for row in range(len(next(iter(outputs.values())))):
            label, scores = _read_row({name: array[row] for name, array in outputs.items()})
            answers.labels.append(label)
            answers.scores.append(scores)
    return answers


def _read_row(outputs: Mapping[str, NDArray[Any]]) -> tuple[Hashable, NDArray[np.float32]]:
    if "label" in outputs:  # the best one: those behind it may be as good as equal
        return bytes(outputs["label"][0]), outputs["score"][:1]
    if "spans" in outputs:
        spans = json.loads(outputs["spans"][0])
        found = tuple((span["label"], span["start"], span["end"]) for span in spans)
        return found, np.array([span["score"] for span in spans], np.float32)
    return (), np.concatenate([array.ravel() for _, array in sorted(outputs.items())]).astype(np.float32)


def share_differing(answers: Answers, expected: Answers, tolerance: float) -> float:
    """The share of texts whose label differs, or whose scores differ by more than the tolerance."""
    pairs = zip(answers.labels, answers.scores, expected.labels, expected.scores, strict=True)
    differing = sum(
        label != wanted or scores.shape != near.shape or not np.allclose(scores, near, rtol=0, atol=tolerance)
        for label, scores, wanted, near in pairs
    )
    return differing / max(1, len(expected.labels))
