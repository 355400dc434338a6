"""Ragged requests become one batch and come apart again."""

import numpy as np
import pytest
from triton_tensorflow.batching import merge, split


def test_merge_pads_each_request_to_the_longest_of_the_batch() -> None:
    merged = merge([{"ids": np.array([[1, 2, 3]])}, {"ids": np.array([[4], [5]])}])
    assert merged["ids"].tolist() == [[1, 2, 3], [4, 0, 0], [5, 0, 0]]


def test_merge_pads_strings_with_empty_bytes() -> None:
    rows = [np.array([[b"a", b"b"]], dtype=object), np.array([[b"c"]], dtype=object)]
    assert merge([{"words": row} for row in rows])["words"].tolist() == [[b"a", b"b"], [b"c", b""]]


def test_split_gives_each_request_its_rows() -> None:
    requests = [{"ids": np.ones((2, 3))}, {"ids": np.ones((1, 1))}]
    parts = split({"logits": np.array([[0.0], [1.0], [2.0]])}, requests, {})
    assert [part["logits"].tolist() for part in parts] == [[[0.0], [1.0]], [[2.0]]]


def test_split_cuts_an_open_axis_back_to_the_requests_own_length() -> None:
    requests = [{"ids": np.ones((1, 3))}, {"ids": np.ones((1, 2))}]
    parts = split({"states": np.arange(6).reshape(2, 3)}, requests, {"states": [1]})
    assert [part["states"].tolist() for part in parts] == [[[0, 1, 2]], [[3, 4]]]


def test_split_leaves_an_axis_that_the_signature_fixes() -> None:
    requests = [{"ids": np.ones((1, 3))}, {"ids": np.ones((1, 2))}]
    parts = split({"logits": np.zeros((2, 3))}, requests, {"logits": []})
    assert [part["logits"].shape for part in parts] == [(1, 3), (1, 3)]


def test_split_refuses_an_output_without_a_row_for_each_row() -> None:
    with pytest.raises(ValueError, match=r"shape \[1\]; expected \[2"):
        split({"loss": np.zeros(1)}, [{"ids": np.ones((2, 1))}], {})
