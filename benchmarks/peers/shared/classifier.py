"""What all peers share, so that only the serving differs: the tokenizer, the SavedModel, the labels.

The environment tells a server what to serve, and how:
    PEER_SERVICE: a service folder, with model.savedmodel, tokenizer.json and labels.txt.
    PEER_PORT: where to listen, on 127.0.0.1.
    PEER_PROCESSES: how many processes have the model.
    PEER_THREADS: of TensorFlow in each of them.
    PEER_WAIT_MS: how long a batch waits to fill, for a server whose batches wait.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tokenizers import Tokenizer

MAX_BATCH = 64
MAX_LENGTH = 128
PORT = int(os.environ.get("PEER_PORT", "8000"))
PROCESSES = int(os.environ.get("PEER_PROCESSES", "1"))
THREADS = int(os.environ.get("PEER_THREADS", "0"))
WAIT_MS = float(os.environ.get("PEER_WAIT_MS", "1"))


class Classifier:
    """Texts to labels."""

    def __init__(
        self, max_length: int = MAX_LENGTH, *, pad_to_max_length: bool = False, operations: int = THREADS
    ) -> None:
        """Load everything.

        Args:
            max_length: tokens of a text that count.
            pad_to_max_length: fill every text up to it, instead of to the longest of its batch.
            operations: of TensorFlow at once.
        """
        service = Path(os.environ["PEER_SERVICE"])
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(operations)
        self.tokenizer = Tokenizer.from_file(str(service / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_length)
        self.tokenizer.enable_padding(length=max_length if pad_to_max_length else None)
        self.labels = (service / "labels.txt").read_text(encoding="utf-8").splitlines()
        self._model = tf.saved_model.load(str(service / "model.savedmodel"))
        self._signature = self._model.signatures["serving_default"]
        self(["ready"])  # the first call builds what all later ones use

    def encode(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Token ids of B texts, int32 [B, L], padded to the longest."""
        return np.array([encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))], np.int32)

    def logits(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits float32 [B, C] of token ids int32 [B, L]."""
        logits: NDArray[np.float32] = self._signature(input_ids=tf.constant(ids))["logits"].numpy()
        return logits

    def decode(self, logits: NDArray[np.float32]) -> list[dict[str, Any]]:
        """The likeliest label of each row, and its softmax."""
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        best = scores.argmax(axis=1)
        return [{"label": self.labels[k], "score": float(row[k])} for k, row in zip(best, scores, strict=True)]

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Labels of texts, in one call of the model."""
        return self.decode(self.logits(self.encode(texts)))
