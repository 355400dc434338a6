"""The pretrained encoder gives what its original implementation gives."""

import numpy as np
import pytest
from trident import encoders
from trident.pretrained import MINILM, find_weights
from trident.stages.text.preprocess import pad

# Mean-pooled, normalized features: token ids, the first six of 384 numbers, and the sum of all magnitudes.
# Source: transformers 5.23.0 BertModel with PyTorch 2.13.0 on the same weights.
REFERENCE = {
    "You won a free prize, call now": (
        [101, 2017, 2180, 1037, 2489, 3396, 1010, 2655, 2085, 102],
        [-0.0856063, -0.0246572, 0.0025619, 0.0282844, -0.0316749, -0.0429383],
        15.427778,
    ),
    "Café on the corner?": (
        [101, 7668, 2006, 1996, 3420, 1029, 102],
        [0.0333068, 0.0384664, -0.0388655, 0.0444148, -0.0034155, 0.0733985],
        14.899473,
    ),
    "See you at eight": (
        [101, 2156, 2017, 2012, 2809, 102],
        [-0.0310371, 0.0318259, 0.0478783, 0.0349119, 0.0449565, 0.0537814],
        15.593191,
    ),
}


def test_token_ids_and_features_are_those_of_the_original() -> None:
    weights = find_weights(MINILM)
    tokenizer = encoders.load_tokenizer(weights, 128)
    ids = [tokenizer.encode(text).ids for text in REFERENCE]
    assert ids == [expected for expected, _, _ in REFERENCE.values()]
    features = encoders._encoder(weights)(pad(ids)).numpy()  # one batch, so the shorter ones are padded
    assert np.linalg.norm(features, axis=1).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    for row, (_, first, magnitude) in zip(features, REFERENCE.values(), strict=True):
        assert row[:6].tolist() == pytest.approx(first, abs=2e-6)
        assert float(np.abs(row).sum()) == pytest.approx(magnitude, abs=1e-4)
