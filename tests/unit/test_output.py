"""Predictions as people read them."""

import pytest
from rich.table import Table
from trident.output import print_models, print_predictions, print_table
from trident.server.lifecycle import ModelStatus
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


def test_a_table_has_a_frame_where_there_is_room(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(table("sentiment_postprocess"))
    assert "│ sentiment_postprocess │ READY │" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sentiment_postprocess", "sentiment and sports_" * 3], ids=["fits", "too long"])
def test_in_a_narrow_terminal_names_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    print_table(table(name))
    head, _, row = capsys.readouterr().out.splitlines()
    assert (head.split(), row.split("  ")[0], row.split()[-1]) == (["model", "state"], name, "READY")


def table(name: str) -> Table:
    made = Table("model", "state")
    made.add_row(name, "READY")
    return made


def test_why_a_model_is_not_ready_stands_below_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    reason = "[no] such luck, " * 5
    models = [ModelStatus("spam", "1", "READY", ""), ModelStatus("spam_model", "", "UNAVAILABLE", reason)]
    print_models(models)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"spam_model: {reason}"
    assert [line.split()[0] for line in lines if "UNAVAILABLE" in line] in (["spam_model"], ["│"])
