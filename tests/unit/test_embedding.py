"""States of tokens become embeddings: padding never counts, and nothing overflows or is rounded away."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trident.stages.embedding.postprocess import InvalidInput, Settings, postprocess, read_folder
from trident.stages.embedding.stage import Stage

HUGE = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_subnormal)


def floats(values: Any) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def ints(values: Any) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def embed(states: Any, mask: Any, pooling: str = "mean", normalize: bool = False) -> NDArray[np.float32]:
    return postprocess(floats(states), ints(mask), Settings(pooling, normalize))


def config(*names: str) -> dict[str, Any]:
    return {"input": [{"name": name} for name in names]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "settings.json").write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", [2.0, 0.0, 1.0]), ("cls", [1.0, -2.0, 0.0]), ("max", [3.0, 2.0, 2.0])]
)
def test_poolings(pooling: str, expected: list[float]) -> None:
    found = embed([[[1, -2, 0], [3, 2, 2], [9, 9, 9]]], [[1, 1, 0]], pooling)
    assert found.dtype == np.float32
    assert found.tolist() == [expected]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), HUGE])
def test_padding_never_counts_whatever_it_is(pooling: str, value: float) -> None:
    states = [[[value, value], [1, 2], [value, value], [value, value]]]
    assert embed(states, [[0, 1, 0]], pooling).tolist() == [[1.0, 2.0]]


def test_padding_at_the_beginning_is_skipped_to_find_the_first_token() -> None:
    assert embed([[[9, 9], [1, 2], [3, 4]]], [[0, 1, 1]], "cls").tolist() == [[1.0, 2.0]]


def test_texts_of_one_request_are_pooled_on_their_own() -> None:
    states = [[[1, 1], [3, 3], [5, 5]], [[2, 4], [8, 8], [8, 8]]]
    assert embed(states, [[1, 1, 1], [1, 0, 0]]).tolist() == [[3.0, 3.0], [2.0, 4.0]]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_an_embedding_is_of_length_1_if_told(pooling: str) -> None:
    assert embed([[[3, -4], [3, -4]]], [[1, 1]], pooling, normalize=True).tolist() == [[floats(0.6), floats(-0.8)]]


@pytest.mark.parametrize("size", [1.0, 1e-30, TINY, 1e30, HUGE])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_neither_large_nor_small_values_break_the_length(size: float, pooling: str) -> None:
    found = embed(np.full((1, 64, 16), size), np.ones((1, 64)), pooling, normalize=True)
    assert found.tolist() == [[0.25] * 16]


def test_a_mean_of_the_largest_values_does_not_overflow() -> None:
    assert embed(np.full((1, 512, 2), HUGE), np.ones((1, 512))).tolist() == [[floats(HUGE)] * 2]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_it_agrees_with_a_reference_in_float64(pooling: str, normalize: bool) -> None:
    drawn = np.random.default_rng(5)
    lengths = [1, 7, 300, 512]
    states = floats(drawn.normal(0.3, 2.0, (4, 520, 96)))
    mask = ints([[int(place < length) for place in range(512)] for length in lengths])
    found = postprocess(states, mask, Settings(pooling, normalize))
    for row, length, embedding in zip(states.astype(np.float64), lengths, found, strict=True):
        pooled = {"mean": row[:length].mean(axis=0), "cls": row[0], "max": row[:length].max(axis=0)}[pooling]
        reference = pooled / np.sqrt((pooled**2).sum()) if normalize else pooled
        np.testing.assert_allclose(embedding, reference, rtol=1e-6, atol=1e-6)


def test_many_tokens_that_nearly_cancel_out_keep_their_digits() -> None:
    states = np.tile(floats([[[1e4, -1e4], [-1e4, 1e4]]]), (1, 2000, 1))
    states[0, 0, 0] += 1
    assert embed(states, np.ones((1, 4000))).tolist() == [[floats(1 / 4000), 0.0]]


def test_a_text_without_a_token_is_refused_by_its_position() -> None:
    with pytest.raises(InvalidInput) as caught:
        embed(np.ones((2, 2, 3)), [[1, 0], [0, 0]])
    assert str(caught.value) == "text 1 has no token that the model knows; give a text with a known word"


def test_texts_of_no_length_at_all_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^text 0 has no token"):
        embed(np.ones((1, 0, 3)), np.ones((1, 0)))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_states_that_are_no_numbers_are_refused(pooling: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"^the model gave NaN or infinite states for text 1$"):
        embed([[[1, 2], [3, 4]], [[1, 2], [3, value]]], [[1, 1], [1, 1]], pooling)


def test_a_vector_of_zeros_has_no_direction() -> None:
    with pytest.raises(ValueError, match=r"^the model gave a vector of zeros, which has no direction; set normalize"):
        embed([[[1, -1], [-1, 1]]], [[1, 1]], normalize=True)


def test_a_vector_of_zeros_is_given_as_it_is_if_it_need_not_be_normalized() -> None:
    assert embed([[[1, -1], [-1, 1]]], [[1, 1]]).tolist() == [[0.0, 0.0]]


def test_fewer_states_than_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^the model gives states of 2 tokens and was given 3$"):
        embed(np.ones((1, 2, 4)), [[1, 1, 0]])


def test_a_request_is_left_as_it_came() -> None:
    states, mask = floats([[[3, 4], [0, 0]]]), ints([[1, 0]])
    postprocess(states, mask, Settings())
    assert (states.tolist(), mask.tolist()) == ([[[3.0, 4.0], [0.0, 0.0]]], [[1, 0]])


def test_a_version_folder_is_read(folder: Path) -> None:
    assert read_folder(folder) == Settings("mean", True)
    (folder / "settings.json").write_text(json.dumps({"pooling": "cls", "normalize": False}), encoding="utf-8")
    assert read_folder(folder) == Settings("cls", False)


def test_an_unknown_pooling_is_refused_when_the_service_is_loaded(folder: Path) -> None:
    (folder / "settings.json").write_text('{"pooling": "CLS"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"^pooling is 'CLS'; expected one of mean, cls, max$"):
        Stage(folder, config("vector"))


def test_the_stage_pools_states(folder: Path) -> None:
    inputs = {"states": floats([[[6, 8], [0, 0]]]), "attention_mask": ints([[1, 0]])}
    found = Stage(folder, config("attention_mask", "states"))(inputs, {"pooling": "max", "normalize": False})
    assert list(found) == ["embedding"]
    assert found["embedding"].tolist() == [[floats(0.6), floats(0.8)]]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_the_stage_takes_a_vector_as_it_is(folder: Path, pooling: str) -> None:
    (folder / "settings.json").write_text(json.dumps({"pooling": pooling, "normalize": False}), encoding="utf-8")
    vectors = floats([[6, -8], [0.1, HUGE], [0, 0]])
    found = Stage(folder, config("vector"))({"vector": vectors}, {})["embedding"]
    assert found.dtype == np.float32
    assert found.tolist() == vectors.tolist()


def test_the_stage_normalizes_a_vector(folder: Path) -> None:
    found = Stage(folder, config("vector"))({"vector": floats([[6, 8], [-HUGE, 0]])}, {})["embedding"]
    assert found.tolist() == [[floats(0.6), floats(0.8)], [-1.0, 0.0]]


@pytest.mark.parametrize("names", [(), ("states",), ("attention_mask",), ("vector", "attention_mask"), ("logits",)])
def test_the_stage_refuses_other_inputs_when_it_is_loaded(folder: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"; expected 'vector' alone, or 'mask' and 'states'$"):
        Stage(folder, config(*names))
