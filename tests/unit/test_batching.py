"""Ragged requests become one batch and come apart again."""

from typing import Any

import numpy as np
import pytest
from triton_tensorflow.batching import BadOutput, merge, split
from triton_tensorflow.plan import BatchInput, BatchOutput, Input, Plan
from triton_tensorflow.signatures import TensorSpec


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, f"{name}:0", "DT_FLOAT", shape)


def plan(*inputs: Input, batch_inputs: tuple[BatchInput, ...] = (), **batch_outputs: BatchOutput) -> Plan:
    return Plan(True, False, {entry.spec.name: entry for entry in inputs}, ("y",), batch_inputs, batch_outputs)


def padded(pad: Any = 0, dtype: Any = np.int32) -> Input:
    return Input(spec("ids", -1, -1), dtype, padded=True, pad=pad)


def test_merge_pads_each_request_to_the_longest_of_the_batch() -> None:
    merged = merge(plan(padded()), [{"ids": np.array([[1, 2, 3]])}, {"ids": np.array([[4], [5]])}])
    assert merged["ids"].tolist() == [[1, 2, 3], [4, 0, 0], [5, 0, 0]]


def test_merge_pads_strings_with_the_bytes_asked_for() -> None:
    rows = [np.array([[b"a", b"b"]], dtype=object), np.array([[b"c"]], dtype=object)]
    merged = merge(plan(padded(b"-", np.object_)), [{"ids": row} for row in rows])
    assert merged["ids"].tolist() == [[b"a", b"b"], [b"c", b"-"]]


def test_merge_joins_flat_inputs_end_to_end() -> None:
    flat = Input(spec("ids", -1), np.int32, flat=True)
    merged = merge(plan(flat), [{"ids": np.array([[1, 2], [3, 4]])}, {"ids": np.array([[5]])}])
    assert merged["ids"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("BATCH_ELEMENT_COUNT", [6, 4]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT", [6, 10]),
        ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", [0, 6, 10]),
        ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", [0] * 6),
        ("BATCH_ITEM_SHAPE", [[3], [3], [4]]),
        ("BATCH_ITEM_SHAPE_FLATTEN", [3, 3, 4]),
    ],
)
def test_batch_inputs_are_made_of_the_requests_shapes(kind: str, expected: list[Any]) -> None:
    made = plan(padded(), batch_inputs=(BatchInput(kind, ("first", "second"), "ids", np.int32),))
    merged = merge(made, [{"ids": np.ones((2, 3))}, {"ids": np.ones((1, 4))}])
    assert merged["first"].tolist() == merged["second"].tolist() == expected
    assert merged["first"].dtype == np.int32


def test_split_gives_each_request_its_rows() -> None:
    requests = [{"ids": np.ones((2, 3))}, {"ids": np.ones((1, 1))}]
    parts = split(plan(padded()), {"y": np.array([[0.0], [1.0], [2.0]])}, requests, {})
    assert [part["y"].tolist() for part in parts] == [[[0.0], [1.0]], [[2.0]]]


def test_split_cuts_an_axis_that_follows_an_input_back_to_the_requests_own_length() -> None:
    requests = [{"ids": np.ones((1, 3))}, {"ids": np.ones((1, 2))}]
    parts = split(plan(padded()), {"y": np.arange(6).reshape(2, 3)}, requests, {"y": {1: ("ids", 1)}})
    assert [part["y"].tolist() for part in parts] == [[[0, 1, 2]], [[3, 4]]]


def test_split_leaves_an_axis_that_follows_no_input() -> None:
    requests = [{"ids": np.ones((1, 3))}, {"ids": np.ones((1, 2))}]
    parts = split(plan(padded()), {"y": np.zeros((2, 3))}, requests, {})
    assert [part["y"].shape for part in parts] == [(1, 3), (1, 3)]


def test_split_deals_a_flat_output_out_by_the_source_inputs_shape() -> None:
    requests = [{"ids": np.ones((2, 3))}, {"ids": np.ones((1, 4))}]
    made = plan(padded(), y=BatchOutput("y", "ids", (-1, -1)))
    parts = split(made, {"y": np.arange(10)}, requests, {})
    assert [part["y"].tolist() for part in parts] == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8, 9]]]
    with pytest.raises(BadOutput, match="has 9 elements; expected 10"):
        split(made, {"y": np.arange(9)}, requests, {})


def test_split_refuses_an_output_without_a_row_for_each_row() -> None:
    with pytest.raises(BadOutput, match=r"shape \[1\]; expected \[2"):
        split(plan(padded()), {"y": np.zeros(1)}, [{"ids": np.ones((2, 1))}], {})
