"""A service's tensors become predictions."""

import numpy as np
import pytest
from trident_client import Prediction
from trident_client.prediction import from_tensors


def test_each_row_is_a_prediction() -> None:
    label = np.array([[b"spam", b"ham"], ["schön".encode(), b"ham"]], dtype=object)
    score = np.array([[0.75, 0.25], [0.5, 0.5]], dtype=np.float32)
    assert from_tensors(label, score) == [
        Prediction(("spam", "ham"), (0.75, 0.25)),
        Prediction(("schön", "ham"), (0.5, 0.5)),
    ]


def test_labels_below_the_threshold_are_dropped() -> None:
    label = np.array([[b"spam", b""], [b"", b""]], dtype=object)
    score = np.array([[0.75, 0.0], [0.0, 0.0]], dtype=np.float32)
    assert from_tensors(label, score) == [Prediction(("spam",), (0.75,)), Prediction((), ())]


def test_scores_are_python_numbers() -> None:
    (prediction,) = from_tensors(np.array([[b"spam"]], dtype=object), np.array([[0.5]], dtype=np.float32))
    assert type(prediction.scores[0]) is float


def test_the_best_label_and_score_come_first() -> None:
    prediction = Prediction(("spam", "ham"), (0.75, 0.25))
    assert (prediction.label, prediction.score) == ("spam", 0.75)


def test_without_labels_there_is_no_best_one() -> None:
    assert (Prediction((), ()).label, Prediction((), ()).score) == (None, None)


def test_tensors_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        from_tensors(np.array([[b"spam", b"ham"]], dtype=object), np.array([[0.5]], dtype=np.float32))
