"""The embedding stage: `states` and `attention_mask`, or `vector`, → `embedding` FP32 [B, D]."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .postprocess import InvalidInput, postprocess, read_folder

__all__ = ["InvalidInput", "Stage"]


class Stage:
    """Settings of one version."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        """Read the version folder and which of its inputs the configuration names."""
        self._settings = read_folder(folder)
        self._names = {entry["name"] for entry in config["input"]}
        if self._names not in ({"vector"}, {"states", "attention_mask"}):
            raise ValueError(f"the inputs are {sorted(self._names)}; expected 'vector' alone, or 'mask' and 'states'")

    def __call__(self, inputs: dict[str, NDArray[Any]], parameters: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Answer one request."""
        if "vector" in self._names:  # as it were of one token, which every pooling leaves as it is
            states = inputs["vector"][:, None, :]
            mask = np.ones(states.shape[:2], dtype=np.int32)
        else:
            states, mask = inputs["states"], inputs["attention_mask"]
        return {"embedding": postprocess(states, mask, self._settings)}
