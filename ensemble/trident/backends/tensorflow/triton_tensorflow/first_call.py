"""Warm-up samples of zeros are tried here first: tritonserver 24.10 may crash where its own warm-up gets an error.

It hands the error of a Python model's request over twice, and is through with the warm-up after the first time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from triton_tensorflow.engines import Feeds
from triton_tensorflow.executor import Executor, Request
from triton_tensorflow.plan import Plan
from triton_tensorflow.signatures import DATA_TYPES


def try_warm_up(config: Mapping[str, Any], plan: Plan, executor: Executor) -> None:
    """Run the samples of `model_warmup` that are zeros, each once.

    Args:
        config: Triton's `model_config`.
        plan: of the model, which keeps nothing between calls.
        executor: of the loaded model.

    Raises:
        ValueError: the model does not answer one of them.
    """
    for name, feeds in _samples(config, plan):
        request = Request(0, feeds, frozenset(plan.outputs))
        try:
            executor.check(feeds)
            executor.run([request], lambda done, more: None)
        except Exception as error:
            raise ValueError(f"the warm-up '{name}' fails: {error}") from error
        if request.error is not None:
            raise ValueError(f"the warm-up '{name}' fails: {request.error}")


def _samples(config: Mapping[str, Any], plan: Plan) -> Iterator[tuple[str, Feeds]]:
    reshaped = {entry["name"] for entry in config["input"] if entry.get("reshape") is not None}
    for sample in config.get("model_warmup") or ():
        inputs = sample["inputs"]
        if not all(entry.get("zero_data") for entry in inputs.values()) or not reshaped.isdisjoint(inputs):
            continue
        rows = [max(1, int(sample.get("batch_size", 1)))] if plan.batched else []
        yield sample["name"], {name: _zeros([*rows, *map(int, entry["dims"])], entry) for name, entry in inputs.items()}


def _zeros(shape: list[int], entry: Mapping[str, Any]) -> Any:
    if entry["data_type"] == "TYPE_STRING":
        return np.full(shape, b"", np.object_)
    return np.zeros(shape, next(known.dtype for known in DATA_TYPES.values() if known.triton == entry["data_type"]))
