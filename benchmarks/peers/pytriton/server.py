"""PyTriton with Triton's dynamic batching, which by default does not wait.

Its callables run in threads of one process, so more "processes" are more callables of one model: TensorFlow then runs
as many operations at once.
"""

from typing import Any

import numpy as np
from classifier import MAX_BATCH, PORT, PROCESSES, THREADS, Classifier
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

Answers = dict[str, NDArray[np.generic]]


def make_callable(classifier: Classifier) -> Any:
    """One more callable of a model."""

    @batch
    def infer(text: NDArray[np.bytes_]) -> Answers:
        answers = classifier([raw.decode() for raw in text[:, 0].tolist()])
        labels = [[answer["label"].encode()] for answer in answers]
        return {"label": np.array(labels), "score": np.array([[answer["score"]] for answer in answers], np.float32)}

    return infer


if __name__ == "__main__":
    config = TritonConfig(http_address="127.0.0.1", http_port=PORT, allow_grpc=False, allow_metrics=False)
    classifier = Classifier(operations=PROCESSES * THREADS)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="spam",
            infer_func=[make_callable(classifier) for _ in range(PROCESSES)],
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="label", dtype=bytes, shape=(1,)), Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=MAX_BATCH),
        )
        triton.serve()
