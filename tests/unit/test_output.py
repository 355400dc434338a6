"""Predictions as people read them."""

import pytest
from trident.output import print_predictions
from trident_client import Prediction


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "92")  # leaves 70 for the text


def test_a_row_has_the_label_the_score_and_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions(["free prize"], [Prediction(("spam",), (0.98765,))])
    assert capsys.readouterr().out == "label        score   text\nspam         0.9877  free prize\n"


def test_further_labels_follow_without_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions(["free"], [Prediction(("spam", "ham"), (0.75, 0.25))], header=False)
    assert capsys.readouterr().out == "spam         0.7500  free\nham          0.2500\n"


def test_without_a_label_stands_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions(["free"], [Prediction((), ())], header=False)
    assert capsys.readouterr().out == "(none)               free\n"


def test_the_columns_fit_the_longest_label(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions(["a", "b"], [Prediction(("sports and games",), (0.5,)), Prediction(("news",), (0.5,))])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.index("score") == first.index("0.5") == second.index("0.5") == 17


def test_a_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions(["\x1b[2J\x07 é 👩\u200d🚀"], [Prediction(("s\x9bpam",), (1.0,))], header=False)
    assert capsys.readouterr().out == "s\\x9bpam     1.0000  \\x1b[2J\\x07 é 👩\u200d🚀\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\n b\t c", "a b c"), ("x" * 70, "x" * 70), ("x" * 71, "x" * 69 + "…")],
    ids=["folded", "fits", "too long"],
)
def test_a_text_takes_one_line_of_the_terminals_width(
    capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    print_predictions([text], [Prediction(("spam",), (1.0,))], header=False)
    assert capsys.readouterr().out == f"spam         1.0000  {shown}\n"
