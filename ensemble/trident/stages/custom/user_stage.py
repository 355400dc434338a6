"""A stage of your own: Triton calls `run` with one request's tensors and sends on what it returns.

INPUTS and OUTPUTS say what it takes and gives: name → (datatype, dims without the batch axis, -1 where any size will
do). Datatypes are Triton's: FP32, INT64, BOOL, STRING and so on. An input comes from the caller or from a step before;
an output is what the model takes (its name in [model.inputs] of service.toml) or what the caller gets.
"""

import numpy as np
from numpy.typing import NDArray

INPUTS = {"text": ("STRING", [1])}
OUTPUTS = {"cleaned": ("STRING", [1])}


class InvalidInput(Exception):
    """Raise this for a request that cannot be served: the caller gets its message. Any other error is logged."""


def run(text: NDArray[np.object_]) -> dict[str, NDArray[np.object_]]:
    """Answer one request.

    Args:
        text: UTF-8 bytes [B, 1], B being the texts of the request.

    Returns:
        Name → array, for each of OUTPUTS, B first.
    """
    cleaned = [b" ".join(entry.split()).lower() for entry in text.ravel()]
    if not all(cleaned):
        raise InvalidInput(f"text {cleaned.index(b'')} is empty; send at least one word")
    return {"cleaned": np.array(cleaned, np.object_).reshape(-1, 1)}
