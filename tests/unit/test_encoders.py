"""Tokenizers and features, as far as they need no TensorFlow."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from trident.encoders import _embed, load_tokenizer, train_tokenizer


def test_a_vocabulary_of_ones_own_is_lower_cased_and_reserves_two_ids() -> None:
    tokenizer = train_tokenizer(["Free PRIZE free!"], max_length=3)
    assert [tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "free", "Free")] == [0, 1, 2, None]
    assert tokenizer.encode("FREE other prize free").ids == [2, 1, tokenizer.token_to_id("prize")]


def test_a_pretrained_tokenizer_does_not_pad(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path, max_length=1).encode("free prize").ids == [2]


def test_features_come_back_in_the_order_of_the_texts() -> None:
    class Features:
        def __init__(self, ids: NDArray[np.int32]) -> None:
            self.ids = ids

        def numpy(self) -> NDArray[np.float32]:
            total: NDArray[np.float32] = np.sum(self.ids, axis=1, keepdims=True, dtype=np.float32)
            return total

    ids = [[number] * (1 + number % 7) for number in range(1, 101)]
    done: list[int] = []
    features = _embed(Features, ids, done.append)
    assert features.tolist() == [[sum(row)] for row in ids]
    assert done == [64, 100]
