"""Predictions as people read them."""

import pytest
from trident.output import prediction_line
from trident_client import Prediction


def test_a_line_has_the_label_the_score_and_the_text() -> None:
    assert prediction_line("free prize", Prediction(("spam",), (0.98765,))) == "spam         0.9877  free prize"


def test_further_labels_follow_without_the_text() -> None:
    lines = prediction_line("free", Prediction(("spam", "ham"), (0.75, 0.25)))
    assert lines == "spam         0.7500  free\nham          0.2500"


def test_without_a_label_stands_a_dash() -> None:
    assert prediction_line("free", Prediction((), ())) == "-            0.0000  free"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\n b\t c", "a b c"), ("x" * 72, "x" * 72), ("x" * 73, "x" * 71 + "…")],
    ids=["folded", "fits", "too long"],
)
def test_a_text_takes_one_line_of_bounded_width(text: str, shown: str) -> None:
    assert prediction_line(text, Prediction(("spam",), (1.0,))) == f"spam         1.0000  {shown}"
