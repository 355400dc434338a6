"""Logits become labels and scores, best first, with a request's own top_k and threshold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trident.stages.classification.postprocess import InvalidInput, Settings, postprocess, read_folder, softmax

LABELS = np.array([b"ham", b"spam", b"news"], dtype=object)


def scores(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def settings(top_k: int = 3, threshold: float = 0.0, activation: str = "none") -> Settings:
    return Settings(activation, top_k, threshold)


def test_softmax_turns_logits_into_shares() -> None:
    assert softmax(scores([0.0, 0.0], [np.log(3.0), 0.0])).tolist() == [[0.5, 0.5], [pytest.approx(0.75), 0.25]]


@pytest.mark.parametrize("shift", [-1e30, -1e4, 0.0, 1e4, 1e30])
def test_softmax_does_not_overflow(shift: float) -> None:
    assert softmax(scores([shift, shift])).tolist() == [[0.5, 0.5]]


def test_softmax_of_far_apart_logits_is_certain() -> None:
    assert softmax(scores([1e30, -1e30])).tolist() == [[1.0, 0.0]]


def test_labels_come_best_first() -> None:
    label, score = postprocess(scores([0.25, 0.5, 0.125]), LABELS, settings())
    assert label.tolist() == [[b"spam", b"ham", b"news"]]
    assert score.tolist() == [[0.5, 0.25, 0.125]]
    assert score.dtype == np.float32


def test_softmax_is_applied_if_the_model_gives_logits() -> None:
    _, score = postprocess(scores([0.0, 0.0, 0.0]), LABELS, settings(activation="softmax"))
    assert score.tolist() == [[pytest.approx(1 / 3)] * 3]


@pytest.mark.parametrize(
    ("activation", "dtype", "row"),
    [
        *((activation, "uint8", [0, 5, 3]) for activation in ("softmax", "sigmoid", "none")),
        ("sigmoid", "float16", [8, 10, 9]),
        ("softmax", "float16", [-20, 5, -19]),
        ("none", "int64", [0, 5, 3]),
    ],
)
def test_logits_of_any_dtype_are_ranked_as_those_of_float32(activation: str, dtype: str, row: list[int]) -> None:
    label, score = postprocess(np.array([row], dtype), LABELS, settings(activation=activation))
    assert label.tolist() == [[b"spam", b"news", b"ham"]]
    _, expected = postprocess(scores([*map(float, row)]), LABELS, settings(activation=activation))
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, expected, rtol=1e-6)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (2**70, 3)])
def test_top_k_labels_are_given_as_far_as_there_are_any(top_k: int, count: int) -> None:
    label, score = postprocess(scores([0.5, 0.25, 0.125]), LABELS, settings(top_k))
    assert label.tolist() == [LABELS[:count].tolist()]
    assert score.shape == (1, count)


def test_each_text_is_sorted_on_its_own() -> None:
    label, _ = postprocess(scores([0.1, 0.9, 0.0], [0.9, 0.1, 0.0]), LABELS, settings(top_k=1))
    assert label.tolist() == [[b"spam"], [b"ham"]]


def test_ties_keep_the_order_of_the_labels() -> None:
    label, _ = postprocess(scores([0.25, 0.5, 0.5], [0.5, 0.5, 0.5]), LABELS, settings())
    assert label.tolist() == [[b"spam", b"news", b"ham"], [b"ham", b"spam", b"news"]]


def test_below_the_threshold_stand_empty_labels_with_score_0() -> None:
    label, score = postprocess(scores([0.75, 0.25, 0.0], [0.5, 0.5, 0.25]), LABELS, settings(threshold=0.5))
    assert label.tolist() == [[b"ham", b"", b""], [b"ham", b"spam", b""]]
    assert score.tolist() == [[0.75, 0.0, 0.0], [0.5, 0.5, 0.0]]


def test_a_score_equal_to_the_threshold_is_given_although_float32_rounds_it() -> None:
    label, _ = postprocess(scores([0.7, 0.2, 0.1]), LABELS, settings(threshold=0.7))
    assert label.tolist() == [[b"ham", b"", b""]]


def test_a_threshold_leaves_the_labels_themselves_alone() -> None:
    postprocess(scores([0.0, 0.0, 0.0]), LABELS, settings(threshold=1.0))
    assert LABELS.tolist() == [b"ham", b"spam", b"news"]


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_with_another_number_of_classes_is_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=rf"^the model gives {classes} classes and labels\.txt has 3 lines$"):
        postprocess(np.zeros((1, classes), np.float32), LABELS, settings())


def test_without_parameters_the_services_own_settings_hold() -> None:
    assert settings(2, 0.5).override({}) == settings(2, 0.5)


def test_a_request_may_have_settings_of_its_own() -> None:
    assert settings(2, 0.5).override({"top_k": 1, "threshold": 1, "other": "x"}) == settings(1, 1.0)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None, [1]])
def test_a_wrong_top_k_is_refused_with_the_value(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings().override({"top_k": value})
    assert str(caught.value) == f"parameter top_k is {value!r}; expected a whole number ≥ 1"


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "0.5", True, None])
def test_a_wrong_threshold_is_refused_with_the_value(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings().override({"threshold": value})
    assert str(caught.value) == f"parameter threshold is {value!r}; expected a number from 0 to 1"


def test_a_version_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("schön\nspam\n", encoding="utf-8")
    (tmp_path / "settings.json").write_text(
        '{"activation": "softmax", "top_k": 2, "threshold": 0.25}', encoding="utf-8"
    )
    labels, read = read_folder(tmp_path)
    assert labels.tolist() == ["schön".encode(), b"spam"]
    assert read == Settings(activation="softmax", top_k=2, threshold=0.25)
