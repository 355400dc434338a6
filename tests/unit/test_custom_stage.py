"""What a stage of the user's own gives is what it promised, or it is not sent on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trident.custom_stages import DATATYPES
from trident.stages.custom import stage
from trident.stages.custom.stage import InvalidInput, Stage, check

CONFIG = {"max_batch_size": 8, "output": [{"name": "cleaned", "data_type": "TYPE_STRING", "dims": [1]}]}
TEXTS = np.array([[b" Free  PRIZE "], [b"x"]], object)


def test_the_template_is_a_stage() -> None:
    answer = Stage(Path(), CONFIG)({"text": TEXTS}, {})
    assert answer["cleaned"].tolist() == [[b"free prize"], [b"x"]]
    with pytest.raises(InvalidInput, match="text 0 is empty"):
        Stage(Path(), CONFIG)({"text": np.array([[b" "]], object)}, {})


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, r"run gave NoneType; expected a dict with \['cleaned'\], as OUTPUTS says"),
        ([TEXTS], "run gave list; expected a dict"),
        ({}, r"run gave \[\]; expected a dict"),
        ({"cleaned": TEXTS, "more": TEXTS}, r"run gave \['cleaned', 'more'\]; expected"),
        ({1: TEXTS}, r"run gave \[1\]; expected"),
        ({"cleaned": TEXTS[:1]}, r"run gave 'cleaned' in the shape \[1, 1\]; expected \[2, 1\], as OUTPUTS says"),
    ],
)
def test_other_tensors_than_promised_are_refused(monkeypatch: pytest.MonkeyPatch, answer: Any, fault: str) -> None:
    monkeypatch.setattr(stage, "run", lambda **inputs: answer)
    with pytest.raises(ValueError, match=fault):
        Stage(Path(), CONFIG)({"text": TEXTS}, {})


def test_without_a_batch_axis_no_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "run", lambda **inputs: {"cleaned": TEXTS[0]})
    assert Stage(Path(), CONFIG | {"max_batch_size": 0})({"text": TEXTS}, {})["cleaned"].tolist() == [b" Free  PRIZE "]


@pytest.mark.parametrize(
    ("array", "data_type", "fault"),
    [
        ([[1.0]], "TYPE_FP32", "run gave list for 'x'; expected a numpy array"),
        (np.float32(1), "TYPE_FP32", "run gave float32 for 'x'; expected a numpy array"),
        (np.zeros((1, 3)), "TYPE_FP32", "run gave 'x' as float64; expected float32"),
        (np.zeros((1, 3), ">f4"), "TYPE_FP32", "run gave 'x' as >f4; expected float32"),
        (np.zeros((1, 3), "S1"), "TYPE_STRING", "run gave 'x' as |S1; expected object"),
        (np.full((1, 3), "a", object), "TYPE_STRING", "run gave 'x' with str in it; expected bytes: text.encode()"),
        (np.full((1, 3), None), "TYPE_STRING", "run gave 'x' with NoneType in it; expected bytes: text.encode()"),
        (np.zeros(3, np.float32), "TYPE_FP32", "run gave 'x' in the shape [3]; expected [1, -1]"),
        (np.zeros((1, 1, 3), np.float32), "TYPE_FP32", "run gave 'x' in the shape [1, 1, 3]; expected [1, -1]"),
        (np.zeros((2, 3), np.float32), "TYPE_FP32", "run gave 'x' in the shape [2, 3]; expected [1, -1]"),
    ],
)
def test_a_tensor_of_another_kind_is_refused(array: Any, data_type: str, fault: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        check("x", array, data_type, [1, -1])
    assert str(refusal.value).removesuffix(", as OUTPUTS says") == fault


@pytest.mark.parametrize("width", [0, 1, 5])
def test_an_open_axis_has_any_size(width: int) -> None:
    check("x", np.zeros((1, width), np.float32), "TYPE_FP32", [1, -1])
    check("x", np.full((1, width), b"a", object), "TYPE_STRING", [1, -1])


def test_every_data_type_that_a_stage_may_name_has_a_dtype() -> None:
    assert sorted(stage.DTYPES) == DATATYPES
