"""A stage of the user's own: `run` of `user_stage.py` beside this file, called with the tensors by name.

Axis letters: B items of one request.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .user_stage import InvalidInput, run

__all__ = ["InvalidInput", "Stage"]

DTYPES = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}


class Stage:
    """The user's function, and the tensors that it promised."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read which tensors the configuration names."""
        self._outputs = {entry["name"]: entry for entry in config["output"]}
        self._batched = int(config["max_batch_size"]) > 0

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request.

        Raises:
            ValueError: the function gave other tensors than its OUTPUTS, or not as many items as it was given. Triton
                does not look at them, so that the caller would be blamed, or get the answer to another text.
        """
        answer: Any = run(**inputs)
        if not isinstance(answer, dict) or answer.keys() != self._outputs.keys():
            found = list(answer) if isinstance(answer, dict) else type(answer).__name__
            raise ValueError(f"run gave {found}; expected a dict with {list(self._outputs)}, as OUTPUTS says")
        rows = [len(array) for array in inputs.values()][:1] if self._batched else []
        for name, array in answer.items():
            check(name, array, self._outputs[name]["data_type"], [*rows, *self._outputs[name]["dims"]])
        return answer


def check(name: str, array: Any, data_type: str, shape: list[int]) -> None:
    """See that a tensor is what it was said to be.

    Args:
        name: of the tensor.
        array: what stands for it.
        data_type: a key of `DTYPES`.
        shape: B if there is one, and its dims; -1 where any size will do.

    Raises:
        ValueError: it is no array, or one of another dtype or shape, or holds something else than bytes.
    """
    if not isinstance(array, np.ndarray):
        raise ValueError(f"run gave {type(array).__name__} for '{name}'; expected a numpy array")
    if array.dtype != DTYPES[data_type]:
        raise ValueError(f"run gave '{name}' as {array.dtype}; expected {np.dtype(DTYPES[data_type])}, as OUTPUTS says")
    if array.ndim != len(shape) or any(size not in (-1, own) for size, own in zip(shape, array.shape, strict=True)):
        raise ValueError(f"run gave '{name}' in the shape {list(array.shape)}; expected {shape}, as OUTPUTS says")
    texts = array.flat if data_type == "TYPE_STRING" else ()
    stranger = next((type(value).__name__ for value in texts if not isinstance(value, bytes)), None)
    if stranger:
        raise ValueError(f"run gave '{name}' with {stranger} in it; expected bytes: text.encode()")
