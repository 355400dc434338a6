"""The `tensorflow` backend, first version, on SavedModels as users have them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from trident_client import Client, InvalidRequest


def test_a_bare_saved_model_serves_without_config(client: Client) -> None:
    answer = client.infer_tensors("bare", {"x": np.array([[1, 2, 3], [4, 5, 6]], np.float32)})
    assert answer["doubled"].tolist() == [[2, 4, 6], [8, 10, 12]]


def test_a_bare_saved_model_is_batched_as_nvidias_backend_did(client: Client) -> None:
    config = client.get_model_config("bare")
    assert config["max_batch_size"] == 4
    assert "dynamic_batching" in config


def test_a_repository_of_the_removed_backend_serves_strings(client: Client) -> None:
    words = np.array([["größe".encode(), b""], [b"ab", "ß".encode()]], dtype=object)
    answer = client.infer_tensors("upper", {"words": words})
    assert answer["upper"].tolist() == [["GRÖSSE".encode(), b""], [b"AB", b"SS"]]


def test_ragged_requests_are_padded_together_and_split_again(client: Client) -> None:
    def ask(length: int) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]:
        return client.infer_tensors("ragged", {"ids": np.full((2, length), 3, np.int32)})

    before = client.get_inference_statistics("ragged")["model_stats"][0].get("execution_count", 0)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(1, 7)))
    after = client.get_inference_statistics("ragged")["model_stats"][0]["execution_count"]
    assert after - before < 6, "the requests did not meet in a batch"
    for length, answer in enumerate(answers, start=1):
        assert answer["total"].tolist() == [[3 * length]] * 2
        assert answer["states"].tolist() == [[[6, 7]] * length] * 2


def test_only_requested_outputs_are_computed(client: Client) -> None:
    inputs = {"x": np.ones((1, 1), np.float32)}
    assert client.infer_tensors("two_outputs", inputs, outputs=["good"])["good"].tolist() == [[2.0]]
    with pytest.raises(InvalidRequest, match=r"1001 is not in \[0, 10\)"):
        client.infer_tensors("two_outputs", inputs)


def test_a_model_without_batching_takes_any_length(client: Client) -> None:
    answer = client.infer_tensors("unbatched", {"x": np.array([3, 4], np.float32)})
    assert answer["norm"].tolist() == [5.0]


def test_a_wrong_shape_names_the_input_and_what_was_expected(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"'x'.*\[-1,3\]"):
        client.infer_tensors("bare", {"x": np.ones((1, 2), np.float32)})
