"""Which answers count as the same."""

import json
from typing import Any

import numpy as np
from trident.agreement import TOLERANCES, read_answers, share_differing


def classified(*rows: tuple[str, float]) -> dict[str, Any]:
    labels, scores = zip(*rows, strict=True)
    return {
        "label": np.array([[label.encode(), b"other"] for label in labels], object),
        "score": np.array([[score, 0.0] for score in scores], np.float32),
    }


def spans(*found: tuple[str, int, float]) -> dict[str, Any]:
    listed = [{"label": label, "start": start, "end": 9, "score": score, "text": ""} for label, start, score in found]
    return {"spans": np.array([[json.dumps(listed).encode()]], object)}


def differing(one: list[dict[str, Any]], other: list[dict[str, Any]], precision: str = "f32") -> float:
    return share_differing(read_answers(one), read_answers(other), TOLERANCES[precision])


def test_labels_must_be_equal_and_scores_near() -> None:
    expected = [classified(("ham", 0.9), ("spam", 0.8)), classified(("ham", 0.6), ("ham", 0.7))]
    assert differing(expected, expected) == 0
    near = [classified(("ham", 0.9005), ("spam", 0.8)), classified(("ham", 0.6), ("ham", 0.7))]
    assert differing(near, expected) == 0
    other = [classified(("ham", 0.91), ("ham", 0.8)), classified(("ham", 0.6), ("ham", 0.7))]
    assert (differing(other, expected), differing(other, expected, "bf16")) == (0.5, 0.25)


def test_spans_must_have_the_same_place_and_label() -> None:
    expected = [spans(("PER", 0, 0.9), ("LOC", 5, 0.8)), spans()]
    assert differing([spans(("PER", 0, 0.9001), ("LOC", 5, 0.8)), spans()], expected) == 0
    assert differing([spans(("PER", 1, 0.9), ("LOC", 5, 0.8)), spans()], expected) == 0.5
    assert differing([spans(("PER", 0, 0.9)), spans()], expected) == 0.5
    assert differing([spans(("PER", 0, 0.7), ("LOC", 5, 0.8)), spans()], expected) == 0.5


def test_an_embeddings_numbers_must_be_near() -> None:
    expected = [{"embedding": np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)}]
    moved = [{"embedding": np.array([[0.61, 0.79], [1.0, 0.0]], np.float32)}]
    assert (differing(moved, expected), differing(moved, expected, "bf16")) == (0.5, 0)
    broken = [{"embedding": np.full((2, 2), np.nan, np.float32)}]
    assert differing(broken, expected, "bf16") == 1
